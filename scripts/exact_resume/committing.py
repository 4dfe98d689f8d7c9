"""Commit patches in the user's repository: a commit for each, nothing else in it, and all of them or none.

The commits are made beside the branch, from an index of their own, and the branch is moved to the last of them in one
step. No hook runs.
"""

import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from exact_resume import git
from exact_resume.errors import SeriesError, UsageError
from exact_resume.git import ABSENT, blob_id
from exact_resume.patchfile import Patch
from exact_resume.repository import Repository, RepositoryError, reason

UNDERWAY = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase or am",
}
"""What git keeps while it is in the middle of something."""
NO_MODE = "0"
"""The mode by which `git update-index` is told that a file is to be removed."""

Files = Mapping[str, bytes | None]
"""What files hold, by the names that the repository gives them; None where there is no file."""


@dataclass(frozen=True)
class Commit:
    """One commit to be made.

    Attributes:
        patch: gives the author and the message.
        files: what the files that it touches hold after it.
    """

    patch: Patch
    files: Files


@dataclass(frozen=True)
class Start:
    """Where the branch stands, and the entries (mode and blob id) of the files that will be touched."""

    head: str
    entries: Mapping[str, tuple[str, str]]


def check(repository: Repository, files: Files) -> Start:
    """Make sure that commits can be made, before anything is changed.

    Args:
        repository: the user's repository.
        files: what the files that will be touched hold now.

    Raises:
        UsageError: git is in the middle of something, changes are staged, one of the files has changes that are not
            committed, or git does not know who commits.
    """
    with _as_usage_errors(repository):
        _refuse_underway(repository)
        if repository.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}").returncode != 0:
            raise UsageError(f"{repository.top}: the branch has no commit yet; commit the tree first")
        head = repository.ask("rev-parse", "--verify", "HEAD^{commit}").decode()
        staged = repository.ask("diff-index", "--cached", "--name-only", "-z", head, "--").split(b"\0")[0]
        if staged:
            raise UsageError(
                f"{repository.top}: changes are staged ({staged.decode(errors='replace')}); commit or unstage them"
            )
        entries = _entries(repository, head, files)
        changed = [name for name, content in files.items() if entries[name][1] != blob_id(content)]
        if changed:
            raise UsageError(
                f"{repository.top}: changes are not committed in {', '.join(changed)}; commit, stash or revert them"
            )
        identity = repository.run("-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT")
        if identity.returncode != 0:
            raise UsageError(
                f"{repository.top}: git does not know who commits: {reason(identity.stderr)}; "
                "set user.name and user.email with git config"
            )
    return Start(head, entries)


def make(repository: Repository, start: Start, commits: list[Commit], created: Mapping[str, int]) -> str:
    """Make the commits, which nothing refers to yet, and return the id of the last.

    Args:
        repository: the user's repository.
        start: from `check`.
        commits: the commits in order.
        created: the modes of the files that the commits create.

    Raises:
        UsageError: git refused to write them.
    """
    head = start.head
    modes = {name: f"{mode:o}" for name, mode in created.items()}
    modes.update((name, mode) for name, (mode, _) in start.entries.items() if mode != NO_MODE)
    with _as_usage_errors(repository), tempfile.TemporaryDirectory(prefix="exact-resume-") as scratch:
        index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        repository.ask("read-tree", head, **index)
        for commit in commits:
            entries = {name: _store(repository, modes[name], content) for name, content in commit.files.items()}
            repository.ask("update-index", "-z", "--index-info", stdin=_index_info(entries), **index)
            tree = repository.ask("write-tree", **index).decode()
            author, message = _author_and_message(commit.patch, Path(scratch))
            head = repository.ask("commit-tree", tree, "-p", head, "-F", "-", stdin=message, **author).decode()
    return head


