"""A run in a process of its own, which `python -m exact_resume.check.process` is. Imports no torch by itself."""

import faulthandler
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from exact_resume.check import target as targets
from exact_resume.check.runs import Outcome, Request
from exact_resume.errors import EXIT_OWN_FAULT, UsageError

NEEDED = ("torch", "transformers", "accelerate")
REQUEST_FILE, ANSWER_FILE, LOG_FILE = "request.json", "answer.json", "log"
# Seconds between two lines of progress.
INTERVAL = 10.0


class FreshProcess:
    """
    Carries out each run in a process of its own.

    Args:
        target: The function, as MODULE:FUNCTION.
        path: Where the process finds modules, before what is installed.
        timeout: Seconds after which a run is taken for hung, and ended with all that it started.
        tree: The folder that transformers has to be imported from; `None` if any will do.
        say: Takes a line of progress.
    """

    def __init__(
        self,
        target: str,
        path: list[str],
        timeout: float,
        tree: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
    ):
        self.target = target
        self.path = path
        self.timeout = timeout
        self.tree = tree
        self.say = say

    def __call__(self, request: Request) -> Outcome:
        """Carry out a run.

        Raises:
            UsageError: it cannot be carried out, for a reason that is the user's.
            RuntimeError: a fault of ours.
        """
        request.output.mkdir(parents=True)
        own = {"target": self.target, "tree": self.tree, "timeout": self.timeout}
        (request.folder / REQUEST_FILE).write_text(json.dumps({**asdict(request), **own}, default=str))
        started = time.monotonic()
        code = self._run(request)
        seconds = round(time.monotonic() - started, 1)
        log = (request.folder / LOG_FILE).read_text(errors="replace")
        if code is None:
            return Outcome(error=f"no end within {self.timeout:g} s (--timeout){_place_of_hang(log)}", seconds=seconds)
        if code == EXIT_OWN_FAULT:
            raise RuntimeError(f"a run failed: {log[-2000:]}")
        if not (request.folder / ANSWER_FILE).exists():
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            tail = "\n".join(f"  {line}" for line in log.splitlines()[-targets.SHOWN_LINES :])
            return Outcome(error=f"its process {how}; its last lines:\n{tail}", seconds=seconds)
        answer = json.loads((request.folder / ANSWER_FILE).read_text())
        if "refused" in answer:
            raise UsageError(answer["refused"])
        return replace(Outcome(**answer), seconds=seconds)

    def _run(self, request: Request) -> int | None:
        """Run a process to its end; returns its exit code, `None` if it takes too long."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(self.path)}
        # -P: `path` has what is to be found, in its order.
        command = [sys.executable, "-P", "-m", __name__, str(request.folder)]
        deadline = time.monotonic() + self.timeout
        with (request.folder / LOG_FILE).open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
            try:
                while (left := deadline - time.monotonic()) > 0:
                    try:
                        return process.wait(min(left, INTERVAL))
                    except subprocess.TimeoutExpired:
                        self._say_progress(request)
                return None
            finally:
                _end_group(process)

    def _say_progress(self, request: Request) -> None:
        if request.progress.exists():
            self.say(f"  {request.progress.read_text()}")


def _end_group(process: subprocess.Popen) -> None:
    """End a process with all that it started, such as workers that outlive it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _place_of_hang(log: str) -> str:
    """The innermost frames of the main thread, which comes last in what `faulthandler` wrote."""
    frames = [line.strip() for line in log.rpartition("(most recent call first):")[2].splitlines()]
    frames = [frame for frame in frames if frame.startswith("File")][:3]
    return "; when it was ended it was in\n" + "\n".join(f"  {frame}" for frame in frames) if frames else ""


def main() -> None:
    """One run: FOLDER, in which the request is and the answer is put."""
    folder = Path(sys.argv[1])
    fields = json.loads((folder / REQUEST_FILE).read_text())
    target, tree, timeout = (fields.pop(name) for name in ("target", "tree", "timeout"))
    # Into the log, a little before the end.
    faulthandler.dump_traceback_later(0.9 * timeout)
    # The user's module need not take our arguments for its own.
    sys.argv[1:] = []
    try:
        answer = asdict(_carry_out(target, tree, _read(fields)))
    except UsageError as error:
        answer = {"refused": str(error)}
    except Exception:
        traceback.print_exc()
        sys.exit(EXIT_OWN_FAULT)
    unfinished = folder / f"{ANSWER_FILE}.new"
    unfinished.write_text(json.dumps(answer))
    unfinished.replace(folder / ANSWER_FILE)


def _read(fields: dict) -> Request:
    paths = {name: None if fields[name] is None else Path(fields[name]) for name in ("folder", "checkpoint", "golden")}
    return Request(**{**fields, **paths, "at": tuple(fields["at"])})


def _carry_out(target: str, tree: str | None, request: Request) -> Outcome:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{', '.join(missing)} cannot be imported by {sys.executable}; install what is missing, "
            "or run the command with the Python that you train with"
        )
    function = targets.load(target)
    trainer = targets.call(function, target, request.output)

    # Late, as it takes seconds, and a function that fails is told of without it.
    import transformers

    if tree is not None and not Path(transformers.__file__).resolve().is_relative_to(tree):
        raise UsageError(
            f"transformers was imported from {transformers.__file__} instead of {tree}; {target} chose it"
        )
    from exact_resume.check import training

    return training.run(trainer, target, request)


if __name__ == "__main__":
    main()
