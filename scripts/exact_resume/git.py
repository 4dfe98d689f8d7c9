"""Run the git executable, with or without the settings of the user, and compute git blob ids."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from exact_resume.errors import UsageError

ABSENT = "0" * 40
"""The blob id that a diff gives for a file that is not there."""


def blob_id(content: bytes | None) -> str:
    """Return the git blob id of a file's bytes, or `ABSENT` for None."""
    if content is None:
        return ABSENT
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def clean_environment(folder: Path) -> dict[str, str]:
    """Return the environment for a git that is run in `folder`.

    GIT_* variables of the caller (set inside a git hook, for example) and every configuration file are kept out,
    because apply.whitespace or core.autocrlf would change what `git apply` does. The ceiling keeps git from finding
    a repository above `folder`: in a folder that a repository ignores, `git apply` reports success and does nothing.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment.update(
        GIT_CEILING_DIRECTORIES=str(folder.resolve().parent),
        GIT_CONFIG_NOSYSTEM="1",
        GIT_CONFIG_GLOBAL=os.devnull,
        # git before 2.32 does not know GIT_CONFIG_GLOBAL; these two lead it past the user's files as well.
        HOME=os.devnull,
        XDG_CONFIG_HOME=os.devnull,
        GIT_ATTR_NOSYSTEM="1",
        LC_ALL="C",
        LANGUAGE="C",
    )
    return environment


def repository_environment(**variables: str) -> dict[str, str]:
    """Return the environment for a git that works on the user's own repository.

    The settings of the user stay, for they hold the identity and the folders that are trusted. Of the GIT_* variables
    only those of settings and of the committer do: the others, set inside a git hook, lead to another repository.
    """
    kept = ("GIT_CONFIG_", "GIT_COMMITTER_")
    environment = {n: value for n, value in os.environ.items() if not n.startswith("GIT_") or n.startswith(kept)}
    # Objects that a partial clone lacks are not fetched: that may ask for a password.
    environment.update(LC_ALL="C", LANGUAGE="C", GIT_NO_LAZY_FETCH="1", GIT_TERMINAL_PROMPT="0", **variables)
    return environment


def run(arguments: list[str], folder: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run `git ARGUMENTS` in `folder`, without settings and outside every repository above it.

    Returns the completed process, whatever its exit status.

    Raises:
        UsageError: there is no git on PATH.
    """
    return _run(arguments, folder, clean_environment(folder), stdin)


def run_in_repository(
    arguments: list[str], folder: Path, stdin: bytes = b"", **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """Run `git ARGUMENTS` on the repository around `folder`, with the user's settings and without any hook.

    Args:
        arguments, folder, stdin: what to run, where, and its input.
        variables: environment variables for git.

    Raises:
        UsageError: there is no git on PATH.
    """
    plain = ["-c", f"core.hooksPath={os.devnull}", "-c", "core.fsmonitor=false", "-c", "i18n.commitEncoding=UTF-8"]
    return _run([*plain, *arguments], folder, repository_environment(**variables), stdin)


def _run(arguments: list[str], folder: Path, environment: dict[str, str], stdin: bytes):
    executable = shutil.which("git")
    if executable is None:
        raise UsageError("git was not found on PATH; install git and run the command again")
    return subprocess.run(
        [executable, *arguments], cwd=folder, env=environment, input=stdin, capture_output=True, check=False
    )
