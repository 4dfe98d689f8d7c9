"""Check the patch series themselves; this is what continuous integration runs over a change of the patches."""

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from exact_resume import hunks, patchfile, proofs, replay
from exact_resume import series as patch_series
from exact_resume.commits import COMMON_CONTEXT, LANE_CONTEXT
from exact_resume.errors import SeriesError
from exact_resume.git import ABSENT
from exact_resume.patchfile import FIELDS, FileDiff, Patch

ALLOWED_FOLDERS = ("src/transformers/", "tests/trainer/")
TRAINER = "src/transformers/trainer.py"
TRAINER_LIMIT = 99
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
    findings = [*check_releases(folder), *check_common(folder)]
    figures = []
    replayed = set()
    for lane in lanes(folder):
        patches, lane_findings = read_lane(folder, lane)
        lane_findings += (f"{lane}/{finding}" for finding in check_patches(patches))
        lane_findings += check_places(folder, lane, patches)
        changed = changed_lines(patches, TRAINER)
        figures.append(
            f"{lane}: {len(patches)} patches, {changed} changed lines in {TRAINER}, limit: below {TRAINER_LIMIT}"
        )
        if changed >= TRAINER_LIMIT:
            findings.append(
                f"{lane}: {changed} changed lines in {TRAINER}; the series has to stay below {TRAINER_LIMIT}"
            )
        names = tuple(patch.name for patch in patches)
        # Lanes with the same patches have the same mails; where something is wrong, more would only follow from it.
        if not lane_findings and names not in replayed:
            replayed.add(names)
            lane_findings += replay.check_mails(patches, folder)
        findings += lane_findings
    if not findings:
        findings += check_blobs(folder)
        figures += count_proofs(folder)
    if trees and not findings:
        findings += check_trees(folder)
    # What is wrong with a mail shows in every lane.
    return figures, list(dict.fromkeys(findings))


def lanes(folder: Path) -> list[str]:
    """Return the names of the lanes, which are the folders beside `common`."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name != patch_series.COMMON)


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
        elif bases[lane] not in releases or releases[bases[lane]].lane != lane:
            yield f"{lane}: its base, {bases[lane]}, is not served by it in {patch_series.RELEASES_FILE}"
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


def check_common(folder: Path) -> Iterable[str]:
    """Look for mails that no lane lists, and check the header of each."""
    listed = {name for lane in lanes(folder) for name in _listed(folder / lane)}
    for path in sorted((folder / patch_series.COMMON).glob("*.patch")):
        if path.name not in listed:
            yield f"{patch_series.COMMON}/{path.name}: no lane lists this patch"
        try:
            yield from check_header(patchfile.parse(f"{patch_series.COMMON}/{path.name}", path.read_bytes()))
        except SeriesError as error:
            yield str(error)


def _listed(lane_folder: Path) -> list[str]:
    try:
        return patch_series.series_names(lane_folder)
    except SeriesError:
        return []


def read_lane(folder: Path, lane: str) -> tuple[list[Patch], list[str]]:
    """Read what can be read of a lane; return the patches in order and the findings about the files."""
    findings = []
    patches = []
    try:
        listed = patch_series.series_names(folder / lane)
    except SeriesError as error:
        return [], [str(error)]
    if not listed:
        findings.append(f"{lane}/{patch_series.SERIES_FILE}: lists no patch")
    own = sorted(path.name for path in (folder / lane).glob("*.patch"))
    findings += (f"{lane}/{name}: not listed in {patch_series.SERIES_FILE}" for name in own if name not in listed)
    for place, name in enumerate(listed):
        if name in listed[:place]:
            findings.append(f"{lane}/{patch_series.SERIES_FILE}: lists {name} twice")
        elif not (folder / patch_series.COMMON / name).is_file():
            findings.append(
                f"{lane}/{patch_series.SERIES_FILE}: lists {name}, which does not exist in {patch_series.COMMON}"
            )
        else:
            paths = [path for path in (folder / patch_series.COMMON / name, folder / lane / name) if path.is_file()]
            for path in paths:
                if not path.read_bytes().endswith(b"\n"):
                    findings.append(f"{path.relative_to(folder)}: does not end with a newline")
            try:
                patches.append(patch_series.read_patch(name, lane, folder))
            except SeriesError as error:
                findings.append(str(error))
    return patches, findings


def check_patches(patches: list[Patch]) -> Iterable[str]:
    """Check the diffs of each patch, and that the blob ids of the patches follow on one another."""
    created = replay.created_paths(patches)
    latest: dict[str, tuple[str, str]] = {}
    for patch in patches:
        if not patch.diffs:
            yield f"{patch.name}: changes no file"
        for diff in patch.diffs:
            context = COMMON_CONTEXT if diff.path in created else LANE_CONTEXT
            problems = (*check_diff(diff), *hunks.check(diff, context))
            yield from (f"{patch.name}: {diff.path}: {what}" for what in problems)
            blob, author = latest.get(diff.path, (diff.old_blob, patch.name))
            if blob != diff.old_blob:
                yield f"{patch.name}: {diff.path}: starts from {diff.old_blob}, but {author} leaves {blob}"
            latest[diff.path] = diff.new_blob, patch.name


def check_places(folder: Path, lane: str, patches: list[Patch]) -> Iterable[str]:
    """Check that the files that the series creates are in the mails, and upstream's own in the lane."""
    created = replay.created_paths(patches)
    for patch in patches:
        mail = patchfile.parse(patch.name, (folder / patch_series.COMMON / patch.name).read_bytes())
        for diff in patch.diffs:
            if diff in mail.diffs and diff.path not in created:
                yield f"{patch_series.COMMON}/{patch.name}: {diff.path}: upstream's own, which belongs to each lane"
            elif diff not in mail.diffs and diff.path in created:
                yield f"{lane}/{patch.name}: {diff.path}: created here, which belongs to {patch_series.COMMON}"


