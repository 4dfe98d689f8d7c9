"""Check one lane: its files, and its patches as far as that needs no file of a release."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from exact_resume import hunks
from exact_resume import series as patch_series
from exact_resume.commits import CONTEXT
from exact_resume.errors import SeriesError
from exact_resume.git import ABSENT
from exact_resume.patchfile import COMPANION, CORE, FIELDS, GROUP, FileDiff, Patch

ALLOWED_FOLDERS = ("src/transformers/", "tests/trainer/")


def read(folder: Path) -> tuple[list[tuple[str, Patch]], list[str]]:
    """Read what can be read of a lane; return its files with their patches, in order, and what is wrong with files."""
    lane = folder.name
    try:
        listed = patch_series.listed_files(folder)
    except SeriesError as error:
        return [], [str(error)]
    findings = []
    where = f"{lane}/{patch_series.SERIES_FILE}"
    if not listed:
        findings.append(f"{where}: lists no patch")
    elif (folder / patch_series.SERIES_FILE).read_text() != "".join(f"{name}\n" for name in listed):
        findings.append(f"{where}: is not one name a line; run export")
    present = sorted(path.name for path in folder.glob("*.patch"))
    findings += (f"{lane}/{name}: not listed in {patch_series.SERIES_FILE}" for name in present if name not in listed)
    found: list[tuple[str, Patch]] = []
    for place, name in enumerate(listed):
        if name in listed[:place]:
            findings.append(f"{where}: lists {name} twice")
        elif name not in present:
            findings.append(f"{where}: lists {name}, which does not exist")
        else:
            try:
                patch = patch_series.read_patch(folder / name)
            except SeriesError as error:
                findings.append(str(error))
                continue
            findings += (f"{lane}/{name}: {what}" for what in _check_file(folder / name, place, patch))
            found.append((name, patch))
    return found, findings


def _check_file(path: Path, place: int, patch: Patch) -> Iterable[str]:
    expected = patch_series.file_name(place, patch.name)
    if path.name != expected:
        yield f"by its place and its message, its name is {expected}; run export"
    raw = path.read_bytes()
    if not raw.endswith(b"\n"):
        yield "does not end with a newline"
    elif raw != patch.text:
        yield "its diffs are not in order, or something follows them; run export"


def check(mails: list[tuple[str, Patch]]) -> Iterable[str]:
    """Check the messages and diffs of a lane, and that the blob ids follow on one another."""
    latest: dict[str, tuple[str, str]] = {}
    companions = []
    for name, patch in mails:
        yield from (f"{name}: {what}" for what in check_header(patch))
        if companions and not patch.is_companion:
            yield f"{name}: is of the core, and follows on the companion {companions[-1]}"
        companions += [patch.name] if patch.is_companion else []
        if not patch.diffs:
            yield f"{name}: changes no file"
        for diff in patch.diffs:
            problems = (*check_diff(diff), *hunks.check(diff, CONTEXT))
            yield from (f"{name}: {diff.path}: {what}" for what in problems)
            blob, author = latest.get(diff.path, (diff.old_blob, name))
            if blob != diff.old_blob:
                yield f"{name}: {diff.path}: starts from {diff.old_blob}, but {author} leaves {blob}"
            latest[diff.path] = diff.new_blob, name


def check_header(patch: Patch) -> Iterable[str]:
    """Check the title, the message and the fields of one patch."""
    if not patch.title:
        yield "the title is empty"
    if not patch.message:
        yield "the message is empty"
    for field in FIELDS:
        if not patch.fields.get(field):
            yield f"the field {field} is missing or empty"
    if patch.fields.get(GROUP, CORE) not in (CORE, COMPANION, ""):
        yield f"the field {GROUP} is neither {CORE} nor {COMPANION}"


def check_diff(diff: FileDiff) -> Iterable[str]:
    """Check what one patch does to one file."""
    if not diff.path.startswith(ALLOWED_FOLDERS):
        yield f"outside {' and '.join(ALLOWED_FOLDERS)}"
    if diff.old_blob == diff.new_blob or ((ABSENT in (diff.old_blob, diff.new_blob)) != (diff.mode is not None)):
        yield "the index line does not go with the rest of the diff"
    for line in diff.body_lines(b"+"):
        if line != line.rstrip():
            yield f"trailing whitespace in the added line {line.decode('utf-8', errors='replace')!r}"
    if diff.new_blob != ABSENT and diff.hunks and _lacks_final_newline(diff):
        yield "the file would not end with a newline"


def changed_lines(patches: Iterable[Patch], path: str) -> int:
    """Count the lines of one file that the patches add and remove; what a later one undoes does not count."""
    added, removed = Counter(), Counter()
    for diff in (diff for patch in patches for diff in patch.diffs if diff.path == path):
        added.update(diff.body_lines(b"+"))
        removed.update(diff.body_lines(b"-"))
    return (added - removed).total() + (removed - added).total()


def _lacks_final_newline(diff: FileDiff) -> bool:
    lines = diff.hunks[-1].split(b"\n")
    return any(
        line.startswith(b"\\") and before[:1] in (b"+", b" ") for before, line in zip(lines, lines[1:], strict=False)
    )
