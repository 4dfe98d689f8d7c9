"""The files that the series creates: what they hold, and the part of a mail that is the same in every lane."""

from collections.abc import Iterable

from exact_resume import combinations, patchfile, scratch
from exact_resume.errors import Finding
from exact_resume.patchfile import FileDiff, Patch
from exact_resume.series import Combinations


def paths(patches: Iterable[Patch]) -> set[str]:
    """Return the paths of the files that the patches create."""
    return {diff.path for patch in patches for diff in patch.diffs if diff.is_new}


def shared(patch: Patch, created: set[str]) -> bytes:
    """Return what a mail has in common with that of another lane: the message, and the diffs of created files."""
    return patchfile.compose(patch.mail, diffs_of(patch, created))


def diffs_of(patch: Patch, created: set[str]) -> tuple[FileDiff, ...]:
    """Return the diffs of created files."""
    return tuple(diff for diff in patch.diffs if diff.path in created)


def contents(patches: Iterable[Patch]) -> dict[str, bytes | None]:
    """Return what the created files hold after the patches, for which no file of a release is needed.

    Raises:
        Finding: the diffs do not follow on one another.
    """
    patches = tuple(patches)
    created = paths(patches)
    files: dict[str, bytes | None] = dict.fromkeys(sorted(created))
    for patch in patches:
        diffs = diffs_of(patch, created)
        try:
            files = scratch.apply(files, diffs) if diffs else files
        except scratch.DoesNotApply as error:
            raise Finding(f"{patch.name} does not fit what the patches before it create") from error
    return files


def combined(patches: Iterable[Patch]) -> Combinations:
    """Return the blob ids of the created files for combinations of companions.

    Raises:
        Finding: a companion needs another one, or the order makes a difference.
    """
    patches = tuple(patches)
    core = contents(patch for patch in patches if not patch.is_companion)
    return combinations.work_out(patches, dict.fromkeys(paths(patches)) | core)
