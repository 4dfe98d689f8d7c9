"""Run scenarios on a given transformers tree, in a process that imports it. Imports no torch."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exact_resume.environments import site_folders

PACKAGE_PARENT = Path(__file__).parents[2]
# Seconds, of a client with a time limit, for the imports; on a machine with one slow core they take a minute.
START_TIMEOUT = 180.0
# Names the folder for what a process keeps in files, which the client removes, as a process that is killed does not.
FOLDER_VARIABLE = "EXACT_RESUME_FOLDER"


def environment_for(tree: Path) -> dict[str, str]:
    """The environment variables of a process that imports the transformers of a tree."""
    # An installed copy is found without this, and what is installed beside it must not come first.
    own = [] if str(PACKAGE_PARENT) in site_folders() else [str(PACKAGE_PARENT)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tree), *own]),
        # Nothing here is on the hub, so nothing need look there.
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
    }


class ProcessEnded(RuntimeError):
    """A process that runs scenarios ended by itself, as where transformers cannot be imported.

    Attributes:
        said: what it printed as errors, the last of it where that is much.
    """

    def __init__(self, message: str, said: str = ""):
        super().__init__(message)
        self.said = said


class TimedOut(ProcessEnded):
    """A process that runs scenarios was killed because it gave no answer in time."""


class Client:
    """
    A process that runs scenarios on one tree.

    Args:
        tree: A folder that holds the package `transformers/`.
        python: The interpreter; that of this process by default. See `environments.python_for`.
        timeout: Seconds that a job may take; then the process is killed with all that it started. No limit by default.
        variables: Environment variables to set.
    """

    def __init__(
        self,
        tree: Path,
        python: Path | None = None,
        timeout: float | None = None,
        variables: Mapping[str, str] | None = None,
    ):
        self._errors = tempfile.TemporaryFile()
        self._folder = tempfile.TemporaryDirectory(prefix="exact-resume-", ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [str(python or sys.executable), "-m", "exact_resume.matrix.serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**environment_for(tree), FOLDER_VARIABLE: self._folder.name, **(variables or {})},
            text=True,
            # So that what it starts can be found, also what has a process group of its own.
            start_new_session=timeout is not None,
        )
        self._timeout = None if timeout is None else START_TIMEOUT
        try:
            greeting = self._answer()
            self.environment: dict[str, Any] = greeting["environment"]
            self.scenarios: list[dict[str, Any]] = greeting["scenarios"]
            if Path(self.environment["tree"]).resolve() != Path(tree).resolve():
                raise RuntimeError(f"transformers was imported from {self.environment['tree']} instead of {tree}")
        except BaseException:
            self.close(at_once=True)
            raise
        self._timeout = timeout

    def _answer(self) -> Any:
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self.kill()

        watchdog = threading.Timer(self._timeout or 0.0, expire)
        if self._timeout is not None:
            watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if expired.is_set():
            raise TimedOut(f"timed out: no answer within {self._timeout:g} s")
        if not line:
            self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace")[-100_000:]
            message = f"a scenario process ended with exit code {self._process.returncode}:\n{said[-2000:]}"
            raise ProcessEnded(message, said)
        return json.loads(line)

    def run(self, name: str, **options) -> dict[str, Any]:
        """Run a scenario; see `running.run_scenario` for the options and the cell that is returned."""
        return self._ask("scenario", name=name, **options)

    def run_configuration(self, configuration: dict[str, Any], **options) -> dict[str, Any]:
        """Run a configuration; see `scenarios.configurations.run_configuration`."""
        return self._ask("configuration", configuration=configuration, **options)

    def run_experiment(self) -> list[dict[str, Any]]:
        """Run the upstream issue's experiment; see `experiment.run_experiment`."""
        return self._ask("experiment")

    def recording_cost(self, num_workers: int) -> dict[str, Any]:
        """Measure what recording costs on a patched tree; see `cost.recording_cost`."""
        return self._ask("cost", num_workers=num_workers)

    def count(self, what: str, **options) -> dict[str, int]:
        """Count what a training run does; `what` is a function of `counting`, and `options` are its arguments."""
        return self._ask("count", what=what, **options)

    def measure(self, group: str, variant: str, folder: str, prepares: bool = False, **options) -> Any:
        """Measure figures in a process of their own; see `bench.measuring.measure`."""
        return self._ask("measure", group=group, variant=variant, folder=folder, prepares=prepares, **options)

    def _ask(self, job: str, **request) -> Any:
        with contextlib.suppress(BrokenPipeError):  # then there is no answer, either
            print(json.dumps({"job": job, **request}), file=self._process.stdin, flush=True)
        return self._answer()

    def kill(self) -> None:
        """Kill the process, and with a time limit all that it started."""
        if self._timeout is not None:
            _kill_session(self._process.pid)
        self._process.kill()

    def close(self, *, at_once: bool = False) -> None:
        """End the process, `at_once` also where it is busy."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=0 if at_once else 30)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        if self._timeout is not None:
            _kill_session(self._process.pid)
        self._process.stdout.close()
        self._errors.close()
        self._folder.cleanup()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *details) -> None:
        self.close()


def _kill_session(leader: int) -> None:
    """Kill the process group of a session's leader and, where there is a /proc, all other processes of the session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(int(entry.name)) == leader:
                os.kill(int(entry.name), signal.SIGKILL)
