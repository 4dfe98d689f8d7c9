"""
The file that a journal of a run is kept in, by one process of the run: written record by record, and read.

It begins with the line `exact-resume journal 1` and a line of JSON, the header. Records of one size follow: in 4 bytes
the kind, `S` for an update step or `R` for the place where a run was started again or resumed; in 4 the number of the
step, or of the steps that were done; a digest of 8 bytes for each field; and the CRC-32 of all that. Numbers are
little-endian.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from exact_resume.errors import UsageError

MAGIC = b"exact-resume journal 1\n"
STEP, RESUMED = b"S", b"R"
DIGEST_SIZE = 8
MOST_RANKS = 10**6
HEAD, CRC = struct.Struct("<4sI"), struct.Struct("<I")


@dataclass(frozen=True)
class Header:
    """
    What a journal is of.

    Args:
        fields: What the digests of a record are of.
        world_size: Number of processes of the run.
        rank: Which of them wrote this file.
        seed: The run's seed.
        every: Update steps from one record to the next.
        transformers: Its release.
        torch: Its release.
    """

    fields: tuple[str, ...]
    world_size: int
    rank: int
    seed: int
    every: int
    transformers: str
    torch: str


@dataclass
class Resume:
    """
    A place where a run was resumed, or started once more.

    Args:
        step: The update steps that were done there.
        repeated: How many recorded steps were repeated.
        parted: The first of these that came out with other digests.
    """

    step: int
    repeated: int = 0
    parted: int | None = None


@dataclass
class Journal:
    """
    A journal that was read.

    Args:
        path: The file.
        header: What it is of.
        steps: The digests of the run by update step. What was recorded of steps that were repeated is left out.
        resumes: Where the run was resumed.
        num_torn: How many records at the end are not whole.
    """

    path: Path
    header: Header
    steps: dict[int, bytes] = field(default_factory=dict)
    resumes: list[Resume] = field(default_factory=list)
    num_torn: int = 0

    def digests(self, step: int) -> dict[str, bytes]:
        """The digests of a step by field; without the fields that the run had nothing for."""
        data = self.steps[step]
        found = {name: data[n * DIGEST_SIZE :][:DIGEST_SIZE] for n, name in enumerate(self.header.fields)}
        return {name: digest for name, digest in found.items() if any(digest)}


class Writer:
    """
    Appends to a journal, each record at once and whole: what is written survives the end of the process.

    Args:
        path: The file. If it exists, the journal is continued.
        header: What it is of.
        steps_done: The update step after which the run starts.

    Raises:
        UsageError: If the file is not a journal, or one of another kind of run.
        OSError: If it cannot be written.
    """

    def __init__(self, path: Path, header: Header, steps_done: int):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists() or path.stat().st_size == 0
        if not is_new:
            _cut_torn_records(path, header)
        self._file = path.open("ab", buffering=0)
        if is_new:
            self._file.write(MAGIC + json.dumps(asdict(header)).encode() + b"\n")
        if steps_done > 0 or not is_new:
            self._write(RESUMED, steps_done, bytes(DIGEST_SIZE * len(header.fields)))

    def write(self, step: int, digests: Iterable[bytes]) -> None:
        """Append the digests of an update step, one for each field."""
        self._write(STEP, step, b"".join(digests))

    def _write(self, kind: bytes, step: int, digests: bytes) -> None:
        record = HEAD.pack(kind, step) + digests
        self._file.write(record + CRC.pack(zlib.crc32(record)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(path: Path) -> Journal:
    """
    Read a journal.

    Raises:
        UsageError: If the file cannot be read, is not a journal, or is damaged before its end.
    """
    header, begin, data = _read_header(path)
    size, whole = _record_size(header), _count_whole(header, data, begin)
    journal = Journal(path, header, num_torn=-(-(len(data) - begin) // size) - whole)
    replaced: dict[int, bytes] = {}
    for number in range(whole):
        record = data[begin + number * size : begin + (number + 1) * size]
        if not _is_whole(record):
            raise UsageError(f"{path} is damaged: record {number + 1} of {whole} is not what was written")
        kind, step = HEAD.unpack_from(record)
        if kind.rstrip(b"\0") == RESUMED:
            journal.resumes.append(Resume(step))
            replaced = {later: journal.steps.pop(later) for later in list(journal.steps) if later > step}
        else:
            digests = record[HEAD.size : -CRC.size]
            journal.steps[step] = digests
            if step in replaced:
                resume = journal.resumes[-1]
                resume.repeated += 1
                if resume.parted is None and replaced[step] != digests:
                    resume.parted = step
    return journal


def _read_header(path: Path) -> tuple[Header, int, bytes]:
    """The header, the position of the first record, and all bytes of the file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    end = data.find(b"\n", len(MAGIC))
    try:
        if not data.startswith(MAGIC) or end < 0:
            raise ValueError
        entries = json.loads(data[len(MAGIC) : end])
        return _header(entries), end + 1, data
    # Nested too deeply, JSON leads to a RecursionError.
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(f"{path} is no journal of a run, as exact_resume.journal.RNGJournal writes it") from error


def _header(entries: dict) -> Header:
    header = Header(**{**entries, "fields": tuple(entries["fields"])})
    texts = (*header.fields, header.transformers, header.torch)
    numbers = (header.world_size, header.rank, header.seed, header.every)
    # They are printed, counted with, and compared.
    if not all(isinstance(text, str) and text.isprintable() for text in texts):
        raise ValueError
    if not all(type(number) is int for number in numbers) or not 0 <= header.rank < header.world_size <= MOST_RANKS:
        raise ValueError
    return header


def _record_size(header: Header) -> int:
    return HEAD.size + DIGEST_SIZE * len(header.fields) + CRC.size


def _is_whole(record: bytes) -> bool:
    return CRC.unpack(record[-CRC.size :])[0] == zlib.crc32(record[: -CRC.size])


def _count_whole(header: Header, data: bytes, begin: int) -> int:
    """The number of records, without those at the end that a crash tore or left as zeros."""
    size = _record_size(header)
    number = (len(data) - begin) // size
    while number > 0 and not _is_whole(data[begin + (number - 1) * size : begin + number * size]):
        number -= 1
    return number


def _cut_torn_records(path: Path, header: Header) -> None:
    """Make a journal end with a whole record, if it is one that a run with this header can continue."""
    found, begin, data = _read_header(path)
    for name in ("fields", "world_size", "rank"):
        was, now = getattr(found, name), getattr(header, name)
        if was != now:
            raise UsageError(
                f"{path} is of another run: its {name} is {was}, and now {now}; remove it or choose another folder"
            )
    os.truncate(path, begin + _record_size(header) * _count_whole(header, data, begin))
