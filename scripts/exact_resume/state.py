"""Decide how much of a series a tree already has.

Blob ids decide wherever a file is byte for byte what the series records. A file with local edits matches none of
them; there the decision is by trial: the state is the one from which the patches that should be in can be taken back
cleanly and the others be applied cleanly.
"""

from dataclasses import dataclass

from exact_resume import diagnosis, scratch
from exact_resume.diagnosis import Problem
from exact_resume.git import blob_id
from exact_resume.patchfile import FileDiff
from exact_resume.plan import Plan
from exact_resume.scratch import Contents

APPLIED = "applied"
NOT_APPLIED = "not applied"
PARTLY = "partly applied"
UNCLEAR = "unclear"


@dataclass(frozen=True)
class FileState:
    """What one file says: after which numbers of steps it could look as it does."""

    path: str
    exact: bool
    counts: frozenset[int]
    problem: Problem | None = None
    worth_trying: bool = True


@dataclass(frozen=True)
class State:
    """What the touched files say together.

    Attributes:
        applied: how many steps are in; None when the files give no single answer.
        edited: files that hold local edits elsewhere, outside the series' hunks.
        problems: why there is no single answer; empty otherwise.
        steps: for each step one of APPLIED, NOT_APPLIED, PARTLY, UNCLEAR.
    """

    applied: int | None
    edited: tuple[str, ...]
    problems: tuple[Problem, ...]
    steps: tuple[str, ...]


def decide(plan: Plan, contents: Contents) -> State:
    """Decide the state of a tree whose touched files hold `contents`."""
    files = [_exact_state(plan, path, contents[path]) for path in plan.paths]
    files = [state if state.exact else _edited_state(plan, state.path, contents[state.path]) for state in files]
    problems = [state.problem for state in files if state.problem]
    common = frozenset(range(len(plan.steps) + 1)).intersection(*(state.counts for state in files))
    if not problems and not common:
        problems = [_disagreement(plan, files)]
    if problems:
        return State(None, (), tuple(problems), tuple(_step_states(plan, files, contents)))
    # A patch that can be taken back is in, even where its lines could be inserted at a second place as well.
    applied = max(common)
    steps = tuple(APPLIED if place < applied else NOT_APPLIED for place in range(len(plan.steps)))
    return State(applied, tuple(state.path for state in files if not state.exact), (), steps)


def _exact_state(plan: Plan, path: str, content: bytes | None) -> FileState:
    actual = blob_id(content)
    counts: frozenset[int] = frozenset()
    for touched, blob in enumerate(plan.blobs(path)):
        if blob == actual:
            counts |= plan.counts_at(path, touched)
    return FileState(path, bool(counts), counts)


def _edited_state(plan: Plan, path: str, content: bytes | None) -> FileState:
    problem = diagnosis.not_worth_trying(plan, path, content)
    if problem:
        return FileState(path, False, frozenset(), problem, worth_trying=False)
    diffs = [diff for _, diff in plan.touches(path)]
    fitting = [touched for touched in range(len(diffs) + 1) if _explains(content, diffs, touched)]
    counts = frozenset().union(*(plan.counts_at(path, touched) for touched in fitting))
    return FileState(path, False, counts, None if counts else diagnosis.of_edited_file(plan, path, content))


def _explains(content: bytes | None, diffs: list[FileDiff], touched: int) -> bool:
    """Tell whether a file can be the result of the first `touched` diffs: those come off, the others go on."""
    path = diffs[0].path
    try:
        current = {path: content}
        for diff in reversed(diffs[:touched]):
            current = scratch.apply(current, [diff], reverse=True)
        current = {path: content}
        for diff in diffs[touched:]:
            current = scratch.apply(current, [diff])
    except scratch.DoesNotApply:
        return False
    return True


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
