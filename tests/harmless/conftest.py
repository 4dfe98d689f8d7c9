"""Processes that run workflows on trees, and what they observed, for all tests and test processes."""

import json
import select
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

from exact_resume import trees
from exact_resume.matrix.client import environment_for

RELEASE = "5.23.0"
SERVER = Path(__file__).with_name("serve.py")
# Seconds to an answer: the longest time limit of a workflow, and the imports of a busy machine.
TIMEOUT = 300.0


class Server:
    """A process that imports the transformers of a tree and forks a process for each workflow."""

    def __init__(self, tree: Path):
        self._errors = tempfile.TemporaryFile()
        variables = {"TRANSFORMERS_VERBOSITY": "warning", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**environment_for(tree), **variables},
            text=True,
        )
        imported = self._answer()["tree"]
        assert Path(imported).resolve() == tree.resolve(), f"transformers was imported from {imported}"

    def run(self, name: str, mode: str) -> dict:
        """Run a workflow, and return what was observed."""
        print(json.dumps({"name": name, "mode": mode}), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict:
        ready, _, _ = select.select([self._process.stdout], [], [], TIMEOUT)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self.close()
            self._errors.seek(0)
            raise RuntimeError(f"no answer:\n{self._errors.read().decode(errors='replace')[-2000:]}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Observations:
    """What was observed of workflows; each is run once in a mode for all test processes."""

    def __init__(self, shared: Path):
        self._servers: dict[str, Server] = {}
        self._shared = shared

    def of(self, name: str, mode: str) -> dict:
        """What was observed in a mode, which is "stock", or the value of `exact_resume` on the patched tree."""
        path = self._shared / f"{name.replace('/', '_')}-{mode}.json"
        with FileLock(f"{path}.lock"):
            if not path.exists():
                path.write_text(json.dumps(self.anew(name, mode)))
        return json.loads(path.read_text())

    def anew(self, name: str, mode: str) -> dict:
        """The same, run again."""
        tree = trees.STOCK if mode == "stock" else trees.PATCHED
        if tree not in self._servers:
            self._servers[tree] = Server(trees.build(tree, RELEASE))
        return self._servers[tree].run(name, mode)

    def close(self) -> None:
        """End the processes."""
        for server in self._servers.values():
            server.close()


@pytest.fixture(scope="session")
def observations(shared_folder):
    observations = Observations(shared_folder)
    yield observations
    observations.close()
