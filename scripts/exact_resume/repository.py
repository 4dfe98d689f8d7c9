"""The git repository that holds a tree, where there is one."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from exact_resume import git
from exact_resume.errors import UsageError
from exact_resume.git import blob_id
from exact_resume.tree import Tree


class RepositoryError(Exception):
    """A git command that should have worked on the user's repository failed; the text is what it said."""


@dataclass(frozen=True)
class Repository:
    """A work tree of git.

    Attributes:
        top: the resolved folder of the work tree.
    """

    top: Path

    def name(self, file: Path) -> str:
        """Return how the repository names a resolved file of the work tree.

        Raises:
            UsageError: it is not in the work tree.
        """
        if not file.is_relative_to(self.top):
            raise UsageError(f"{file} is not in the git work tree {self.top}; nothing was changed")
        return file.relative_to(self.top).as_posix()

    def run(self, *arguments: str, stdin: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
        """Run git on this repository, whatever its exit status."""
        return git.run_in_repository(list(arguments), self.top, stdin, **variables)

    def ask(self, *arguments: str, stdin: bytes = b"", **variables: str) -> bytes:
        """Run git on this repository and return what it printed, without the last newline.

        Raises:
            RepositoryError: git failed.
        """
        done = self.run(*arguments, stdin=stdin, **variables)
        if done.returncode != 0:
            raise RepositoryError(f"git {arguments[0]}: {reason(done.stderr)}")
        return done.stdout.removesuffix(b"\n")

    def blob(self, wanted: str) -> bytes | None:
        """Return the bytes of a blob by its id; None where the repository does not have it."""
        done = self.run("cat-file", "blob", wanted)
        return done.stdout if done.returncode == 0 and blob_id(done.stdout) == wanted else None


def find(tree: Tree) -> Repository:
    """Return the repository that tracks a tree.

    Raises:
        UsageError: none does. A site-packages folder that merely lies inside a repository is not tracked by it.
    """
    done = git.run_in_repository(["rev-parse", "--show-toplevel"], tree.root)
    if done.returncode != 0:
        raise UsageError(f"{tree.root} is not in a git work tree: {reason(done.stderr)}; nothing was changed")
    repository = Repository(Path(os.fsdecode(done.stdout.removesuffix(b"\n"))).resolve())
    if repository.run("ls-files", "--error-unmatch", "--", repository.name(tree.init_file)).returncode != 0:
        raise UsageError(
            f"{tree.root} lies in the git work tree {repository.top}, which does not track {tree.init_file.name} of "
            "the package; nothing was changed"
        )
    return repository


def reason(said: bytes) -> str:
    """Return the line of git's messages that says what is wrong."""
    lines = said.decode("utf-8", errors="replace").strip().splitlines() or ["no message"]
    return next((line for line in lines if line.startswith(("fatal: ", "error: "))), lines[-1])
