"""Merge a fork's files three-way with the patches, where the hunks of a patch do not fit as they are.

For a file of the release the series gives its text after each patch that touches it. The base of a merge is the text
before a patch (or after it, to take it back), theirs the text after it (before it), and ours the fork's file.
"""

import difflib
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exact_resume import git

MARKER_SIZE = 60
"""Longer than any line of this kind that a file has of its own."""
OURS, SPLIT, THEIRS = (sign * MARKER_SIZE for sign in (b"<", b"=", b">"))


class Conflict(Exception):
    """Both sides changed the same lines.

    Attributes:
        lines: the numbers, from 1, of the first and last line of ours for each such place.
    """

    def __init__(self, lines: tuple[tuple[int, int], ...]) -> None:
        super().__init__(lines)
        self.lines = lines


@dataclass(frozen=True)
class Ahead:
    """The first of the patches that are not in which cannot be merged.

    Attributes:
        touched: its number among those that touch the file, from 0.
        lines: where, as in `Conflict`, in the file as it is now.
    """

    touched: int
    lines: tuple[tuple[int, int], ...]


class Partly(Exception):
    """A file has a line that only a patch brings which is not there as a whole.

    Attributes:
        touched: the number of that patch among those that touch the file, from 0.
        line: the number of the line, from 1.
    """

    def __init__(self, touched: int, line: int) -> None:
        super().__init__(touched, line)
        self.touched = touched
        self.line = line


def merge(ours: bytes, base: bytes, theirs: bytes) -> bytes:
    """Return `ours` with what leads from `base` to `theirs`.

    Raises:
        Conflict: both changed the same lines.
        RuntimeError: git failed in another way.
    """
    with tempfile.TemporaryDirectory(prefix="exact-resume-") as name:
        folder = Path(name)
        for file, content in (("ours", ours), ("base", base), ("theirs", theirs)):
            (folder / file).write_bytes(content)
        arguments = ["merge-file", "-p", f"--marker-size={MARKER_SIZE}", "ours", "base", "theirs"]
        completed = git.run(arguments, folder)
    # The exit status is the number of conflicts, at most 127.
    if completed.returncode > 127 or completed.returncode < 0:
        raise RuntimeError(f"git merge-file exited {completed.returncode}: {completed.stderr!r}")
    if completed.returncode:
        raise Conflict(_places(ours, completed.stdout))
    return completed.stdout


class Merger:
    """Merges the files of one tree with the series."""

    def __init__(self, texts: Callable[[str], tuple[bytes, ...]]) -> None:
        """Make a merger.

        Args:
            texts: returns what a file of the release holds, pristine and then after each patch that touches it.
        """
        self._texts = texts

    def carry(self, path: str, content: bytes, start: int, end: int) -> bytes:
        """Take a file from `start` patches that touch it to `end` of them, one by one.

        Raises:
            Conflict: a patch cannot be merged.
        """
        texts = self._texts(path)
        way = 1 if end > start else -1
        for touched in range(start, end, way):
            content = merge(content, texts[touched], texts[touched + way])
        return content

    def explain(self, path: str, content: bytes) -> dict[int, Ahead | None]:
        """Return how many of the patches that touch a file can be in, each with the first conflict ahead.

        So many are in if they can be taken back and merged again with the same bytes as a result, and if no line is
        there that only later patches bring.

        Raises:
            Partly: no number can be.
        """
        candidates = [count for count in range(len(self._texts(path))) if self._comes_back(path, content, count)]
        strays = {count: self._stray(path, content, count) for count in candidates}
        found = {count: self._ahead(path, content, count) for count in candidates if strays[count] is None}
        if not found:
            raise strays[candidates[-1]]
        return found

    def _stray(self, path: str, content: bytes, count: int) -> Partly | None:
        texts = [set(text.splitlines()) for text in self._texts(path)]
        earlier = set().union(*texts[: count + 1])
        for touched in range(count, len(texts) - 1):
            for number, line in enumerate(content.splitlines(), 1):
                if line in texts[touched + 1] - earlier:
                    return Partly(touched, number)
        return None

    def _comes_back(self, path: str, content: bytes, touched: int) -> bool:
        try:
            return self.carry(path, self.carry(path, content, touched, 0), 0, touched) == content
        except Conflict:
            return False

    def _ahead(self, path: str, content: bytes, touched: int) -> Ahead | None:
        current = content
        for place in range(touched, len(self._texts(path)) - 1):
            try:
                current = self.carry(path, current, place, place + 1)
            except Conflict as conflict:
                return Ahead(place, tuple(_located(content, current, lines) for lines in conflict.lines))
        return None


def syntax_error(path: str, content: bytes) -> str | None:
    """Return what is wrong with a Python file's syntax; None for a good one and for files of other kinds."""
    if not path.endswith(".py"):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(content, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return f"{getattr(error, 'msg', error)} in line {getattr(error, 'lineno', None)}"
    return None


def _places(ours: bytes, merged: bytes) -> tuple[tuple[int, int], ...]:
    """Return the lines of ours that the conflicts in `merged` are about."""
    kept: list[bytes] = []
    places = []
    in_theirs = False
    start = 0
    for line in merged.split(b"\n"):
        if line.startswith(OURS):
            start = len(kept)
        elif line.startswith(SPLIT):
            in_theirs = True
        elif line.startswith(THEIRS):
            in_theirs = False
            places.append((start + 1, len(kept)))
        elif not in_theirs:
            kept.append(line)
    return tuple(_located(ours, b"\n".join(kept), place) for place in places)


def _located(original: bytes, changed: bytes, lines: tuple[int, int]) -> tuple[int, int]:
    """Map a range of lines of a changed text to the original; a range without lines becomes the line after it."""
    first, last = lines[0], max(lines)
    matcher = difflib.SequenceMatcher(None, original.split(b"\n"), changed.split(b"\n"))
    numbers = [
        block.a + place - block.b + 1
        for block in matcher.get_matching_blocks()
        for place in range(max(block.b, first - 1), min(block.b + block.size, last))
    ]
    return (numbers[0], numbers[-1]) if numbers else (first, last)
