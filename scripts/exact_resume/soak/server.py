"""Start attempts, and send them signals from outside. Imports no torch."""

import contextlib
import json
import os
import random
import select
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exact_resume.errors import Finding
from exact_resume.matrix.client import environment_for
from exact_resume.soak.cases import Case, Fault
from exact_resume.soak.processes import children

# Seconds after which an attempt hangs; on a busy machine, most take less than two.
TIMEOUT = 120.0
START_TIMEOUT = 300.0
# A process in which a user may mount file systems, which no other process sees.
NAMESPACE = ("unshare", "--map-root-user", "--mount")


class Failure(Finding):
    """A run that was not resumed as it has to be; the message says at which attempt, and why."""


@dataclass
class Attempt:
    """
    What became of an attempt.

    Args:
        status: Its exit code, or the negative number of the signal that ended it.
        logs: The lines that each rank has logged.
        said: The last line of its errors.
        was_killed: Whether a signal was sent.
    """

    status: int
    logs: list[list[dict[str, Any]]]
    said: str
    was_killed: bool

    def values(self, name: str) -> list[Any]:
        """The values of this name that rank 0 has logged."""
        return [line[name] for line in self.logs[0] if name in line]

    @property
    def is_finished(self) -> bool:
        return self.status == 0 and bool(self.values("finished"))


class Server:
    """
    A process from which attempts are forked.

    Args:
        tree: A folder that holds the package `transformers/`.
        python: The interpreter.

    Attributes:
        environment: What results depend on besides the tree.
        skipped: The cases that cannot be run on the tree, with the reasons, and so for a full file system.
        file_system: Where the attempts, and they only, see one that can be filled; `None` if there can be none.
    """

    def __init__(self, tree: Path, python: Path):
        self._errors = tempfile.TemporaryFile()
        self._mount_point = tempfile.TemporaryDirectory(prefix="soak-")
        refusal = _refusal_to_mount(self._mount_point.name)
        self.file_system = None if refusal else Path(self._mount_point.name)
        command = [str(python), "-m", "exact_resume.soak.serve"]
        self._process = subprocess.Popen(
            command if refusal else [*NAMESPACE, *command, self._mount_point.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment_for(tree),
        )
        self._buffer = b""
        try:
            greeting = self._answer(START_TIMEOUT)
            self.environment: dict[str, Any] = greeting["environment"]
            self.skipped: dict[str, str] = greeting["skipped"]
            if refusal:
                self.skipped["full file system"] = refusal
        except BaseException:
            self.close()
            raise

    def _answer(self, timeout: float) -> dict[str, Any] | None:
        """The next answer, or `None` if there is none in time."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            data = os.read(self._process.stdout.fileno(), 2**16)
            if not data:
                self._errors.seek(0)
                said = self._errors.read().decode(errors="replace")[-2000:]
                raise RuntimeError(f"the process from which attempts are forked ended:\n{said}")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def attempt(self, case: Case, folder: Path, log: Path, fault: Fault | None, delay: float) -> Attempt:
        """
        Run an attempt to its end.

        Args:
            case: What to train.
            folder: The run's output folder.
            log: Where the ranks' logs go, with a suffix for each.
            fault: What is done to it.
            delay: Seconds from the beginning of the training to a signal, if the fault is one.

        Raises:
            Failure: It hangs.
        """
        inside = fault.inside if fault is not None else {}
        request = {"name": case.scenario, "folder": str(folder), "log": str(log), "arguments": case.arguments}
        self._process.stdin.write(f"{json.dumps({**request, 'fault': inside})}\n".encode())
        self._process.stdin.flush()
        pid = self._answer(TIMEOUT)["pid"]
        try:
            answer, was_killed = None, False
            if fault is not None and fault.signal is not None:
                answer = self._wait_for_training(Path(f"{log}.0"), delay)
                # Workers may not be there yet.
                while answer is None and not (was_killed := _send(pid, fault)):
                    answer = self._answer(0.002)
            answer = answer or self._answer(TIMEOUT)
            if answer is None:
                os.killpg(pid, signal.SIGKILL)
                self._answer(TIMEOUT)
                raise Failure(f"hung for {TIMEOUT:g} s")
        finally:
            # Workers may outlive a process that was killed alone.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        logs = [_read(Path(f"{log}.{rank}")) for rank in range(case.num_processes)]
        said = Path(f"{log}.errors").read_text(errors="replace").strip().splitlines() or [""]
        return Attempt(answer["status"], logs, said[-1], was_killed)

    def _wait_for_training(self, log: Path, delay: float) -> dict[str, Any] | None:
        """Wait until the training has begun, and then for `delay`; return an answer if it ends before."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            if (answer := self._answer(0.002)) is not None:
                return answer
            if log.exists() and log.stat().st_size > 0:
                return self._answer(delay)
        return None

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()
        self._mount_point.cleanup()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *details) -> None:
        self.close()


def _refusal_to_mount(folder: str) -> str | None:
    """Why no file system can be mounted in a namespace of this user's, or `None`."""
    try:
        command = [*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", folder]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    except OSError as error:
        return f"unshare: {error.strerror}"
    return None if result.returncode == 0 else (result.stderr.strip() or "unshare failed")


def _send(pid: int, fault: Fault) -> bool:
    """Send the fault's signal; say whether there was a process to send it to."""
    with contextlib.suppress(ProcessLookupError):
        if not fault.hits_child:
            os.killpg(pid, fault.signal)
            return True
        if found := children(pid):
            os.kill(random.Random(fault.seed).choice(found), fault.signal)
            return True
    return False


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    # The last line may be half a line.
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
