"""The patch series on disk: which release is served by which lane, and the patches of a lane in order.

A lane is a folder of mails, which git and quilt can apply as well. They are written against one release, the base of
the lane; the blob ids of upstream's own files in other releases are in releases.toml.
"""

import functools
import os
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from exact_resume import patchfile
from exact_resume.errors import SeriesError, UsageError
from exact_resume.patchfile import FileDiff, Patch

PATCHES_VARIABLE = "EXACT_RESUME_PATCHES"
RELEASES_FILE = "releases.toml"
FILE_NAME = re.compile(r"(?:\d\d-)?(.+)\.patch")
SERIES_FILE = "series"
RESULT = "result"
"""The folder beside the lanes that has what the newest lane makes, for readers."""

# By content, as a command may ask for the same series once for each of many releases. Nobody changes what they return.
_parse, _parse_table = map(functools.cache, (patchfile.parse, tomllib.loads))

Combinations = Mapping[str, Mapping[str, str]]
"""Blob ids by path, then by companions, see the module `combinations`."""


@dataclass(frozen=True)
class Lane:
    """What releases.toml says of a lane: its base, and the combinations of the files that the series creates."""

    base: str
    combinations: Combinations = field(default_factory=dict)


@dataclass(frozen=True)
class Release:
    """A release that the series serves.

    Attributes:
        version: the release of transformers.
        lane: the lane that serves it.
        files: for each of upstream's own files that the series changes, its git blob ids: pristine, then after each
            patch that touches it.
        combinations: of these files.
        proof: what the last proof of this release wrote; None before that.
        wheel_sha256: the SHA-256 of its official wheel; None where it is not known.
    """

    version: str
    lane: str
    files: dict[str, tuple[str, ...]]
    proof: dict | None = None
    wheel_sha256: str | None = None
    combinations: Combinations = field(default_factory=dict)


@dataclass(frozen=True)
class Series:
    """The patches of one lane, in the order in which they are applied.

    Attributes:
        lane: the name of the lane.
        base: the release that its diffs of upstream's own files are written against.
        patches: the patches in order.
        combinations: of all files that two or more companions change.
    """

    lane: str
    base: str
    patches: tuple[Patch, ...]
    combinations: Combinations = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The names of the patches, in order."""
        return [patch.name for patch in self.patches]

    @property
    def companions(self) -> list[str]:
        """The names of the patches that can be left out, in order."""
        return [patch.name for patch in self.patches if patch.is_companion]

    def position(self, name: str) -> int:
        """Return the place, from 0, of the patch with this name, or in a file of this name.

        Raises:
            UsageError: there is no such patch.
        """
        for place, known in enumerate(self.names):
            if known in (name, plain_name(name)):
                return place
        raise UsageError(f"no patch {name} in lane {self.lane}; known patches: {', '.join(self.names)}")


def patches_folder() -> Path:
    """Return the folder that holds releases.toml and the lanes.

    The environment variable EXACT_RESUME_PATCHES comes first; then `patches` inside the package, where an installed
    distribution has it; then `patches` of the checkout that this package lies in.

    Raises:
        UsageError: the environment variable names a folder without releases.toml.
        SeriesError: no patches were shipped with this package.
    """
    given = os.environ.get(PATCHES_VARIABLE)
    if given:
        folder = Path(given)
        if not (folder / RELEASES_FILE).is_file():
            raise UsageError(f"{PATCHES_VARIABLE}={given}: no {RELEASES_FILE} there; correct the variable or unset it")
        return folder
    package = Path(__file__).resolve().parent
    for folder in (package / "patches", package.parent.parent / "patches"):
        if (folder / RELEASES_FILE).is_file():
            return folder
    raise SeriesError(f"no patches were found beside {package}; the installation is incomplete")


def load_releases(folder: Path | None = None) -> dict[str, Release]:
    """Return the supported releases by version, newest first.

    Raises:
        SeriesError: releases.toml is damaged.
    """
    folder = folder or patches_folder()

    def read(table: dict) -> dict[str, Release]:
        return {version: _release(version, entry) for version, entry in table["releases"].items()}

    releases = _read_table(folder, read)
    return {version: releases[version] for version in sorted(releases, key=version_key, reverse=True)}


def load_lanes(folder: Path | None = None) -> dict[str, Lane]:
    """Return what releases.toml says of each lane, in its order.

    Raises:
        SeriesError: releases.toml is damaged.
    """

    def read(table: dict) -> dict[str, Lane]:
        return {name: Lane(str(entry["base"]), _combinations(entry)) for name, entry in table["lanes"].items()}

    return _read_table(folder or patches_folder(), read)


def newest_lane(lanes: Mapping[str, Lane]) -> str:
    """Return the lane that is written against the newest release."""
    return max(lanes, key=lambda name: version_key(lanes[name].base))


def _read_table(folder: Path, read):
    path = folder / RELEASES_FILE
    try:
        return read(_parse_table(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SeriesError(f"{path}: cannot be read: {type(error).__name__}: {error}") from error


def _release(version: str, entry: dict) -> Release:
    files = {path: tuple(map(str, blobs)) for path, blobs in entry["files"].items()}
    proof, digest = entry.get("proof"), entry.get("wheel_sha256")
    proof = None if proof is None else dict(proof)
    digest = None if digest is None else str(digest)
    return Release(version, str(entry["lane"]), files, proof, digest, _combinations(entry))


def _combinations(entry: dict) -> Combinations:
    found = entry.get("combinations", {})
    return {path: {names: str(blob) for names, blob in blobs.items()} for path, blobs in found.items()}


def version_key(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, by which releases are ordered; none for a text without them."""
    # Python refuses to make a number of thousands of digits.
    match = re.match(r"\d{1,9}(\.\d{1,9})*", version)
    return tuple(map(int, match.group().split("."))) if match else ()


