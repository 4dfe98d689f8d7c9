"""Replay a lane as commits, export these, and compare with the files that are there."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from exact_resume import commits, created, hashes, pristine, result
from exact_resume.checkout import make_commits
from exact_resume.commits import History
from exact_resume.errors import Finding, SeriesError, UsageError
from exact_resume.patchfile import Patch
from exact_resume.series import RELEASES_FILE, Release, Series
from exact_resume.tree import SOURCE_PACKAGE

INIT_FILE = f"{SOURCE_PACKAGE}/__init__.py"
STAND_IN = {INIT_FILE: b'__version__ = "0"\n'}
"""What stands for a release where only the files matter that the series creates."""


def check_messages(patches: Iterable[Patch]) -> Iterable[str]:
    """Replay what mails of lanes share, which takes no file of a release."""
    patches = tuple(patches)
    paths = created.paths(patches)
    reduced = tuple(replace(patch, diffs=created.diffs_of(patch, paths)) for patch in patches)
    try:
        with _replayed("0", STAND_IN, reduced) as history:
            replayed = history.patches
    except (SeriesError, UsageError) as error:
        yield f"the mails do not give commits: {error}"
        return
    for patch, commit in zip(reduced, replayed, strict=True):
        if commit.text != patch.text:
            yield f"{patch.name}: its commit, exported, gives other bytes"


def check_lane(series: Series, folder: Path, *, newest: bool) -> Iterable[str]:
    """Replay a lane on the published files of its base release; compare the result, too, if it is the newest lane.

    Raises:
        UsageError: the official wheel is not to be had.
    """
    own = {diff.path for patch in series.patches for diff in patch.diffs} - created.paths(series.patches)
    files = pristine.read(series.base, None, sorted({INIT_FILE, *own}))
    try:
        with _replayed(series.base, files, series.patches) as history:
            made = result.files(history) if newest else {}
    except SeriesError as error:
        yield f"{series.lane}: does not give commits on {series.base}: {error}"
        return
    for patch, commit in zip(series.patches, history.patches, strict=True):
        if commit.text != patch.text:
            yield f"{series.lane}: {patch.name}: its commit, exported, gives other bytes"
    for path in sorted(made):
        if (folder / path).is_file() and (folder / path).read_bytes() != made[path]:
            yield f"{path}: not what {series.lane} makes of {series.base}; run export"


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
    if files != (release.files, release.combinations):
        yield f"{RELEASES_FILE}: release {release.version}: other blob ids than its published files give; run hashes"


@contextlib.contextmanager
def _replayed(release: str, files: Mapping[str, bytes | None], patches: tuple[Patch, ...]) -> Iterator[History]:
    with tempfile.TemporaryDirectory(prefix="exact-resume-") as scratch:
        folder = Path(scratch) / "tree"
        make_commits(folder, release, files, patches)
        yield commits.read(folder)
