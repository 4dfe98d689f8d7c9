"""Combinations of companions: which blob ids a file has when some of them are left out.

Companions stand last in a series, and each applies whichever others are in, with the same result in every order. So
what a file holds depends on the core and on which companions that change it are in. Where these are the first ones of
the series, its own blob ids tell; `Series.combinations` has the others, by the names of companions joined with `+`.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import combinations as subsets_of

from exact_resume import scratch
from exact_resume.errors import Finding, SeriesError, UsageError
from exact_resume.git import blob_id
from exact_resume.patchfile import Patch
from exact_resume.scratch import Contents
from exact_resume.series import RELEASES_FILE, Combinations, Series


def key(companions: Iterable[str]) -> str:
    """Return how releases.toml names companions that are in together."""
    return "+".join(companions)


def subsets(companions: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every subset, the small ones first, each in the order of the series."""
    return [subset for size in range(len(companions) + 1) for subset in subsets_of(companions, size)]


def touching(patches: Iterable[Patch]) -> dict[str, list[Patch]]:
    """Return the companions that change a file, in order, for each file that any of them changes."""
    found: dict[str, list[Patch]] = {}
    for patch in patches:
        for diff in patch.diffs if patch.is_companion else ():
            found.setdefault(diff.path, []).append(patch)
    return found


def lacking_keys(patches: Iterable[Patch]) -> dict[str, list[str]]:
    """Return, for each file that two or more companions change, the keys that the blob ids of the series lack."""
    found = {}
    for path, companions in touching(patches).items():
        names = [patch.name for patch in companions]
        keys = [key(subset) for subset in subsets(names) if list(subset) != names[: len(subset)]]
        if keys:
            found[path] = keys
    return found


def work_out(patches: Iterable[Patch], core: Contents) -> Combinations:
    """Apply the companions in every order; return the blob ids that the blob ids of the series lack.

    Args:
        patches: the series.
        core: what files hold after the core; a file that is not in it is not looked at.

    Raises:
        Finding: a companion needs another one, or the order makes a difference.
    """
    patches = tuple(patches)
    lacking = lacking_keys(patches)
    found = {}
    for path, companions in touching(patches).items():
        if path in core:
            blobs = _of_file(path, companions, core[path])
            if path in lacking:
                found[path] = {names: blobs[names] for names in lacking[path]}
    return found


def _of_file(path: str, companions: list[Patch], core: bytes | None) -> dict[str, str]:
    diffs = {patch.name: diff for patch in companions for diff in patch.diffs if diff.path == path}
    contents: dict[str, bytes | None] = {key(()): core}
    for subset in subsets(list(diffs))[1:]:
        for last in subset:
            others = key(name for name in subset if name != last)
            where = f"{path}: {last} on the core{f' and {others}' if others else ''}"
            advice = "a companion must do without any other; move what it needs into the core"
            before = contents[others]
            try:
                after = scratch.apply({path: before}, [diffs[last]])[path]
            except scratch.DoesNotApply as error:
                raise Finding(f"{where}: does not apply; {advice}") from error
            if contents.setdefault(key(subset), after) != after:
                raise Finding(f"{where}: gives another file than in another order; {advice}")
            there = scratch.ambiguous_hunks(before, diffs[last]) if before is not None else ()
            back = scratch.ambiguous_hunks(after, diffs[last], reverse=True) if after is not None else ()
            for number in sorted({*there, *back}):
                raise Finding(f"{where}: hunk {number} fits in more than one place; change lines that occur once")
    return {names: blob_id(content) for names, content in contents.items()}


def check_recorded(series: Series, release: str) -> None:
    """Make sure that the blob ids of every combination are known.

    Raises:
        SeriesError: they are not, or others are.
    """
    wanted, there = lacking_keys(series.patches), {path: list(blobs) for path, blobs in series.combinations.items()}
    for path in sorted(wanted.keys() | there.keys()):
        if sorted(wanted.get(path, ())) != sorted(there.get(path, ())):
            raise SeriesError(
                f"{RELEASES_FILE}: release {release}: {path}: blob ids of the combinations {there.get(path, [])}, "
                f"where lane {series.lane} needs {wanted.get(path, [])}; run hashes"
            )


def arranged(series: Series, companions: Sequence[str]) -> Series:
    """Return the series with its companions in another order, each diff with the blob ids that it has there."""
    by_name = {patch.name: patch for patch in series.patches}
    order = {path: [patch.name for patch in patches] for path, patches in touching(series.patches).items()}
    ids = {(path, key(names[:count])): blob for path, names in order.items() for count, blob in _chain(series, path)}
    ids |= {(path, names): blob for path, blobs in series.combinations.items() for names, blob in blobs.items()}
    patches = [patch for patch in series.patches if not patch.is_companion]
    inside: set[str] = set()
    for name in companions:
        diffs = []
        for diff in by_name[name].diffs:
            ends = [
                (diff.path, key(other for other in order[diff.path] if other in there))
                for there in (inside, {*inside, name})
            ]
            if not ids.keys() >= set(ends):
                raise SeriesError(f"lane {series.lane}: {diff.path}: no blob ids of some combinations; run hashes")
            diffs.append(replace(diff, old_blob=ids[ends[0]], new_blob=ids[ends[1]]))
        inside.add(name)
        patches.append(replace(by_name[name], diffs=tuple(diffs)))
    return replace(series, patches=tuple(patches))


def _chain(series: Series, path: str) -> Iterable[tuple[int, str]]:
    diffs = [diff for patch in series.patches if patch.is_companion for diff in patch.diffs if diff.path == path]
    return enumerate([diffs[0].old_blob, *(diff.new_blob for diff in diffs)])


def without(series: Series, names: Collection[str]) -> Series:
    """Return the series without some of its companions.

    Raises:
        UsageError: one of the names is not that of a companion.
    """
    left_out = left_out_names(series, names)
    kept = [name for name in series.companions if name not in left_out]
    reduced = arranged(series, kept)
    lacking = lacking_keys(reduced.patches)
    ids = {path: {names: series.combinations[path][names] for names in lacking[path]} for path in lacking}
    return replace(reduced, combinations=ids)


def left_out_names(series: Series, names: Iterable[str]) -> tuple[str, ...]:
    """Return, in order, the names of the companions that names are meant for, which may be those of files.

    Raises:
        UsageError: one of the names is not that of a companion.
    """
    found = {series.names[series.position(name)] for name in names}
    for name in series.names:
        if name in found and name not in series.companions:
            companions = ", ".join(series.companions) or "none in this lane"
            raise UsageError(
                f"{name} is part of the core, in which each patch needs the ones before it; only companions can be "
                f"left out: {companions}; nothing was changed"
            )
    return tuple(name for name in series.companions if name in found)


def orders(series: Series, last: Collection[str] = ()) -> list[list[str]]:
    """Return orders of the companions in which every set of them is at some point what is in, and no other.

    Args:
        series: the series.
        last: those that are to follow after the others, where they are not in.
    """
    found = []
    for subset in subsets(series.companions):
        rest = [name for name in series.companions if name not in subset]
        order = [*subset, *(name for name in rest if name not in last), *(name for name in rest if name in last)]
        if order not in found:
            found.append(order)
    return found
