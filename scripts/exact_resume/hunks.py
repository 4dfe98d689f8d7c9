"""Check the hunks of a diff for what can be told without the files: that they are as git writes them, and needed."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from exact_resume.patchfile import FileDiff

NUMBERS = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
NO_NEWLINE = b"\n"
"""Marks the last line of a file that does not end with a newline; no line has one within."""


@dataclass(frozen=True)
class _Hunk:
    """A hunk taken apart: the first line of each side, and its lines in runs of context and of changes."""

    old_first: int
    new_first: int
    runs: list[tuple[bool, list[bytes]]]

    def count(self, signs: bytes) -> int:
        return sum(line[0] in signs for _, lines in self.runs for line in lines)


def check(diff: FileDiff, context: int) -> Iterable[str]:
    """Say what is wrong with each hunk.

    Args:
        diff: the diff of one file.
        context: the lines of context that it was written with.
    """
    end = drift = 0
    for number, hunk in enumerate(map(_read, diff.hunks), 1):
        if hunk.new_first - hunk.old_first != drift:
            yield f"hunk {number}: its line numbers do not go with the hunks before it"
        if number > 1 and hunk.old_first <= end:
            yield f"hunk {number}: git would write it together with the one before it"
        drift += hunk.count(b"+") - hunk.count(b"-")
        end = hunk.old_first + hunk.count(b" -")
        yield from (f"hunk {number}: {what}" for what in _check_context(hunk, context, number == len(diff.hunks)))
        for changed, lines in hunk.runs:
            if changed:
                yield from (f"hunk {number}: {what}" for what in _check_changes(lines))


def _read(text: bytes) -> _Hunk:
    header, *lines = text.removesuffix(b"\n").split(b"\n")
    old, old_count, new, new_count = (None if part is None else int(part) for part in NUMBERS.match(header).groups())
    runs: list[tuple[bool, list[bytes]]] = []
    for line in lines:
        changed = not line.startswith(b" ")
        if line.startswith(b"\\"):
            runs[-1][1][-1] += NO_NEWLINE
            continue
        if not runs or runs[-1][0] != changed:
            runs.append((changed, []))
        runs[-1][1].append(line)
    # Where a side has no line, its number is that of the line before.
    return _Hunk(old + (old_count == 0), new + (new_count == 0), runs)


def _check_context(hunk: _Hunk, context: int, last: bool) -> Iterable[str]:
    lengths = [0 if changed else len(lines) for changed, lines in hunk.runs]
    if all(not changed for changed, _ in hunk.runs):
        yield "changes nothing"
        return
    leading, trailing, inner = lengths[0], lengths[-1], max(lengths[1:-1], default=0)
    if max(leading, trailing) > context or inner > 2 * context:
        yield f"more context than {context}"
    elif leading < min(context, hunk.old_first - 1) or (trailing < context and not last):
        yield f"less context than {context}"


def _check_changes(lines: list[bytes]) -> Iterable[str]:
    removed = [line[1:] for line in lines if line.startswith(b"-")]
    added = [line[1:] for line in lines if line.startswith(b"+")]
    if lines != [b"-" + line for line in removed] + [b"+" + line for line in added]:
        yield "removed lines have to come before added ones"
    if not any(line.strip() for line in removed + added):
        yield "changes empty lines only"
    for line in removed:
        if not line.strip():
            continue
        if line in added:
            yield f"removes and adds the line {_shown(line)}"
        elif _bare(line) in map(_bare, added):
            yield f"changes only blanks in the line {_shown(line)}"


def _bare(line: bytes) -> tuple[int, list[bytes], bool]:
    """Reduce a line to what counts: its indentation, its words and its end."""
    return len(line) - len(line.lstrip()), line.split(), line.endswith(NO_NEWLINE)


def _shown(line: bytes) -> str:
    return repr(line.decode("utf-8", errors="replace"))
