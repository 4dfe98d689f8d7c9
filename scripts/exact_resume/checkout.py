"""Make a git work tree of a release, with a commit for each patch, in which the series can be changed."""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

from exact_resume import git, pristine
from exact_resume import series as patch_series
from exact_resume.errors import EXIT_FINE, SeriesError, UsageError
from exact_resume.git import blob_id
from exact_resume.patchfile import Patch
from exact_resume.series import version_key

BASE_TAG = "base"
IDENTITY = ("exact-resume contributors", "exact-resume@users.noreply.github.com")
"""Name and address of whoever commits; the authors of the patches are in their mails."""
IGNORED = "__pycache__/\n.pytest_cache/\n.ruff_cache/\n"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `checkout`."""
    command.add_argument("release", metavar="RELEASE", help="a release that the series serves")
    command.add_argument(
        "folder", metavar="FOLDER", type=Path, nargs="?", help="where to (default: transformers-RELEASE)"
    )
    command.add_argument(
        "--pristine-from",
        metavar="TREE",
        type=Path,
        help="a pristine tree of the release (default: the official wheel)",
    )
    command.add_argument(
        "--bare", action="store_true", help="only the commit of the release, also of one that no lane serves"
    )


def run(parsed: argparse.Namespace) -> int:
    """Make the work tree; the errors are those of `checkout`."""
    print("\n".join(checkout(parsed.release, parsed.folder, parsed.pristine_from, bare=parsed.bare)))
    return EXIT_FINE


def checkout(release: str, folder: Path | None = None, source: Path | None = None, *, bare: bool = False) -> list[str]:
    """Make the work tree, whole or not at all.

    Args:
        release: a release that the series serves, or any one if `bare`.
        folder: where to; `transformers-RELEASE` without it.
        source: a pristine tree of the release; its official wheel without it.
        bare: make no commit but that of the release.

    Returns:
        The report for the user.

    Raises:
        UsageError: no lane serves the release, the folder is in use, or the pristine files are not to be had.
        SeriesError: the patches do not give what they record.
    """
    series = None if bare else patch_series.for_release(release)
    patches = series.patches if series else ()
    folder = Path(folder or f"transformers-{release}").absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty; give another folder, or move it away")
    own = dict.fromkeys(diff.path for patch in patches for diff in patch.diffs if not diff.is_new)
    files = pristine.read(release, source) | (pristine.read(release, source, own) if own else {})
    _check_pristine(patches, files)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            made = Path(scratch) / "tree"
            make_commits(made, release, files, patches)
            _check_result(patches, made)
            if folder.exists():
                folder.rmdir()
            made.rename(folder)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror or error}; give another folder") from error
    if series is None:
        return [f"transformers {release} at {folder}: tag {BASE_TAG}, and no patch"]
    older = version_key(release) < version_key(series.base)
    return [
        f"transformers {release} at {folder}: tag {BASE_TAG}, and {len(series.patches)} commits of lane {series.lane}",
        f"export does not take it, as the lane is written against {series.base}"
        if older
        else f"to write it back: python -m exact_resume export {folder}",
    ]


def make_commits(folder: Path, release: str, files: Mapping[str, bytes | None], patches: tuple[Patch, ...]) -> None:
    """Make a repository: a commit with the files of the release, tagged `base`, then a commit for each patch.

    Args:
        folder: does not exist yet.
        release: goes into the message of the first commit.
        files: bytes by path; None where there is no file.
        patches: in order; one without diffs gives an empty commit.

    Raises:
        SeriesError: a patch does not fit.
    """
    for path, content in files.items():
        if content is not None:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    _git(folder, "init", "--quiet", "--template=", "--initial-branch=main")
    (folder / ".git" / "info").mkdir()
    (folder / ".git" / "info" / "exclude").write_text(IGNORED)
    _git(folder, "add", "--all", "--force")
    _git(folder, "commit", "--quiet", "--message", f"transformers {release}")
    _git(folder, "tag", BASE_TAG)
    # Each mail in a file of its own: in one stream, a line of a message could look like the beginning of another mail.
    with tempfile.TemporaryDirectory(prefix="exact-resume-") as mails:
        paths = []
        for number, patch in enumerate(patches):
            paths.append(Path(mails) / f"{number:04}")
            paths[-1].write_bytes(patch.text)
        options = ["--quiet", "--keep-cr", "--keep-non-patch", "--no-scissors", "--whitespace=nowarn"]
        # git before 2.35 does not know this one.
        options += [] if all(patch.diffs for patch in patches) else ["--empty=keep"]
        if paths:
            _git(folder, "am", *options, *map(str, paths))


def _git(folder: Path, *arguments: str) -> bytes:
    name, address = IDENTITY
    done = git.run(["-c", f"user.name={name}", "-c", f"user.email={address}", *arguments], folder)
    if done.returncode != 0:
        said = " ".join((done.stderr + done.stdout).decode(errors="replace").split())
        raise SeriesError(f"git {arguments[0]} failed: {said}")
    return done.stdout


def _check_pristine(patches: tuple[Patch, ...], files: Mapping[str, bytes | None]) -> None:
    first: dict[str, str] = {}
    for diff in (diff for patch in patches for diff in patch.diffs):
        first.setdefault(diff.path, diff.old_blob)
    for path, blob in first.items():
        if blob_id(files.get(path)) != blob:
            raise UsageError(
                f"{path} is not as it was released; give a pristine tree, or none to use the official wheel"
            )


def _check_result(patches: tuple[Patch, ...], folder: Path) -> None:
    last = {diff.path: diff.new_blob for patch in patches for diff in patch.diffs}
    for path, blob in last.items():
        content = (folder / path).read_bytes() if (folder / path).exists() else None
        if blob_id(content) != blob:
            raise SeriesError(f"{path} did not become what the series records")
