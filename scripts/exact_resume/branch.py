"""The branch that gets the commits of `apply --commit`."""

from dataclasses import dataclass

from exact_resume import committing, repository
from exact_resume.inspection import Inspection
from exact_resume.plan import Step
from exact_resume.repository import Repository
from exact_resume.scratch import Contents


@dataclass(frozen=True)
class Branch:
    """Where commits go.

    Attributes:
        repository: the user's.
        start: where its branch stands.
        names: how the repository names the files that the series touches.
    """

    repository: Repository
    start: committing.Start
    names: dict[str, str]

    @classmethod
    def of(cls, found: Inspection) -> "Branch":
        """Return the branch of a tree, see `committing.check`."""
        holder = repository.find(found.tree)
        names = {path: holder.name(found.tree.locate(path)) for path in found.plan.paths}
        start = committing.check(holder, {names[path]: found.contents[path] for path in names})
        return cls(holder, start, names)

    def commit(self, found: Inspection, steps: tuple[Step, ...], stages: list[Contents]) -> str:
        """Make the commits, which nothing refers to yet, and return the id of the last."""
        patches = {patch.name: patch for patch in found.series.patches}
        commits = [
            committing.Commit(patches[step.name], {self.names[diff.path]: stage[diff.path] for diff in step.diffs})
            for step, stage in zip(steps, stages, strict=True)
        ]
        created = {self.names[path]: mode for path, mode in found.plan.modes.items()}
        return committing.make(self.repository, self.start, commits, created)
