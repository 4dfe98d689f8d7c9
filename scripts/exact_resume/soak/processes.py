"""What /proc and /dev/shm say of processes. Imports no torch."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

PARENT, SESSION = 1, 3
SHARED_MEMORY = Path("/dev/shm")


def children(pid: int) -> list[int]:
    """The processes that a process has started, and that run."""
    return sorted(number for number, fields in _running() if int(fields[PARENT]) == pid)


def session(leader: int) -> list[int]:
    """The processes of a session that run."""
    return sorted(number for number, fields in _running() if int(fields[SESSION]) == leader)


def _running() -> Iterator[tuple[int, list[str]]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in brackets, may have any letters in it.
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                yield int(stat.parent.name), fields


def shared_memory() -> set[str]:
    """The names of what there is of shared memory on this machine."""
    return {path.name for path in SHARED_MEMORY.glob("*")}


def mapped(process: Path = Path("/proc/self")) -> list[str]:
    """The shared memory that a process holds, also what has no name any more."""
    with contextlib.suppress(OSError):
        lines = (process / "maps").read_text().splitlines()
        return [line.rpartition("/")[2] for line in lines if f" {SHARED_MEMORY}/" in line]
    return []


def abandoned(names: set[str]) -> set[str]:
    """Which shared memory of these names exists, although no process holds it."""
    held = {name for process in Path("/proc").glob("[0-9]*") for name in mapped(process)}
    return (names & shared_memory()) - held
