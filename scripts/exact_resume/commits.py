"""Read the series from a git work tree: a pristine commit of a release, then one commit for each patch."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from exact_resume import git, patchfile
from exact_resume.errors import SeriesError, UsageError
from exact_resume.tree import SOURCE_PACKAGE, VERSION_LINE

MAIL = ("--stdout", "-1", "--always", "--full-index", "--no-signature", "--zero-commit", "--no-stat", "--no-renames")
COMMON_CONTEXT, LANE_CONTEXT = 3, 1
"""Lines of context: one in a lane, as what is around a change differs between releases more often than its place."""


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


def read(folder: Path) -> tuple[str, list[Commit]]:
    """Return the release of the first commit, and what each of the others gives.

    Raises:
        UsageError: the history is not of the expected form.
    """
    lines = run(folder, "rev-list", "--reverse", "--topo-order", "--parents", "HEAD").decode().splitlines()
    for line in lines[1:]:
        if len(line.split()) != 2:
            raise UsageError(
                f"{folder}: commit {line[:10]} is a merge or a second beginning; make it one commit a patch"
            )
    base, *others = (line.split()[0] for line in lines)
    upstream = set(run(folder, "ls-tree", "-r", "-z", "--name-only", base).decode().split("\0"))
    init = f"{SOURCE_PACKAGE}/__init__.py"
    text = run(folder, "cat-file", "blob", f"{base}:{init}").decode() if init in upstream else ""
    release = VERSION_LINE.search(text)
    if release is None:
        raise UsageError(
            f"{folder}: the first commit, {base[:10]}, has no {init} with a version, so it is not a release; "
            "make a work tree with: python -m exact_resume checkout"
        )
    if not others:
        raise UsageError(f"{folder}: no commit follows that of the release; commit each patch")
    with _without_settings(folder) as repository:
        return release.group(1), [_read_commit(repository, commit, upstream) for commit in others]


def chains(commits: Iterable[Commit]) -> dict[str, tuple[str, ...]]:
    """Return, for each of upstream's own files that the commits change, its blob ids: pristine, then after each."""
    found: dict[str, tuple[str, ...]] = {}
    for commit in commits:
        for path, (before, after) in commit.blobs.items():
            found[path] = (*found.get(path, (before,)), after)
    return found


def run(folder: Path, *arguments: str) -> bytes:
    """Run git in a work tree and return what it prints.

    Raises:
        UsageError: git failed.
    """
    done = git.run(list(arguments), folder)
    if done.returncode != 0:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise UsageError(f"{folder}: git {arguments[0]}: {said}; give a git work tree that checkout has made")
    return done.stdout


@contextlib.contextmanager
def _without_settings(folder: Path) -> Iterator[Path]:
    """Give a repository with the objects of another and none of its settings, many of which change how diffs look."""
    objects = (folder / run(folder, "rev-parse", "--git-path", "objects").decode().rstrip("\n")).resolve()
    with tempfile.TemporaryDirectory(prefix="exact-resume-") as scratch:
        repository = Path(scratch)
        run(repository, "init", "--quiet", "--bare", "--template=")
        (repository / "objects" / "info" / "alternates").write_text(f"{objects}\n")
        yield repository


def _read_commit(repository: Path, commit: str, upstream: set[str]) -> Commit:
    try:
        patch = patchfile.parse(commit[:10], run(repository, "format-patch", *MAIL, f"-U{COMMON_CONTEXT}", commit))
    except SeriesError as error:
        raise UsageError(f"commit {error}") from error
    own = [diff for diff in patch.diffs if diff.path in upstream]
    ours = [diff for diff in patch.diffs if diff.path not in upstream]
    options = ("-p", "--no-commit-id", "--full-index", f"-U{LANE_CONTEXT}", commit, "--")
    text = run(repository, "diff-tree", *options, *(f":(literal){diff.path}" for diff in own)) if own else b""
    blobs = {diff.path: (diff.old_blob, diff.new_blob) for diff in own}
    # Without diffs, as git writes the mail of an empty commit: the empty line before the diffs is not there.
    mail = patch.mail + b"".join(diff.text for diff in ours) if ours else patch.mail.rstrip(b"\n") + b"\n"
    return Commit(patch.title, mail, text, blobs)
