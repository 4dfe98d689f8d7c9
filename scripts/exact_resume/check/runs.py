"""The runs of a check: golden, golden again, and resumed from checkpoints of the first. Imports no torch."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exact_resume.errors import UsageError

EXACT, NOT_EXACT, NOT_DETERMINISTIC = "exact", "not exact", "not deterministic"
# Interrupts that are tried where nobody chose any.
NUM_INTERRUPTS = 5
SAVING = 'save_strategy="steps", save_steps=1'


@dataclass(frozen=True)
class Request:
    """
    One training run.

    Args:
        folder: A folder of the run's own: its output, its record, and the checkpoints that are kept.
        at: The update steps at which a checkpoint is forced.
        checkpoint: The checkpoint to resume from.
        golden: The record of the run to compare with.
        after: The update step after which the two are compared: that of the checkpoint.
    """

    folder: Path
    at: tuple[int, ...] = ()
    checkpoint: Path | None = None
    golden: Path | None = None
    after: int = 0

    @property
    def output(self) -> Path:
        """Where the trainer writes."""
        return self.folder / "output"

    @property
    def record(self) -> Path:
        """The file with what was recorded."""
        return self.folder / "events.json"

    @property
    def progress(self) -> Path:
        """The file that says how far the run is."""
        return self.folder / "progress"

    def kept(self, step: int) -> Path:
        """Where a checkpoint is kept, whatever the trainer does with its own."""
        return self.folder / "kept" / f"checkpoint-{step}"


@dataclass(frozen=True)
class Outcome:
    """
    What came of a run.

    Args:
        steps: The update steps at its end.
        checkpoints: The steps at which checkpoints were written.
        divergence: The first from the run it was compared with; see `matrix.compare.first_divergence`.
        only_logs: Whether nothing but logged values diverges.
        warnings: What the trainer warned of.
        error: What it raised, in words; `None` if it came to its end.
        seconds: What it took, with the start of the process.
        environment: Versions, device, and the folder of the package transformers.
    """

    steps: int = 0
    checkpoints: list[int] = field(default_factory=list)
    divergence: dict[str, Any] | None = None
    only_logs: bool = False
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    seconds: float = 0.0
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether it is the same as the run it was compared with."""
        return self.error is None and self.divergence is None


@dataclass(frozen=True)
class Check:
    """
    What came of all runs.

    Args:
        target: What was trained.
        golden: The uninterrupted run.
        again: The same once more.
        resumes: The resumed runs by the step of their checkpoint; empty if the two above are not the same.
        forced: Whether the steps were chosen, and not those at which the trainer saves by itself.
    """

    target: str
    golden: Outcome
    again: Outcome
    resumes: dict[int, Outcome]
    forced: bool

    @property
    def verdict(self) -> str:
        """One of `EXACT`, `NOT_EXACT` and `NOT_DETERMINISTIC`."""
        if not self.again.same:
            return NOT_DETERMINISTIC
        return EXACT if all(outcome.same for outcome in self.resumes.values()) else NOT_EXACT

    @property
    def usable_checkpoints(self) -> list[int]:
        """The steps of the golden run's checkpoints after which there is something left to train."""
        return _usable(self.golden)

    @property
    def culprit(self) -> tuple[int | None, Outcome] | None:
        """The run to tell of, and the step of its checkpoint, which is `None` for the second golden run."""
        if not self.again.same:
            return None, self.again
        culprits = [(step, outcome) for step, outcome in self.resumes.items() if not outcome.same]
        # What differs in logs alone is the least of the troubles.
        return min(culprits, key=lambda culprit: culprit[1].only_logs, default=None)


