"""The part of a series that concerns one tree, and what each of its files should hold after each patch."""

from dataclasses import dataclass

from exact_resume.git import ABSENT
from exact_resume.patchfile import FileDiff
from exact_resume.series import Series
from exact_resume.tree import Tree


@dataclass(frozen=True)
class Step:
    """One patch, reduced to the diffs that have a place in the tree."""

    name: str
    title: str
    diffs: tuple[FileDiff, ...]


@dataclass(frozen=True)
class Plan:
    """The steps for one tree.

    Attributes:
        steps: the patches that change something in this kind of tree, in order.
        left_out: the series' paths that have no place in this kind of tree.
    """

    steps: tuple[Step, ...]
    left_out: tuple[str, ...]

    @property
    def paths(self) -> list[str]:
        """Every file of the tree that a step touches, in the order of the first touch."""
        return list(dict.fromkeys(diff.path for step in self.steps for diff in step.diffs))

    @property
    def modes(self) -> dict[str, int]:
        """The modes, as git records them, of the files that the steps create or remove."""
        return {diff.path: diff.mode for step in self.steps for diff in step.diffs if diff.mode is not None}

    def touches(self, path: str) -> list[tuple[int, FileDiff]]:
        """Return (place of the step, diff) for each step that touches the file."""
        return [(place, diff) for place, step in enumerate(self.steps) for diff in step.diffs if diff.path == path]

    def touched(self, path: str, count: int) -> int:
        """Return how many of the first `count` steps touch the file."""
        return sum(place < count for place, _ in self.touches(path))

    def blobs(self, path: str) -> list[str]:
        """Return the recorded blob ids of the file: pristine first, then after each step that touches it."""
        diffs = [diff for _, diff in self.touches(path)]
        return [diffs[0].old_blob, *(diff.new_blob for diff in diffs)]

    def blob_after(self, path: str, count: int) -> str:
        """Return the recorded blob id of the file after the first `count` steps."""
        return self.blobs(path)[self.touched(path, count)]

    def counts_at(self, path: str, touched: int) -> frozenset[int]:
        """Return after how many steps the file has been touched exactly `touched` times."""
        places = [place for place, _ in self.touches(path)]
        first = places[touched - 1] + 1 if touched else 0
        last = places[touched] if touched < len(places) else len(self.steps)
        return frozenset(range(first, last + 1))

    def created_by_series(self, path: str) -> bool:
        """Tell whether the pristine release does not have the file."""
        return self.blobs(path)[0] == ABSENT


def make(tree: Tree, series: Series) -> Plan:
    """Reduce a series to what concerns a tree."""
    steps = []
    left_out: dict[str, None] = {}
    for patch in series.patches:
        left_out.update((diff.path, None) for diff in patch.diffs if tree.inside(diff.path) is None)
        diffs = tuple(diff for diff in patch.diffs if tree.inside(diff.path) is not None)
        if diffs:
            steps.append(Step(patch.name, patch.title, diffs))
    return Plan(tuple(steps), tuple(left_out))


def count_upto(plan: Plan, series: Series, name: str) -> int:
    """Return how many steps belong to the series up to and including a patch.

    Raises:
        UsageError: the series has no such patch.
    """
    wanted = set(series.names[: series.position(name) + 1])
    return sum(step.name in wanted for step in plan.steps)
