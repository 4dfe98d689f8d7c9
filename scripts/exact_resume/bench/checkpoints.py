"""What a checkpoint grows by, how long it takes, and what many ranks write together."""

import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

from exact_resume.bench import scale
from exact_resume.bench.peers import make_trainer
from exact_resume.matrix import pieces
from exact_resume.matrix.interrupting import SaveAt
from exact_resume.matrix.running import release_workers

BATCH_SIZE, FIRST, LAST = 8, 12, 21
# By number of workers and prefetch factor.
LOADERS = ((0, None), (2, 2), (8, 2), (8, 8))
WRITERS = 16
MOST_BYTES = 512 << 20


def measure(variant: str, folder: Path) -> list[tuple[str, str, float]]:
    """Return title, unit and value of each figure."""
    sizes, times = [], []
    for num_workers, prefetch in LOADERS:
        what = f"{num_workers} workers" + (f", prefetch factor {prefetch}" if prefetch else "")
        run = folder / f"{num_workers}-{prefetch}"
        steps = range(FIRST, LAST + 1)
        times.append((f"to save, {what}", "ms", _save(variant, run, num_workers, prefetch, steps)))
        with mock.patch("os.fsync", lambda descriptor: None):
            taken = _save(variant, folder / "not-waited-for", num_workers, prefetch, steps)
        times.append((f"to save, {what}, the disk not waited for", "ms", taken))
        shutil.rmtree(folder / "not-waited-for")
        size = sum(path.stat().st_size for path in (run / f"checkpoint-{LAST}").iterdir())
        sizes.append((f"a checkpoint, {what}", "bytes", size))
    return sizes + times


def _save(variant: str, folder: Path, num_workers: int, prefetch: int | None, steps: range) -> float:
    """Write checkpoints after the given steps, and return the median of their milliseconds."""
    trainer = make_trainer(
        variant,
        folder,
        pieces.NoisyDataset(BATCH_SIZE * 100),
        callbacks=(SaveAt(*steps),),
        per_device_train_batch_size=BATCH_SIZE,
        dataloader_num_workers=num_workers,
        dataloader_prefetch_factor=prefetch,
    )
    log_save_evaluate, times = trainer._maybe_log_save_evaluate, []

    def timed(*args, **kwargs):
        begin, saves = time.perf_counter(), trainer.control.should_save
        log_save_evaluate(*args, **kwargs)
        if saves:
            times.append(time.perf_counter() - begin)

    trainer._maybe_log_save_evaluate = timed
    trainer.train()
    release_workers(trainer)
    return 1000 * statistics.median(times)


def measure_scale(variant: str, folder: Path, workers: list[int], ranks: list[int]) -> list[tuple[str, str, float]]:
    """
    Write the states of ranks: first one by a training run, then as many as there are ranks, with those bytes.

    Args:
        variant: The variant.
        folder: A scratch folder.
        workers: Numbers of workers of a rank.
        ranks: Numbers of ranks.

    Returns:
        Title, unit and value of each figure. What is more than `MOST_BYTES` in all is not written.
    """
    figures = []
    for num_workers in workers:
        run = folder / str(num_workers)
        _save(variant, run, num_workers, 2, range(FIRST, FIRST + 1))
        content = (run / f"checkpoint-{FIRST}" / "rng_state.pth").read_bytes()
        figures.append((scale.state_title(num_workers), "bytes", len(content)))
        for count in ranks:
            if count * len(content) <= MOST_BYTES:
                written, read = _write_and_read(folder / f"{num_workers}x{count}", count, content)
                figures.append((scale.write_title(count, num_workers), "s", written))
                figures.append((scale.read_title(count, num_workers), "s", read))
    return figures


def _write_and_read(folder: Path, count: int, content: bytes) -> tuple[float, float]:
    """Return the seconds that it takes to write files as a checkpoint's are written, and to read them."""
    folder.mkdir()

    def write(rank: int) -> None:
        temporary = folder / f"rng_state_{rank}.pth.tmp"
        temporary.write_bytes(content)
        temporary.replace(folder / f"rng_state_{rank}.pth")

    with ThreadPoolExecutor(WRITERS) as pool:
        begin = time.perf_counter()
        list(pool.map(write, range(count)))
        middle = time.perf_counter()
        list(pool.map(Path.read_bytes, list(folder.iterdir())))
        end = time.perf_counter()
    shutil.rmtree(folder)
    return middle - begin, end - middle
