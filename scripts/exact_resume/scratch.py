"""Apply diffs to file contents held in memory, by running `git apply` in a scratch folder, never in the tree."""

import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from exact_resume import git
from exact_resume.patchfile import FileDiff

REJECTED_HUNK = re.compile(rb"^Rejected hunk #(\d+)", re.MULTILINE)

Contents = Mapping[str, bytes | None]
"""The bytes of each file by its path in the series; None where there is no file."""


class DoesNotApply(Exception):
    """`git apply` refused the diffs; the text is what it said."""


def apply(contents: Contents, diffs: Iterable[FileDiff], *, reverse: bool = False) -> dict[str, bytes | None]:
    """Return `contents` with `diffs`, which touch each file at most once, applied or taken back.

    Raises:
        DoesNotApply: a hunk does not fit, or a file is missing or in the way.
        RuntimeError: git failed in another way, or reported success without changing a file.
    """
    diffs = tuple(diffs)
    after, completed = _run(contents, diffs, ["-R"] if reverse else [])
    if completed.returncode == 1:
        raise DoesNotApply(completed.stderr.decode("utf-8", errors="replace").strip())
    if completed.returncode != 0:
        raise RuntimeError(f"git apply exited {completed.returncode}: {completed.stderr!r}")
    for diff in diffs:
        # Success without effect is what git apply reports where it believes that it is not responsible for a path.
        if after[diff.path] == contents[diff.path]:
            raise RuntimeError(f"git apply reported success and left {diff.path} as it was")
    return after


def fits(content: bytes | None, diff: FileDiff, *, reverse: bool = False) -> bool:
    """Tell whether a diff can be applied to (or taken back from) a file's bytes."""
    try:
        apply({diff.path: content}, [diff], reverse=reverse)
    except DoesNotApply:
        return False
    return True


def apply_what_fits(
    content: bytes | None, diff: FileDiff, *, reverse: bool = False
) -> tuple[bytes | None, tuple[int, ...]]:
    """Apply the hunks that fit; return the bytes after that and the numbers, from 1, of the rejected hunks."""
    options = ["--reject", "--verbose", *(["-R"] if reverse else [])]
    after, completed = _run({diff.path: content}, (diff,), options)
    if completed.returncode == 0:
        return after[diff.path], ()
    rejected = tuple(int(number) for number in REJECTED_HUNK.findall(completed.stderr))
    return after[diff.path], rejected or tuple(range(1, len(diff.hunks) + 1))


def ambiguous_hunks(content: bytes, diff: FileDiff, *, reverse: bool = False) -> tuple[int, ...]:
    """Return the numbers, from 1, of the hunks whose lines are found at more than one place of the file.

    `git apply` takes the place nearest to the recorded line number; local edits above may make that the wrong one.
    """
    found = []
    for number, hunk in enumerate(diff.hunks, 1):
        wanted = (b" ", b"+") if reverse else (b" ", b"-")
        lines = [line[1:] for line in hunk.split(b"\n")[1:] if line.startswith(wanted)]
        block, text = b"\n" + b"\n".join(lines) + b"\n", b"\n" + content
        if text.find(block, text.find(block) + 1) > 0:
            found.append(number)
    return tuple(found)


def _run(contents: Contents, diffs: tuple[FileDiff, ...], options: list[str]):
    with tempfile.TemporaryDirectory(prefix="exact-resume-") as name:
        folder = Path(name)
        for diff in diffs:
            content = contents[diff.path]
            if content is not None:
                target = folder / diff.path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        text = b"".join(diff.text for diff in diffs)
        completed = git.run(["apply", "--whitespace=nowarn", *options, "-"], folder, stdin=text)
        after = dict(contents)
        for diff in diffs:
            target = folder / diff.path
            after[diff.path] = target.read_bytes() if target.is_file() else None
    return after, completed
