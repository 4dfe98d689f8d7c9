"""The patch series on disk: which release is served by which lane, and the patches of a lane in order."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from exact_resume import patchfile
from exact_resume.errors import SeriesError, UsageError
from exact_resume.patchfile import Patch

PATCHES_VARIABLE = "EXACT_RESUME_PATCHES"
RELEASES_FILE = "releases.toml"
SERIES_FILE = "series"


@dataclass(frozen=True)
class Series:
    """The patches of one lane, in the order in which they are applied."""

    lane: str
    patches: tuple[Patch, ...]

    @property
    def names(self) -> list[str]:
        """The file names of the patches, in order."""
        return [patch.name for patch in self.patches]

    def position(self, name: str) -> int:
        """Return the place, from 0, of the patch with this name; the ending `.patch` may be left out.

        Raises:
            UsageError: there is no such patch.
        """
        for place, known in enumerate(self.names):
            if name in (known, known.removesuffix(".patch")):
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


def load_releases(folder: Path | None = None) -> dict[str, str]:
    """Return the lane of each supported release, in the order of releases.toml.

    Raises:
        SeriesError: releases.toml is damaged.
    """
    path = (folder or patches_folder()) / RELEASES_FILE
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return {release: str(entry["lane"]) for release, entry in table["releases"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SeriesError(f"{path}: cannot be read: {type(error).__name__}: {error}") from error


def series_names(lane_folder: Path) -> list[str]:
    """Return the patch file names that a lane's `series` file lists; `#` begins a comment.

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
    """Read every patch of a lane.

    Raises:
        SeriesError: the lane, a patch in it or its form is damaged.
    """
    lane_folder = (folder or patches_folder()) / lane
    patches = []
    for name in series_names(lane_folder):
        try:
            raw = (lane_folder / name).read_bytes()
        except OSError as error:
            raise SeriesError(f"{lane_folder / name}: cannot be read: {error.strerror}") from error
        patches.append(patchfile.parse(name, raw))
    if not patches:
        raise SeriesError(f"{lane_folder / SERIES_FILE}: lists no patch")
    return Series(lane, tuple(patches))


def for_release(release: str, folder: Path | None = None) -> Series:
    """Read the series that serves a release.

    Raises:
        UsageError: no lane serves the release.
        SeriesError: the series is damaged.
    """
    folder = folder or patches_folder()
    releases = load_releases(folder)
    if release not in releases:
        raise UsageError(
            f"transformers {release} has no patch series; supported releases: {', '.join(releases)}; "
            "use a tree of one of these; nothing was changed"
        )
    return load_lane(releases[release], folder)
