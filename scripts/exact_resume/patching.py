"""Apply the patch series to a transformers tree, take it back, or say how much of it is there."""

from dataclasses import dataclass
from pathlib import Path

from exact_resume import carrying, install
from exact_resume import plan as planning
from exact_resume.diagnosis import Problem
from exact_resume.errors import UsageError
from exact_resume.inspection import Inspection, inspect, plural
from exact_resume.series import Series
from exact_resume.state import Blocked


@dataclass(frozen=True)
class Result:
    """What `apply` or `revert` did, or would do under `check`.

    Attributes:
        lines: the report for the user.
        patches: the names of the patches that were (would be) applied or taken back, in the order of doing so.
        files: the files below the tree that were (would be) changed.
        changed: whether the tree was changed.
    """

    lines: tuple[str, ...]
    patches: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    changed: bool = False


@dataclass(frozen=True)
class TreeStatus:
    """How much of its series a tree has.

    Attributes:
        release, lane, kind: what the tree is.
        patches: (name, state) in order, where the state is one of the words of the module `state`.
        edited: files with local edits outside the series' hunks.
        problems: what is wrong; empty when the tree has none, all, or the first few of the patches.
        left_out: the series' paths that have no place in this kind of tree.
        lines: the report for the user.
    """

    release: str
    lane: str
    kind: str
    patches: tuple[tuple[str, str], ...]
    edited: tuple[str, ...]
    problems: tuple[str, ...]
    left_out: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether the tree is in a state that apply and revert can work from."""
        return not self.problems

    @property
    def exact(self) -> bool:
        """Whether every touched file is byte for byte what the series makes from the pristine release."""
        return self.clean and not self.edited


def apply(tree: Path, *, upto: str | None = None, check: bool = False, series: Series | None = None) -> Result:
    """Apply the series, or the rest of it, to a tree: all or nothing.

    Args:
        tree: a transformers checkout or a folder that holds the package.
        upto: the last patch to apply; all patches without it.
        check: only say what would be done.
        series: the series to apply; the one for the tree's release without it.

    Raises:
        UsageError: the tree cannot take the patches; nothing was changed.
        SeriesError: the result is not what the series records; nothing was changed.
    """
    found = inspect(tree, series)
    wanted = planning.count_upto(found.plan, found.series, upto)
    applied = _applied(found)
    steps = found.plan.steps
    if applied > wanted:
        beyond = ", ".join(step.name for step in steps[wanted:applied])
        raise UsageError(
            f"{found.tree.root}: more than {upto} is applied already ({beyond}); "
            "to go back, revert and apply again with --upto; nothing was changed"
        )
    if applied == wanted:
        done = f"already applied: all {wanted} patches" if wanted == len(steps) else f"already applied up to {upto}"
        return Result((found.heading, *found.notes, f"{done}; nothing to do"))
    for blocked in found.state.blocked:
        if blocked.place < wanted:
            problem = _conflict(found, blocked)
            raise UsageError(f"{found.tree.root}: {problem.what}; {problem.advice}; nothing was changed")
    return _carry_out(found, wanted, check=check)


def revert(tree: Path, *, check: bool = False, series: Series | None = None) -> Result:
    """Take back every applied patch of the series; the counterpart of `apply`, with the same errors."""
    found = inspect(tree, series)
    applied = _applied(found)
    if applied == 0:
        return Result((found.heading, "no patch is applied; nothing to do"))
    return _carry_out(found, 0, check=check)


def status(tree: Path, series: Series | None = None) -> TreeStatus:
    """Say which patches a tree has; changes nothing.

    Raises:
        UsageError: the folder is no transformers tree, or no series serves its release.
    """
    found = inspect(tree, series)
    words = dict(zip((step.name for step in found.plan.steps), found.state.steps, strict=True))
    patches = tuple((name, words.get(name, "nothing for this kind of tree")) for name in found.series.names)
    conflicts = (_conflict(found, blocked) for blocked in found.state.blocked)
    problems = tuple(f"{problem.what}; {problem.advice}" for problem in (*found.state.problems, *conflicts))
    if problems:
        summary = [f"problem: {problem}" for problem in problems]
    elif found.state.edited:
        summary = [f"touched files: with local edits: {', '.join(map(found.tree.inside, found.state.edited))}"]
    else:
        summary = ["touched files: exact"]
    width = max(len(word) for _, word in patches)
    lines = (
        found.heading,
        *(f"{word:<{width}}  {name}" for name, word in patches),
        *found.notes,
        *summary,
    )
    return TreeStatus(
        found.tree.release,
        found.series.lane,
        found.tree.kind,
        patches,
        tuple(found.state.edited),
        problems,
        found.plan.left_out,
        lines,
    )


def _applied(found: Inspection) -> int:
    if found.state.applied is not None:
        return found.state.applied
    problems = found.state.problems
    what = "; ".join(problem.what for problem in problems)
    advice = "; ".join(dict.fromkeys(problem.advice for problem in problems))
    raise UsageError(f"{found.tree.root}: {what}; {advice}; nothing was changed")


def _conflict(found: Inspection, blocked: Blocked) -> Problem:
    step = found.plan.steps[blocked.place]
    ranges = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in blocked.lines)
    word = plural("line", 1 if ranges.isdecimal() else 2)
    what = f"conflict: {blocked.path}: {step.name} changes {word} {ranges}, and so do the local edits"
    advice = (
        f"rebase the local edits onto transformers {found.series.base} with the series in it "
        f"(python -m exact_resume checkout {found.series.base})"
    )
    if blocked.place > found.state.applied:
        advice += f", or apply with --upto {found.plan.steps[blocked.place - 1].name}"
    return Problem(what, advice)


def _carry_out(found: Inspection, count: int, *, check: bool, commit: bool = False) -> Result:
    reverse = count < found.state.applied
    steps = (
        found.plan.steps[count : found.state.applied][::-1]
        if reverse
        else found.plan.steps[found.state.applied : count]
    )
    stages = carrying.work_out(found, count)
    after = stages[-1]
    modes = {diff.path: diff.mode for step in found.plan.steps for diff in step.diffs if diff.mode is not None}
    changes = [
        install.Change(
            found.tree.locate(path), found.contents[path], after[path], modes.get(path, install.NEW_FILE_MODE)
        )
        for path in found.plan.paths
        if after[path] != found.contents[path]
    ]
    install.check_writable(changes)
    if not check:
        install.install(changes, found.tree.root)
    verb = "taken back" if reverse else "applied"
    tense = "would be " if check else ""
    lines = [found.heading, *(f"{tense}{verb}: {step.name}  {step.title}" for step in steps), *found.notes]
    if found.state.merged:
        merged = ", ".join(map(found.tree.inside, found.state.merged))
        lines.append(f"merged three-way with transformers {found.release}: {merged}")
    if found.state.edited:
        lines.append(f"local edits were kept: {', '.join(map(found.tree.inside, found.state.edited))}")
    summary = (
        f"{len(steps)} {plural('patch', len(steps))} {tense}{verb}, {len(changes)} {plural('file', len(changes))}"
    )
    lines.append(f"check only, nothing was changed: {summary}" if check else f"done: {summary} changed")
    files = tuple(found.tree.inside(path) for path in found.plan.paths if after[path] != found.contents[path])
    return Result(tuple(lines), tuple(step.name for step in steps), files, not check)
