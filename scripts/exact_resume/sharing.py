"""What lanes share: messages, and the diffs of the files that the series creates, are the same bytes in every lane.

Of the lanes that list a patch, the newest decides what these are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from exact_resume import created
from exact_resume import series as patch_series
from exact_resume.errors import UsageError
from exact_resume.patchfile import Patch
from exact_resume.series import Lane, Series, version_key


def carry(
    folder: Path, lanes: Mapping[str, Lane], lane: str, patches: Sequence[Patch]
) -> dict[str, tuple[Patch, ...]]:
    """Return the patches of a lane, and those of older lanes with what they share with these.

    Args:
        folder: the folder of the patches.
        lanes: all lanes.
        lane: the lane that is written.
        patches: what it will have.

    Raises:
        UsageError: a newer lane has the same patch with another message, or other created files.
    """
    others = {name: patch_series.load_lane(name, folder) for name in lanes if name != lane}
    newer = {name for name in others if version_key(lanes[name].base) > version_key(lanes[lane].base)}
    found = {lane: tuple(patches)}
    decided = set()
    for name in newer:
        _check_agreement(lane, patches, others[name])
        decided.update(others[name].names)
    ours = {patch.name: patch for patch in patches if patch.name not in decided}
    paths = created.paths(patches)
    for name in others.keys() - newer:
        theirs = created.paths(others[name].patches)
        found[name] = tuple(
            _carried(ours[patch.name], paths, patch, theirs) if patch.name in ours else patch
            for patch in others[name].patches
        )
    return found


def disagreements(series: Mapping[str, Series]) -> list[tuple[str, str, str]]:
    """Return (lane, patch, newest lane that lists it) for each patch that is not as that lane has it."""
    found = []
    leaders: dict[str, tuple[str, bytes]] = {}
    for lane in sorted(series, key=lambda name: version_key(series[name].base), reverse=True):
        paths = created.paths(series[lane].patches)
        for patch in series[lane].patches:
            mail = created.shared(patch, paths)
            leader, expected = leaders.setdefault(patch.name, (lane, mail))
            if mail != expected:
                found.append((lane, patch.name, leader))
    return found


def _carried(newest: Patch, paths: set[str], patch: Patch, own_paths: set[str]) -> Patch:
    own = tuple(diff for diff in patch.diffs if diff.path not in own_paths)
    return replace(newest, diffs=created.diffs_of(newest, paths) + own)


def _check_agreement(lane: str, patches: Sequence[Patch], newer: Series) -> None:
    expected = {patch.name: created.shared(patch, created.paths(newer.patches)) for patch in newer.patches}
    for patch in patches:
        if expected.get(patch.name, shared := created.shared(patch, created.paths(patches))) != shared:
            raise UsageError(
                f"lane {lane} gives another {patch.name} than lane {newer.lane} has; the message, the fields and the "
                f"files that the series creates are the same in every lane; change the newest lane that has it, "
                f"{newer.lane}, first; nothing was changed"
            )
