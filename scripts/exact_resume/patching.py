"""Apply the patch series to a transformers tree, take it back, or say how much of it is there."""

from dataclasses import dataclass
from pathlib import Path

from exact_resume import install, scratch, state
from exact_resume import plan as planning
from exact_resume import series as patch_series
from exact_resume import tree as trees
from exact_resume.errors import SeriesError, UsageError
from exact_resume.git import blob_id
from exact_resume.plan import Plan, Step
from exact_resume.scratch import Contents
from exact_resume.series import Series
from exact_resume.state import State
from exact_resume.tree import Tree


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


@dataclass(frozen=True)
class _Inspection:
    tree: Tree
    series: Series
    plan: Plan
    contents: Contents
    state: State

    @property
    def heading(self) -> str:
        return f"transformers {self.tree.release} ({self.tree.kind}) at {self.tree.root}, lane {self.series.lane}"

    @property
    def notes(self) -> list[str]:
        count = len(self.plan.left_out)
        if not count:
            return []
        return [f"left out: {count} {_plural('file', count)} under tests/, which an installed package does not have"]


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
    found = _inspect(tree, series)
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
    return _carry_out(found, steps[applied:wanted], wanted, reverse=False, check=check)


def revert(tree: Path, *, check: bool = False, series: Series | None = None) -> Result:
    """Take back every applied patch of the series; the counterpart of `apply`, with the same errors."""
    found = _inspect(tree, series)
    applied = _applied(found)
    if applied == 0:
        return Result((found.heading, "no patch is applied; nothing to do"))
    return _carry_out(found, tuple(reversed(found.plan.steps[:applied])), 0, reverse=True, check=check)


def status(tree: Path, series: Series | None = None) -> TreeStatus:
    """Say which patches a tree has; changes nothing.

    Raises:
        UsageError: the folder is no transformers tree, or no series serves its release.
    """
    found = _inspect(tree, series)
    words = dict(zip((step.name for step in found.plan.steps), found.state.steps, strict=True))
    patches = tuple((name, words.get(name, "nothing for this kind of tree")) for name in found.series.names)
    problems = tuple(f"{problem.what}; {problem.advice}" for problem in found.state.problems)
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


def _inspect(folder: Path, series: Series | None) -> _Inspection:
    tree = trees.find(Path(folder))
    series = series or patch_series.for_release(tree.release)
    plan = planning.make(tree, series)
    contents = {path: tree.read(path) for path in plan.paths}
    return _Inspection(tree, series, plan, contents, state.decide(plan, contents))


def _applied(found: _Inspection) -> int:
    if found.state.applied is not None:
        return found.state.applied
    problems = found.state.problems
    what = "; ".join(problem.what for problem in problems)
    advice = "; ".join(dict.fromkeys(problem.advice for problem in problems))
    raise UsageError(f"{found.tree.root}: {what}; {advice}; nothing was changed")


def _carry_out(found: _Inspection, steps: tuple[Step, ...], count: int, *, reverse: bool, check: bool) -> Result:
    contents = found.contents
    for step in steps:
        _refuse_ambiguous(found, step, contents, reverse=reverse)
        contents = _work_out(contents, (step,), reverse=reverse)
    after = contents
    _verify(found, steps, after, count, reverse=reverse)
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
    if found.state.edited:
        lines.append(f"local edits were kept: {', '.join(map(found.tree.inside, found.state.edited))}")
    summary = (
        f"{len(steps)} {_plural('patch', len(steps))} {tense}{verb}, {len(changes)} {_plural('file', len(changes))}"
    )
    lines.append(f"check only, nothing was changed: {summary}" if check else f"done: {summary} changed")
    files = tuple(found.tree.inside(path) for path in found.plan.paths if after[path] != found.contents[path])
    return Result(tuple(lines), tuple(step.name for step in steps), files, not check)


def _refuse_ambiguous(found: _Inspection, step: Step, contents: Contents, *, reverse: bool) -> None:
    for diff in step.diffs:
        content = contents[diff.path]
        if diff.path not in found.state.edited or content is None:
            continue
        for number in scratch.ambiguous_hunks(content, diff, reverse=reverse):
            raise UsageError(
                f"{found.tree.root}: {diff.path}: hunk {number} of {step.name} fits in more than one place of the "
                "locally edited file; carry the change over by hand on a branch of your own; nothing was changed"
            )


def _work_out(contents: Contents, steps: tuple[Step, ...], *, reverse: bool) -> Contents:
    for step in steps:
        try:
            contents = scratch.apply(contents, step.diffs, reverse=reverse)
        except scratch.DoesNotApply as error:
            raise SeriesError(f"{step.name} does not fit although its lane says so: {error}") from error
    return contents


def _verify(found: _Inspection, steps: tuple[Step, ...], after: Contents, count: int, *, reverse: bool) -> None:
    """Make sure of the result before it is installed.

    A file that was exact has to become exactly what the series records. For a file with local edits nothing is
    recorded; there the way back has to lead to the bytes that we started from.
    """
    edited = set(found.state.edited)
    for path in found.plan.paths:
        if path not in edited and blob_id(after[path]) != found.plan.blob_after(path, count):
            raise SeriesError(f"{path} would not become what the series records; nothing was changed")
    if edited:
        back = _work_out(after, tuple(reversed(steps)), reverse=not reverse)
        for path in sorted(edited):
            if back[path] != found.contents[path]:
                raise SeriesError(f"{path}: the way back would not restore its local edits; nothing was changed")


def _plural(word: str, count: int) -> str:
    return word if count == 1 else word + ("es" if word.endswith("ch") else "s")
