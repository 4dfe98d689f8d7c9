"""Apply the patch series to a transformers tree, take it back, or say how much of it is there."""

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from exact_resume import carrying, committing, install, unfinished
from exact_resume import plan as planning
from exact_resume import series as patch_series
from exact_resume import tree as trees
from exact_resume.branch import Branch
from exact_resume.diagnosis import Problem
from exact_resume.errors import Finding, UsageError
from exact_resume.inspection import Inspection, inspect, plural
from exact_resume.installed import Installed
from exact_resume.series import Series
from exact_resume.state import LEFT_OUT, Blocked


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


def apply(
    tree: Path,
    *,
    upto: str | None = None,
    without: Collection[str] = (),
    check: bool = False,
    commit: bool = False,
    series: Series | None = None,
    installed: Installed | None = None,
) -> Result:
    """Apply the series, or the rest of it, to a tree: all or nothing.

    Args:
        tree: a transformers checkout or a folder that holds the package.
        upto: the last patch to apply; all patches without it.
        without: the names of the companions to leave out.
        check: only say what would be done.
        commit: make a commit for each patch in the git work tree that the tree is.
        series: the series to apply; the one for the tree's release without it.
        installed: the installation that the tree belongs to, in which it is to be noted.

    Raises:
        UsageError: the tree cannot take the patches; nothing was changed.
        SeriesError: the result is not what the series records; nothing was changed.
    """
    with _exclusively(tree, check=check, installed=installed):
        found = inspect(tree, series, without)
        return _apply(found, upto, check=check, commit=commit, installed=installed)


def revert(
    tree: Path, *, check: bool = False, series: Series | None = None, installed: Installed | None = None
) -> Result:
    """Take back every applied patch of the series; the counterpart of `apply`, with the same errors."""
    with _exclusively(tree, check=check, installed=installed):
        return _revert(inspect(tree, series), check=check, installed=installed)


def status(tree: Path, series: Series | None = None, installed: Installed | None = None) -> TreeStatus:
    """Say which patches a tree has; changes nothing.

    Raises:
        UsageError: the folder is no transformers tree, or no series serves its release.
        Finding: no series serves its release, and it was patched by `apply` with `installed` when it was another one;
            or something was left half-done in it.
    """
    with unfinished.only_looking(trees.find(tree).root, Finding):
        try:
            found = inspect(tree, series)
        except UsageError as error:
            lost = installed.lost(trees.find(tree).release, None) if installed else None
            raise Finding(f"{lost.what}; {error}") if lost else error from None
    words = found.words
    patches = tuple((name, words.get(name, "nothing for this kind of tree")) for name in found.names)
    lost = installed.lost(found.tree.release, found.state.applied) if installed else None
    # What is left out may be so because of its conflict.
    ahead = [one for one in found.state.blocked if words[found.plan.steps[one.place].name] != LEFT_OUT]
    conflicts = (_conflict(found, blocked) for blocked in ahead)
    problems = tuple(
        f"{problem.what}; {problem.advice}" for problem in (*found.state.problems, *conflicts, lost) if problem
    )
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


@contextlib.contextmanager
def _exclusively(tree: Path, *, check: bool, installed: Installed | None) -> Iterator[None]:
    root = trees.find(tree).root
    others = [installed.site] if installed else []
    # A check changes nothing, so it puts nothing right either.
    with unfinished.only_looking(root) if check else unfinished.alone(root, others, partial(committing.is_made, root)):
        yield


def _apply(found: Inspection, upto: str | None, *, check: bool, commit: bool, installed: Installed | None) -> Result:
    applied = _applied(found)
    wanted = _wanted(found, upto)
    steps = found.plan.steps
    branch = Branch.of(found) if commit else None
    if applied > wanted:
        beyond = ", ".join(step.name for step in steps[wanted:applied])
        raise UsageError(
            f"{found.tree.root}: more than {upto} is applied already ({beyond}); "
            "to go back, revert and apply again with --upto; nothing was changed"
        )
    if applied == wanted:
        done = f"already applied up to {upto}" if upto else f"already applied: all {wanted} patches"
        return Result((found.heading, *found.notes, f"{done}; nothing to do"))
    for blocked in found.state.blocked:
        if blocked.place < wanted:
            problem = _conflict(found, blocked)
            raise UsageError(f"{found.tree.root}: {problem.what}; {problem.advice}; nothing was changed")
    return _carry_out(found, wanted, check=check, branch=branch, installed=installed)


