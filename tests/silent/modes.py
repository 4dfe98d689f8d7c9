"""Which modes a place is run in, and what cannot be seen by its nature. Imports no torch."""

import functools
import tomllib
import zlib
from pathlib import Path

ALL_MODES = ("0", "2", "2p", "0+acc", "2+acc", "2p+acc")
# From the best to the worst.
WORST = ("exact", "named", "later", "silent", "error")
# As owners of combinations, and as those of places.
OWNERS = {"model": "models", "loss": "losses", "callback": "callbacks"}
# What is in the main process whatever the workers do.
IN_MAIN_PROCESS = ("models", "trainers", "callbacks", "losses")


def modes_of(name: str, owner: str, is_all: bool = False) -> tuple[str, ...]:
    """All modes; without `is_all`, one without workers, and one with them for what may be there."""
    if is_all:
        return ALL_MODES
    number = zlib.crc32(name.encode())
    if owner in IN_MAIN_PROCESS:
        return (("0", "0+acc", "2p")[number % 3],)
    modes = (("0", "0+acc")[number % 2], ("2", "2p", "2+acc", "2p+acc")[number % 4])
    # Combinations are drawn in other modes, too.
    return (modes[number // 4 % 2],) if owner == "kinds" else modes


def checkpoints_of(name: str, mode: str, is_all: bool = False) -> list[str]:
    """
    The checkpoints that are resumed from.

    Without `is_all`, it is one of those in the middle of an epoch, and where that costs little the end of the first
    epoch, too. Workers that are made anew in each epoch have nothing at its end.
    """
    if is_all:
        return ["first", "end", "second"]
    number = zlib.crc32(f"{name} {mode}".encode())
    middle = ("first", "second")[number % 2]
    if mode.startswith("2p"):
        return [("end", middle)[number // 2 % 2]]
    return [middle] if mode.startswith("2") else ["end", middle]


class Reasons:
    """
    What is in `nature.toml`.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path):
        self._entries = tomllib.loads(path.read_text(encoding="utf-8"))

    def of(self, name: str, owner: str, outcome: str) -> str | None:
        """Why this may become of a place, or of a combination, or `None` if it must not."""
        names = [name, owner]
        if name.count("-") == 2:
            names += name.split("-")[:2]
        entries = self._entries.get(outcome, {})
        return next((entries[each] for each in names if each in entries), None)

    def names(self) -> list[str]:
        """The names of all places, owners and kinds that have an entry."""
        return [name for entries in self._entries.values() for name in entries]


@functools.cache
def reasons() -> Reasons:
    return Reasons(Path(__file__).with_name("nature.toml"))