def nearest(version: str, folder: Path | None = None) -> str:
    """Return the supported release nearest to a version.

    Releases with the same first two numbers come before all others; among these the newest that is not newer than
    the version, else the oldest.
    """
    releases = list(load_releases(folder))
    wanted = version_key(version)
    candidates = [release for release in releases if version_key(release)[:2] == wanted[:2]] or releases
    older = [release for release in candidates if version_key(release) <= wanted]
    return older[0] if older else candidates[-1]


def file_name(place: int, name: str) -> str:
    """Return the name of the file that holds a patch, by its place from 0: a shell puts such names in order."""
    return f"{place + 1:02}-{name}.patch"


def plain_name(name: str) -> str:
    """Return the name of a patch for the name of its file, with or without number; others stay as they are."""
    match = FILE_NAME.fullmatch(name)
    return match[1] if match else name


def listed_files(lane_folder: Path) -> list[str]:
    """Return the file names that a lane's `series` file lists; `#` begins a comment.

    Raises:
        SeriesError: there is no readable series file.
    """
    path = lane_folder / SERIES_FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise SeriesError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    names = (line.partition("#")[0].strip() for line in lines)
    return [name for name in names if name]


def load_lane(lane: str, folder: Path | None = None) -> Series:
    """Read every patch of a lane; the blob ids of upstream's own files are those of its base release.

    Raises:
        SeriesError: the lane, a patch in it or its form is damaged.
    """
    folder = folder or patches_folder()
    lanes = load_lanes(folder)
    if lane not in lanes:
        raise SeriesError(f"{folder / RELEASES_FILE}: has no lane {lane}")
    patches = tuple(read_patch(folder / lane / name) for name in listed_files(folder / lane))
    if not patches:
        raise SeriesError(f"{folder / lane / SERIES_FILE}: lists no patch")
    return Series(lane, lanes[lane].base, patches, lanes[lane].combinations)


def read_patch(path: Path) -> Patch:
    """Read one patch of a lane.

    Raises:
        SeriesError: the file cannot be read, or is not of the expected form.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SeriesError(f"{path}: cannot be read: {error.strerror}") from error
    return _parse(f"{path.parent.name}/{path.name}", raw)


def for_release(release: str, folder: Path | None = None) -> Series:
    """Read the series that serves a release, with the blob ids that upstream's own files have in this release.

    Raises:
        UsageError: no lane serves the release.
        SeriesError: the series is damaged.
    """
    folder = folder or patches_folder()
    releases = load_releases(folder)
    if release not in releases:
        raise UsageError(
            f"transformers {release} has no patch series; the nearest release that has one is "
            f"{nearest(release, folder)} (python -m exact_resume list shows all); use a tree of that one; "
            "nothing was changed"
        )
    series = load_lane(releases[release].lane, folder)
    groups = [patch.is_companion for patch in series.patches]
    if groups != sorted(groups):
        raise SeriesError(f"{folder / series.lane / SERIES_FILE}: lists a patch of the core after a companion")
    patches = _with_blobs(series.patches, releases[release])
    return replace(series, patches=patches, combinations={**series.combinations, **releases[release].combinations})


def _with_blobs(patches: tuple[Patch, ...], release: Release) -> tuple[Patch, ...]:
    touches = Counter(diff.path for patch in patches for diff in patch.diffs)
    created = {diff.path for patch in patches for diff in patch.diffs if diff.is_new}
    for path in sorted(touches.keys() - created | release.files.keys()):
        known = len(release.files.get(path, ()))
        if known != touches[path] + 1:
            raise SeriesError(
                f"{RELEASES_FILE}: release {release.version}: {path}: "
                f"{known} blob ids, where lane {release.lane} needs {touches[path] + 1}"
            )
    steps = {path: pairwise(blobs) for path, blobs in release.files.items()}

    def rewritten(diff: FileDiff) -> FileDiff:
        if diff.path not in steps:
            return diff
        old, new = next(steps[diff.path])
        return replace(diff, old_blob=old, new_blob=new)

    return tuple(replace(patch, diffs=tuple(map(rewritten, patch.diffs))) for patch in patches)
