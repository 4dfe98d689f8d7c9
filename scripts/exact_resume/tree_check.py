"""Check that the patches fit a release, make what the cache has, and leave no trace when they are reverted."""

import shutil
import tempfile
import zipfile
from pathlib import Path

from exact_resume import combinations, patching, state, trees
from exact_resume.errors import Finding, UsageError
from exact_resume.git import blob_id
from exact_resume.series import Series, for_release


def check(release: str) -> None:
    """
    Apply the series to the official wheel, take it back and apply it again, comparing every byte of every file.

    Then the same without companions, in every combination, where each touched file is compared with its blob id.

    Raises:
        Finding: Something is not as it has to be.
        UsageError: The wheel is not to be had.
    """
    series = for_release(release)
    pristine = _files_of_wheel(trees.official_wheel(release))
    patched = _files(trees.build(trees.PATCHED, release))
    _compare(f"the stock tree of {release}", _files(trees.build(trees.STOCK, release)), pristine)
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        shutil.copytree(trees.build(trees.STOCK, release), tree, ignore=shutil.ignore_patterns("__pycache__"))
        for what, change, expected in (
            ("apply", patching.apply, patched),
            ("revert", patching.revert, pristine),
            ("apply after revert", patching.apply, patched),
        ):
            try:
                change(tree, series=series)
            except UsageError as error:
                raise Finding(f"{what}: {error}") from error
            _compare(what, _files(tree), expected)
        _check_status(tree, series, ())
        patching.revert(tree, series=series)
        for left_out in combinations.subsets(series.companions)[1:]:
            patching.apply(tree, series=series, without=left_out)
            _check_status(tree, series, left_out)
            patching.revert(tree, series=series)
            _compare(f"revert without {', '.join(left_out)}", _files(tree), pristine)


def _check_status(tree: Path, series: Series, left_out: tuple[str, ...]) -> None:
    status = patching.status(tree, series)
    said = tuple(name for name, word in status.patches if word == state.LEFT_OUT)
    if not status.exact or said != left_out:
        raise Finding(f"status after apply: {'; '.join(status.lines)}")


def _files_of_wheel(wheel: Path) -> dict[str, str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: blob_id(archive.read(name)) for name in archive.namelist() if not name.endswith("/")}


def _files(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): blob_id(path.read_bytes()) for path in paths}


def _compare(what: str, found: dict[str, str], expected: dict[str, str]) -> None:
    different = sorted(path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path))
    if different:
        more = f" and {len(different) - 1} more" if len(different) > 1 else ""
        raise Finding(f"{what}: {different[0]}{more} is not what it has to be")
