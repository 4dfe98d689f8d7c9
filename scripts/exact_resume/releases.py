"""Write releases.toml, always in the same order, so that two writers give the same bytes."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from exact_resume import install
from exact_resume.series import RELEASES_FILE, SERIES_FILE, Combinations, Lane, Release, version_key

HEADING = "# Written by `python -m exact_resume export`, `hashes` and `prove`.\n"


def save(folder: Path, lanes: Mapping[str, Lane], releases: Iterable[Release]) -> None:
    """Write releases.toml, and remove lanes that serve no release: all of it or nothing.

    Args:
        folder: the folder of the patches.
        lanes: the lanes.
        releases: all releases, in any order.
    """
    releases = list(releases)
    unserved = lanes.keys() - {release.lane for release in releases}
    served = {name: lane for name, lane in lanes.items() if name not in unserved}
    folder = folder.resolve()
    files: dict[str, bytes | None] = {RELEASES_FILE: text(served, releases)}
    files |= dict.fromkeys(name for lane in sorted(unserved) for name in lane_files(folder, lane))
    paths = {folder / name: content for name, content in files.items()}
    install.install(
        [
            install.Change(path, path.read_bytes() if path.exists() else None, content)
            for path, content in paths.items()
        ],
        folder,
    )


def lane_files(folder: Path, lane: str) -> list[str]:
    """Return the paths of what is there of a lane, in the folder of the patches."""
    paths = [*(folder / lane).glob("*.patch"), *(folder / lane).glob(SERIES_FILE)]
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def text(lanes: Mapping[str, Lane], releases: Iterable[Release]) -> bytes:
    """Return the bytes of releases.toml: the lanes, then the releases, both newest first."""
    blocks = [HEADING]
    for lane in sorted(lanes, key=lambda lane: version_key(lanes[lane].base), reverse=True):
        name = f"lanes.{_value(lane)}"
        block = f"[{name}]\nbase = {_value(lanes[lane].base)}\n"
        blocks.append(block + _combinations(name, lanes[lane].combinations))
    for release in sorted(releases, key=lambda release: version_key(release.version), reverse=True):
        name = f"releases.{_value(release.version)}"
        block = f"[{name}]\nlane = {_value(release.lane)}\n"
        if release.wheel_sha256 is not None:
            block += f"wheel_sha256 = {_value(release.wheel_sha256)}\n"
        block += f"[{name}.files]\n" + _lines({path: release.files[path] for path in sorted(release.files)})
        block += _combinations(name, release.combinations)
        if release.proof is not None:
            block += f"[{name}.proof]\n" + _lines(release.proof)
        blocks.append(block)
    return "\n".join(blocks).encode()


def _combinations(name: str, combinations: Combinations) -> str:
    return f"[{name}.combinations]\n" + _lines(dict(sorted(combinations.items()))) if combinations else ""


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