def check(
    run: Callable[[Request], Outcome],
    target: str,
    work: Path,
    at: tuple[int, ...] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Check:
    """
    Run a trainer golden, golden again, and resumed from checkpoints, and compare.

    Args:
        run: Carries out one run. It raises `UsageError` where the request cannot be carried out.
        target: What is trained, for messages.
        work: An empty folder.
        at: The steps after which to interrupt, at which checkpoints are forced; some of those of the trainer's own
            checkpoints without it.
        say: Takes a line of progress.

    Raises:
        UsageError: The golden run fails, is too short, or leaves no checkpoint to resume from.
    """
    say("golden run")
    first = Request(work / "golden", at)
    golden = run(first)
    if golden.error is not None:
        raise UsageError(f"{target}: the run that is not interrupted failed: {golden.error}")
    refuse_what_is_too_short(target, at, golden.steps)
    steps = _interrupts(target, golden, at)
    say(f"golden run: {golden.steps} steps, {golden.seconds:.1f} s; the same again, then resumed after {told(steps)}")
    again = _run_aside(run, Request(work / "again", at, golden=first.record))
    say(f"golden run again: {'the same' if again.same else 'not the same'}, {again.seconds:.1f} s")
    resumes = {}
    for number, step in enumerate(steps if again.same else [], 1):
        folder = work / f"resumed-{step}"
        outcome = _run_aside(run, Request(folder, at, first.kept(step), first.record, step))
        resumes[step] = outcome
        say(f"[{number}/{len(steps)}] resumed after step {step}: {word(outcome)}, {outcome.seconds:.1f} s")
    return Check(target, golden, again, resumes, bool(at))


def word(outcome: Outcome) -> str:
    """The result of a resumed run in a word or two."""
    if outcome.error is not None:
        return "failed"
    return EXACT if outcome.same else "exact but for logs" if outcome.only_logs else NOT_EXACT


def told(steps: list[int] | tuple[int, ...]) -> str:
    """Steps in words."""
    return f"step{'s' * (len(steps) != 1)} {', '.join(map(str, steps))}"


def refuse_what_is_too_short(target: str, at: tuple[int, ...], steps: int) -> None:
    """
    Refuse a training that cannot be interrupted as is asked for.

    Raises:
        UsageError: It has fewer than two update steps, or ends before an interrupt, or with it.
    """
    if steps < 2:
        raise UsageError(
            f"{target}: training has {steps} update step{'s' * (steps != 1)}, and to interrupt it takes at least 2; "
            "give it more data, smaller batches or more epochs"
        )
    late = [step for step in at if step >= steps]
    if late:
        raise UsageError(
            f"{target}: training has {steps} update steps, so there is nothing to resume after {told(late)}; "
            f"choose interrupts from 1 to {steps - 1}"
        )


def _run_aside(run: Callable[[Request], Outcome], request: Request) -> Outcome:
    outcome = run(request)
    # Its checkpoints are of no use to anyone, and may be large.
    shutil.rmtree(request.folder, ignore_errors=True)
    return outcome


def _usable(golden: Outcome) -> list[int]:
    return [step for step in golden.checkpoints if step < golden.steps]


def _interrupts(target: str, golden: Outcome, at: tuple[int, ...]) -> list[int]:
    missing = [step for step in at if step not in golden.checkpoints]
    if missing:
        raise UsageError(
            f"{target}: no checkpoint was found at {told(missing)} although one was asked for; "
            "the trainer must save into args.output_dir when a callback sets control.should_save"
        )
    usable = _usable(golden)
    if not at and not usable:
        when = f"saves only after the last of its {golden.steps} steps" if golden.checkpoints else "never saves"
        raise UsageError(
            f"{target}: the trainer {when}, so there is no checkpoint to resume from; "
            f"set {SAVING} in its TrainingArguments, or force checkpoints with --interrupt-at STEP"
        )
    return list(at) if at else spread(usable)


def spread(steps: list[int]) -> list[int]:
    """At most `NUM_INTERRUPTS` of some steps: the first, the last, and what lies evenly between them."""
    if len(steps) <= NUM_INTERRUPTS:
        return steps
    return [steps[round(place * (len(steps) - 1) / (NUM_INTERRUPTS - 1))] for place in range(NUM_INTERRUPTS)]
