"""Replay a lane as commits, export these, and compare with the files that are there."""

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from exact_resume import commits, hashes, pristine
from exact_resume.checkout import make_commits
from exact_resume.commits import Commit
from exact_resume.errors import Finding, SeriesError, UsageError
from exact_resume.patchfile import Patch
from exact_resume.series import COMMON, RELEASES_FILE, Release, Series
from exact_resume.tree import SOURCE_PACKAGE

INIT_FILE = f"{SOURCE_PACKAGE}/__init__.py"
STAND_IN = {INIT_FILE: b'__version__ = "0"\n'}
"""What stands for a release where only the files matter that the series creates."""


def check_mails(patches: Iterable[Patch], folder: Path) -> Iterable[str]:
    """Replay the diffs of the files that the series creates, which takes nothing but the mails."""
    patches = tuple(patches)
    created = created_paths(patches)
    reduced = tuple(replace(p, diffs=tuple(diff for diff in p.diffs if diff.path in created)) for p in patches)
    try:
        replayed = _replay("0", STAND_IN, reduced)
    except (SeriesError, UsageError) as error:
        yield f"{COMMON}: the mails do not give commits: {error}"
        return
    for patch, commit in zip(patches, replayed, strict=True):
        if commit.mail != (folder / COMMON / patch.name).read_bytes():
            yield f"{COMMON}/{patch.name}: its commit, exported, gives other bytes"


def check_lane(series: Series, folder: Path) -> Iterable[str]:
    """Replay a lane on the published files of its base release.

    Raises:
        UsageError: the official wheel is not to be had.
    """
    own = {diff.path for patch in series.patches for diff in patch.diffs} - created_paths(series.patches)
    files = pristine.read(series.base, None, sorted({INIT_FILE, *own}))
    try:
        replayed = _replay(series.base, files, series.patches)
    except SeriesError as error:
        yield f"{series.lane}: does not give commits on {series.base}: {error}"
        return
    for patch, commit in zip(series.patches, replayed, strict=True):
        path = folder / series.lane / patch.name
        if commit.own != (path.read_bytes() if path.exists() else b""):
            yield f"{series.lane}/{patch.name}: its commit, exported, gives other bytes"


def check_release(release: Release, series: Series) -> Iterable[str]:
    """Compare the blob ids of a release with those that its published files give.

    Raises:
        UsageError: the official wheel is not to be had.
    """
    try:
        files = hashes.work_out(release.version, series)
    except Finding as finding:
        yield str(finding)
        return
    if files != release.files:
        yield f"{RELEASES_FILE}: release {release.version}: other blob ids than its published files give; run hashes"


def created_paths(patches: Iterable[Patch]) -> set[str]:
    """Return the paths of the files that the patches create."""
    return {diff.path for patch in patches for diff in patch.diffs if diff.is_new}


def _replay(release: str, files: Mapping[str, bytes | None], patches: tuple[Patch, ...]) -> list[Commit]:
    with tempfile.TemporaryDirectory(prefix="exact-resume-") as scratch:
        folder = Path(scratch) / "tree"
        make_commits(folder, release, files, patches)
        return commits.read(folder)[1]
