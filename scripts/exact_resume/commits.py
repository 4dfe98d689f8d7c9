"""Read the series from a git work tree: a pristine commit of a release, then one commit for each patch."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from exact_resume import git, patchfile
from exact_resume.errors import SeriesError, UsageError
from exact_resume.patchfile import Patch
from exact_resume.tree import SOURCE_PACKAGE, VERSION_LINE

CONTEXT = 1
"""Lines of context in a mail: what is around a change differs between releases more often than its place."""
MAIL = (
    "--stdout",
    "-1",
    "--always",
    "--full-index",
    "--no-signature",
    "--zero-commit",
    "--no-stat",
    "--no-renames",
    f"-U{CONTEXT}",
)


@dataclass(frozen=True)
class History:
    """What a work tree holds.

    Attributes:
        folder: the work tree.
        release: the release of its first commit.
        base: the id of that.
        patches: what the other commits give, in order.
        upstream: the paths of the files in the first commit.
    """

    folder: Path
    release: str
    base: str
    patches: tuple[Patch, ...]
    upstream: frozenset[str]

    def pristine(self, path: str) -> bytes | None:
        """Return the bytes of a file of the release; None where it has no such file."""
        return run(self.folder, "cat-file", "blob", f"{self.base}:{path}") if path in self.upstream else None

    def result(self, path: str) -> bytes:
        """Return the bytes of a file after the last commit."""
        return run(self.folder, "cat-file", "blob", f"HEAD:{path}")

    def whole_diff(self, path: str) -> bytes:
        """Return the diff of a file from the release to the last commit, with as much context as git usually gives."""
        commits = [run(self.folder, "rev-parse", name).decode().strip() for name in (self.base, "HEAD")]
        with _without_settings(self.folder) as repository:
            return run(repository, "diff", "--full-index", *commits, "--", f":(literal){path}")


def read(folder: Path) -> History:
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
        patches = tuple(_read_commit(repository, commit) for commit in others)
    return History(folder, release.group(1), base, patches, frozenset(upstream))


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


def _read_commit(repository: Path, commit: str) -> Patch:
    try:
        patch = patchfile.parse(commit[:10], run(repository, "format-patch", *MAIL, commit))
    except SeriesError as error:
        raise UsageError(f"commit {error}") from error
    # An empty commit has no diff to mark the end of the message.
    return patch if patch.diffs else replace(patch, mail=patch.mail.rstrip(b"\n") + b"\n\n")
