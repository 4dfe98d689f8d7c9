"""Trees and scenario processes shared by the tests of the matrix."""

import functools

import pytest
from exact_resume import trees
from exact_resume.matrix.client import Client

RELEASE = "5.23.0"


class Matrix:
    """Runs scenarios on trees; a process a tree, and a cell computed once for all tests of this pytest process."""

    def __init__(self):
        self._clients = {}
        self._cells = {}

    def client(self, tree: str, upto: str | None = None) -> Client:
        """The process that runs scenarios on `tree`, patched up to `upto`."""
        if (tree, upto) not in self._clients:
            self._clients[tree, upto] = Client(trees.build(tree, RELEASE, upto=upto))
        return self._clients[tree, upto]

    def cell(self, tree: str, name: str, chains: list[list[int]] | None = None, upto: str | None = None) -> dict:
        """The cell of scenario `name` on `tree`, for all interrupts or for those in `chains`."""
        key = (tree, name, str(chains), upto)
        if key not in self._cells:
            cell = self.client(tree, upto).run(name, chains=chains)
            if cell["status"] == "skipped":
                pytest.skip(cell["reason"])
            assert cell["status"] == "ok", cell["reason"]
            self._cells[key] = cell
        return self._cells[key]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


@pytest.fixture(scope="session")
def matrix():
    shared = Matrix()
    yield shared
    shared.close()


@pytest.fixture(scope="session")
def patched_tree():
    return functools.partial(trees.build, trees.PATCHED, RELEASE)


def inexact(cell: dict) -> list[str]:
    """A line for every resume of a cell that was not exact."""
    return [
        f"interrupted at {resume['at']}: {resume['divergence']}" for resume in cell["resumes"] if not resume["exact"]
    ]
