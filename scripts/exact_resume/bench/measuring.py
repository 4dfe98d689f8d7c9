"""Measure in a process of its own: a fork of one that has imported the tree and done nothing else."""

import multiprocessing
from pathlib import Path

from exact_resume import journal_cost
from exact_resume.bench import checking, checkpoints, recording, resuming, step

MEASURES = {
    "step": step.measure,
    "calls": step.measure_calls,
    "recording": recording.measure,
    "memory": recording.measure_memory,
    "resuming": resuming.measure,
    "checkpoints": checkpoints.measure,
    "check": checking.measure,
    "scale": checkpoints.measure_scale,
    "journal": journal_cost.measure,
}
PREPARATIONS = {"resuming": resuming.prepare}


def measure(group: str, variant: str, folder: str, prepares: bool, **options) -> list[tuple[str, str, float]] | None:
    """
    Measure a group of figures.

    Args:
        group: The name of the group.
        variant: One of `groups.VARIANTS`, on whose tree this process is.
        folder: A folder for checkpoints.
        prepares: Whether to make what the group needs, instead.
        options: Those of `groups.Group`.

    Returns:
        Title, unit and value of each figure.

    Raises:
        RuntimeError: The process ended without an answer.
    """
    function = (PREPARATIONS if prepares else MEASURES)[group]
    # Imports take longer than most measurements, and a process that was forked after them is as good as new.
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(function(variant, Path(folder), **options)))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"measuring {group} on {variant} ended with exit code {process.exitcode}") from None
    finally:
        process.join()
