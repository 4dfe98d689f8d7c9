"""
For tests of your own: does a Trainer resume from its checkpoints bit for bit?

With pytest, the fixture `exact_resume_check` is `assert_exact_resume`; it is there when this project is installed.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib.machinery import PathFinder
from operator import attrgetter
from pathlib import Path
from typing import Any

from exact_resume.check import installation, report, runs
from exact_resume.check.command import TIMEOUT, say
from exact_resume.check.process import FreshProcess


def assert_exact_resume(
    make_trainer: Callable[..., Any],
    interrupt_at: int | Iterable[int] | None = None,
    *,
    folder: Path | None = None,
    in_this_process: bool | None = None,
    timeout: float = TIMEOUT,
) -> None:
    """
    Train without interruption, twice, and resumed from checkpoints, and compare everything bit for bit.

    Each run has a process of its own if that can find `make_trainer`: if it is at the top level of a module or a file.
    It then sees nothing of this process but its path, its environment and its current folder. Otherwise, as for a
    function inside a test, all runs are in this process, with the global RNGs before each as in a new process: faster,
    but what a run leaves behind elsewhere, as in globals, reaches the next.

    Args:
        make_trainer: Takes a folder for the output, as the parameter `output_dir` or as its only one without a
            default, or nothing, and returns a new Trainer.
        interrupt_at: The update steps after which to interrupt; checkpoints are forced there. By default, at most five
            of the checkpoints that the trainer writes by itself.
        folder: Where the runs write, in a folder that is removed at the end; that for temporary files if `None`.
        in_this_process: Whether all runs are in this process; as said above if `None`.
        timeout: Seconds after which a run in a process of its own is taken for hung.

    Raises:
        AssertionError: A resumed run is not exact, or training is not deterministic. Its text is the report.
        UsageError: There is nothing to compare: no trainer, no checkpoint, a training that fails or is too short.
    """
    __tracebackhide__ = True
    at = (interrupt_at,) if isinstance(interrupt_at, int) else tuple(interrupt_at or ())
    found = None if in_this_process else _target_of(make_trainer)
    if found is None and in_this_process is False:
        raise ValueError(f"{make_trainer!r} cannot be found by another process: define it at the top level of a file")
    name = found or getattr(make_trainer, "__qualname__", repr(make_trainer))
    if found is not None:
        run = FreshProcess(found, sys.path, timeout, say=say)
    else:
        # Late, as it imports torch.
        from exact_resume.check.training import SameProcess

        run = SameProcess(make_trainer, name)
    with tempfile.TemporaryDirectory(prefix="exact-resume-check-", dir=folder) as work:
        check = runs.check(run, name, Path(work), tuple(sorted(set(at))), say)
    if check.verdict != runs.EXACT:
        raise AssertionError("\n".join(report.text(check, installation.of(check, installed=True))))


def _target_of(function: Callable[..., Any]) -> str | None:
    """How another process finds a function: as MODULE:FUNCTION, or `None` if it cannot."""
    module = sys.modules.get(getattr(function, "__module__", None))
    file, name = getattr(module, "__file__", None), getattr(function, "__qualname__", "")
    try:
        if file is None or attrgetter(name)(module) is not function:
            return None
    except AttributeError:  # it is local to a function
        return None
    return f"{module.__name__ if _is_importable(module.__name__, file) else file}:{name}"


def _is_importable(name: str, file: str) -> bool:
    """Whether a module is found by its name, which is not so for scripts and some tests that pytest imports."""
    path, parts = None, name.split(".")
    for count in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:count]), path)
        if spec is None:
            return False
        path = spec.submodule_search_locations
    return spec.origin is not None and os.path.realpath(spec.origin) == os.path.realpath(file)
