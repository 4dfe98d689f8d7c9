"""The text of a release's files, which a three-way merge starts from, and their texts after each patch."""

import zipfile

from exact_resume import scratch
from exact_resume.diagnosis import Problem
from exact_resume.errors import SeriesError, UsageError
from exact_resume.git import blob_id
from exact_resume.plan import Plan
from exact_resume.repository import Repository


class NoBase(Exception):
    """The file of the release is not to be had.

    Attributes:
        problem: why, and what to do.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.what)
        self.problem = problem


class Bases:
    """What the files of a release hold, pristine and after each patch."""

    def __init__(self, plan: Plan, release: str, repository: Repository) -> None:
        """Make the texts available; each is only looked for when it is asked for.

        Args:
            plan: the plan with the blob ids of the release.
            release: the release.
            repository: the fork's repository, which is asked first.
        """
        self._plan = plan
        self._release = release
        self._repository = repository
        self._texts: dict[str, tuple[bytes, ...]] = {}

    def texts(self, path: str) -> tuple[bytes, ...]:
        """Return what a file holds in the release, and after each patch that touches it.

        Raises:
            NoBase: the pristine file is not to be had.
            SeriesError: the patches do not make of it what the series records.
        """
        if path not in self._texts:
            self._texts[path] = tuple(self._work_out(path))
        return self._texts[path]

    def _work_out(self, path: str):
        content = self._pristine(path)
        yield content
        for _, diff in self._plan.touches(path):
            content = scratch.apply({path: content}, [diff])[path]
            if blob_id(content) != diff.new_blob:
                raise SeriesError(f"{path} of transformers {self._release} does not become what the series records")
            yield content

    def _pristine(self, path: str) -> bytes:
        wanted = self._plan.blobs(path)[0]
        content = self._repository.blob(wanted) or self._from_wheel(path)
        if blob_id(content) != wanted:
            raise self._no_base(path, "the wheel has none or another one")
        return content

    def _from_wheel(self, path: str) -> bytes | None:
        # Imported here because it builds patched trees, by means of this module.
        from exact_resume import pristine

        try:
            return pristine.read(self._release, None, [path])[path]
        except (UsageError, OSError, zipfile.BadZipFile) as error:
            raise self._no_base(path, str(error)) from error

    def _no_base(self, path: str, reason: str) -> NoBase:
        what = (
            f"{path}: some hunks do not fit as they are, and the file of transformers {self._release}, "
            f"from which they could be merged, is not to be had: {reason}"
        )
        tag = f"fetch the tag v{self._release} of upstream into {self._repository.top} and run the command again"
        return NoBase(Problem(what, tag))
