"""Look at a tree: what it is, which series serves it, and how much of that it has."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from exact_resume import plan as planning
from exact_resume import repository, state
from exact_resume import series as patch_series
from exact_resume import tree as trees
from exact_resume.bases import Bases
from exact_resume.errors import UsageError
from exact_resume.merging import Merger
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
        series, plan: the patches, and those of them that concern this tree.
        contents: what the touched files hold.
        state: how much of the series is in.
        find_merger: as for `state.decide`.
    """

    tree: Tree
    release: str
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
        count = len(self.plan.left_out)
        if not count:
            return []
        return [f"left out: {count} {plural('file', count)} under tests/, which an installed package does not have"]

    def way_to(self, count: int) -> tuple[tuple[Step, ...], bool]:
        """Return the steps from here to the first `count` steps, in order, and whether they are taken back."""
        applied = self.state.applied
        if count < applied:
            return self.plan.steps[count:applied][::-1], True
        return self.plan.steps[applied:count], False


def inspect(folder: Path, series: Series | None = None) -> Inspection:
    """Look at a tree.

    Args:
        folder: a transformers checkout or a folder that holds the package.
        series: the series to look for; the one for the tree's release without it.

    Raises:
        UsageError: the folder is no transformers tree, or no series serves its release.
    """
    tree = trees.find(Path(folder))
    release = tree.release if series else _served_release(tree.release)
    series = series or patch_series.for_release(release)
    plan = planning.make(tree, series)
    contents = {path: tree.read(path) for path in plan.paths}

    @cache
    def find_merger() -> Merger | None:
        try:
            return Merger(Bases(plan, release, repository.find(tree)).texts)
        except UsageError:
            return None

    return Inspection(tree, release, series, plan, contents, state.decide(plan, contents, find_merger), find_merger)


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
