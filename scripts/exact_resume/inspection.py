"""Look at a tree: what it is, which series serves it, and how much of that it has."""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from exact_resume import combinations, repository, scratch, state
from exact_resume import plan as planning
from exact_resume import series as patch_series
from exact_resume import tree as trees
from exact_resume.bases import Bases
from exact_resume.errors import UsageError
from exact_resume.merging import Merger
from exact_resume.patchfile import FileDiff
from exact_resume.plan import Plan, Step
from exact_resume.scratch import Contents
from exact_resume.series import Series
from exact_resume.state import State
from exact_resume.tree import Tree

FINAL_RELEASE = re.compile(r"\d+(\.\d+)*")


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        tree: the tree.
        release: the release that the series takes it for; the nearest one for a version between releases.
        names: the names of the patches, in the order of the lane.
        left_out: those of them that are not to be applied.
        series, plan: the patches, and those of them that concern this tree; companions that are in come before others,
            and those that are not in and do not fit are not there.
        contents: what the touched files hold.
        state: how much of the series is in.
        find_merger: as for `state.decide`.
    """

    tree: Tree
    release: str
    names: tuple[str, ...]
    left_out: tuple[str, ...]
    series: Series
    plan: Plan
    contents: Contents
    state: State
    find_merger: Callable[[], Merger | None]

    @property
    def heading(self) -> str:
        """The first line of every report."""
        taken = "" if self.release == self.tree.release else f", taken for {self.release}"
        return (
            f"transformers {self.tree.release}{taken} ({self.tree.kind}) at {self.tree.root}, lane {self.series.lane}"
        )

    @property
    def notes(self) -> list[str]:
        """The lines for what has no place in the tree."""
        lines = [f"left out: {', '.join(self.left_out)}"] if self.left_out else []
        count = len(self.plan.left_out)
        if count:
            what = f"{count} {plural('file', count)} under tests/, which an installed package does not have"
            lines.append(f"left out: {what}")
        return lines

    @property
    def words(self) -> dict[str, str]:
        """How much of each patch is in, in a word of the module `state`."""
        found = dict(zip((step.name for step in self.plan.steps), self.state.steps, strict=True))
        companions = set(self.names).difference(p.name for p in self.series.patches if not p.is_companion)
        core = [word for name, word in found.items() if name not in companions]
        absent = state.LEFT_OUT if set(core) <= {state.APPLIED} else state.NOT_APPLIED
        missing = {name: absent for name in companions.difference(self.series.names)}
        missing |= {name: absent for name in companions if found.get(name) == state.NOT_APPLIED}
        return found | missing

    @property
    def companions_in(self) -> set[str]:
        """The names of the companions that are in."""
        return {name for name in self.series.companions if self.words.get(name) == state.APPLIED}

    def way_to(self, count: int) -> tuple[tuple[Step, ...], bool]:
        """Return the steps from here to the first `count` steps, in order, and whether they are taken back."""
        applied = self.state.applied
        if count < applied:
            return self.plan.steps[count:applied][::-1], True
        return self.plan.steps[applied:count], False


def inspect(folder: Path, series: Series | None = None, without: Collection[str] | None = None) -> Inspection:
    """Look at a tree.

    Args:
        folder: a transformers checkout or a folder that holds the package.
        series: the series to look for; the one for the tree's release without it.
        without: the companions that are not to be applied; the others have to fit, or be in. None asks for no more
            than which are in.

    Raises:
        UsageError: the folder is no transformers tree, no series serves its release, or a name is no companion's.
    """
    tree = trees.find(Path(folder))
    release = tree.release if series else _served_release(tree.release)
    series = series or patch_series.for_release(release)
    left_out = combinations.left_out_names(series, without or ())
    contents = {path: tree.read(path) for path in planning.make(tree, series).paths}
    first = None
    for candidate in _candidates(series, left_out, series.companions if without is None else left_out, contents):
        names = tuple(series.names), left_out
        found = _inspect_one(tree, release, names, candidate, contents, diagnose=first is None)
        if found.state.applied is not None:
            return found
        first = first or found
    return first


def _inspect_one(
    tree: Tree,
    release: str,
    names: tuple[tuple[str, ...], tuple[str, ...]],
    series: Series,
    contents: Contents,
    *,
    diagnose: bool,
) -> Inspection:
    plan = planning.make(tree, series)
    contents = {path: contents[path] for path in plan.paths}

    @cache
    def find_merger() -> Merger | None:
        try:
            return Merger(Bases(plan, release, repository.find(tree)).texts)
        except UsageError:
            return None

    decided = state.decide(plan, contents, find_merger, diagnose=diagnose)
    return Inspection(tree, release, *names, series, plan, contents, decided, find_merger)


def _candidates(
    series: Series, last: Collection[str], droppable: Collection[str], contents: Contents
) -> Iterator[Series]:
    """Give the series in every order of companions, then also without those of which nothing is there.

    A companion that is left out need not fit: a fork may have changed its lines.
    """
    for order in combinations.orders(series, last):
        yield combinations.arranged(series, order)
    absent = [
        patch.name
        for patch in series.patches
        if patch.name in droppable and not any(_is_there(diff, contents.get(diff.path)) for diff in patch.diffs)
    ]
    for dropped in combinations.subsets(absent)[1:]:
        reduced = combinations.without(series, dropped)
        for order in combinations.orders(reduced, last):
            yield combinations.arranged(reduced, order)


def _is_there(diff: FileDiff, content: bytes | None) -> bool:
    """Tell whether a file has any hunk of a diff, or is one that the diff creates."""
    if diff.is_new or content is None:
        return content is not None
    return any(scratch.fits(content, diff.only_hunk(n), reverse=True) for n in range(1, len(diff.hunks) + 1))


def plural(word: str, count: int) -> str:
    """Return the word as it follows the count."""
    return word if count == 1 else word + ("es" if word.endswith("ch") else "s")


def _served_release(version: str) -> str:
    """Return the release whose series a tree of some version is tried with.

    A final release is served or it is not. Others, such as 5.23.0.dev0, 5.23.0rc1 and 5.23.0+local, are between
    releases, and the files that the series touches may well be those of the nearest one.
    """
    if version in patch_series.load_releases() or FINAL_RELEASE.fullmatch(version):
        return version
    return patch_series.nearest(version)
