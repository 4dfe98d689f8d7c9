"""Work out the hash of each release's wheel, and the git blob ids of its files after each patch of its lane."""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from exact_resume import combinations, pristine, releases, scratch, trees, unfinished
from exact_resume import series as patch_series
from exact_resume.errors import EXIT_FINDING, EXIT_FINE, Finding, UsageError
from exact_resume.git import blob_id
from exact_resume.patchfile import FileDiff, Patch
from exact_resume.scratch import Contents
from exact_resume.series import Combinations, Release, Series

Hashes = tuple[dict[str, tuple[str, ...]], Combinations]
"""Of upstream's own files that a lane changes: the blob ids pristine and after each patch, and the combinations."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `hashes`."""
    command.add_argument("releases", metavar="RELEASE", nargs="*", help="which releases (default: all)")
    command.add_argument("--lane", metavar="LANE", help="only the releases of this lane")
    command.add_argument(
        "--add", metavar="RELEASE", nargs="+", default=[], help="serve these releases by the lane that --lane names"
    )
    command.add_argument(
        "--pristine-from",
        metavar="FOLDER",
        type=Path,
        help="a folder that has a pristine tree of each release under its number (default: the official wheels)",
    )


def run(parsed: argparse.Namespace) -> int:
    """Write the blob ids; the errors are those of `update`."""
    with unfinished.alone(patch_series.patches_folder().resolve()):
        lines, findings = update(parsed.releases, added=parsed.add, lane=parsed.lane, source=parsed.pristine_from)
    for line in [*(f"finding: {finding}" for finding in findings), "nothing was changed"] if findings else lines:
        print(line)
    return EXIT_FINDING if findings else EXIT_FINE


def update(
    versions: list[str], *, added: list[str], lane: str | None, source: Path | None, folder: Path | None = None
) -> tuple[list[str], list[str]]:
    """Work the hashes of releases out again and write them into releases.toml, if all of them fit their lanes.

    Args:
        versions: which releases; all without one, or all of the lane.
        added: releases to serve from now on by `lane`.
        lane: a lane.
        source: a folder with a pristine tree for each release, under its version; official wheels without it.
        folder: the folder of the patches.

    Returns:
        A line for each release that fits, and one for each that does not; with one of these nothing is written.

    Raises:
        UsageError: there is no such release or lane, or no pristine files are to be had.
    """
    folder = folder or patch_series.patches_folder()
    known, lanes = patch_series.load_releases(folder), patch_series.load_lanes(folder)
    if lane is not None and lane not in lanes:
        raise UsageError(f"no lane {lane}; there are: {', '.join(lanes)}")
    chosen = _chosen(known, versions, added, lane)
    loaded = {name: patch_series.load_lane(name, folder) for name in {release.lane for release in chosen}}
    after, lines, findings = dict(known), [], []
    for number, release in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {release.version}", file=sys.stderr, flush=True)
        try:
            files, others = work_out(release.version, loaded[release.lane], source and source / release.version)
        except Finding as finding:
            findings.append(str(finding))
            continue
        # Where there is a recorded hash, the wheel has been compared with it.
        digest = release.wheel_sha256 if source else trees.wheel_digest(trees.official_wheel(release.version))
        after[release.version] = replace(release, files=files, wheel_sha256=digest, combinations=others)
        before = known.get(release.version)
        word = "added" if before is None else "as before" if before == after[release.version] else "changed"
        lines.append(f"{release.version}: lane {release.lane}, {word}")
    if not findings:
        releases.save(folder, lanes, after.values())
    return lines, findings


def _chosen(known: dict[str, Release], versions: list[str], added: list[str], lane: str | None) -> list[Release]:
    if added:
        if lane is None or versions:
            raise UsageError("--add takes the releases to add, and --lane the lane that is to serve them")
        # What was proven of a release is not kept when it moves to another lane.
        moved = [known.get(version, Release(version, lane, {})) for version in added]
        return [release if release.lane == lane else replace(release, lane=lane, proof=None) for release in moved]
    unknown = [version for version in versions if version not in known]
    if unknown:
        raise UsageError(
            f"no release {', '.join(unknown)} in {patch_series.RELEASES_FILE}; add it with --add and --lane"
        )
    return [
        release
        for version, release in known.items()
        if version in (versions or known) and lane in (None, release.lane)
    ]


def work_out(version: str, series: Series, source: Path | None = None) -> Hashes:
    """Apply a lane to a release.

    Args:
        version: the release.
        series: the lane, with the blob ids of its base.
        source: a pristine tree of the release; its official wheel without it.

    Raises:
        UsageError: the pristine files are not to be had.
        Finding: the lane does not fit; names the release, the patch and the hunk.
    """
    paths = {diff.path for patch in series.patches for diff in patch.diffs}
    created = {diff.path for patch in series.patches for diff in patch.diffs if diff.is_new}
    contents: Contents = pristine.read(version, source, sorted(paths))
    for path in sorted(created):
        if contents[path] is not None:
            raise Finding(f"{version}: {path}: the series creates this file, and the release has it already")
    contents = {path: contents[path] for path in sorted(paths - created)}
    chains = {path: [blob_id(content)] for path, content in contents.items()}
    core = contents
    for patch in series.patches:
        diffs = tuple(diff for diff in patch.diffs if diff.path in chains)
        before, contents = contents, _apply(version, patch, diffs, contents) if diffs else contents
        for diff in diffs:
            _check_unique(f"{version}: {patch.name}: {diff.path}", diff, before[diff.path], contents[diff.path])
        for diff in diffs:
            chains[diff.path].append(blob_id(contents[diff.path]))
            if version == series.base and chains[diff.path][-2:] != [diff.old_blob, diff.new_blob]:
                raise Finding(
                    f"{version}: {patch.name}: {diff.path}: lane {series.lane} was not written against this file"
                )
        core = core if patch.is_companion else contents
    try:
        others = combinations.work_out(series.patches, core)
    except Finding as finding:
        raise Finding(f"{version}: {finding}") from finding
    return {path: tuple(chain) for path, chain in chains.items()}, others


def _check_unique(where: str, diff: FileDiff, before: bytes | None, after: bytes | None) -> None:
    """Refuse a hunk that fits in more than one place: in another release, git could take the wrong one."""
    there = scratch.ambiguous_hunks(before, diff) if before is not None else ()
    back = scratch.ambiguous_hunks(after, diff, reverse=True) if after is not None else ()
    for number in sorted({*there, *back}):
        raise Finding(f"{where}: hunk {number} fits in more than one place; change lines that occur once")


def _apply(version: str, patch: Patch, diffs: tuple[FileDiff, ...], contents: Contents) -> Contents:
    try:
        return scratch.apply(contents, diffs)
    except scratch.DoesNotApply as error:
        raise Finding("; ".join(f"{version}: {patch.name}: {what}" for what in _misfits(diffs, contents))) from error


def _misfits(diffs: tuple[FileDiff, ...], contents: Contents) -> Iterator[str]:
    for diff in diffs:
        if contents[diff.path] is None:
            yield f"{diff.path}: the release has no such file"
            continue
        hunks = scratch.apply_what_fits(contents[diff.path], diff)[1]
        if hunks:
            yield f"{diff.path}: hunk {', '.join(map(str, hunks))} does not fit"