def check_blobs(folder: Path) -> Iterable[str]:
    """Check that the blob ids of each release go with its lane, and those of the base with the diffs of the lane."""
    for version in patch_series.load_releases(folder):
        try:
            series = patch_series.for_release(version, folder)
        except SeriesError as error:
            yield str(error)
            continue
        if version == series.base and series != patch_series.load_lane(series.lane, folder):
            yield f"{patch_series.RELEASES_FILE}: release {version}: other blob ids than in its lane, {series.lane}"


def check_trees(folder: Path) -> Iterable[str]:
    """Compare with what the published files of each release give."""
    series = {lane: patch_series.load_lane(lane, folder) for lane in patch_series.load_lanes(folder)}
    for lane in series.values():
        _say(f"{lane.lane}: replaying it on {lane.base}")
        yield from replay.check_lane(lane, folder)
    for version, release in patch_series.load_releases(folder).items():
        _say(f"{version}: applying {release.lane}")
        yield from replay.check_release(release, series[release.lane])


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def check_header(patch: Patch) -> Iterable[str]:
    """Check the title, the message and the fields of one patch."""
    if not patch.title:
        yield f"{patch.name}: the title is empty"
    if not patch.message:
        yield f"{patch.name}: the message is empty"
    for field in FIELDS:
        if not patch.fields.get(field):
            yield f"{patch.name}: the field {field} is missing or empty"


def check_diff(diff: FileDiff) -> Iterable[str]:
    """Check what one patch does to one file."""
    if not diff.path.startswith(ALLOWED_FOLDERS):
        yield f"outside {' and '.join(ALLOWED_FOLDERS)}"
    if diff.old_blob == diff.new_blob or ((ABSENT in (diff.old_blob, diff.new_blob)) != (diff.mode is not None)):
        yield "the index line does not go with the rest of the diff"
    for line in diff.body_lines(b"+"):
        if line != line.rstrip():
            yield f"trailing whitespace in the added line {line.decode('utf-8', errors='replace')!r}"
    if diff.new_blob != ABSENT and diff.hunks and _lacks_final_newline(diff):
        yield "the file would not end with a newline"


def changed_lines(patches: Iterable[Patch], path: str) -> int:
    """Count the lines of one file that the patches add and remove; what a later one undoes does not count."""
    added, removed = Counter(), Counter()
    for diff in (diff for patch in patches for diff in patch.diffs if diff.path == path):
        added.update(diff.body_lines(b"+"))
        removed.update(diff.body_lines(b"-"))
    return (added - removed).total() + (removed - added).total()


def _lacks_final_newline(diff: FileDiff) -> bool:
    lines = diff.hunks[-1].split(b"\n")
    return any(
        line.startswith(b"\\") and before[:1] in (b"+", b" ") for before, line in zip(lines, lines[1:], strict=False)
    )
