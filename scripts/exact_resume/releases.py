"""Write releases.toml, always in the same order, so that two writers give the same bytes."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from exact_resume import install
from exact_resume.series import RELEASES_FILE, Release, version_key

HEADING = "# Written by `python -m exact_resume export`, `hashes` and `prove`.\n"


def save(folder: Path, lanes: Mapping[str, str], releases: Iterable[Release]) -> None:
    """Write releases.toml, whole or not at all.

    Args:
        folder: the folder of the patches.
        lanes: the base release of each lane.
        releases: all releases, in any order.
    """
    path = (folder / RELEASES_FILE).resolve()
    before = path.read_bytes() if path.exists() else None
    install.install([install.Change(path, before, text(lanes, releases))], path.parent)


def text(lanes: Mapping[str, str], releases: Iterable[Release]) -> bytes:
    """Return the bytes of releases.toml: the lanes, then the releases, both newest first."""
    blocks = [HEADING]
    for lane in sorted(lanes, key=lambda lane: version_key(lanes[lane]), reverse=True):
        blocks.append(f"[lanes.{_value(lane)}]\nbase = {_value(lanes[lane])}\n")
    for release in sorted(releases, key=lambda release: version_key(release.version), reverse=True):
        name = f"releases.{_value(release.version)}"
        block = f"[{name}]\nlane = {_value(release.lane)}\n"
        if release.wheel_sha256 is not None:
            block += f"wheel_sha256 = {_value(release.wheel_sha256)}\n"
        block += f"[{name}.files]\n" + _lines({path: release.files[path] for path in sorted(release.files)})
        if release.proof is not None:
            block += f"[{name}.proof]\n" + _lines(release.proof)
        blocks.append(block)
    return "\n".join(blocks).encode()


def _lines(table: Mapping) -> str:
    return "".join(f"{_key(key)} = {_value(value)}\n" for key, value in table.items())


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value) -> str:
    if isinstance(value, str | bool | int | float):
        # What JSON escapes, TOML escapes in the same way.
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_value(entry)}" for key, entry in value.items()) + "}"
    return "[" + ", ".join(map(_value, value)) + "]"
