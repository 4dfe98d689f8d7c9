"""A process that runs places on a tree. Imports no torch."""

import json
import select
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from exact_resume.matrix.client import environment_for

SERVER = Path(__file__).with_name("serve.py")
# Seconds to an answer: a few runs with their time limits.
TIMEOUT = 300.0


class Server:
    """
    A process that imports the transformers of a tree and forks a process for each run.

    Args:
        tree: a folder that holds the package `transformers/`.

    Attributes:
        listed: as "place" and "ordinary", the owner and the title of each by name; as "owners", "data_owners", "kinds"
            and "moments", the parts of combinations.
    """

    def __init__(self, tree: Path):
        self._errors = tempfile.TemporaryFile()
        variables = {"TRANSFORMERS_VERBOSITY": "warning", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**environment_for(tree), **variables},
            text=True,
        )
        greeting = self._answer()
        self.listed = greeting["listed"]
        imported = greeting["tree"]
        assert Path(imported).resolve() == Path(tree).resolve(), f"transformers was imported from {imported}"

    def run(self, name: str, mode: str, **options: Any) -> dict[str, dict[str, Any]]:
        """As `running.run_place`."""
        return self.timed(name, mode, **options)[0]

    def timed(self, name: str, mode: str, **options: Any) -> tuple[dict[str, dict[str, Any]], float]:
        """The same, and how many seconds it took."""
        print(json.dumps({"name": name, "mode": mode, **options}), file=self._process.stdin, flush=True)
        answer = self._answer()
        return answer["result"], answer["seconds"]

    def _answer(self) -> dict[str, Any]:
        ready, _, _ = select.select([self._process.stdout], [], [], TIMEOUT)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self.close()
            self._errors.seek(0)
            raise RuntimeError(f"no answer:\n{self._errors.read().decode(errors='replace')[-3000:]}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
