"""Keep RECORD, by which pip uninstalls a distribution, right: it has a line `path,hash,size` for each file."""

import base64
import csv
import hashlib
from collections.abc import Mapping

Kept = Mapping[str, str | None]
"""The lines that were replaced, with their ends, by path; None for a line that was added."""


def updated(record: bytes, before: Mapping[str, bytes | None], after: Mapping[str, bytes]) -> tuple[bytes, Kept]:
    """Return a RECORD with lines for changed files, and what is needed to take them back.

    New files are put first. A file that is not listed, or is listed without its hash, stays like that.

    Args:
        record: the bytes of the RECORD.
        before, after: the bytes of the changed files by path; None for one that was not there.
    """
    lines = record.decode().splitlines(keepends=True)
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    kept: dict[str, str | None] = {}
    for place, line in enumerate(lines):
        path, digest = _path_and_digest(line)
        if path in after and digest:
            kept[path] = line
            lines[place] = _line(path, after[path]) + line[len(line.rstrip("\r\n")) :]
    new = [path for path in after if before[path] is None and path not in kept]
    kept.update(dict.fromkeys(new))
    return "".join([*(_line(path, after[path]) + end for path in new), *lines]).encode(), kept


def restored(record: bytes, kept: Kept, contents: Mapping[str, bytes | None]) -> bytes:
    """Return a RECORD as it was before `updated`; lines that somebody else has changed since stay.

    Args:
        record: the bytes of the RECORD.
        kept: as `updated` returned it.
        contents: the bytes of the changed files while the RECORD has their lines.
    """
    lines = []
    for line in record.decode().splitlines(keepends=True):
        path, _ = _path_and_digest(line)
        content = contents.get(path)
        if path in kept and content is not None and line.rstrip("\r\n") == _line(path, content):
            lines.append(kept[path] or "")
        else:
            lines.append(line)
    return "".join(lines).encode()


def _path_and_digest(line: str) -> tuple[str, str]:
    row = next(csv.reader([line]), [])
    return (row[0], row[1]) if len(row) == 3 else ("", "")


def _line(path: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(content)}"
