"""Put new file contents into a tree: all of them, or none."""

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exact_resume.errors import UsageError
from exact_resume.git import blob_id
from exact_resume.unfinished import Entry, Journal

NEW_FILE_MODE = 0o100644


@dataclass(frozen=True)
class Change:
    """One file to write, create (`before` is None) or remove (`after` is None).

    Attributes:
        target: the real path, with no symbolic link in it.
        before, after: the file's bytes.
        mode: the mode for a created file, as git records it.
    """

    target: Path
    before: bytes | None
    after: bytes | None
    mode: int = NEW_FILE_MODE


def check_writable(changes: list[Change], root: Path) -> None:
    """Refuse before anything is done when a folder of the changes, or the one around them, cannot be written to.

    Raises:
        UsageError: names the folder.
    """
    for folder in dict.fromkeys([root, *(_existing_folder(change.target.parent) for change in changes)]):
        if not folder.is_dir():
            raise UsageError(f"{folder} is in the way of a new folder; move it away; nothing was changed")
        # A folder without any write bit was locked on purpose; root would get past the bits, so they are read too.
        locked = not stat.S_IMODE(folder.stat().st_mode) & 0o222
        if locked or not os.access(folder, os.W_OK | os.X_OK):
            raise UsageError(f"{folder} is read-only; make it writable, or work on a copy; nothing was changed")


def install(
    changes: list[Change],
    root: Path,
    and_then: Callable[[], None] | None = None,
    commit: tuple[str, str] | None = None,
) -> None:
    """Carry out all changes; on any error, interruption included, undo what was already done.

    Each file is written beside its target and then moved over it, so a hard link into a package cache is cut and
    the cache keeps its bytes. Folders that a removal leaves empty are removed too: neither git nor a wheel has empty
    folders, so the series made them. What a killed process leaves is put right by `unfinished.alone`, in which this
    is to be called.

    Args:
        changes: the changes.
        root: the resolved folder below which folders are made and removed, and in which the journal is kept.
        and_then: called when everything is in place; if it fails, so do the changes.
        commit: the commits before and after, where `and_then` moves a branch.

    Raises:
        UsageError: the system refused a write, or a file changed under our hands.
        RuntimeError: undoing failed as well; says which files are affected and where their bytes are.
    """
    entries = tuple(Entry(change.target, blob_id(change.before), blob_id(change.after)) for change in changes)
    journal = Journal(root, secrets.token_hex(4), entries, _missing_folders(changes, root), commit)
    try:
        journal.write()
        for folder in journal.folders:
            folder.mkdir()
        for change in changes:
            _stage(change, journal)
        for change in changes:
            _switch(change, journal)
        _compare(changes)
        if and_then:
            and_then()
    except BaseException as error:
        journal.undo()
        if isinstance(error, OSError):
            where = error.filename or root
            raise UsageError(f"cannot write {where}: {error.strerror}; nothing was changed") from error
        raise
    journal.finish()


def _missing_folders(changes: list[Change], root: Path) -> tuple[Path, ...]:
    parents = {parent for change in changes if change.after is not None for parent in change.target.parents}
    return tuple(sorted(parent for parent in parents if parent.is_relative_to(root) and not parent.exists()))


def _stage(change: Change, journal: Journal) -> None:
    """Write the new bytes and keep the old ones, both beside the target."""
    target = change.target
    if target.resolve() != target or _content(target) != change.before:
        raise UsageError(f"{target} was changed by someone else meanwhile; run the command again; nothing was changed")
    # Nobody else can look into it, or put anything there.
    journal.holder(target).mkdir(mode=0o700)
    if change.before is not None:
        _keep(target, journal.old(target))
    if change.after is None:
        return
    new_file = journal.new(target)
    # os.open gives a created file the mode that the umask allows.
    with open(os.open(new_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, change.mode & 0o777), "wb") as stream:
        stream.write(change.after)
        stream.flush()
        os.fsync(stream.fileno())
    if change.before is not None:
        _copy_owner_and_mode(target, new_file)


def _keep(target: Path, kept: Path) -> None:
    try:
        os.link(target, kept)
    except OSError:  # a file system without hard links
        shutil.copy2(target, kept)
        _copy_owner_and_mode(target, kept)


def _copy_owner_and_mode(source: Path, destination: Path) -> None:
    status = source.stat()
    # Only root may give a file away; without root it belongs to the one who runs the command.
    for owner, group in ((-1, status.st_gid), (status.st_uid, -1)):
        with contextlib.suppress(OSError):
            os.chown(destination, owner, group)
    os.chmod(destination, stat.S_IMODE(status.st_mode))


def _switch(change: Change, journal: Journal) -> None:
    if change.after is None:
        os.unlink(change.target)
        return
    os.replace(journal.new(change.target), change.target)


def _compare(changes: list[Change]) -> None:
    for change in changes:
        if _content(change.target) != change.after:
            raise RuntimeError(f"{change.target} does not hold what was written to it")


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _existing_folder(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
