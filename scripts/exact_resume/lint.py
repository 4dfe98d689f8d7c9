"""Check the patch series themselves; this is what continuous integration runs over a change of the patches."""

import sys
from collections.abc import Iterable
from pathlib import Path

from exact_resume import combinations, created, lint_lane, proofs, replay, result, sharing
from exact_resume import series as patch_series
from exact_resume.errors import Finding, SeriesError

TRAINER = "src/transformers/trainer.py"
TRAINER_LIMIT = 75
"""The changed lines in trainer.py of one lane have to stay below this, so that the series stays readable."""


def check(folder: Path | None = None, *, trees: bool = False) -> tuple[list[str], list[str]]:
    """Check every lane; return one line of figures for each lane, and one line for each thing that is wrong.

    Args:
        folder: the folder of the patches.
        trees: replay the lanes on the published files of their releases as well, which needs the official wheels.

    Raises:
        UsageError: an official wheel is not to be had.
    """
    folder = folder or patch_series.patches_folder()
    findings = [*check_releases(folder)]
    figures = []
    replayed = set()
    for lane in lanes(folder):
        mails, lane_findings = lint_lane.read(folder / lane)
        lane_findings += (f"{lane}/{finding}" for finding in lint_lane.check(mails))
        patches = [patch for _, patch in mails]
        changed = lint_lane.changed_lines(patches, TRAINER)
        figures.append(
            f"{lane}: {len(patches)} patches, {changed} changed lines in {TRAINER}, limit: below {TRAINER_LIMIT}"
        )
        if changed >= TRAINER_LIMIT:
            findings.append(
                f"{lane}: {changed} changed lines in {TRAINER}; the series has to stay below {TRAINER_LIMIT}"
            )
        paths = created.paths(patches)
        shared = tuple(created.shared(patch, paths) for patch in patches)
        # Where something is wrong, more would only follow from it; lanes that share all that is replayed are alike.
        if not lane_findings and shared not in replayed:
            replayed.add(shared)
            lane_findings += (f"{lane}: {finding}" for finding in replay.check_messages(patches))
        findings += lane_findings
    if not findings:
        findings += check_together(folder)
    if not findings:
        findings += check_blobs(folder)
    if not findings:
        figures += count_proofs(folder)
    if trees and not findings:
        findings += check_trees(folder)
    return figures, findings


def lanes(folder: Path) -> list[str]:
    """Return the names of the lanes, which are the folders beside that of the result."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name != patch_series.RESULT)


def check_releases(folder: Path) -> Iterable[str]:
    """Compare releases.toml with the lanes that exist."""
    try:
        releases = patch_series.load_releases(folder)
        bases = patch_series.load_lanes(folder)
    except SeriesError as error:
        yield str(error)
        return
    existing = lanes(folder)
    for version, release in releases.items():
        if release.lane not in existing:
            yield f"{patch_series.RELEASES_FILE}: release {version} names lane {release.lane}, which does not exist"
    served = {release.lane for release in releases.values()}
    for lane in existing:
        if lane not in served:
            yield f"{lane}: no release in {patch_series.RELEASES_FILE} uses this lane"
        elif lane not in bases:
            yield f"{lane}: {patch_series.RELEASES_FILE} does not name its base"
        elif bases[lane].base not in releases or releases[bases[lane].base].lane != lane:
            yield f"{lane}: its base, {bases[lane].base}, is not served by it in {patch_series.RELEASES_FILE}"
    for lane in bases:
        if lane not in existing:
            yield f"{patch_series.RELEASES_FILE}: names lane {lane}, which does not exist"


def count_proofs(folder: Path) -> list[str]:
    """Say how many of the recorded proofs are of an earlier series, which is no fault of the series as it is."""
    proven = [release for release in patch_series.load_releases(folder).values() if release.proof is not None]
    earlier = sum(not proofs.is_fresh(release, folder) for release in proven)
    if not earlier:
        return []
    return [f"{earlier} of {len(proven)} proofs are of an earlier series; to make them again: prove --all"]


def check_together(folder: Path) -> Iterable[str]:
    """Check what lanes share, that companions do without one another, and the result of the newest lane."""
    bases = patch_series.load_lanes(folder)
    series = {lane: patch_series.load_lane(lane, folder) for lane in bases}
    for lane, name, leader in sharing.disagreements(series):
        yield f"{lane}: {name}: the message or a file that the series creates is not as in {leader}; export {leader}"
    for lane, one in series.items():
        try:
            if created.combined(one.patches) != bases[lane].combinations:
                yield f"{patch_series.RELEASES_FILE}: lane {lane}: other combinations than its mails give; run export"
        except Finding as finding:
            yield f"{lane}: {finding}"
    yield from result.check(folder, series[patch_series.newest_lane(bases)])


def check_blobs(folder: Path) -> Iterable[str]:
    """Check that the blob ids of each release go with its lane, and those of the base with the diffs of the lane."""
    for version in patch_series.load_releases(folder):
        try:
            series = patch_series.for_release(version, folder)
            combinations.check_recorded(series, version)
        except SeriesError as error:
            yield str(error)
            continue
        if version == series.base and series.patches != patch_series.load_lane(series.lane, folder).patches:
            yield f"{patch_series.RELEASES_FILE}: release {version}: other blob ids than in its lane, {series.lane}"


def check_trees(folder: Path) -> Iterable[str]:
    """Compare with what the published files of each release give."""
    bases = patch_series.load_lanes(folder)
    series = {lane: patch_series.load_lane(lane, folder) for lane in bases}
    for lane in series.values():
        _say(f"{lane.lane}: replaying it on {lane.base}")
        yield from replay.check_lane(lane, folder, newest=lane.lane == patch_series.newest_lane(bases))
    for version, release in patch_series.load_releases(folder).items():
        _say(f"{version}: applying {release.lane}")
        yield from replay.check_release(release, series[release.lane])


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
