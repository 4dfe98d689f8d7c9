"""Write the series back from a git work tree, see the module `commits`."""

import argparse
import re
from pathlib import Path

from exact_resume import commits, install, patchfile, releases, unfinished
from exact_resume import series as patch_series
from exact_resume.commits import Commit
from exact_resume.errors import EXIT_FINE, UsageError
from exact_resume.series import COMMON, RELEASES_FILE, SERIES_FILE, Release, version_key

LANE_NAME = re.compile(r"v\d+\.\d+")
SLUG_LENGTH = 60


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
    """Write the commits of a work tree as a lane, with their mails and with the base release in releases.toml.

    Args:
        folder: the work tree.
        lane: the lane, which may be a new one; the one that serves the release without it.
        patches: the folder of the patches.

    Returns:
        The report for the user.

    Raises:
        UsageError: the work tree is not of the expected form, has changes that are not committed, or does not agree
            with the newest lane; nothing was changed.
    """
    patches = (patches or patch_series.patches_folder()).resolve()
    _check_work_tree(folder)
    release, series = commits.read(folder)
    known, lanes = patch_series.load_releases(patches), patch_series.load_lanes(patches)
    lane = _lane(folder, lane, release, known, lanes)
    listed = {name for other in lanes if other != lane for name in patch_series.series_names(patches / other)}
    names = _names(series, patches)
    files = {f"{COMMON}/{name}": commit.mail for name, commit in zip(names, series, strict=True)}
    _check_agreement(patches, files, listed, lane, lanes | {lane: release})
    files |= {f"{lane}/{name}": commit.own for name, commit in zip(names, series, strict=True) if commit.own}
    files[f"{lane}/{SERIES_FILE}"] = "".join(f"{name}\n" for name in names).encode()
    # What was proven of a release is not kept when it moves to another lane.
    before = known.get(release)
    proof = before.proof if before and before.lane == lane else None
    row = Release(release, lane, commits.chains(series), proof, before.wheel_sha256 if before else None)
    files[RELEASES_FILE] = releases.text(lanes | {lane: release}, {**known, release: row}.values())
    changed = _write(patches, files, {f"{COMMON}/{name}" for name in listed}, lane)
    return [
        *changed,
        f"lane {lane}: {len(series)} patches, written against transformers {release}; files changed: {len(changed)}",
        f"now work out the blob ids of the other releases: python -m exact_resume hashes --lane {lane}",
    ]


def _check_work_tree(folder: Path) -> None:
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; give a work tree that checkout has made")
    changes = commits.run(folder, "status", "--porcelain").decode(errors="replace").splitlines()
    if changes:
        raise UsageError(
            f"{folder}: not committed: {', '.join(line[3:] for line in changes)}; commit it, or put it away; "
            "nothing was changed"
        )


def _lane(folder: Path, lane: str | None, release: str, known: dict[str, Release], lanes: dict[str, str]) -> str:
    if lane is None:
        if release not in known:
            raise UsageError(f"{folder} is of transformers {release}, which no lane serves; name a lane with --lane")
        lane = known[release].lane
    if not LANE_NAME.fullmatch(lane):
        raise UsageError(f"{lane} is not the name of a lane, which is that of its oldest release, such as v5.19")
    if lane in lanes and version_key(release) < version_key(lanes[lane]):
        raise UsageError(
            f"{folder} is of transformers {release}, but lane {lane} is written against {lanes[lane]}; "
            f"make a work tree of that: python -m exact_resume checkout {lanes[lane]}"
        )
    return lane


def _names(series: list[Commit], patches: Path) -> list[str]:
    """Return the names of the patches: those that the titles have in `common`, and new ones for new titles."""
    known = {}
    for path in sorted((patches / COMMON).glob("*.patch")):
        known[patchfile.parse(f"{COMMON}/{path.name}", path.read_bytes()).title] = path.name
    names = [known.get(commit.title) or f"{_slug(commit.title)}.patch" for commit in series]
    for place, (name, commit) in enumerate(zip(names, series, strict=True)):
        if name in names[:place]:
            raise UsageError(f"two commits give {name}: {commit.title!r}; give each a title of its own")
    return names


def _slug(title: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return words if len(words) <= SLUG_LENGTH else words[: SLUG_LENGTH + 1].rpartition("-")[0]


def _check_agreement(
    patches: Path, mails: dict[str, bytes], listed: set[str], lane: str, lanes: dict[str, str]
) -> None:
    """Let only the newest lane change a mail that another lane lists."""
    newest = max(lanes, key=lambda name: version_key(lanes[name]))
    if lane == newest:
        return
    for path, mail in mails.items():
        name = path.removeprefix(f"{COMMON}/")
        if name in listed and mail != (patches / path).read_bytes():
            raise UsageError(
                f"lane {lane} gives another {path} than the other lanes have; the message, the fields and the files "
                f"that the series creates are the same in every lane; change the newest lane, {newest}, first; "
                "nothing was changed"
            )


def _write(patches: Path, files: dict[str, bytes], kept: set[str], lane: str) -> list[str]:
    """Write the files; remove the patches of the lane, and the mails, that nothing lists any more."""
    present = {
        path.relative_to(patches).as_posix() for part in (COMMON, lane) for path in (patches / part).glob("*.patch")
    }
    after = files | dict.fromkeys(present - kept - files.keys())
    changes = []
    for path, content in sorted(after.items()):
        before = (patches / path).read_bytes() if (patches / path).exists() else None
        if content != before:
            changes.append(install.Change(patches / path, before, content))
    install.check_writable(changes, patches)
    install.install(changes, patches)
    verbs = ["removed" if change.after is None else "written" for change in changes]
    return [f"{verb}: {change.target.relative_to(patches)}" for verb, change in zip(verbs, changes, strict=True)]
