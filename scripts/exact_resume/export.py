"""Write the series back from a git work tree: a pristine commit of a release, then one commit for each patch."""

import argparse
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from exact_resume import git, install, patchfile, releases
from exact_resume import series as patch_series
from exact_resume.errors import EXIT_FINE, SeriesError, UsageError
from exact_resume.patchfile import FileDiff
from exact_resume.series import COMMON, RELEASES_FILE, SERIES_FILE, Release, version_key
from exact_resume.tree import SOURCE_PACKAGE, VERSION_LINE

LANE_NAME = re.compile(r"v\d+\.\d+")
SLUG_LENGTH = 60
# All that shapes the text is spelled out, as the settings of the repository could say otherwise.
DIFF = ("--full-index", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--diff-algorithm=default")
DIFF += ("--indent-heuristic", "--inter-hunk-context=0", "--src-prefix=a/", "--dst-prefix=b/")
MAIL = ("--stdout", "-1", "--always", "--no-signature", "--zero-commit", "--no-stat", "--no-numbered", "--no-attach")
MAIL += ("--no-thread", "--no-signoff", "--no-notes", "--no-base", "--subject-prefix=PATCH", "--encode-email-headers")


@dataclass(frozen=True)
class Commit:
    """What one commit gives.

    Attributes:
        title: the first paragraph of its message.
        mail: its mail, with the diffs of the files that the series creates.
        own: the diffs of upstream's own files.
        blobs: for each of upstream's own files that it changes, the blob ids before and after.
    """

    title: str
    mail: bytes
    own: bytes
    blobs: dict[str, tuple[str, str]]


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
    release, commits = read_commits(folder)
    known, lanes = patch_series.load_releases(patches), patch_series.load_lanes(patches)
    lane = _lane(folder, lane, release, known, lanes)
    listed = {name for other in lanes if other != lane for name in patch_series.series_names(patches / other)}
    names = _names(commits, patches)
    files = {f"{COMMON}/{name}": commit.mail for name, commit in zip(names, commits, strict=True)}
    _check_agreement(patches, files, listed, lane, lanes | {lane: release})
    files |= {f"{lane}/{name}": commit.own for name, commit in zip(names, commits, strict=True) if commit.own}
    files[f"{lane}/{SERIES_FILE}"] = "".join(f"{name}\n" for name in names).encode()
    row = Release(release, lane, chains(commits), known[release].proof if release in known else None)
    files[RELEASES_FILE] = releases.text(lanes | {lane: release}, {**known, release: row}.values())
    changed = _write(patches, files, {f"{COMMON}/{name}" for name in listed}, lane)
    return [
        *changed,
        f"lane {lane}: {len(commits)} patches, written against transformers {release}; files changed: {len(changed)}",
        f"now work out the blob ids of the other releases: python -m exact_resume hashes --lane {lane}",
    ]


def read_commits(folder: Path) -> tuple[str, list[Commit]]:
    """Return the release of the first commit, and what each of the others gives.

    Raises:
        UsageError: the history is not of the expected form.
    """
    lines = _git(folder, "rev-list", "--reverse", "--topo-order", "--parents", "HEAD").decode().splitlines()
    for line in lines[1:]:
        if len(line.split()) != 2:
            raise UsageError(
                f"{folder}: commit {line[:10]} is a merge or a second beginning; make it one commit a patch"
            )
    base, *commits = (line.split()[0] for line in lines)
    upstream = set(_git(folder, "ls-tree", "-r", "-z", "--name-only", base).decode().split("\0"))
    init = f"{SOURCE_PACKAGE}/__init__.py"
    release = VERSION_LINE.search(_git(folder, "show", f"{base}:{init}").decode()) if init in upstream else None
    if release is None:
        raise UsageError(
            f"{folder}: the first commit, {base[:10]}, has no {init} with a version, so it is not a release; "
            "make a work tree with: python -m exact_resume checkout"
        )
    if not commits:
        raise UsageError(f"{folder}: no commit follows that of the release; commit each patch")
    return release.group(1), [_read_commit(folder, commit, upstream) for commit in commits]


def chains(commits: Iterable[Commit]) -> dict[str, tuple[str, ...]]:
    """Return, for each of upstream's own files that the commits change, its blob ids: pristine, then after each."""
    found: dict[str, tuple[str, ...]] = {}
    for commit in commits:
        for path, (before, after) in commit.blobs.items():
            found[path] = (*found.get(path, (before,)), after)
    return found


def _read_commit(folder: Path, commit: str, upstream: set[str]) -> Commit:
    try:
        patch = patchfile.parse(commit[:10], _git(folder, "format-patch", *MAIL, *DIFF, "-U3", commit))
    except SeriesError as error:
        raise UsageError(f"{folder}: commit {error}") from error
    own: list[FileDiff] = [diff for diff in patch.diffs if diff.path in upstream]
    ours = [diff for diff in patch.diffs if diff.path not in upstream]
    # One line of context, as what is around a change differs between releases more often than the place itself.
    options = ("-p", "--no-commit-id", *DIFF, "-U1", commit, "--")
    text = _git(folder, "diff-tree", *options, *(f":(literal){diff.path}" for diff in own)) if own else b""
    blobs = {diff.path: (diff.old_blob, diff.new_blob) for diff in own}
    # Without diffs, as git writes the mail of an empty commit: the empty line before the diffs is not there.
    mail = patch.mail + b"".join(diff.text for diff in ours) if ours else patch.mail.rstrip(b"\n") + b"\n"
    return Commit(patch.title, mail, text, blobs)


def _check_work_tree(folder: Path) -> None:
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; give a work tree that checkout has made")
    changes = _git(folder, "status", "--porcelain").decode(errors="replace").splitlines()
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


def _names(commits: list[Commit], patches: Path) -> list[str]:
    """Return the names of the patches: those that the titles have in `common`, and new ones for new titles."""
    known = {}
    for path in sorted((patches / COMMON).glob("*.patch")):
        known[patchfile.parse(f"{COMMON}/{path.name}", path.read_bytes()).title] = path.name
    names = [known.get(commit.title) or f"{_slug(commit.title)}.patch" for commit in commits]
    for place, (name, commit) in enumerate(zip(names, commits, strict=True)):
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
    install.check_writable(changes)
    install.install(changes, patches)
    verbs = ["removed" if change.after is None else "written" for change in changes]
    return [f"{verb}: {change.target.relative_to(patches)}" for verb, change in zip(verbs, changes, strict=True)]


def _git(folder: Path, *arguments: str) -> bytes:
    done = git.run(list(arguments), folder)
    if done.returncode != 0:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise UsageError(f"{folder}: git {arguments[0]}: {said}; give a git work tree that checkout has made")
    return done.stdout
