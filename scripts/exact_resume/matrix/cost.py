"""How an update step is timed, and what recording costs one: a patched Trainer with `exact_resume` on against off."""

import itertools
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback

from exact_resume.matrix import pieces
from exact_resume.matrix.running import release_workers
from exact_resume.matrix.scenarios import Scenario

STEPS, PAIRS, PARTS = 200, 7, 10


class _Clock(TrainerCallback):
    """Notes when each update step is done, and the processor time of this process until then."""

    def __init__(self):
        self.times: list[tuple[float, float]] = []

    def on_step_end(self, args, state, control, **kwargs):
        self.times.append((time.perf_counter(), time.process_time()))


def step_ms(trainer: Trainer) -> tuple[float, float]:
    """
    Train.

    Args:
        trainer: A trainer of at least `2 * PARTS` update steps.

    Returns:
        Milliseconds of a step, and of processor time in this process: the mean within each part of the run but the
        first, of which the lower quartile, so that neither the start counts nor parts in which the machine was slow.
    """
    clock = _Clock()
    trainer.add_callback(clock)
    trainer.train()
    release_workers(trainer)
    size = len(clock.times) // PARTS
    marks = clock.times[size::size]
    parts = [(end[0] - begin[0], end[1] - begin[1]) for begin, end in itertools.pairwise(marks)]
    taken, busy = (1000 * statistics.quantiles(column)[0] / size for column in zip(*parts, strict=True))
    return taken, busy


def _step_ms(mode: str, num_workers: int) -> float:
    scenario = Scenario("cost", "", "", None, dataset=partial(pieces.NoisyDataset, 4 * STEPS))
    arguments = {"num_train_epochs": 1, "save_strategy": "no", "logging_strategy": "no", "exact_resume": mode}
    with tempfile.TemporaryDirectory() as folder:
        return step_ms(scenario.make_trainer(Path(folder), dataloader_num_workers=num_workers, **arguments))[0]


def recording_cost(num_workers: int) -> dict[str, Any]:
    """
    Train a tiny model with recording off and on, in alternating order.

    Args:
        num_workers: Workers of the dataloader.

    Returns:
        `num_workers`, the medians `off_ms` and `on_ms` of a step in milliseconds, and `ratio`, the median of pairs.
    """
    off, on = [], []
    _step_ms("warn", num_workers)
    for pair in range(PAIRS):
        for mode, times in (("off", off), ("warn", on)) if pair % 2 else (("warn", on), ("off", off)):
            times.append(_step_ms(mode, num_workers))
    ratio = statistics.median(with_it / without for with_it, without in zip(on, off, strict=True))
    return {
        "num_workers": num_workers,
        "off_ms": round(statistics.median(off), 3),
        "on_ms": round(statistics.median(on), 3),
        "ratio": round(ratio, 3),
    }