def _wanted(found: Inspection, upto: str | None) -> int:
    """Return how many steps are to be in; refuse what cannot be left out any more."""
    if upto and patch_series.plain_name(upto) in found.left_out:
        raise UsageError(f"{upto} cannot be left out and be the last patch; give one of the two; nothing was changed")
    for name in found.left_out:
        if name in found.companions_in:
            raise UsageError(
                f"{found.tree.root}: {name} is applied already; to leave it out, revert and apply again with "
                f"--without {name}; nothing was changed"
            )
    if upto:
        return planning.count_upto(found.plan, found.series, upto)
    return sum(step.name not in found.left_out for step in found.plan.steps)


def _revert(found: Inspection, *, check: bool, installed: Installed | None) -> Result:
    if _applied(found) > 0:
        return _carry_out(found, 0, check=check, installed=installed)
    note = installed.note_change(None) if installed else []
    if not note:
        return Result((found.heading, "no patch is applied; nothing to do"))
    if not check:
        install.install(note, found.tree.root)
    tense = "would be " if check else ""
    return Result((found.heading, f"no patch is applied; {tense}forgotten: an earlier apply --installed"))


def _applied(found: Inspection) -> int:
    if found.state.applied is not None:
        return found.state.applied
    problems = found.state.problems
    what = "; ".join(problem.what for problem in problems)
    advice = "; ".join(dict.fromkeys(problem.advice for problem in problems))
    raise UsageError(f"{found.tree.root}: {what}; {advice}; nothing was changed")


def _conflict(found: Inspection, blocked: Blocked) -> Problem:
    step = found.plan.steps[blocked.place]
    lines = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in blocked.lines)
    where = f"{blocked.path}, {plural('line', 1 if lines.isdecimal() else 2)} {lines}"
    what = f"conflict: {where}: differs from transformers {found.release} where {step.name} changes it"
    base = found.series.base
    advice = f"rebase the fork onto {base} with the series in it (python -m exact_resume checkout {base})"
    if step.name in found.series.companions:
        advice += f", or apply with --without {step.name}"
    elif blocked.place > found.state.applied:
        advice += f", or apply with --upto {found.plan.steps[blocked.place - 1].name}"
    return Problem(what, advice)


def _carry_out(
    found: Inspection,
    count: int,
    *,
    check: bool,
    branch: Branch | None = None,
    installed: Installed | None = None,
) -> Result:
    steps, reverse = found.way_to(count)
    stages = carrying.work_out(found, count)
    after = stages[-1]
    changed = [path for path in found.plan.paths if after[path] != found.contents[path]]
    changes = [
        install.Change(
            found.tree.locate(path),
            found.contents[path],
            after[path],
            found.plan.modes.get(path, install.NEW_FILE_MODE),
        )
        for path in changed
    ]
    notes = []
    if installed:
        in_afterwards = tuple(step.name for step in found.plan.steps[:count])
        notes = installed.notes_to_take(changes, found.tree.release, in_afterwards)
    install.check_writable([*changes, *notes], found.tree.root)
    if not check:
        head = branch.commit(found, steps, stages) if branch else None
        advance = partial(committing.advance, branch.repository, branch.start, head) if branch else None
        ends = (branch.start.head, head) if branch else None
        install.install([*changes, *notes], found.tree.root, advance, ends)
    verb = "taken back" if reverse else "committed" if branch else "applied"
    tense = "would be " if check else ""
    lines = [found.heading, *(f"{tense}{verb}: {step.name}  {step.title}" for step in steps), *found.notes]
    for what, paths in (
        (f"merged three-way with transformers {found.release}", found.state.merged),
        ("local edits were kept", found.state.edited),
    ):
        if paths:
            lines.append(f"{what}: {', '.join(map(found.tree.inside, paths))}")
    summary = (
        f"{len(steps)} {plural('patch', len(steps))} {tense}{verb}, {len(changed)} {plural('file', len(changed))}"
    )
    lines.append(f"check only, nothing was changed: {summary}" if check else f"done: {summary} changed")
    files = tuple(map(found.tree.inside, changed))
    return Result(tuple(lines), tuple(step.name for step in steps), files, not check)
