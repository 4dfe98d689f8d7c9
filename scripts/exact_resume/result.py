"""The result of the series, for a reader: the new modules, and one diff for each of upstream's files.

It is in the folder `result` beside the lanes, and is what the newest lane makes of its base.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from exact_resume import created
from exact_resume.commits import History
from exact_resume.git import ABSENT, blob_id
from exact_resume.series import RESULT, Series
from exact_resume.tree import SOURCE_PACKAGE

DIFF = ".diff"
INDEX = re.compile(rb"^index ([0-9a-f]{40}\.\.[0-9a-f]{40})", re.MULTILINE)


def files(history: History) -> dict[str, bytes]:
    """Return the files of the result by their paths in the folder of the patches; tests are not among them."""
    last = {diff.path: diff.new_blob for patch in history.patches for diff in patch.diffs}
    new = created.paths(history.patches)
    found = {}
    for path in sorted(path for path in last if path.startswith(f"{SOURCE_PACKAGE}/")):
        if path in new and last[path] != ABSENT:
            found[f"{RESULT}/{path}"] = history.result(path)
        elif path not in new and (diff := history.whole_diff(path)):
            # Empty where later patches undo what earlier ones do.
            found[f"{RESULT}/{path}{DIFF}"] = diff
    return found


def check(folder: Path, series: Series) -> Iterable[str]:
    """Compare the result with the newest lane, as far as that needs no file of a release."""
    ends: dict[str, tuple[str, str]] = {}
    for diff in (diff for patch in series.patches for diff in patch.diffs):
        if diff.path.startswith(f"{SOURCE_PACKAGE}/"):
            ends[diff.path] = (ends.get(diff.path, (diff.old_blob,))[0], diff.new_blob)
    expected = {}
    for path, (first, last) in ends.items():
        if first != last:
            created_here = first == ABSENT
            expected[f"{RESULT}/{path}{'' if created_here else DIFF}"] = last if created_here else f"{first}..{last}"
    there = {path: (folder / path).read_bytes() for path in present(folder)}
    for path in sorted(expected.keys() | there.keys()):
        if path not in expected or path not in there:
            yield f"{path}: {'should not be' if path in there else 'is not'} there; export {series.lane}"
        elif expected[path] not in (blob_id(there[path]), _ends(there[path])):
            yield f"{path}: is not what lane {series.lane} makes; export it"


def _ends(diff: bytes) -> str | None:
    """Return the blob ids that a diff leads from and to."""
    match = INDEX.search(diff)
    return match and match[1].decode()


def present(folder: Path) -> list[str]:
    """Return the paths of the files that are there."""
    return [path.relative_to(folder).as_posix() for path in (folder / RESULT).rglob("*") if path.is_file()]
