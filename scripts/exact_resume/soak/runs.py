"""Runs that are killed: start attempts, kill them from outside, and compare each with the golden run."""

import contextlib
import json
import os
import random
import select
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exact_resume.matrix.client import environment_for
from exact_resume.soak.cases import Case, Fault
from exact_resume.soak.processes import children

# Seconds after which an attempt hangs; on a busy machine, most take less than two.
TIMEOUT = 120.0
START_TIMEOUT = 300.0
NOT_A_KILL = "finished"


class Failure(Exception):
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
    """

    def __init__(self, tree: Path, python: Path):
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [str(python), "-m", "exact_resume.soak.serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment_for(tree),
        )
        self._buffer = b""
        try:
            self.environment: dict[str, Any] = self._answer(START_TIMEOUT)["environment"]
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

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *details) -> None:
        self.close()


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


@dataclass
class Golden:
    """
    The uninterrupted run of a case.

    Args:
        events: What each rank has logged.
        seconds: How long the training took.
        steps: How many update steps that were.
        moments: The number of moments of the save of each step that was asked for.
    """

    events: list[list[dict[str, Any]]]
    seconds: float
    steps: int
    moments: dict[int, int] = field(default_factory=dict)


def make_golden(server: Server, case: Case, work: Path, steps: tuple[int, ...]) -> Golden:
    """
    Train without a fault, twice, and count the moments of the saves of `steps`.

    Raises:
        Failure: It fails, or the two differ.
    """
    golden = None
    for step in (*steps, None):
        folder = Path(tempfile.mkdtemp(dir=work))
        counting = Fault("count", {"kind": "count", "step": step})
        attempt = server.attempt(case, folder / "run", folder / "log", counting, 0.0)
        if not attempt.is_finished:
            raise Failure(f"the golden run failed: {attempt.said}")
        events = [_events(log) for log in attempt.logs]
        if golden is None:
            begin, end = attempt.values("time")
            golden = Golden(events, end - begin, attempt.values("finished")[0])
        elif events != golden.events:
            raise Failure("two golden runs differ")
        if step is not None:
            golden.moments[step] = sum(attempt.values("moments"))
        shutil.rmtree(folder)
    return golden


def _events(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line["event"] for line in log if "event" in line]


def run_with_faults(
    server: Server, case: Case, golden: Golden, faults: list[Fault], work: Path, rng: random.Random
) -> list[dict[str, Any]]:
    """
    Kill a run once for each fault, resume it after each, and let it finish.

    Args:
        server: Forks its attempts.
        case: What to train.
        golden: The run to compare it with.
        faults: What is done to each attempt.
        work: A folder for it.
        rng: Draws the times of signals.

    Returns:
        A row for each fault: `fault`, `outcome` ("killed", "failed" as it had to, "stopped" by the handler of SIGTERM,
        or "finished" where the fault came too late), and `resumed` and `saved`, the steps from and to which it got.

    Raises:
        Failure: An attempt cannot be resumed, hangs, differs from the golden run, or has lost a checkpoint.
    """
    folder, newest, rows = Path(tempfile.mkdtemp(dir=work)), 0, []
    for number, fault in enumerate([*faults, None, None]):
        delay = rng.uniform(0.0, golden.seconds) * (1 - newest / golden.steps)
        try:
            attempt = server.attempt(case, folder / "run", folder / f"log-{number}", fault, delay)
            resumed = _check(attempt, golden, newest)
        except Failure as failure:
            done = f"attempt {number} ({fault.name if fault else 'no fault'}) after {_names(rows)}"
            raise Failure(f"{case.name}: {done}: {failure}") from failure
        newest = max([newest, *attempt.values("saved")])
        outcome = _outcome(attempt)
        if fault is not None:
            rows.append({"fault": fault.name, "outcome": outcome, "resumed": resumed, "saved": newest})
        if outcome == NOT_A_KILL:
            shutil.rmtree(folder)
            return rows
        if outcome == "failed" and fault is None:
            raise Failure(f"{case.name}: attempt {number} after {_names(rows)}: cannot be resumed: {attempt.said}")
    raise Failure(f"{case.name}: not finished after {_names(rows)}")


def _names(rows: list[dict[str, Any]]) -> str:
    return ", ".join(f"{row['fault']} ({row['outcome']})" for row in rows) or "none"


def _outcome(attempt: Attempt) -> str:
    if attempt.is_finished:
        return NOT_A_KILL
    if attempt.status == 0:
        return "stopped"
    return "killed" if attempt.status < 0 else "failed"


def _check(attempt: Attempt, golden: Golden, newest: int) -> int | None:
    """Compare an attempt as far as it got; return the step from which it was resumed."""
    from exact_resume.matrix.compare import first_divergence
    from exact_resume.matrix.recording import Event

    resumed = attempt.values("resumed")
    if not resumed:  # it was killed before the training began
        if not attempt.was_killed:
            raise Failure(f"cannot be resumed: {attempt.said}")
        return None
    if resumed[0] < newest:
        raise Failure(f"resumed from step {resumed[0]}, although checkpoint-{newest} had been saved")
    for log, expected in zip(attempt.logs, golden.events, strict=True):
        if attempt.status == 0 and not attempt.is_finished:
            # How the handler of SIGTERM ends a training, no other run does.
            log = log[: max(number for number, line in enumerate(log) if "saved" in line)]
        events = [Event(**event) for event in _events(log) if event["step"] > resumed[0]]
        expected = [Event(**event) for event in expected if event["step"] > resumed[0]]
        if not attempt.is_finished:
            expected = expected[: len(events)]
        divergence = first_divergence(expected, events, resumed[0])
        if divergence is not None:
            raise Failure(
                f"resumed from step {resumed[0]}, differs in step {divergence['step']}: {divergence['message']}"
            )
    return resumed[0]
