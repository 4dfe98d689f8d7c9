"""What is trained in a soak, and what is done to it. Imports no torch."""

import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """
    A scenario of the matrix, with the arguments that say how it saves.

    Args:
        name: Identifier.
        scenario: Name of the scenario.
        arguments: `TrainingArguments` that are not the scenario's.
        num_processes: Number of ranks.
        has_children: Whether there are workers or ranks that can be killed by themselves.
        event: The event in which the handler of SIGTERM saves, if the case is about that.
    """

    name: str
    scenario: str
    arguments: dict[str, Any] = field(default_factory=dict)
    num_processes: int = 1
    has_children: bool = False
    event: str | None = None


@dataclass(frozen=True)
class Fault:
    """
    What is done to an attempt.

    Args:
        name: What a report calls it.
        inside: What the process does to itself; see `faults.prepare`.
        signal: What is sent to it from outside, at a random time.
        hits_child: Whether the signal is for one worker or rank only.
        seed: Chooses which.
    """

    name: str
    inside: dict[str, Any] = field(default_factory=dict)
    signal: int | None = None
    hits_child: bool = False
    seed: int = 0


ROTATED = {"save_total_limit": 2}
CASES = (
    Case("plain", "dropout", {"save_steps": 2}),
    Case("noise", "all_noise", ROTATED),
    Case("only_one", "all_noise", {"save_total_limit": 1}),
    Case("workers", "workers_2_prefetch_2_fork", ROTATED, has_children=True),
    Case("persistent_workers", "workers_2_prefetch_2_persistent_fork", ROTATED, has_children=True),
    Case("generators", "own_all", ROTATED),
    Case("stream", "stream", ROTATED),
    Case("callbacks", "random_callbacks", ROTATED),
    Case("best_model", "load_best_model_at_end", ROTATED),
    Case("epochs", "evaluate_by_epoch", ROTATED),
    Case(
        "sigterm_handler",
        "all_noise",
        {"save_total_limit": 1, "enable_jit_checkpoint": True},
        event="on_pre_optimizer_step",
    ),
    Case("ranks", "ddp_noise", ROTATED, num_processes=2, has_children=True),
)
# The steps whose saves are interrupted at every moment, so late that each removes an older checkpoint.
STEPS = (4, 6)
# What is left on a full file system, which gives room by the page; checkpoints need more.
PAGES, PAGE = 6, 4096


def chosen_faults(case: Case, moments: dict[int, int], can_fill: bool) -> Iterator[list[Fault]]:
    """
    Yield the faults of runs that together are killed at every moment of a save, and fail at every moment of another.

    Args:
        case: What is trained.
        moments: The number of moments of the saves of `STEPS`.
        can_fill: Whether there is a file system that can be filled.
    """
    first, second = STEPS
    # A checkpoint that replaces a complete one has more moments.
    numbers = range(1, max(moments.values()) + (1 if case.event is None else 15))
    for number in numbers:
        kill = {"kind": "kill", "step": first, "at": number}
        error = {"kind": "error", "step": second, "at": number}
        faults = []
        if number <= moments[first]:
            faults.append(Fault(f"killed at moment {number} of the save of step {first}", kill))
        if number <= moments[second]:
            faults.append(Fault(f"write error at moment {number} of the save of step {second}", error))
        if case.event is not None:
            again = {**kill, "step": second + 2, "event": case.event}
            faults.append(Fault(f"killed at moment {number} of the save of the handler of SIGTERM", again))
        yield faults
    if case.num_processes > 1:
        for number in numbers:
            other = {"kind": "kill", "step": first, "at": number, "rank": 1}
            yield [Fault(f"killed at moment {number} of the save of step {first} by rank 1", other)]
    for pages in range(PAGES if can_fill else 0):
        yield [_full(step, pages) for step in STEPS]


def _full(step: int, pages: int) -> Fault:
    room = pages * PAGE
    inside = {"kind": "full", "step": step, "at": room}
    return Fault(f"{room} bytes left on the file system at the save of step {step}", inside)


def random_faults(case: Case, rng: random.Random, can_fill: bool) -> list[Fault]:
    """The faults of one run, of kinds and at times that are drawn; as `chosen_faults`."""
    kinds = [
        Fault("SIGKILL of the process group", signal=signal.SIGKILL),
        Fault("SIGTERM", signal=signal.SIGTERM),
    ]
    if case.has_children:
        name = "rank" if case.num_processes > 1 else "worker"
        kinds.append(Fault(f"SIGKILL of one {name}", signal=signal.SIGKILL, hits_child=True, seed=rng.randrange(1000)))
    # A file of that size is in every checkpoint of the scenarios.
    limit = {"kind": "limit", "step": rng.choice((2, 4, 6, 8)), "at": rng.randrange(1, 1000)}
    kinds.append(Fault(f"no file of more than {limit['at']} bytes at the save of step {limit['step']}", limit))
    if can_fill:
        kinds.append(_full(rng.choice((2, 4, 6, 8)), rng.randrange(PAGES)))
    return [rng.choice(kinds) for _ in range(rng.randrange(1, 4))]
