"""Read a wheel and make sure of every byte of it; write one that is the same wherever it is made.

What zlib makes of the same bytes differs between its releases and its forks. So nothing is compressed here: members
that stay as they are keep their compressed bytes, which `zipfile` cannot copy, and members that change are stored.
"""

import base64
import csv
import hashlib
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from exact_resume import archives
from exact_resume.errors import UsageError

# Fields and order as in sections 4.3.7, 4.3.12 and 4.3.16 of the zip specification (APPNOTE).
LOCAL_HEADER = struct.Struct("<4s5H3L2H")
CENTRAL_HEADER = struct.Struct("<4s6H3L5H2L")
END_RECORD = struct.Struct("<4s4H2LH")
UNIX = 3 << 8
ZIP_VERSION = 20
NAME_IS_UTF8 = 0x800
SIZES_FOLLOW = 0x8
NEW_FILE_MODE = stat.S_IFREG | 0o644

Moment = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class Member:
    """One file of a wheel.

    Attributes:
        name: its path in the archive.
        content: its bytes.
        packed: its bytes as they lie in the archive.
        method, flags: how the one became the other, in the numbers of the zip specification.
        moment: year, month, day, hour, minute, second.
        mode: the file mode.
    """

    name: str
    content: bytes
    packed: bytes
    method: int
    flags: int
    moment: Moment
    mode: int

    def with_content(self, content: bytes, moment: Moment) -> "Member":
        """Return the member with other bytes, not compressed."""
        flags = self.flags & NAME_IS_UTF8
        return replace(self, content=content, packed=content, method=zipfile.ZIP_STORED, flags=flags, moment=moment)


def new_member(name: str, content: bytes, moment: Moment) -> Member:
    """Return a member that is not compressed."""
    flags = 0 if name.isascii() else NAME_IS_UTF8
    return Member(name, content, content, zipfile.ZIP_STORED, flags, moment, NEW_FILE_MODE)


def read(path: Path, project: str, release: str) -> dict[str, Member]:
    """Read a wheel and return its members by name, in the order of the archive.

    Raises:
        UsageError: the file is no wheel of this project and release, is damaged, names a path outside the folder that
            it is unpacked into, or has other files or bytes than its RECORD says.
    """
    try:
        with open(path, "rb") as stream, zipfile.ZipFile(stream) as archive:
            wrong = archives.problem(archive.infolist())
            if wrong:
                raise _refusal(path, wrong)
            members = {entry.filename: _member(stream, archive, entry) for entry in archive.infolist()}
    except archives.DAMAGED as error:
        raise _refusal(path, f"it is damaged: {error}") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}; nothing was written") from error
    _check_release(path, members, project, release)
    _check_record(path, members, f"{dist_info(project, release)}/RECORD")
    return members


def dist_info(project: str, version: str) -> str:
    """Return the name of the folder that holds a wheel's metadata."""
    return f"{project}-{version}.dist-info"


def record(members: Sequence[Member], name: str) -> bytes:
    """Return the RECORD, which has the given name, of a wheel that has these other members."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerows((member.name, _digest(member.content), len(member.content)) for member in members)
    rows.writerow((name, "", ""))
    return text.getvalue().encode()


def pack(members: Sequence[Member]) -> bytes:
    """Return the zip archive that has these members in this order."""
    body, directory = bytearray(), bytearray()
    for member in members:
        year, month, day, hour, minute, second = member.moment
        name = member.name.encode()
        common = (
            member.flags,
            member.method,
            hour << 11 | minute << 5 | second // 2,
            (year - 1980) << 9 | month << 5 | day,
            zlib.crc32(member.content),
            len(member.packed),
            len(member.content),
            len(name),
        )
        where = len(body)
        body += LOCAL_HEADER.pack(b"PK\x03\x04", ZIP_VERSION, *common, 0) + name + member.packed
        versions = (UNIX | ZIP_VERSION, ZIP_VERSION)
        directory += (
            CENTRAL_HEADER.pack(b"PK\x01\x02", *versions, *common, 0, 0, 0, 0, member.mode << 16, where) + name
        )
    counts = (len(members), len(members))
    end = END_RECORD.pack(b"PK\x05\x06", 0, 0, *counts, len(directory), len(body), 0)
    return bytes(body + directory + end)


def _member(stream, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Member:
    content = archive.read(entry)
    stream.seek(entry.header_offset)
    *_, name_length, extra_length = LOCAL_HEADER.unpack(stream.read(LOCAL_HEADER.size))
    stream.seek(name_length + extra_length, io.SEEK_CUR)
    packed = stream.read(entry.compress_size)
    # pack() writes the sizes in front of the bytes.
    flags = entry.flag_bits & ~SIZES_FOLLOW
    mode = entry.external_attr >> 16 or NEW_FILE_MODE
    return Member(entry.filename, content, packed, entry.compress_type, flags, entry.date_time, mode)


def _check_release(path: Path, members: dict[str, Member], project: str, release: str) -> None:
    expected = dist_info(project, release)
    found = {name.partition("/")[0] for name in members if name.partition("/")[0].endswith(".dist-info")}
    if found != {expected}:
        what = ", ".join(sorted(found)) or "no .dist-info folder"
        raise UsageError(
            f"{path}: not the wheel of {project} {release}: {what} in it; "
            "give the official wheel of this release; nothing was written"
        )
    metadata = members.get(f"{expected}/METADATA")
    header = metadata.content.partition(b"\n\n")[0].split(b"\n") if metadata else []
    for line in (f"Name: {project}", f"Version: {release}"):
        if line.encode() not in header:
            raise _refusal(path, f"{expected}/METADATA does not say {line}")


def _check_record(path: Path, members: dict[str, Member], record_name: str) -> None:
    if record_name not in members:
        raise _refusal(path, f"it has no {record_name}")
    try:
        text = members[record_name].content.decode()
        rows = {name: (digest, size) for name, digest, size in csv.reader(io.StringIO(text, newline=""), strict=True)}
    except (ValueError, csv.Error) as error:
        raise _refusal(path, f"{record_name} cannot be read: {error}") from error
    expected = {name: (_digest(member.content), str(len(member.content))) for name, member in members.items()}
    expected[record_name] = ("", "")
    for name in {**expected, **rows}:
        if name not in rows:
            raise _refusal(path, f"{name} is not in its RECORD")
        if name not in expected:
            raise _refusal(path, f"{name} is in its RECORD but not in the wheel")
        if rows[name] != expected[name]:
            raise _refusal(path, f"{name} does not have the hash and the size that its RECORD gives")


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _refusal(path: Path, what: str) -> UsageError:
    return UsageError(f"{path}: {what}; download the wheel again; nothing was written")
