"""Put right what a killed process left half-done in a tree.

Before `install` changes anything, it writes down what it is about to do, into a journal at the top of the tree. The
old bytes of each file are kept beside it until all files are in place. So whoever comes next finds out from the files
themselves whether all was done, and finishes it, or else undoes it. A journal may have come with somebody else's tree:
it is only believed as far as it speaks of files in this tree, and of contents that are really there.
"""

import contextlib
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from exact_resume import locks
from exact_resume.errors import ExactResumeError, UsageError
from exact_resume.git import ABSENT, blob_id

NAME = ".exact-resume-unfinished.json"
MOST_BYTES = 2**20
TOKEN, BLOB, COMMIT = (re.compile(text) for text in ("[0-9a-f]{8}", "[0-9a-f]{40}", "[0-9a-f]{40,64}"))

IsCommitted = Callable[[Sequence[Path], str, str], bool]
"""Called with files, the commit before, and the one to be made: whether it was made; else its traces are removed."""


@dataclass(frozen=True)
class Entry:
    """One file: its real path, and the git blob ids before and after, `git.ABSENT` where there is none."""

    target: Path
    before: str
    after: str

    def now(self) -> str:
        """Return the blob id of what the file holds now."""
        return _blob(self.target)


@dataclass(frozen=True)
class Journal:
    """What is about to be done.

    Attributes:
        root: the top of the tree, where the journal is kept.
        token: makes the names of the folders unique that hold old and new bytes.
        entries: the files.
        folders: those that are made, parents first.
        commit: the commits at which the branch stands before and after; None where none is made.
    """

    root: Path
    token: str
    entries: tuple[Entry, ...]
    folders: tuple[Path, ...] = ()
    commit: tuple[str, str] | None = None

    def holder(self, target: Path) -> Path:
        """Return the folder for the old and the new bytes of a file: beside it, so on the same file system."""
        return target.parent / f".{target.name}.exact-resume-{self.token}"

    def old(self, target: Path) -> Path:
        """Return where the old bytes of a file are kept."""
        return self.holder(target) / "old"

    def new(self, target: Path) -> Path:
        """Return where the new bytes of a file are written before they take its place."""
        return self.holder(target) / "new"

    def write(self) -> None:
        """Write the journal, whole or not at all."""
        content = {
            "token": self.token,
            "files": [[self._name(entry.target), entry.before, entry.after] for entry in self.entries],
            "folders": [self._name(folder) for folder in self.folders],
            "commit": self.commit,
        }
        path = self.root / NAME
        part = _part(path)
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
            json.dump(content, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)

    def undo(self) -> None:
        """Bring back what was there before, wherever our bytes are now.

        Raises:
            RuntimeError: the system refused; says which files are affected and where their bytes are.
        """
        stuck = []
        for entry in self.entries:
            old = self.old(entry.target)
            # Without old bytes, or a new file, it was not its turn yet.
            if entry.before != ABSENT and not old.exists():
                continue
            try:
                now = entry.now()
                if now not in (entry.before, entry.after) and entry.before != ABSENT:
                    stuck.append(f"{entry.target} was changed by someone else, its earlier bytes are in {old}")
                elif now == entry.after and entry.before == ABSENT:
                    entry.target.unlink()
                elif now == entry.after:
                    os.replace(old, entry.target)
            except OSError:
                what = f"could not be restored, its bytes are in {old}"
                stuck.append(f"{entry.target} {what if entry.before != ABSENT else 'is new and could not be removed'}")
        if stuck:
            raise RuntimeError("undoing a failed change failed too: " + "; ".join(stuck))
        self.forget()

    def forget(self) -> None:
        """Remove what was made beside the files, and the journal."""
        self._remove_holders()
        for folder in reversed(self.folders):
            with contextlib.suppress(OSError):
                folder.rmdir()
        self._remove()

    def finish(self) -> None:
        """Remove what is needed no more: old bytes, folders that have become empty, and the journal."""
        self._remove_holders()
        for entry in self.entries:
            if entry.after == ABSENT and entry.target.is_relative_to(self.root):
                _remove_empty_folders(entry.target.parent, self.root)
        self._remove()

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.root) if path.is_relative_to(self.root) else path)

    def _remove_holders(self) -> None:
        for entry in self.entries:
            shutil.rmtree(self.holder(entry.target), ignore_errors=True)

    def _remove(self) -> None:
        for path in (self.root / NAME, _part(self.root / NAME)):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(root: Path, others: Sequence[Path] = (), is_committed: IsCommitted | None = None) -> Iterator[None]:
    """Work on a folder with no other process there, and with nothing half-done in it.

    Args:
        root: the folder.
        others: folders besides it that a journal in it may speak of.
        is_committed: tells of a commit that the journal speaks of.

    Raises:
        UsageError: something was left half-done and cannot be put right.
    """
    with locks.locked(root):
        _put_right(root, others, is_committed)
        yield


