"""Decide how much of a series a tree already has.

Blob ids decide wherever a file is byte for byte what the series records. A file with local edits matches none of
them; there the decision is by trial: the state is the one from which the patches that should be in can be taken back
cleanly and the others be applied cleanly. Where hunks do not fit as they are, or fit in two places, and git tracks the
tree, the patches are merged instead.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache

from exact_resume import diagnosis, scratch
from exact_resume.bases import NoBase
from exact_resume.diagnosis import Problem
from exact_resume.git import blob_id
from exact_resume.merging import Merger, Partly
from exact_resume.patchfile import FileDiff
from exact_resume.plan import Plan
from exact_resume.scratch import Contents

APPLIED = "applied"
NOT_APPLIED = "not applied"
PARTLY = "partly applied"
UNCLEAR = "unclear"
LEFT_OUT = "left out"


@dataclass(frozen=True)
class Blocked:
    """A patch that is not in and cannot be merged into a file.

    Attributes:
        path: the file.
        place: the place of the patch among the steps.
        lines: the first and last line, from 1, of each conflict.
    """

    path: str
    place: int
    lines: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class FileState:
    """What one file says: after which numbers of steps it could look as it does.

    `merged` tells that patches are merged into it; `blocked` has the conflict ahead for some of the numbers.
    """

    path: str
    exact: bool
    counts: frozenset[int]
    problem: Problem | None = None
    worth_trying: bool = True
    merged: bool = False
    blocked: dict[int, Blocked] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """What the touched files say together.

    Attributes:
        applied: how many steps are in; None when the files give no single answer.
        edited: files that hold local edits elsewhere, outside the series' hunks.
        problems: why there is no single answer; empty otherwise.
        steps: for each step one of APPLIED, NOT_APPLIED, PARTLY, UNCLEAR.
        merged: those edited files into which patches are merged, as their hunks do not fit as they are.
        blocked: the conflicts ahead, at most one for each of these files, that of the earliest patch first.
    """

    applied: int | None
    edited: tuple[str, ...]
    problems: tuple[Problem, ...]
    steps: tuple[str, ...]
    merged: tuple[str, ...] = ()
    blocked: tuple[Blocked, ...] = ()


def decide(
    plan: Plan, contents: Contents, find_merger: Callable[[], Merger | None], *, diagnose: bool = True
) -> State:
    """Decide the state of a tree.

    Args:
        plan: the plan for the tree.
        contents: what its touched files hold.
        find_merger: called where hunks do not fit; returns what merges them, None for a tree that git does not track.
        diagnose: work out, which takes long, why there is no single answer.
    """
    files = [_exact_state(plan, path, contents[path]) for path in plan.paths]
    explain = diagnosis.of_edited_file if diagnose else _not_explained
    files = [
        state if state.exact else _edited_state(plan, state.path, contents[state.path], find_merger, explain)
        for state in files
    ]
    problems = [state.problem for state in files if state.problem]
    common = frozenset(range(len(plan.steps) + 1)).intersection(*(state.counts for state in files))
    if not problems and not common:
        problems = [_disagreement(plan, files)]
    if problems and not diagnose:
        return State(None, (), tuple(problems), ())
    if problems:
        return State(None, (), tuple(problems), tuple(_step_states(plan, files, contents)))
    # A patch that can be taken back is in, even where its lines could be inserted at a second place as well.
    applied = max(common)
    steps = tuple(APPLIED if place < applied else NOT_APPLIED for place in range(len(plan.steps)))
    blocked = [state.blocked[applied] for state in files if applied in state.blocked]
    return State(
        applied,
        tuple(state.path for state in files if not state.exact),
        (),
        steps,
        tuple(state.path for state in files if state.merged),
        tuple(sorted(blocked, key=lambda one: one.place)),
    )


def _exact_state(plan: Plan, path: str, content: bytes | None) -> FileState:
    actual = blob_id(content)
    counts: frozenset[int] = frozenset()
    for touched, blob in enumerate(plan.blobs(path)):
        if blob == actual:
            counts |= plan.counts_at(path, touched)
    return FileState(path, bool(counts), counts)


def _not_explained(plan: Plan, path: str, content: bytes | None) -> Problem:
    return Problem(f"{path} does not fit", diagnosis.RESTORE)


def _edited_state(
    plan: Plan,
    path: str,
    content: bytes | None,
    find_merger: Callable[[], Merger | None],
    explain: Callable[[Plan, str, bytes | None], Problem],
) -> FileState:
    problem = diagnosis.not_worth_trying(plan, path, content)
    if problem:
        return FileState(path, False, frozenset(), problem, worth_trying=False)
    # Without blob ids, which are others in other combinations of companions, while the trials are the same.
    diffs = tuple(replace(diff, old_blob="", new_blob="") for _, diff in plan.touches(path))
    trials = _trials(content, diffs)
    fitting = [touched for touched, trial in enumerate(trials) if trial.fits]
    exact = FileState(path, False, _counts(plan, path, fitting))
    if fitting and all(trials[touched].unique for touched in fitting):
        return exact
    merger = find_merger()
    if merger is None:
        return exact if fitting else replace(exact, problem=explain(plan, path, content))
    merged = _merged_state(plan, path, content, merger)
    return exact if fitting and merged.problem else merged


def _merged_state(plan: Plan, path: str, content: bytes, merger: Merger) -> FileState:
    touches = plan.touches(path)
    try:
        found = merger.explain(path, content)
    except NoBase as error:
        return FileState(path, False, frozenset(), error.problem)
    except Partly as partly:
        name = plan.steps[touches[partly.touched][0]].name
        what = f"{path}, line {partly.line}, is of {name}, which is not there as a whole with those before it"
        return FileState(path, False, frozenset(), Problem(what, diagnosis.RESTORE))
    blocked = {
        count: Blocked(path, touches[ahead.touched][0], ahead.lines)
        for touched, ahead in found.items()
        if ahead
        for count in plan.counts_at(path, touched)
    }
    return FileState(path, False, _counts(plan, path, found), merged=True, blocked=blocked)


def _counts(plan: Plan, path: str, touched: Iterable[int]) -> frozenset[int]:
    return frozenset().union(*(plan.counts_at(path, number) for number in touched))


@dataclass(frozen=True)
class _Trial:
    """Whether hunks fit, and whether each of them fits in one place only."""

    fits: bool
    unique: bool = True


@lru_cache(maxsize=64)
def _trials(content: bytes | None, diffs: tuple[FileDiff, ...]) -> list[_Trial]:
    return [_trial(content, diffs, touched) for touched in range(len(diffs) + 1)]


def _trial(content: bytes | None, diffs: tuple[FileDiff, ...], touched: int) -> _Trial:
    """Try whether a file can be the result of the first `touched` diffs: those come off, the others go on."""
    path = diffs[0].path
    unique = True
    try:
        for way, reverse in ((diffs[:touched][::-1], True), (diffs[touched:], False)):
            current = {path: content}
            for diff in way:
                unique = unique and not scratch.ambiguous_hunks(current[path], diff, reverse=reverse)
                current = scratch.apply(current, [diff], reverse=reverse)
    except scratch.DoesNotApply:
        return _Trial(False)
    return _Trial(True, unique)


def _disagreement(plan: Plan, files: list[FileState]) -> Problem:
    said = []
    for state in files:
        places = [place for place, _ in plan.touches(state.path) if place < max(state.counts)]
        said.append(f"{state.path} is at {plan.steps[places[-1]].name if places else 'the pristine release'}")
    return Problem("half-applied: " + ", ".join(said), diagnosis.RESTORE)


def _step_states(plan: Plan, files: list[FileState], contents: Contents) -> list[str]:
    by_path = {state.path: state for state in files}
    answers = []
    for place, step in enumerate(plan.steps):
        answers.append(
            _summed_up({_vote(by_path[diff.path], place, diff, contents[diff.path]) for diff in step.diffs})
        )
    return answers


def _vote(file: FileState, place: int, diff: FileDiff, content: bytes | None) -> str:
    """Say for one file whether one patch is in; where the file as a whole makes no sense, the hunks are asked."""
    if file.counts:
        return APPLIED if max(file.counts) > place else NOT_APPLIED
    if not file.worth_trying:
        return UNCLEAR
    said = set()
    for number in range(1, len(diff.hunks) + 1):
        hunk = diff.only_hunk(number)
        if scratch.fits(content, hunk, reverse=True):
            said.add(APPLIED)
        else:
            said.add(NOT_APPLIED if scratch.fits(content, hunk) else UNCLEAR)
    return _summed_up(said)


def _summed_up(words: set[str]) -> str:
    if len(words) == 1:
        return next(iter(words))
    return UNCLEAR if UNCLEAR in words else PARTLY
