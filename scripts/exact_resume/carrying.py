"""Work out what the files of a tree hold after patches are applied or taken back, and make sure of the way back."""

from exact_resume import merging, scratch, state
from exact_resume.errors import SeriesError, UsageError
from exact_resume.git import blob_id
from exact_resume.inspection import Inspection
from exact_resume.plan import Step
from exact_resume.scratch import Contents
from exact_resume.state import State

BY_HAND = "carry the change over by hand on a branch of your own; nothing was changed"


def work_out(found: Inspection, count: int) -> list[Contents]:
    """Return what the touched files hold after each step on the way to the first `count` steps.

    Raises:
        UsageError: a hunk fits in two places, a merged file is not valid Python, or there would be no way back.
        SeriesError: the result is not what the series records.
    """
    stages = _carry(found, found.state, found.contents, count)
    for stage in stages:
        _refuse_bad_syntax(found, stage)
    _verify(found, stages[-1], count)
    return stages


def _carry(
    found: Inspection, start: State, contents: Contents, count: int, *, with_ambiguous: bool = False
) -> list[Contents]:
    reverse = count < start.applied
    places = range(count, start.applied)[::-1] if reverse else range(start.applied, count)
    stages = []
    for place in places:
        step = found.plan.steps[place]
        exact = tuple(diff for diff in step.diffs if diff.path not in start.merged)
        if not with_ambiguous:
            _refuse_ambiguous(found, start, step, contents, reverse=reverse)
        try:
            after = scratch.apply(contents, exact, reverse=reverse) if exact else dict(contents)
        except scratch.DoesNotApply as error:
            raise SeriesError(f"{step.name} does not fit although its lane says so: {error}") from error
        for diff in step.diffs:
            if diff.path in start.merged:
                touched = found.plan.touched(diff.path, place)
                ends = (touched + 1, touched) if reverse else (touched, touched + 1)
                after[diff.path] = found.find_merger().carry(diff.path, contents[diff.path], *ends)
        contents = after
        stages.append(after)
    return stages


def _refuse_ambiguous(found: Inspection, start: State, step: Step, contents: Contents, *, reverse: bool) -> None:
    for diff in step.diffs:
        content = contents[diff.path]
        if diff.path not in start.edited or diff.path in start.merged or content is None:
            continue
        for number in scratch.ambiguous_hunks(content, diff, reverse=reverse):
            raise UsageError(
                f"{found.tree.root}: {diff.path}: hunk {number} of {step.name} fits in more than one place of the "
                f"locally edited file; {BY_HAND}"
            )


def _refuse_bad_syntax(found: Inspection, contents: Contents) -> None:
    for path in found.state.merged:
        error = merging.syntax_error(path, contents[path])
        if error:
            raise UsageError(f"{found.tree.root}: {path} would not be valid Python when merged: {error}; {BY_HAND}")


def _verify(found: Inspection, after: Contents, count: int) -> None:
    """Make sure of the result before it is installed.

    A file that was exact has to become exactly what the series records. For a file with local edits nothing is
    recorded; there the state has to be found again, and the way back to lead to the bytes that we started from.
    """
    edited = found.state.edited
    for path in found.plan.paths:
        if path not in edited and blob_id(after[path]) != found.plan.blob_after(path, count):
            raise SeriesError(f"{path} would not become what the series records; nothing was changed")
    if not edited:
        return
    again = state.decide(found.plan, after, found.find_merger)
    if again.applied != count:
        raise UsageError(
            f"{found.tree.root}: with the local edits of {', '.join(edited)} it could not be told again which "
            f"patches are in; {BY_HAND}"
        )
    # What has been taken back need not be possible to apply again without a look at it.
    back = _carry(found, again, after, found.state.applied, with_ambiguous=count < found.state.applied)[-1]
    for path in edited:
        if back[path] != found.contents[path]:
            merged = path in (*found.state.merged, *again.merged)
            what = f"{path}: the way back would not restore its local edits"
            raise UsageError(f"{what}; {BY_HAND}") if merged else SeriesError(f"{what}; nothing was changed")
