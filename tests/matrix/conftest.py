"""Trees and scenario processes shared by the tests of the matrix."""

import hashlib
import json
from pathlib import Path

import pytest
from filelock import FileLock

from exact_resume import trees
from exact_resume.matrix.client import Client

RELEASE = "5.23.0"


class Matrix:
    """Runs scenarios on trees, in a process a tree; a cell is computed once for all tests and test processes."""

    def __init__(self, shared: Path):
        self._clients = {}
        self._shared = shared

    def client(self, tree: str, upto: str | None = None, without: tuple[str, ...] = ()) -> Client:
        """The process that runs scenarios on `tree`, patched up to `upto`, `without` some companions."""
        key = tree, upto, without
        if key not in self._clients:
            self._clients[key] = Client(trees.build(tree, RELEASE, upto=upto, without=without))
        return self._clients[key]

    def cell(
        self,
        tree: str,
        name: str,
        chains: list[list[int]] | str | None = None,
        upto: str | None = None,
        without: tuple[str, ...] = (),
    ) -> dict:
        """The cell of scenario `name` on `tree`, for all interrupts or for those in `chains`, or of a kind."""
        key = hashlib.sha256(repr((tree, name, chains, upto, without)).encode()).hexdigest()
        path = self._shared / f"{key}.json"
        with FileLock(f"{path}.lock"):
            if not path.exists():
                path.write_text(json.dumps(self.client(tree, upto, without).run(name, chains=chains)))
        cell = json.loads(path.read_text())
        if cell["status"] == "skipped":
            pytest.skip(cell["reason"])
        assert cell["status"] == "ok", cell["reason"]
        return cell

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


@pytest.fixture(scope="session")
def matrix(shared_folder):
    matrix = Matrix(shared_folder)
    yield matrix
    matrix.close()
