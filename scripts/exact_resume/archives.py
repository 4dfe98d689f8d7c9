"""Unpack zip archives that may hold anything: only below a folder, only files, and only so much."""

import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO

MOST_MEMBERS = 20_000
MOST_BYTES = 2**29
"""About ten times of what a wheel of transformers has."""
LONGEST_PART, LONGEST_NAME = 255, 1000


DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, IndexError, RuntimeError, ValueError)
"""What `zipfile` raises for an archive that is damaged, or has members that are encrypted."""


class Unusable(ValueError):
    """An archive is damaged, or has something in it that must not be unpacked."""


def unpack(archive: Path | IO[bytes], folder: Path, *, links_as_files: bool = False) -> None:
    """Unpack a zip archive.

    Args:
        archive: the archive.
        folder: an empty folder.
        links_as_files: make of a symbolic link a file that holds where it leads; they are refused without it.

    Raises:
        Unusable: it is damaged or not harmless. What was unpacked until then is left in the folder.
        OSError: it cannot be read, or the folder not be written to.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            if wrong := problem(opened.infolist(), links_as_files=links_as_files):
                raise Unusable(wrong)
            # This reads no more bytes of a member than it was said to have.
            opened.extractall(folder)
    except DAMAGED as error:
        raise Unusable(str(error)) from error


def problem(entries: Sequence[zipfile.ZipInfo], *, links_as_files: bool = False) -> str | None:
    """Return what is wrong with the members of an archive, None if nothing; for `links_as_files` see `unpack`."""
    if len(entries) > MOST_MEMBERS:
        return f"it has {len(entries)} members, more than {MOST_MEMBERS}"
    size = sum(entry.file_size for entry in entries)
    if size > MOST_BYTES:
        return f"it holds {size} bytes, more than {MOST_BYTES}"
    for entry in entries:
        # zipfile changes some names as it reads them; the original tells.
        name = entry.orig_filename
        parts = name.removesuffix("/").split("/") if _is_folder(entry) else name.split("/")
        plain = name == entry.filename and "\\" not in name and ":" not in name
        plain = plain and len(name.encode(errors="replace")) <= LONGEST_NAME
        if not plain or any(part in ("", ".", "..") or len(part.encode()) > LONGEST_PART for part in parts):
            return f"the member {name!r} is no plain path below the folder it is unpacked into"
        kind = stat.S_IFMT(entry.external_attr >> 16)
        harmless = (0, stat.S_IFDIR if _is_folder(entry) else stat.S_IFREG)
        if kind not in harmless and not (links_as_files and kind == stat.S_IFLNK):
            return f"the member {name!r} is a link or another special file"
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return f"the member {name!r} is compressed by a method that wheels do not use"
    names = Counter(entry.filename for entry in entries)
    name, times = names.most_common(1)[0] if entries else ("", 0)
    if times > 1:
        return f"the member {name!r} is in it {times} times"
    for entry in entries:
        for parent in Path(entry.filename).parents:
            if str(parent) in names:
                return f"the member {str(parent)!r} is a file and a folder"
    return None


def _is_folder(entry: zipfile.ZipInfo) -> bool:
    # The method that an entry has for that fails where the name is empty.
    return entry.filename.endswith("/")
