"""What the check of a resume takes: of a batch in a worker, and of a checkpoint and the step that follows it."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch

REPEATS = 300
FIELDS = ("input_ids", "attention_mask", "labels")
# By bytes of a field, what its rows are called.
SIZES = {8 << 10: "of 8 KB", 1 << 20: "of 1 MB"}


def measure(variant: str, folder: Path, layers: int, width: int) -> list[tuple[str, str, float]]:
    """
    Return title, unit and value of each figure.

    Args:
        variant: What is measured.
        folder: Where files are written.
        layers: The number of linear layers of the model, whose step is digested.
        width: The features in and out of each.
    """
    from transformers.trainer_resume.batch_digest import digest_batch
    from transformers.trainer_resume.files import save_next_steps
    from transformers.trainer_resume.generators import RNGStates
    from transformers.trainer_resume.pipeline import PipelineState
    from transformers.trainer_resume.step_check import digest_step
    from transformers.trainer_resume.worker_process import WorkerRing

    ring, rows = WorkerRing(1, 2, 0), []
    for size, words in SIZES.items():
        batch = {name: torch.randint(1000, (8, size // 64)) for name in FIELDS}
        taken = _seconds(lambda batch=batch: ring.write_digest(0, 0, digest_batch(batch)))
        rows.append((f"a batch in a worker, {len(FIELDS)} fields {words}", "us", 1e6 * taken))
        taken = _seconds(lambda batch=batch: digest_batch(batch))
        rows.append((f"a batch ahead, at a checkpoint, {len(FIELDS)} fields {words}", "us", 1e6 * taken))
    model = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(layers)))
    trainer = SimpleNamespace(model=model, optimizer=None, _tr_loss=torch.zeros(()))
    session = SimpleNamespace(states=RNGStates(PipelineState()), last_step=(1.0, 0.001))
    title = f"the step after a checkpoint, {layers} layers of {width} x {width}"
    rows.append((title, "ms", 1e3 * _seconds(lambda: digest_step(session, trainer))))
    results = {"save": "a", "step": 1, "results": {1: digest_step(session, trainer)}, "batches": {}}
    folder.mkdir(parents=True, exist_ok=True)
    path = str(folder / "rng_state.pth")
    rows.append(("its file", "ms", 1e3 * _seconds(lambda: save_next_steps(path, results))))
    return rows


def _seconds(call: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)
