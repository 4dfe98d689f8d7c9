"""Runs that are killed: one attempt after another, each compared with the golden run."""

import random
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exact_resume.soak.cases import Case, Fault
from exact_resume.soak.server import Attempt, Failure, Server

NOT_A_KILL = "finished"


@dataclass
class Golden:
    """
    The uninterrupted run of a case.

    Args:
        events: What each rank has logged.
        seconds: How long the training took.
        steps: How many update steps that were.
        moments: The number of moments of the save of each step that was asked for.
    """

    events: list[list[dict[str, Any]]]
    seconds: float
    steps: int
    moments: dict[int, int] = field(default_factory=dict)


def make_golden(server: Server, case: Case, work: Path, steps: tuple[int, ...]) -> Golden:
    """
    Train without a fault, twice, and count the moments of the saves of `steps`.

    Raises:
        Failure: It fails, or the two differ.
    """
    golden = None
    for step in (*steps, None):
        folder = Path(tempfile.mkdtemp(dir=work))
        counting = Fault("count", {"kind": "count", "step": step})
        attempt = server.attempt(case, folder / "run", folder / "log", counting, 0.0)
        if not attempt.is_finished:
            raise Failure(f"the golden run failed: {attempt.said}")
        events = [_events(log) for log in attempt.logs]
        if golden is None:
            begin, end = attempt.values("time")
            golden = Golden(events, end - begin, attempt.values("finished")[0])
        elif events != golden.events:
            raise Failure("two golden runs differ")
        if step is not None:
            golden.moments[step] = sum(attempt.values("moments"))
        shutil.rmtree(folder)
    return golden


def _events(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line["event"] for line in log if "event" in line]


def run_with_faults(
    server: Server, case: Case, golden: Golden, faults: list[Fault], work: Path, rng: random.Random
) -> list[dict[str, Any]]:
    """
    Kill a run once for each fault, resume it after each, and let it finish.

    Args:
        server: Forks its attempts.
        case: What to train.
        golden: The run to compare it with.
        faults: What is done to each attempt.
        work: A folder for it.
        rng: Draws the times of signals.

    Returns:
        A row for each fault: `fault`, `outcome` ("killed", "failed" as it had to, "stopped" by the handler of SIGTERM,
        or "finished" where the fault came too late), and `resumed` and `saved`, the steps from and to which it got.

    Raises:
        Failure: An attempt cannot be resumed, hangs, differs from the golden run, or has lost a checkpoint.
    """
    folder, newest, rows = Path(tempfile.mkdtemp(dir=work)), 0, []
    is_filled = any(fault.inside.get("kind") == "full" for fault in faults)
    output = server.file_system / folder.name if is_filled else folder / "run"
    for number, fault in enumerate([*faults, None, None]):
        delay = rng.uniform(0.0, golden.seconds) * (1 - newest / golden.steps)
        try:
            attempt = server.attempt(case, output, folder / f"log-{number}", fault, delay)
            resumed = _check(attempt, golden, newest)
        except Failure as failure:
            done = f"attempt {number} ({fault.name if fault else 'no fault'}) after {_names(rows)}"
            raise Failure(f"{case.name}: {done}: {failure}") from failure
        newest = max([newest, *attempt.values("saved")])
        outcome = _outcome(attempt)
        if fault is not None:
            rows.append({"fault": fault.name, "outcome": outcome, "resumed": resumed, "saved": newest})
        if outcome == NOT_A_KILL:
            shutil.rmtree(folder)
            return rows
        if outcome == "failed" and fault is None:
            raise Failure(f"{case.name}: attempt {number} after {_names(rows)}: cannot be resumed: {attempt.said}")
    raise Failure(f"{case.name}: not finished after {_names(rows)}")


def _names(rows: list[dict[str, Any]]) -> str:
    return ", ".join(f"{row['fault']} ({row['outcome']})" for row in rows) or "none"


def _outcome(attempt: Attempt) -> str:
    if attempt.is_finished:
        return NOT_A_KILL
    if attempt.status == 0:
        return "stopped"
    return "killed" if attempt.status < 0 else "failed"


def _check(attempt: Attempt, golden: Golden, newest: int) -> int | None:
    """Compare an attempt as far as it got; return the step from which it was resumed."""
    from exact_resume.matrix.compare import first_divergence
    from exact_resume.matrix.recording import Event

    resumed = attempt.values("resumed")
    if not resumed:  # it was killed before the training began
        if not attempt.was_killed:
            raise Failure(f"cannot be resumed: {attempt.said}")
        return None
    if resumed[0] < newest:
        raise Failure(f"resumed from step {resumed[0]}, although checkpoint-{newest} had been saved")
    for log, expected in zip(attempt.logs, golden.events, strict=True):
        if attempt.status == 0 and not attempt.is_finished:
            # How the handler of SIGTERM ends a training, no other run does.
            log = log[: max(number for number, line in enumerate(log) if "saved" in line)]
        events = [Event(**event) for event in _events(log) if event["step"] > resumed[0]]
        expected = [Event(**event) for event in expected if event["step"] > resumed[0]]
        if not attempt.is_finished:
            expected = expected[: len(events)]
        divergence = first_divergence(expected, events, resumed[0])
        if divergence is not None:
            raise Failure(
                f"resumed from step {resumed[0]}, differs in step {divergence['step']}: {divergence['message']}"
            )
    return resumed[0]
