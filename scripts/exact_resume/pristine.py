"""The files of a release as they were published: from its official wheel, or from a tree that somebody has."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

from exact_resume import tree as trees_on_disk
from exact_resume.errors import UsageError
from exact_resume.trees import official_wheel

SOURCES = "src/"
PACKAGE = "transformers/"


def read(release: str, source: Path | None = None, paths: Iterable[str] | None = None) -> dict[str, bytes | None]:
    """Return the bytes of files by their path in a source checkout; None where the release has no such file.

    Args:
        release: the release.
        source: a pristine tree of this release, as `tree.find` knows them; the official wheel without it.
        paths: which files; those of the package without it.

    Raises:
        UsageError: the wheel is not to be had, or the tree is of another release.
    """
    if source is not None:
        return _read_tree(release, source, paths)
    with zipfile.ZipFile(official_wheel(release)) as wheel:
        names = {SOURCES + name for name in wheel.namelist() if name.startswith(PACKAGE) and not name.endswith("/")}
        return {
            path: wheel.read(path.removeprefix(SOURCES)) if path in names else None
            for path in (paths or sorted(names))
        }


def _read_tree(release: str, source: Path, paths: Iterable[str] | None) -> dict[str, bytes | None]:
    tree = trees_on_disk.find(source)
    if tree.release != release:
        raise UsageError(f"{source} is a tree of transformers {tree.release}, not {release}; give another tree")
    if paths is None:
        package = tree.root / tree.package
        files = sorted(path.relative_to(package) for path in package.rglob("*") if path.is_file())
        paths = [f"{SOURCES}{PACKAGE}{path.as_posix()}" for path in files if "__pycache__" not in path.parts]
    return {path: None if tree.inside(path) is None else tree.read(path) for path in paths}
