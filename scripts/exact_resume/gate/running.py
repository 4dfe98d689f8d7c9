"""Run the scenarios on base and on head, several processes at a time, none of them for longer than it may."""

import re
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exact_resume import report
from exact_resume.matrix.client import Client, ProcessEnded, TimedOut

# A tree on which so many scenarios hang would keep a machine for hours, and the next ones would say nothing new.
MOST_TIMEOUTS = 3

# Between the tracebacks of an error and of the one that it led to.
CHAINED = re.compile(
    r"^(?:The above exception was the direct cause of the following exception"
    r"|During handling of the above exception, another exception occurred):$",
    re.MULTILINE,
)

Cell = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """A tree to run on: the folder that holds the package, and the interpreter."""

    folder: Path
    python: Path


@dataclass(frozen=True)
class Done:
    """What was run: the cells by side and scenario, and by side what its processes found in their environment."""

    cells: dict[tuple[str, str], Cell]
    environments: dict[str, dict[str, Any]]


def run_cells(
    sides: Mapping[str, Side],
    names: Sequence[str],
    *,
    started: Mapping[str, Client],
    jobs: int,
    timeout: float,
    add: Callable[[str, str, Cell], None],
) -> Done:
    """
    Run scenarios on every side.

    Args:
        sides: The trees by name.
        names: The names of the scenarios.
        started: Processes that run already, by side; they are ended when their side is done.
        jobs: The number of processes at a time.
        timeout: Seconds that a scenario may take.
        add: Called with side, name and cell of each scenario when it is done, by one thread at a time.

    Returns:
        What was run. What the tree is to blame for, an import error or a process that hangs or dies, is a cell with an
        error. Anything else that goes wrong is raised, when all processes have ended.
    """
    runner = _Runner(sides, names, started, timeout, add)
    with ThreadPoolExecutor(jobs) as pool:
        order = list(sides)
        rotated = [order[number % len(order) :] + order[: number % len(order)] for number in range(jobs)]
        futures = [pool.submit(runner.work, names_of_sides) for names_of_sides in rotated]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            runner.stop()
            raise
    return Done(runner.cells, runner.environments)


class _Runner:
    def __init__(self, sides, names, started, timeout, add):
        self.cells: dict[tuple[str, str], Cell] = {}
        self.environments: dict[str, dict[str, Any]] = {}
        self._sides, self._timeout, self._report = sides, timeout, add
        self._waiting = {side: deque(names) for side in sides}
        self._timeouts = dict.fromkeys(sides, 0)
        self._started, self._clients = dict(started), set(started.values())
        self._lock = threading.Lock()

    def work(self, sides: Sequence[str]) -> None:
        """Run what is waiting on one side after the other."""
        for side in sides:
            client = None
            try:
                while (name := self._next(side)) is not None:
                    client = self._run(side, name, client)
            finally:
                self._end(client)

    def stop(self) -> None:
        """Let nothing more be run, and kill what runs."""
        with self._lock:
            for waiting in self._waiting.values():
                waiting.clear()
            for client in self._clients:
                client.kill()

    def _run(self, side: str, name: str, client: Client | None) -> Client | None:
        """Run a scenario, in a new process if there is none, and return the process if it can go on."""
        try:
            client = client or self._start(side)
        except ProcessEnded as error:
            self._give_up(side, name, f"transformers cannot be imported: {last_line(error)}")
            return None
        try:
            cell = client.run(name)
        except TimedOut as error:
            self._timeouts[side] += 1
            self._add(side, name, _error(str(error), self._timeout))
            if self._timeouts[side] == MOST_TIMEOUTS:
                self._give_up(side, None, f"not run, as {MOST_TIMEOUTS} scenarios timed out before")
        except ProcessEnded as error:
            self._add(side, name, _error(last_line(error)))
        except BaseException:
            self._end(client)
            raise
        else:
            self._add(side, name, cell)
            return client
        self._end(client)
        return None

    def _start(self, side: str) -> Client:
        with self._lock:
            client = self._started.pop(side, None)
        client = client or Client(self._sides[side].folder, self._sides[side].python, self._timeout)
        with self._lock:
            self._clients.add(client)
            self.environments[side] = client.environment
        return client

    def _end(self, client: Client | None) -> None:
        if client is not None:
            with self._lock:
                self._clients.discard(client)
            client.close()

    def _next(self, side: str) -> str | None:
        with self._lock:
            return self._waiting[side].popleft() if self._waiting[side] else None

    def _give_up(self, side: str, name: str | None, reason: str) -> None:
        """Record the reason for a scenario and for all that wait."""
        while name is not None or (name := self._next(side)) is not None:
            self._add(side, name, _error(reason))
            name = None

    def _add(self, side: str, name: str, cell: Cell) -> None:
        with self._lock:
            self.cells[side, name] = cell
            self._report(side, name, cell)


def _error(reason: str, seconds: float = 0.0) -> Cell:
    return {"status": "error", "reason": reason, "seconds": seconds, "golden": None, "resumes": []}


def last_line(error: ProcessEnded) -> str:
    """Return what a process said last, which after a traceback is the error, and the error that caused it."""
    # The first of the parts into which these lines divide a traceback ends with the cause.
    errors = [_last_of(part) for part in CHAINED.split(error.said)]
    cause, last = errors[0], errors[-1] or str(error).splitlines()[0].rstrip(":")
    return report.one_line(f"{last} (caused by {cause})" if cause and cause != last else last)


def _last_of(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(" ")]
    return lines[-1] if lines else ""
