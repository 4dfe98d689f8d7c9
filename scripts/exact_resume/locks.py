"""Let one process at a time work on a folder.

The lock is put on the folder itself. So no file has to be made for it, and none is left: the system takes the lock
away when its holder ends, however that ends.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from exact_resume.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows, where a folder cannot be locked
    fcntl = None


@contextlib.contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a folder; while another process does, say so and wait.

    Where the system or the file system knows no such locks, nothing is held.

    Args:
        folder: an existing folder.
        shared: let others in that want no more than to read.

    Raises:
        UsageError: the folder cannot be read.
    """
    if fcntl is None:
        yield
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UsageError(f"cannot read {folder}: {error.strerror}; nothing was changed") from error
    try:
        _take(descriptor, folder, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path, kind: int) -> None:
    # Some cluster file systems have no locks at all, which must not keep anybody from working there.
    with contextlib.suppress(OSError):
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another exact-resume that works in {folder}", file=sys.stderr, flush=True)
            fcntl.flock(descriptor, kind)
