"""What recording adds to an update step, to the queue of the workers' batches, and to memory."""

import contextlib
import gc
import multiprocessing.queues
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import torch
from transformers import TrainerCallback

from exact_resume.bench.groups import IN_BAND, PATCHED
from exact_resume.bench.peers import host_states, make_trainer
from exact_resume.matrix import pieces
from exact_resume.matrix.cost import step_ms
from exact_resume.matrix.running import release_workers

BATCH_SIZE, SNAPSHOTS, QUEUED = 4, 2000, 64


class PaddedModel(pieces.TinyModel):
    """Keeps one core busy with a product of matrices `(width, width)`; with 1200, most take 30 to 60 ms."""

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("matrix", torch.ones(width, width), persistent=False)

    def forward(self, x: torch.Tensor, labels: torch.Tensor, index: torch.Tensor | None = None):
        """As that of `TinyModel`."""
        with torch.no_grad():
            torch.mm(self.matrix, self.matrix)
        return super().forward(x, labels, index)


def measure(variant: str, folder: Path, steps: int, padded_steps: int, width: int) -> list[tuple[str, str, float]]:
    """
    Measure.

    Args:
        variant: The variant.
        folder: A scratch folder.
        steps: Update steps of a run of the smallest model.
        padded_steps: Update steps of a run of `PaddedModel`.
        width: That of `PaddedModel`.

    Returns:
        Title, unit and value of each figure.
    """
    figures, busy = [], []
    for what, model, count, num_workers in (
        ("step, smallest model, 0 workers", pieces.TinyModel, steps, 0),
        ("step, smallest model, 2 workers", pieces.TinyModel, steps, 2),
        (
            f"step, product of {width} x {width} matrices, 0 workers",
            partial(PaddedModel, width),
            padded_steps,
            0,
        ),
    ):
        trainer = make_trainer(variant, folder, _data(count), model, dataloader_num_workers=num_workers)
        elapsed, processor = step_ms(trainer)
        figures.append((what, "ms", elapsed))
        busy.append((f"{what}, processor time", "ms", processor))
    figures += busy
    figures.append(("through the queue of 2 workers, a batch", "bytes", _queued_bytes(variant, folder)))
    if snapshot := _snapshot(variant):
        figures.append(("a snapshot, nothing drawn since the last", "us", _microseconds(snapshot, lambda: None)))
        figures.append(("a snapshot, all three RNGs drawn from since", "us", _microseconds(snapshot, _draw)))
    return figures


def _data(steps: int) -> pieces.NoisyDataset:
    return pieces.NoisyDataset(BATCH_SIZE * steps)


def _queued_bytes(variant: str, folder: Path) -> float:
    trainer = make_trainer(variant, folder, _data(QUEUED), dataloader_num_workers=2)
    with _counting_queues() as received:
        trainer.train()
        release_workers(trainer)
    return sum(received) / QUEUED


@contextlib.contextmanager
def _counting_queues() -> Iterator[list[int]]:
    """Note the size of all that comes out of queues here; tensors are in shared memory, and count by their handle."""
    received, make = [], multiprocessing.queues.Queue.__init__

    def make_counting(queue, *args, **kwargs):
        make(queue, *args, **kwargs)
        receive = queue._recv_bytes

        def receive_and_count(*args, **kwargs):
            content = receive(*args, **kwargs)
            received.append(len(content))
            return content

        queue._recv_bytes = receive_and_count

    multiprocessing.queues.Queue.__init__ = make_counting
    try:
        yield received
    finally:
        multiprocessing.queues.Queue.__init__ = make


def _snapshot(variant: str) -> Callable[[], object] | None:
    if variant == IN_BAND:
        return host_states
    if variant != PATCHED:
        return None
    from transformers.trainer_resume.generators import RNGStates
    from transformers.trainer_resume.pipeline import PipelineState

    return RNGStates(PipelineState()).get


def _draw() -> None:
    random.random()
    np.random.random()
    torch.rand(())


def _microseconds(take: Callable[[], object], before: Callable[[], None]) -> float:
    times = []
    for _ in range(SNAPSHOTS):
        before()
        begin = time.perf_counter()
        take()
        times.append(time.perf_counter() - begin)
    return 1e6 * statistics.median(times)


class _Memory(TrainerCallback):
    """Notes the resident bytes and the allocated blocks of this process at two steps."""

    def __init__(self, *steps: int):
        self.steps = steps
        self.seen: list[tuple[int, int]] = []

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step in self.steps:
            gc.collect()
            self.seen.append((psutil.Process().memory_info().rss, sys.getallocatedblocks()))


def measure_memory(variant: str, folder: Path, steps: int) -> list[tuple[str, str, float]]:
    """Return title, unit and value of each figure: what nine tenths of an epoch use more than a fifth of it."""
    figures = []
    for num_workers, count in ((0, steps), (2, steps // 10)):
        # Not at its end, where the sampler frees its indices, and the allocator gives back as much as it will.
        first, last = count // 5, count * 9 // 10
        memory = _Memory(first, last)
        trainer = make_trainer(variant, folder, _data(count), callbacks=(memory,), dataloader_num_workers=num_workers)
        trainer.train()
        release_workers(trainer)
        (bytes_before, blocks_before), (bytes_after, blocks_after) = memory.seen
        what = f"from step {first} to step {last}, {num_workers} workers"
        figures.append((f"growth {what}", "bytes", bytes_after - bytes_before))
        figures.append((f"Python's blocks of memory {what}", "blocks", blocks_after - blocks_before))
    return figures
