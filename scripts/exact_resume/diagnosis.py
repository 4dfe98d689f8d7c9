"""Say what is wrong with a touched file that the series cannot explain."""

from dataclasses import dataclass

from exact_resume import scratch
from exact_resume.patchfile import FileDiff
from exact_resume.plan import Plan

RESTORE = "restore the files of the release, by git checkout or by reinstalling, and start again"


@dataclass(frozen=True)
class Problem:
    """What is wrong and what to do about it."""

    what: str
    advice: str


@dataclass(frozen=True)
class _Attempt:
    """The hunks that stand in the way when a file is taken to be the result of its first `touched` diffs."""

    touched: int
    off: list[tuple[int, tuple[int, ...]]]
    on: list[tuple[int, tuple[int, ...]]]

    @property
    def rejected(self) -> int:
        return sum(len(hunks) for _, hunks in (*self.off, *self.on))


def not_worth_trying(plan: Plan, path: str, content: bytes | None) -> Problem | None:
    """Return the problem of a file that no recorded blob id explains, if it shows without trying the patches."""
    if content is None:
        return Problem(f"{path} is missing", RESTORE)
    if plan.created_by_series(path):
        what = f"{path} exists with other content than the series gives it, which creates this file"
        return Problem(what, "move that file away, or restore what the series made, and start again")
    if b"\0" in content:
        return Problem(f"{path} is no text", RESTORE)
    if b"\r\n" in content:
        return Problem(
            f"{path} has CRLF line ends", "restore the file with LF line ends, as released, and start again"
        )
    return None


def of_edited_file(plan: Plan, path: str, content: bytes | None) -> Problem:
    """Tell a locally edited hunk from a half-applied series, for a file that no number of patches explains.

    The state with the fewest rejected hunks is taken for the one that was meant. A rejected hunk that is found already
    in (or already out) betrays a half-applied series; one that fits in neither direction was edited.
    """
    touches = plan.touches(path)
    diffs = [diff for _, diff in touches]
    names = [plan.steps[place].name for place, _ in touches]
    best = min((_attempt(content, diffs, touched) for touched in range(len(diffs) + 1)), key=lambda one: one.rejected)
    # Later rejections of the same direction may only follow from the first one.
    failures = [(place, hunks, False) for place, hunks in best.on[:1]]
    failures += [(place, hunks, True) for place, hunks in best.off[:1]]
    for place, hunks, reverse in failures:
        diff = diffs[place]
        there_already = tuple(
            number for number in hunks if scratch.fits(content, diff.only_hunk(number), reverse=not reverse)
        )
        if there_already:
            others = tuple(number for number in range(1, len(diff.hunks) + 1) if number not in there_already)
            has, lacks = (others, there_already) if reverse else (there_already, others)
            return Problem(f"half-applied: {path} {_halves(names, place, has, lacks)}", RESTORE)
    edited = ", ".join(f"{_numbered(hunks)} of {names[place]}" for place, hunks, _ in failures)
    verb = "taken back" if failures and failures[0][2] else "applied"
    advice = "undo the edits in the lines around it, or carry the change over by hand on a branch of your own"
    return Problem(f"{path}: {edited} cannot be {verb}: locally edited lines there", advice)


def _attempt(content: bytes | None, diffs: list[FileDiff], touched: int) -> _Attempt:
    off = _rejections(content, [(place, diffs[place]) for place in reversed(range(touched))], reverse=True)
    on = _rejections(content, [(place, diffs[place]) for place in range(touched, len(diffs))], reverse=False)
    return _Attempt(touched, off, on)


def _rejections(
    content: bytes | None, diffs: list[tuple[int, FileDiff]], *, reverse: bool
) -> list[tuple[int, tuple[int, ...]]]:
    found = []
    for place, diff in diffs:
        content, hunks = scratch.apply_what_fits(content, diff, reverse=reverse)
        if hunks:
            found.append((place, hunks))
    return found


def _halves(names: list[str], place: int, has: tuple[int, ...], lacks: tuple[int, ...]) -> str:
    if has and lacks:
        return f"has {_numbered(has)} of {names[place]} but not {_numbered(lacks)}"
    if has:
        return f"has {names[place]} but not all patches before it"
    return f"lacks {names[place]} but has later patches"


def _numbered(hunks: tuple[int, ...]) -> str:
    return ("hunk " if len(hunks) == 1 else "hunks ") + ", ".join(map(str, hunks))
