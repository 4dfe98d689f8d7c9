"""The recorded proofs of releases: what was proven, and whether it still is what the series makes."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from exact_resume import releases, unfinished
from exact_resume.series import Release, Series, for_release, load_lanes, load_releases, patches_folder

CORE, WHOLE = "core", "whole"


def boundaries(known: Mapping[str, Release]) -> list[str]:
    """Return the first and the last release of each lane, newest first; with them the newest and oldest of all."""
    of_lanes: dict[str, list[str]] = {}
    for version, release in known.items():
        of_lanes.setdefault(release.lane, []).append(version)
    ends = {version for versions in of_lanes.values() for version in (versions[0], versions[-1])}
    return [version for version in known if version in ends]


def digest(series: Series) -> str:
    """
    Return a digest of what the package holds after a series.

    Neither messages, nor tests, nor which patch changes what are part of it.

    Args:
        series: What `series.for_release` returns for the release.
    """
    blobs = {diff.path: diff.new_blob for patch in series.patches for diff in patch.diffs}
    words = [f"{path} {blob}" for path, blob in sorted(blobs.items()) if path.startswith("src/")]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]


def is_fresh(release: Release, folder: Path | None = None) -> bool:
    """Tell whether a release has a proof of the series as it is."""
    return release.proof is not None and release.proof.get("series") == digest(for_release(release.version, folder))


def record(version: str, proof: Mapping[str, Any] | None, folder: Path | None = None) -> None:
    """Write the proof of a release into releases.toml, or take it out of there."""
    folder = (folder or patches_folder()).resolve()
    # Another process may be recording the proof of another release.
    with unfinished.alone(folder):
        known = load_releases(folder)
        known[version] = replace(known[version], proof=None if proof is None else dict(proof))
        releases.save(folder, load_lanes(folder), known.values())
