"""Train a place, resume it, each in a process of its own, and tell whether the resume was exact, named or silent."""

import contextlib
import json
import logging
import os
import pickle
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from base import ORDINARY, PLACES, Mode, Place, make
from judging import judge, texts
from transformers import TrainingArguments, set_seed

from exact_resume.matrix import recording
from exact_resume.matrix.recording import Recorder

TIMEOUT = 60.0
_of_dense = recording.exact
# What must not be collected before its process ends, as that would wait for its workers.
_kept: list[Any] = []


def exact(value: Any, limit: int | None = None) -> Any:
    """As `recording.exact`, of sparse tensors and of objects that say where they are as well."""
    if isinstance(value, torch.Tensor) and value.layout != torch.strided:
        return ["sparse", _of_dense(value.to_dense(), limit)]
    made = _of_dense(value, limit)
    return re.sub(r" at 0x[0-9a-f]+", "", made) if isinstance(made, str) else made


recording.exact = exact  # for all that it calls


class TimedRecorder(Recorder):
    """A recorder that knows when the micro-batch of an event was trained on."""

    def __init__(self, trainer):
        self.times: list[float] = []
        self._begin = 0.0
        super().__init__(trainer)

    def _record_training_step(self, *args, **kwargs):
        self._begin = time.monotonic()
        return super()._record_training_step(*args, **kwargs)

    def _add(self, stream, what, value, micro_batch=None):
        super()._add(stream, what, value, micro_batch)
        was_trained_on = stream in ("data", "sampler", "model", "optimizer") or "before" in what
        self.times.append(self._begin if was_trained_on and self._begin else time.monotonic())


def run_place(
    name: str, mode: str, *, at: list[str], kind: str = "place", exact_resume: str = "warn"
) -> dict[str, Any]:
    """
    Train a place without interruption, and resume it from its checkpoints.

    Args:
        name: of the place.
        mode: see `base.Mode`.
        kind: "place", "ordinary", or "combination", whose name is that of its parts.
        exact_resume: for a tree that has the argument.
        at: the checkpoints, by name, or "again" for another uninterrupted run in place of resumed ones.

    Returns:
        By checkpoint `{"outcome", "detail", "said"}`, where the outcome is one of "exact", "named", "later", "silent"
        and "error", and `said` what was said by loggers of ours. That of a run that would not even start is "start".
    """
    if kind == "combination":
        from combinations import combination

        subject = combination(name)
    else:
        subject = (PLACES if kind == "place" else ORDINARY)[name]
    folder = Path(tempfile.mkdtemp(prefix="silent-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    try:
        return _run(subject, Mode(mode), exact_resume, at, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(subject: Place, mode: Mode, exact_resume: str, at: list[str], folder: Path) -> dict[str, Any]:
    has_argument = hasattr(TrainingArguments, "exact_resume")
    train = _Training(subject, mode, exact_resume if has_argument else None, folder)
    golden = train(None)
    if golden["error"] is not None:
        outcome = "named" if golden["error"].startswith("ExactResumeError") else "error"
        return {"start": {"outcome": outcome, "detail": golden["error"], "said": texts(golden)}}
    if "again" in at:
        return {"again": judge(golden, train(None), 0)}
    return {each: judge(golden, train(mode.checkpoints[each]), mode.checkpoints[each]) for each in at}


class _Training:
    """Trains in forked processes, so that nothing that one run keeps anywhere is there in the next."""

    def __init__(self, subject: Place, mode: Mode, exact_resume: str | None, folder: Path):
        self.subject, self.mode, self.exact_resume, self.folder = subject, mode, exact_resume, folder

    def __call__(self, step: int | None) -> dict[str, Any]:
        return in_fork(lambda: self._train(step), self.folder)

    def _train(self, step: int | None) -> dict[str, Any]:
        said = self.folder / f"said-{step}"
        handler = _Says(said)
        logging.getLogger("transformers").addHandler(handler)
        os.fsync = os.fdatasync = lambda descriptor: None  # nothing here has to outlast the machine
        os.chdir(self.folder)
        set_seed(3)
        recorder, error = None, None
        try:
            output = str(self.folder / "golden") if step is None else str(self.folder / "resumed")
            pieces = self.subject.pieces(self.mode)
            if step is not None:
                pieces["save_strategy"] = "no"
            trainer = make(self.mode, output, self.exact_resume, **pieces)
            _kept.append(trainer)
            recorder = TimedRecorder(trainer)
            trainer.train(
                resume_from_checkpoint=None if step is None else str(self.folder / "golden" / f"checkpoint-{step}")
            )
        except Exception as problem:
            traceback.print_exc()
            error = f"{type(problem).__name__}: {problem}"
        events = [] if recorder is None else list(zip(recorder.events, recorder.times, strict=True))
        plain = [(e.step, e.micro_batch, e.stream, e.what, exact(e.value), when) for e, when in events]
        return {"events": plain, "error": error, "said": handler.read()}


class _Says(logging.Handler):
    """Keeps in a file what this process and its workers warn of, and when."""

    def __init__(self, path: Path):
        super().__init__(logging.WARNING)
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC)

    def emit(self, record: logging.LogRecord) -> None:
        line = json.dumps([time.monotonic(), record.name, record.getMessage()])
        os.write(self._file, f"{line}\n".encode())

    def read(self) -> list[list[Any]]:
        return [json.loads(line) for line in self._path.read_text().splitlines()]


def used_modules() -> list[str]:
    """The modules that a training imports, as seen in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="silent-") as name:
        folder = Path(name)
        train = _Training(ORDINARY["plain"], Mode("2"), None, folder)

        def modules() -> list[str]:
            train._train(None)
            return sorted(sys.modules)

        found = in_fork(modules, folder)
    return [name for name in found if name not in sys.modules] if isinstance(found, list) else []


def in_fork(function: Callable[[], Any], folder: Path) -> Any:
    """What a function returns in a process of its own, which ends with all that it has started."""
    result, errors = folder / "result.pickle", folder / "errors"
    result.unlink(missing_ok=True)
    if (pid := os.fork()) == 0:
        code = 1
        try:
            os.setsid()
            file = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for descriptor in (1, 2):
                os.dup2(file, descriptor)
            result.write_bytes(pickle.dumps(function()))
            code = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    deadline, status = time.monotonic() + TIMEOUT, None
    while status is None and time.monotonic() < deadline:
        ended, code = os.waitpid(pid, os.WNOHANG)
        status = os.waitstatus_to_exitcode(code) if ended else time.sleep(0.003)
    # Its workers are in its session; those that outlive it are ended, too.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    if status is None:
        os.waitpid(pid, 0)
    if status != 0 or not result.exists():
        cause = f"no end within {TIMEOUT:g} s" if status is None else f"the process ended with {status}"
        return {"events": [], "error": f"{cause}: {errors.read_text(errors='replace')[-1500:]}", "said": []}
    return pickle.loads(result.read_bytes())
