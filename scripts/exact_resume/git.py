"""Run the git executable in an environment that no user setting reaches, and compute git blob ids."""

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


def run(arguments: list[str], folder: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run `git ARGUMENTS` in `folder` and return the completed process, whatever its exit status.

    Raises:
        UsageError: there is no git on PATH.
    """
    executable = shutil.which("git")
    if executable is None:
        raise UsageError("git was not found on PATH; install git and run the command again")
    return subprocess.run(
        [executable, *arguments],
        cwd=folder,
        env=clean_environment(folder),
        input=stdin,
        capture_output=True,
        check=False,
    )
