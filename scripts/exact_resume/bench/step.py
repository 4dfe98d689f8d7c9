"""What recording adds to an update step that is as short as can be: to the whole of it, and call by call."""

import contextlib
import importlib
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from transformers import Trainer, trainer_callback

from exact_resume.bench.calls import AROUND, CALLS, MAIN, WITH_WORKERS, WITHIN, WORKER, Call, calls_title, time_title
from exact_resume.bench.peers import make_trainer
from exact_resume.bench.stopwatch import Stopwatch
from exact_resume.matrix import pieces
from exact_resume.matrix.cost import step_ms
from exact_resume.matrix.running import release_workers

BATCH_SIZE, NUM_WORKERS = 4, 2


def _trainer(variant: str, folder: Path, steps: int, num_workers: int, collator: Callable = pieces.stack) -> Trainer:
    """Two linear layers, batches of four, and a dataset that draws from torch."""
    data = pieces.NoisyDataset(BATCH_SIZE * steps, sources=("torch",), varying=False)
    return make_trainer(variant, folder, data, collator=collator, dataloader_num_workers=num_workers)


def measure(variant: str, folder: Path, steps: int, budgets: list[tuple[int, int]]) -> list[tuple[str, str, float]]:
    """
    Measure whole steps.

    Args:
        variant: The variant.
        folder: A scratch folder.
        steps: Update steps of a run.
        budgets: Numbers of workers, each with the microseconds that recording may add to a step.

    Returns:
        Title, unit and value of each figure. The unit is not that of a time, as differences count and not ratios.
    """
    figures = []
    for num_workers, budget in budgets:
        elapsed, _ = step_ms(_trainer(variant, folder, steps, num_workers))
        figures.append((f"a step, {num_workers} workers; budget +{budget}", "us a step", 1000 * elapsed))
    return figures


@contextlib.contextmanager
def _timed_calls(watch: Stopwatch) -> Iterator[None]:
    """Time all `CALLS`, in this process and in workers that are forked from it."""
    from transformers.trainer_resume.worker_process import Worker

    begin = Worker.begin

    def begin_timed(worker, process_id, *args):
        watch.process = 1 + process_id
        begin(worker, process_id, *args)

    with contextlib.ExitStack() as stack:
        for kind, call in enumerate(CALLS):
            owner, name = _find(call)
            function = getattr(owner, name)
            wrap = watch.wrap_generator if name in ("_follow", "_draw") else watch.wrap
            stack.enter_context(mock.patch.object(owner, name, wrap(kind, function)))
        handler = trainer_callback.CallbackHandler
        stack.enter_context(mock.patch.object(handler, "on_step_end", watch.wrap(None, handler.on_step_end)))
        stack.enter_context(mock.patch.object(Worker, "begin", begin_timed))
        yield


def _find(call: Call) -> tuple[Any, str]:
    """Where the function is an attribute, and of which name."""
    owner = importlib.import_module(call.module)
    *classes, name = call.path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    return owner, name


def measure_calls(variant: str, folder: Path, steps: int) -> list[tuple[str, str, float]]:
    """Return title, unit and value of each figure: what each of `CALLS` takes in a step, as the median of all."""
    figures = []
    for num_workers in (0, NUM_WORKERS):
        watch = Stopwatch(1 + NUM_WORKERS, len(CALLS), most=4 * steps)
        within, around = watch.calibrate()
        with _timed_calls(watch):
            trainer = _trainer(variant, folder, steps, num_workers, watch.wrap(None, pieces.stack))
            trainer.train()
            release_workers(trainer)
        places = {WITH_WORKERS: (0,), WORKER: range(1, 1 + NUM_WORKERS)} if num_workers else {MAIN: (0,)}
        for place, processes in places.items():
            for kind, call in enumerate(CALLS):
                times = watch.times(kind, *processes)
                count = len(times) / steps
                if count > 0.5:  # what is rarer is no part of a step
                    figures.append((calls_title(place, call), "calls a step", count))
                    figures.append((time_title(place, call), "us a step", 1e6 * count * statistics.median(times)))
    return [*figures, (WITHIN, "us", 1e6 * within), (AROUND, "us", 1e6 * around)]
