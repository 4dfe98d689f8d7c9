"""Write the series back from a git work tree, see the module `commits`."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from exact_resume import combinations, commits, created, install, releases, result, scratch, sharing, unfinished
from exact_resume import series as patch_series
from exact_resume.commits import History
from exact_resume.errors import EXIT_FINE, Finding, UsageError
from exact_resume.patchfile import Patch
from exact_resume.series import RELEASES_FILE, RESULT, SERIES_FILE, Combinations, Lane, Release, version_key

LANE_NAME = re.compile(r"v\d+\.\d+")
MOST_PATCHES = 99


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `export`."""
    command.add_argument(
        "folder", metavar="FOLDER", type=Path, help="the work tree: a release, then a commit for each patch"
    )
    command.add_argument(
        "--lane", metavar="LANE", help="the lane, also a new one (default: the one that serves the release)"
    )


def run(parsed: argparse.Namespace) -> int:
    """Write the series; the errors are those of `export`."""
    with unfinished.alone(patch_series.patches_folder().resolve()):
        print("\n".join(export(parsed.folder, parsed.lane)))
    return EXIT_FINE


def export(folder: Path, lane: str | None = None, patches: Path | None = None) -> list[str]:
    """Write the commits of a work tree as a lane, with the base release in releases.toml.

    What mails of other, older lanes share with these is written there as well. From the newest lane, so is the result.

    Args:
        folder: the work tree.
        lane: the lane, which may be a new one; the one that serves the release without it.
        patches: the folder of the patches.

    Returns:
        The report for the user.

    Raises:
        UsageError: the work tree is not of the expected form, has changes that are not committed, or does not agree
            with a newer lane; nothing was changed.
    """
    patches = (patches or patch_series.patches_folder()).resolve()
    _check_work_tree(folder)
    history = commits.read(folder)
    known, lanes = patch_series.load_releases(patches), patch_series.load_lanes(patches)
    lane = _lane(folder, lane, history.release, known, lanes)
    lanes[lane] = Lane(history.release)
    _check_names(history.patches)
    try:
        own = _combinations(history)
        lanes[lane] = Lane(history.release, created.combined(history.patches))
    except Finding as finding:
        raise UsageError(f"{folder}: {finding}; nothing was changed") from finding
    # What was proven of a release is not kept when it moves to another lane.
    before = known.get(history.release)
    proof = before.proof if before and before.lane == lane else None
    digest = before.wheel_sha256 if before else None
    known[history.release] = Release(history.release, lane, _chains(history), proof, digest, own)
    unserved = lanes.keys() - {release.lane for release in known.values()}
    lanes = {name: entry for name, entry in lanes.items() if name not in unserved}
    every, remarks = sharing.carry(patches, lanes, lane, history.patches), []
    for name in every.keys() - {lane}:
        try:
            lanes[name] = Lane(lanes[name].base, created.combined(every[name]))
        except Finding as finding:
            remarks.append(f"lane {name} does not fit together any more, export it next: {finding}")
    files: dict[str, bytes | None] = {}
    for name, mails in every.items():
        files |= _files(name, mails)
    if lane == patch_series.newest_lane(lanes):
        files |= result.files(history)
    files[RELEASES_FILE] = releases.text(lanes, known.values())
    files |= dict.fromkeys(path for name in unserved for path in releases.lane_files(patches, name))
    changed = _write(patches, files, lane)
    return [
        *changed,
        *sorted(remarks),
        f"lane {lane}: {len(history.patches)} patches, written against transformers {history.release}; "
        f"files changed: {len(changed)}",
        f"now work out the blob ids of the other releases: python -m exact_resume hashes --lane {lane}",
    ]


def _chains(history: History) -> dict[str, tuple[str, ...]]:
    """Return, for each of upstream's own files that the series changes, its blob ids: pristine, then after each."""
    found: dict[str, tuple[str, ...]] = {}
    for diff in (diff for patch in history.patches for diff in patch.diffs if diff.path in history.upstream):
        found[diff.path] = (*found.get(diff.path, (diff.old_blob,)), diff.new_blob)
    return found


def _combinations(history: History) -> Combinations:
    """Return the blob ids of upstream's own files for combinations of companions."""
    core = {path: history.pristine(path) for path in _chains(history)}
    for patch in history.patches:
        diffs = [diff for diff in patch.diffs if diff.path in core]
        if diffs and not patch.is_companion:
            core |= scratch.apply(core, diffs)
    return combinations.work_out(history.patches, core)


def _files(lane: str, mails: Sequence[Patch]) -> dict[str, bytes]:
    names = [patch_series.file_name(place, mail.name) for place, mail in enumerate(mails)]
    files = {f"{lane}/{name}": mail.text for name, mail in zip(names, mails, strict=True)}
    return files | {f"{lane}/{SERIES_FILE}": "".join(f"{name}\n" for name in names).encode()}


def _check_work_tree(folder: Path) -> None:
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; give a work tree that checkout has made")
    changes = commits.run(folder, "status", "--porcelain").decode(errors="replace").splitlines()
    if changes:
        raise UsageError(
            f"{folder}: not committed: {', '.join(line[3:] for line in changes)}; commit it, or put it away; "
            "nothing was changed"
        )


def _lane(folder: Path, lane: str | None, release: str, known: dict[str, Release], lanes: dict[str, Lane]) -> str:
    if lane is None:
        if release not in known:
            raise UsageError(f"{folder} is of transformers {release}, which no lane serves; name a lane with --lane")
        lane = known[release].lane
    if not LANE_NAME.fullmatch(lane):
        raise UsageError(f"{lane} is not the name of a lane, which is that of its oldest release, such as v5.3")
    if lane in lanes and version_key(release) < version_key(lanes[lane].base):
        base = lanes[lane].base
        raise UsageError(
            f"{folder} is of transformers {release}, but lane {lane} is written against {base}; "
            f"make a work tree of that: python -m exact_resume checkout {base}"
        )
    return lane


def _check_names(series: Sequence[Patch]) -> None:
    if len(series) > MOST_PATCHES:
        raise UsageError(f"{len(series)} commits; a lane has at most {MOST_PATCHES} patches; nothing was changed")
    groups = [patch.is_companion for patch in series]
    for place, patch in enumerate(series):
        if not patch.name:
            raise UsageError(f"{patch.title!r} gives no name; add the field Name to the message; nothing was changed")
        if patch.name in [earlier.name for earlier in series[:place]]:
            raise UsageError(
                f"two commits give the name {patch.name}: {patch.title!r}; give each a title, or a field Name, of its "
                "own; nothing was changed"
            )
        if not groups[place] and any(groups[:place]):
            raise UsageError(
                f"{patch.title!r} is of the core and follows on a companion; put companions last; nothing was changed"
            )


def _write(patches: Path, files: dict[str, bytes | None], lane: str) -> list[str]:
    """Write the files; remove the mails of the lane, and the files of the result, that are not among them."""
    present = {path.relative_to(patches).as_posix() for path in (patches / lane).glob("*.patch")}
    if any(path.startswith(f"{RESULT}/") for path in files):
        present |= set(result.present(patches))
    after = files | dict.fromkeys(present - files.keys())
    changes = []
    for path, content in sorted(after.items()):
        before = (patches / path).read_bytes() if (patches / path).exists() else None
        if content != before:
            changes.append(install.Change(patches / path, before, content))
    install.check_writable(changes, patches)
    install.install(changes, patches)
    verbs = ["removed" if change.after is None else "written" for change in changes]
    return [f"{verb}: {change.target.relative_to(patches)}" for verb, change in zip(verbs, changes, strict=True)]
