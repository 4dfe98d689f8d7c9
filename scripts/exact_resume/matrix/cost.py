"""What recording costs: a patched Trainer with `exact_resume` on against off, in pairs."""

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from exact_resume.matrix import pieces
from exact_resume.matrix.running import release_workers
from exact_resume.matrix.scenarios import Scenario

STEPS, PAIRS = 200, 7


def _train(mode: str, num_workers: int) -> float:
    """Milliseconds an update step takes."""
    scenario = Scenario("cost", "", "", None, dataset=partial(pieces.NoisyDataset, 4 * STEPS))
    arguments = {"num_train_epochs": 1, "save_strategy": "no", "logging_strategy": "no", "exact_resume": mode}
    with tempfile.TemporaryDirectory() as folder:
        trainer = scenario.make_trainer(Path(folder), dataloader_num_workers=num_workers, **arguments)
        begin = time.perf_counter()
        trainer.train()
        took = time.perf_counter() - begin
        release_workers(trainer)
    return 1000 * took / STEPS


def recording_cost(num_workers: int) -> dict[str, Any]:
    """
    Train a tiny model with recording off and on, in alternating order.

    Args:
        num_workers: Workers of the dataloader.

    Returns:
        `num_workers`, the medians `off_ms` and `on_ms` of a step in milliseconds, and `ratio`, the median of pairs.
    """
    off, on = [], []
    _train("warn", num_workers)
    for pair in range(PAIRS):
        for mode, times in (("off", off), ("warn", on)) if pair % 2 else (("warn", on), ("off", off)):
            times.append(_train(mode, num_workers))
    ratio = statistics.median(with_it / without for with_it, without in zip(on, off, strict=True))
    return {
        "num_workers": num_workers,
        "off_ms": round(statistics.median(off), 3),
        "on_ms": round(statistics.median(on), 3),
        "ratio": round(ratio, 3),
    }
