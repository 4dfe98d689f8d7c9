"""Build a wheel of patched transformers from the official one: `python -m exact_resume wheel RELEASE`."""

import argparse
import contextlib
import hashlib
import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from exact_resume import combinations, locks, patching, trees, wheelfile
from exact_resume.errors import EXIT_FINE, UsageError
from exact_resume.git import ABSENT, blob_id
from exact_resume.series import Series, for_release
from exact_resume.tree import INSTALLED_PACKAGE, SOURCE_PACKAGE, VERSION_LINE
from exact_resume.wheelfile import Member

PROJECT = trees.PROJECT
INIT_FILE = f"{INSTALLED_PACKAGE}/__init__.py"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `wheel`, except --without."""
    command.add_argument("release", metavar="RELEASE", help="the release of transformers, such as 5.23.0")
    command.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        default=Path(),
        help="where to put the wheel (default: the current folder)",
    )
    command.add_argument(
        "--from", metavar="WHEEL", type=Path, dest="source", help="the official wheel (default: cached or downloaded)"
    )


def run(parsed: argparse.Namespace) -> int:
    """Build the wheel, and say where it is and how to pin it; the errors are those of `build`."""
    name, content = build(parsed.release, parsed.source, parsed.without)
    target, written = _write(parsed.output, name, content)
    digest = hashlib.sha256(content).hexdigest()
    print(f"{'built' if written else 'already built'}: {target}")
    print(f"sha256: {digest}")
    print("to pin it in a requirements file, by path or by version (with pip's --find-links), one of:")
    print(f"{PROJECT} @ {target.as_uri()} --hash=sha256:{digest}")
    print(f"{PROJECT}=={name.split('-')[1]} --hash=sha256:{digest}")
    return EXIT_FINE


def build(release: str, source: Path | None = None, without: Collection[str] = ()) -> tuple[str, bytes]:
    """Make the patched wheel of a release: the same bytes for the same official wheel and the same patches.

    The version gets a local label that names the patched contents, so that `transformers==RELEASE` accepts the wheel.
    Tests of the series are left out, as an installed package has no place for them. The official wheel is compared
    with its hash in releases.toml, every member with the wheel's RECORD, and every file that the series changes with
    what the series records.

    Args:
        release: the release of transformers.
        source: the official wheel; the one in the cache, downloaded if need be, without it.
        without: the names of the companions to leave out.

    Returns:
        The file name of the wheel, and its bytes.

    Raises:
        UsageError: there is no series for the release, no such companion, or no good official wheel.
    """
    series = combinations.without(for_release(release), without)
    path = source or trees.official_wheel(release)
    members = wheelfile.read(path, PROJECT, release)
    trees.check_wheel(path, release)
    _refuse_unofficial(path, members, release, series)
    changes = _patched(members, series)
    version = f"{release}+{_label(changes)}"
    return trees.wheel_name(version), wheelfile.pack(_rewritten(members, changes, release, version))


def _refuse_unofficial(path: Path, members: dict[str, Member], release: str, series: Series) -> None:
    """Refuse a wheel that is sound, but has other files than the release, before the patches are tried on it."""
    init = members[INIT_FILE].content if INIT_FILE in members else b""
    version = VERSION_LINE.search(init.decode(errors="replace"))
    wrong = [] if version and version[1] == release else [INIT_FILE]
    for name, pristine in _pristine_blobs(series).items():
        if blob_id(members[name].content if name in members else None) != pristine:
            wrong.append(name)
    if wrong:
        raise UsageError(
            f"{path}: not as in the official wheel of {PROJECT} {release}: {', '.join(wrong)}; "
            "give the official wheel; nothing was written"
        )


def _pristine_blobs(series: Series) -> dict[str, str]:
    """Return the blob id in the official wheel of each file that the series touches there; ABSENT for a new one."""
    blobs: dict[str, str] = {}
    for diff in (diff for patch in series.patches for diff in patch.diffs):
        if diff.path.startswith(f"{SOURCE_PACKAGE}/"):
            blobs.setdefault(INSTALLED_PACKAGE + diff.path.removeprefix(SOURCE_PACKAGE), diff.old_blob)
    return blobs


def _patched(members: dict[str, Member], series: Series) -> dict[str, bytes]:
    """Return what each file that the series changes or creates holds after it."""
    # The series needs no other file than these.
    needed = [INIT_FILE, *(name for name, pristine in _pristine_blobs(series).items() if pristine != ABSENT)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in needed:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(members[name].content)
        files = patching.apply(folder, series=series).files
        return {name: (folder / name).read_bytes() for name in sorted(files)}


def _label(changes: dict[str, bytes]) -> str:
    """Return the local version label (PEP 440) for these changes."""
    listing = "".join(f"{name} {blob_id(content)}\n" for name, content in changes.items())
    # The letter in front keeps eight digits from being read as a number, which would lose its leading zeros.
    return f"exactresume.s{hashlib.sha256(listing.encode()).hexdigest()[:8]}"


def _rewritten(members: dict[str, Member], changes: dict[str, bytes], release: str, version: str) -> list[Member]:
    """Return the members of the patched wheel in order: the package's, its new ones, the metadata, and RECORD."""
    old_info, new_info = wheelfile.dist_info(PROJECT, release), wheelfile.dist_info(PROJECT, version)
    record, metadata = members[f"{old_info}/RECORD"], members[f"{old_info}/METADATA"]
    # `__version__` in the package stays as it is: apply, revert and status find the release by it, and other libraries
    # compare it, not always by the rules for local labels.
    changes = {**changes, metadata.name: _with_version(metadata.content, release, version)}
    package, info = [], []
    for member in members.values():
        if member is record:
            continue
        if member.name in changes:
            # Whatever is new or changed gets the time at which the official wheel was finished.
            member = member.with_content(changes.pop(member.name), record.moment)
        if member.name.startswith(f"{old_info}/"):
            info.append(replace(member, name=new_info + member.name.removeprefix(old_info)))
        else:
            package.append(member)
    new = [wheelfile.new_member(name, content, record.moment) for name, content in changes.items()]
    written = [*package, *new, *info]
    name = f"{new_info}/RECORD"
    return [*written, replace(record.with_content(wheelfile.record(written, name), record.moment), name=name)]


def _with_version(metadata: bytes, release: str, version: str) -> bytes:
    lines = metadata.split(b"\n")
    lines[lines.index(f"Version: {release}".encode())] = f"Version: {version}".encode()
    return b"\n".join(lines)


def _write(output: Path, name: str, content: bytes) -> tuple[Path, bool]:
    """Put the wheel into a folder, whole or not at all; return its path, and False if it was there already."""
    target = output.resolve() / name
    try:
        with contextlib.suppress(FileNotFoundError):
            if target.read_bytes() == content:
                return target, False
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{name}.part")
        with locks.locked(target.parent):
            part.unlink(missing_ok=True)  # of a process that was killed
            try:
                # The file is new, and so not a link that leads elsewhere.
                with open(part, "xb") as stream:
                    stream.write(content)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot write {target}: {error.strerror or error}; give another folder by --output; nothing was written"
        ) from error
    return target, True