def advance(repository: Repository, start: Start, head: str) -> None:
    """Move the branch, or a detached HEAD, to `head`; the files are in place already. On any failure nothing moves.

    Raises:
        UsageError: git refused, for example because another process holds a lock or has moved the branch.
    """
    with _as_usage_errors(repository):
        try:
            entries = _entries(repository, head, start.entries)
            repository.ask("update-index", "-z", "--index-info", stdin=_index_info(entries))
            repository.ask("update-ref", "-m", "exact-resume: apply", "HEAD", head, start.head)
        except BaseException:
            # An interruption may come when git has already moved it.
            repository.run("update-ref", "-m", "exact-resume: undo", "HEAD", start.head, head)
            repository.run("update-index", "-z", "--index-info", stdin=_index_info(start.entries))
            raise
    # So that git need not read the files again to know them unchanged.
    repository.run("update-index", "-q", "--refresh")


def is_made(folder: Path, files: Sequence[Path], before: str, after: str) -> bool:
    """Tell whether a killed `advance` has moved the branch; if not, take back what it has done to the index.

    Args:
        folder: a folder of the repository.
        files: the real paths of the files that were touched.
        before, after: the commits.

    Raises:
        UsageError: git refused, for example because the killed one has left a lock.
    """
    done = git.run_in_repository(["rev-parse", "--show-toplevel"], folder)
    repository = Repository(Path(os.fsdecode(done.stdout.removesuffix(b"\n"))).resolve())
    with _as_usage_errors(repository):
        if done.returncode != 0:
            raise RepositoryError(f"git rev-parse: {reason(done.stderr)}")
        # Other commits may have been made since.
        if repository.run("merge-base", "--is-ancestor", after, "HEAD").returncode == 0:
            return True
        names = [repository.name(file) for file in files if file.is_relative_to(repository.top)]
        index_info = _index_info(_entries(repository, "HEAD", names))
        repository.ask("update-index", "-z", "--index-info", stdin=index_info)
        return False


@contextlib.contextmanager
def _as_usage_errors(repository: Repository):
    """Say that nothing was changed, also where git failed."""
    try:
        yield
    except (UsageError, RepositoryError) as error:
        where = f"{repository.top}: " if isinstance(error, RepositoryError) else ""
        raise UsageError(f"{where}{error}; nothing was changed") from error


def _refuse_underway(repository: Repository) -> None:
    options = [option for name in UNDERWAY for option in ("--git-path", name)]
    paths = repository.ask("rev-parse", *options).decode().splitlines()
    for path, what in zip(paths, UNDERWAY.values(), strict=True):
        if (repository.top / path).exists():
            raise UsageError(f"{repository.top}: git is in the middle of a {what}; finish or abort it")


def _entries(repository: Repository, commit: str, names) -> dict[str, tuple[str, str]]:
    """Return the mode and the blob id of files in a commit."""
    listed = repository.ask("--literal-pathspecs", "ls-tree", "-z", "--full-tree", commit, "--", *names)
    found = {name: (NO_MODE, ABSENT) for name in names}
    for line in filter(None, listed.split(b"\0")):
        facts, _, name = line.partition(b"\t")
        mode, _, blob = facts.decode().split(" ")
        found[os.fsdecode(name)] = (mode, blob)
    return found


def _store(repository: Repository, mode: str, content: bytes | None) -> tuple[str, str]:
    if content is None:
        return NO_MODE, ABSENT
    return mode, repository.ask("hash-object", "-w", "--stdin", stdin=content).decode()


def _index_info(entries: Mapping[str, tuple[str, str]]) -> bytes:
    return b"".join(os.fsencode(f"{mode} {blob}\t{name}\0") for name, (mode, blob) in entries.items())


def _author_and_message(patch: Patch, scratch: Path) -> tuple[dict[str, str], bytes]:
    """Return the author, as environment variables for git, and the message that the mail of a patch gives."""
    options = ["--encoding=UTF-8", "--no-scissors"]
    done = git.run(["mailinfo", *options, "message", "rest"], scratch, stdin=patch.mail)
    if done.returncode != 0:
        raise SeriesError(f"{patch.name}: git mailinfo: {reason(done.stderr)}")
    header = dict(line.split(": ", 1) for line in done.stdout.decode().splitlines() if ": " in line)
    message = header["Subject"].encode() + b"\n\n" + (scratch / "message").read_bytes().strip() + b"\n"
    return {
        "GIT_AUTHOR_NAME": header["Author"],
        "GIT_AUTHOR_EMAIL": header["Email"],
        "GIT_AUTHOR_DATE": header["Date"],
    }, message
