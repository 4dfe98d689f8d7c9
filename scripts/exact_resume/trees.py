"""Build the transformers trees that are compared, in a cache of their own."""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from exact_resume import archives, combinations, git, locks, patching
from exact_resume.errors import UsageError
from exact_resume.series import Series, for_release, load_releases

PROJECT = "transformers"
COMPARISONS = Path(__file__).parent / "comparisons"
CACHE_VARIABLE = "EXACT_RESUME_CACHE"
RELEASE = re.compile(r"[0-9][0-9A-Za-z.+!]*")

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


def build(name: str, release: str, *, upto: str | None = None, without: Collection[str] = ()) -> Path:
    """
    Return a folder that holds the package `transformers/`, building it if the cache does not have it.

    Args:
        name: "stock", "literal", "drain" or "patched".
        release: The transformers release.
        upto: For "patched": the last patch of the series that is applied.
        without: For "patched": the companions that are left out.

    Raises:
        UsageError: The wheel of the release is not to be had, or, for a tree other than "stock", no series serves it.
        NotForThisRelease: For "literal" and "drain", which are written for the releases around the newest.
    """
    _check_number(release)
    if name == STOCK:  # also of a release that has no series yet
        return cached(f"{release}/stock", lambda folder: _unpack_wheel(release, folder))
    series = combinations.without(for_release(release), without)
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
            with _beside(target) as folder:
                make(folder)
                folder.rename(target)
    return target


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Give an empty folder beside a path; what a killed process has left there is removed first."""
    folder = target.with_name(f"{target.name}.part")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wheel_name(version: str) -> str:
    """Return the file name of a wheel of transformers."""
    return f"{PROJECT}-{version}-py3-none-any.whl"


def official_wheel(release: str) -> Path:
    """Return the official wheel of a release, downloading it if the cache does not have it.

    Raises:
        UsageError: the wheel is not to be had, is another than the one that was published, or the cache cannot be
            written to.
    """
    _check_number(release)
    wheels = cache_folder() / "wheels"
    path = wheels / wheel_name(release)
    if not path.is_file():
        try:
            wheels.mkdir(parents=True, exist_ok=True)
            with locks.locked(wheels):
                # Another process may have downloaded it meanwhile.
                if not path.is_file():
                    _download(release, path)
        except OSError as error:
            raise UsageError(
                f"cannot write {wheels}: {error.strerror or error}; set {CACHE_VARIABLE} to another folder"
            ) from error
    check_wheel(path, release)
    return path


def _check_number(release: str) -> None:
    # It becomes part of paths and of an argument of pip.
    if not RELEASE.fullmatch(release):
        raise UsageError(f"{release!r} is not the number of a release of {PROJECT}, such as 5.23.0")


def check_wheel(path: Path, release: str) -> None:
    """Compare a wheel with the hash that is recorded of the official one, if it is.

    Raises:
        UsageError: it is another one, or cannot be read.
    """
    known = load_releases().get(release)
    if known is None or known.wheel_sha256 is None:
        return
    digest = wheel_digest(path)
    if digest != known.wheel_sha256:
        raise UsageError(
            f"{path} is not the official wheel of {PROJECT} {release}: its SHA-256 is {digest}, and that one's is "
            f"{known.wheel_sha256}; remove it and download it again; nothing was changed"
        )


def wheel_digest(path: Path) -> str:
    """Return the SHA-256 of a wheel.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}; nothing was changed") from error


def _download(release: str, path: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    print(f"downloading {path.name}", file=sys.stderr)
    with _beside(path) as scratch:
        done = subprocess.run([*command, "-d", str(scratch), f"{PROJECT}=={release}"], capture_output=True, text=True)
        if done.returncode != 0 or not (scratch / path.name).is_file():
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UsageError(
                f"the wheel of transformers {release} could not be downloaded: {reason}; "
                f"connect to the package index, or put {path.name} into {path.parent}"
            )
        check_wheel(scratch / path.name, release)
        (scratch / path.name).replace(path)


def _unpack_wheel(release: str, folder: Path) -> None:
    wheel = official_wheel(release)
    try:
        # With its metadata, so that what asks for the version of transformers is told that of the tree.
        archives.unpack(wheel, folder)
    except archives.Unusable as error:
        raise UsageError(f"{wheel} cannot be unpacked: {error}; remove it, to have it downloaded again") from error


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
