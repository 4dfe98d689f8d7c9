"""Check the patch series themselves; this is what continuous integration runs over a change of the patches."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from exact_resume import patchfile
from exact_resume import series as patch_series
from exact_resume.errors import SeriesError
from exact_resume.git import ABSENT
from exact_resume.patchfile import FIELDS, FileDiff, Patch

ALLOWED_FOLDERS = ("src/transformers/", "tests/trainer/")
TRAINER = "src/transformers/trainer.py"
TRAINER_LIMIT = 85
"""The changed lines in trainer.py of one lane have to stay below this, so that the series stays readable."""


def check(folder: Path | None = None) -> tuple[list[str], list[str]]:
    """Check every lane; return one line of figures for each lane, and one line for each thing that is wrong."""
    folder = folder or patch_series.patches_folder()
    findings = [*check_releases(folder), *check_common(folder)]
    figures = []
    for lane in lanes(folder):
        patches, lane_findings = read_lane(folder, lane)
        findings += lane_findings
        findings += (f"{lane}/{finding}" for finding in check_patches(patches))
        changed = changed_lines(patches, TRAINER)
        figures.append(
            f"{lane}: {len(patches)} patches, {changed} changed lines in {TRAINER}, limit: below {TRAINER_LIMIT}"
        )
        if changed >= TRAINER_LIMIT:
            findings.append(
                f"{lane}: {changed} changed lines in {TRAINER}; the series has to stay below {TRAINER_LIMIT}"
            )
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
    latest: dict[str, tuple[str, str]] = {}
    for patch in patches:
        if not patch.diffs:
            yield f"{patch.name}: changes no file"
        for diff in patch.diffs:
            yield from (f"{patch.name}: {diff.path}: {what}" for what in check_diff(diff))
            blob, author = latest.get(diff.path, (diff.old_blob, patch.name))
            if blob != diff.old_blob:
                yield f"{patch.name}: {diff.path}: starts from {diff.old_blob}, but {author} leaves {blob}"
            latest[diff.path] = diff.new_blob, patch.name


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