@contextlib.contextmanager
def only_looking(root: Path, error: type[ExactResumeError] = UsageError) -> Iterator[None]:
    """Keep processes away that would change a folder.

    Raises:
        UsageError: or another `error`: something is half-done in it.
    """
    with locks.locked(root, shared=True):
        if os.path.lexists(root / NAME):
            raise error(
                f"{root}: a command that changes files here was interrupted; "
                "give apply or revert once more, which puts that right first; nothing was changed"
            )
        yield


def _put_right(root: Path, others: Sequence[Path], is_committed: IsCommitted | None) -> None:
    path = root / NAME
    # The process was killed while it wrote the journal, before anything else.
    with contextlib.suppress(OSError):
        _part(path).unlink(missing_ok=True)
    journal = _read(path, others)
    if journal is None:
        return
    states = {entry: entry.now() for entry in journal.entries}
    if journal.commit and is_committed:
        done = is_committed([entry.target for entry in journal.entries], *journal.commit)
    else:
        done = all(now == entry.after for entry, now in states.items())
    if done:
        journal.finish()
    elif not any(now == entry.after for entry, now in states.items()):
        journal.forget()  # nothing of it is there, and whatever is, is somebody else's
    else:
        _check_undo(path, journal, states)
        journal.undo()
    word = "finished" if done else "undone"
    print(f"{root}: an earlier command was interrupted; what it had begun is {word} now", file=sys.stderr, flush=True)


def _check_undo(path: Path, journal: Journal, states: dict[Entry, str]) -> None:
    """Refuse to undo what others have changed since, or what there are no old bytes for."""
    for entry, now in states.items():
        kept = journal.old(entry.target)
        if now not in (entry.before, entry.after):
            what = f"{entry.target} was changed since"
        elif now == entry.after and entry.before != ABSENT and _blob(kept) != entry.before:
            what = f"the bytes of {entry.target} before it are not in {kept} any more"
        else:
            continue
        raise UsageError(
            f"{path}: an earlier command was interrupted, and {what}; restore the files of the release, by git "
            "checkout or by reinstalling, and remove this file; nothing was changed"
        )


def _read(path: Path, others: Sequence[Path]) -> Journal | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if path.is_symlink():
            raise _damaged(path, "it is a link") from error
        raise UsageError(f"cannot read {path}: {error.strerror}; nothing was changed") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _damaged(path, "it is no file")
    with open(descriptor, "rb") as stream:
        data = stream.read(MOST_BYTES + 1)
    try:
        if len(data) > MOST_BYTES:
            raise ValueError("too large")
        return _journal(path, json.loads(data), others)
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RuntimeError) as error:
        raise _damaged(path, str(error)) from error


def _journal(path: Path, raw: dict, others: Sequence[Path]) -> Journal:
    roots = [path.parent, *(folder.resolve() for folder in others)]

    def real(name: str, *, within: Sequence[Path] = roots) -> Path:
        found = path.parent / name
        # A link on the way could lead anywhere.
        if found.resolve() != found or not any(folder in found.parents for folder in within):
            raise ValueError(f"{name} leads out of the tree")
        return found

    entries = [Entry(real(name), _matched(BLOB, old), _matched(BLOB, new)) for name, old, new in raw["files"]]
    commit = None if raw["commit"] is None else tuple(_matched(COMMIT, text) for text in raw["commit"])
    if commit is not None and len(commit) != 2:
        raise ValueError("not two commits")
    folders = tuple(real(name, within=roots[:1]) for name in raw["folders"])
    return Journal(path.parent, _matched(TOKEN, raw["token"]), tuple(entries), folders, commit)


def _matched(pattern: re.Pattern, text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(f"{text!r} is not what belongs there")
    return text


def _damaged(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{path} cannot be used ({why}), which says what an interrupted command had begun; if that was apply or "
        "revert --installed, give --installed again; else restore the files of the release, by git checkout or by "
        "reinstalling, and remove this file; nothing was changed"
    )


def _blob(path: Path) -> str:
    """Return the blob id of a file; of anything else none that a file could have."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    return blob_id(path.read_bytes()) if stat.S_ISREG(status.st_mode) else ""


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _remove_empty_folders(folder: Path, root: Path) -> None:
    with contextlib.suppress(OSError):
        while folder != root:
            folder.rmdir()
            folder = folder.parent
