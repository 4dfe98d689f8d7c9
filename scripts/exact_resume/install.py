"""Put new file contents into a tree: all of them, or none."""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from exact_resume.errors import UsageError

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


@dataclass
class _Journal:
    """What has been done so far, so that it can be undone."""

    leftovers: list[Path] = field(default_factory=list)
    made_folders: list[Path] = field(default_factory=list)
    kept: dict[Path, Path] = field(default_factory=dict)
    replaced: list[Path] = field(default_factory=list)
    created: list[Path] = field(default_factory=list)


def check_writable(changes: list[Change]) -> None:
    """Refuse before anything is done when a folder of the changes cannot be written to.

    Raises:
        UsageError: names the folder.
    """
    for folder in dict.fromkeys(_existing_folder(change.target.parent) for change in changes):
        if not folder.is_dir():
            raise UsageError(f"{folder} is in the way of a new folder; move it away; nothing was changed")
        # A folder without any write bit was locked on purpose; root would get past the bits, so they are read too.
        locked = not stat.S_IMODE(folder.stat().st_mode) & 0o222
        if locked or not os.access(folder, os.W_OK | os.X_OK):
            raise UsageError(f"{folder} is read-only; make it writable, or work on a copy; nothing was changed")


def install(changes: list[Change], root: Path, and_then: Callable[[], None] | None = None) -> None:
    """Carry out all changes; on any error, interruption included, undo what was already done.

    Each file is written beside its target and then moved over it, so a hard link into a package cache is cut and
    the cache keeps its bytes. Folders that a removal leaves empty are removed too: neither git nor a wheel has empty
    folders, so the series made them.

    Args:
        changes: the changes.
        root: the folder below which folders are made and removed.
        and_then: called when everything is in place; if it fails, so do the changes.

    Raises:
        UsageError: the system refused a write, or a file changed under our hands.
        RuntimeError: undoing failed as well; says which files are affected and where their bytes are.
    """
    journal = _Journal()
    try:
        staged = [(change, _stage(change, root, journal)) for change in changes]
        for change, new_file in staged:
            _switch(change, new_file, journal)
        _compare(changes)
        if and_then:
            and_then()
    except BaseException as error:
        _undo(journal)
        if isinstance(error, OSError):
            where = error.filename or root
            raise UsageError(f"cannot write {where}: {error.strerror}; nothing was changed") from error
        raise
    _remove(journal.leftovers)
    for change in changes:
        if change.after is None and change.target.is_relative_to(root):
            _remove_empty_folders(change.target.parent, root)


def _stage(change: Change, root: Path, journal: _Journal) -> Path | None:
    """Write the new bytes and keep the old ones, both beside the target; return the file with the new bytes."""
    target = change.target
    if (target.read_bytes() if target.is_file() else None) != change.before:
        raise UsageError(f"{target} was changed by someone else meanwhile; run the command again; nothing was changed")
    if change.before is not None:
        _keep(target, journal)
    if change.after is None:
        return None
    _make_folders(target.parent, root, journal)
    new_file = _holder(target, journal) / "new"
    # os.open, unlike tempfile, gives a created file the mode that the umask allows.
    with open(os.open(new_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, change.mode & 0o777), "wb") as stream:
        stream.write(change.after)
        stream.flush()
        os.fsync(stream.fileno())
    if change.before is not None:
        _copy_owner_and_mode(target, new_file)
    return new_file


def _keep(target: Path, journal: _Journal) -> None:
    kept = _holder(target, journal) / "old"
    try:
        os.link(target, kept)
    except OSError:  # a file system without hard links
        shutil.copy2(target, kept)
        _copy_owner_and_mode(target, kept)
    journal.kept[target] = kept


def _copy_owner_and_mode(source: Path, destination: Path) -> None:
    status = source.stat()
    # Only root may give a file away; without root it belongs to the one who runs the command.
    with contextlib.suppress(OSError):
        os.chown(destination, status.st_uid, status.st_gid)
    os.chmod(destination, stat.S_IMODE(status.st_mode))


def _holder(target: Path, journal: _Journal) -> Path:
    """Make a folder beside the target: on its file system, under a name that nobody else uses."""
    holder = Path(tempfile.mkdtemp(prefix=f".{target.name}.exact-resume-", dir=target.parent))
    journal.leftovers.append(holder)
    return holder


def _make_folders(folder: Path, root: Path, journal: _Journal) -> None:
    missing = [parent for parent in (folder, *folder.parents) if parent.is_relative_to(root) and not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir()
        journal.made_folders.append(parent)


def _switch(change: Change, new_file: Path | None, journal: _Journal) -> None:
    (journal.created if change.before is None else journal.replaced).append(change.target)
    if new_file is None:
        os.unlink(change.target)
        return
    os.replace(new_file, change.target)


def _compare(changes: list[Change]) -> None:
    for change in changes:
        if (change.target.read_bytes() if change.target.exists() else None) != change.after:
            raise RuntimeError(f"{change.target} does not hold what was written to it")


def _undo(journal: _Journal) -> None:
    stuck = []
    for path in journal.created:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            stuck.append(f"{path} is new and could not be removed")
    for target in journal.replaced:
        try:
            os.replace(journal.kept[target], target)
        except OSError:
            stuck.append(f"{target} could not be restored, its bytes are in {journal.kept[target]}")
    if stuck:
        raise RuntimeError("undoing a failed change failed too: " + "; ".join(stuck))
    _remove(journal.leftovers)
    for folder in reversed(journal.made_folders):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _remove(holders: list[Path]) -> None:
    for holder in holders:
        shutil.rmtree(holder, ignore_errors=True)


def _existing_folder(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _remove_empty_folders(folder: Path, root: Path) -> None:
    with contextlib.suppress(OSError):
        while folder != root:
            folder.rmdir()
            folder = folder.parent
