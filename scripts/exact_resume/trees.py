"""Build the transformers trees that are compared, in a cache of their own."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from exact_resume import git, patching
from exact_resume.errors import UsageError
from exact_resume.series import Series, for_release

PROJECT = "transformers"
COMPARISONS = Path(__file__).parent / "comparisons"
CACHE_VARIABLE = "EXACT_RESUME_CACHE"

STOCK, LITERAL, DRAIN, PATCHED = "stock", "literal", "drain", "patched"
TITLES = {
    STOCK: "stock {release}",
    LITERAL: "literal reorder",
    DRAIN: "drain, then restore",
    PATCHED: "patched",
}


class NotForThisRelease(UsageError):
    """A tree that is compared with the others cannot be made from this release."""


def cache_folder() -> Path:
    """Where trees are kept: `$EXACT_RESUME_CACHE`, else `exact-resume` in the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "exact-resume"


def build(name: str, release: str, *, upto: str | None = None) -> Path:
    """
    Return a folder that holds the package `transformers/`, building it if the cache does not have it.

    Args:
        name: "stock", "literal", "drain" or "patched".
        release: The transformers release.
        upto: For "patched": the last patch of the series that is applied.

    Raises:
        UsageError: The wheel of the release is not to be had, or, for a tree other than "stock", no series serves it.
        NotForThisRelease: For "literal" and "drain", which are written for the releases around the newest.
    """
    if name == STOCK:  # also of a release that has no series yet
        return cached(f"{release}/stock", lambda folder: _unpack_wheel(release, folder))
    series = for_release(release)
    if name == PATCHED:
        key = _digest(*(repr(patch).encode() for patch in series.patches), (upto or "").encode())
        return cached(f"{release}/patched-{key}", lambda folder: _patch(release, series, upto, folder))
    diff = (COMPARISONS / f"{name}.patch").read_bytes()
    return cached(f"{release}/{name}-{_digest(diff)}", lambda folder: _compare(release, diff, folder))


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def cached(key: str, make: Callable[[Path], None]) -> Path:
    """Return the folder of the cache that a key names, made whole or not at all if it is not there.

    Args:
        key: a path below the cache's folder of trees, which changes with everything that `make` depends on.
        make: fills the folder that it is given.
    """
    from filelock import FileLock

    target = cache_folder() / "unpacked" / key
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.is_dir():
            # Built beside its place and moved there whole, so that an interruption leaves no half-built tree.
            with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
                folder = Path(scratch) / "tree"
                folder.mkdir()
                make(folder)
                folder.rename(target)
    return target


def wheel_name(version: str) -> str:
    """Return the file name of a wheel of transformers."""
    return f"{PROJECT}-{version}-py3-none-any.whl"


def official_wheel(release: str) -> Path:
    """Return the official wheel of a release, downloading it if the cache does not have it.

    Raises:
        UsageError: the wheel is not to be had, or the cache cannot be written to.
    """
    wheels = cache_folder() / "wheels"
    name = wheel_name(release)
    if not (wheels / name).is_file():
        try:
            _download(release, wheels)
        except OSError as error:
            raise UsageError(
                f"cannot write {wheels}: {error.strerror or error}; set {CACHE_VARIABLE} to another folder"
            ) from error
    return wheels / name


def _download(release: str, wheels: Path) -> None:
    name = wheel_name(release)
    wheels.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    print(f"downloading {name}", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=wheels) as scratch:
        done = subprocess.run([*command, "-d", scratch, f"{PROJECT}=={release}"], capture_output=True, text=True)
        if done.returncode != 0 or not (Path(scratch) / name).is_file():
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UsageError(
                f"the wheel of transformers {release} could not be downloaded: {reason}; "
                f"connect to the package index, or put {name} into {wheels}"
            )
        (Path(scratch) / name).replace(wheels / name)


def _unpack_wheel(release: str, folder: Path) -> None:
    with zipfile.ZipFile(official_wheel(release)) as archive:
        # With its metadata, so that what asks for the version of transformers is told that of the tree.
        archive.extractall(folder)


def _patch(release: str, series: Series, upto: str | None, folder: Path) -> None:
    shutil.copytree(build(STOCK, release), folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    patching.apply(folder, upto=upto, series=series)


def _compare(release: str, diff: bytes, folder: Path) -> None:
    shutil.copytree(build(STOCK, release), folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    trainer = folder / "transformers" / "trainer.py"
    before = trainer.read_bytes()
    done = git.run(["apply", "--whitespace=nowarn", "-p2", "-"], folder, stdin=diff)
    # Inside another repository git may report success without changing a file.
    if done.returncode != 0 or trainer.read_bytes() == before:
        reason = " ".join(done.stderr.decode(errors="replace").split()) or "no file was changed"
        raise NotForThisRelease(f"what it changes is not in transformers {release}: {reason}")
