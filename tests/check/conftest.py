"""What the tests of `check` share: the command line in this process, and real runs that several tests look at."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from exact_resume import cli, trees
from exact_resume.check import command, target

CHECKOUT = Path(__file__).resolve().parents[2]
OWN_TRAINERS = Path(__file__).with_name("own_trainers.py")
RELEASE = "5.23.0"


def run_python(*arguments, folder, path=()):
    """Run Python as a user would, from `folder`, with `path` in front of the sources of this project."""
    path = os.pathsep.join([*map(str, path), str(CHECKOUT / "scripts")])
    # On a busy machine, threads that wait for each other take most of the time of such small models.
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


@pytest.fixture(name="run_python", scope="session")
def run_python_fixture():
    return run_python


@pytest.fixture(scope="session")
def patched():
    """A patched tree."""
    return trees.build(trees.PATCHED, RELEASE)


@pytest.fixture
def check_here(monkeypatch, capsys, tmp_path):
    """Run `check` on own_trainers.py or another target, in this process; returns code, stdout and stderr."""
    import torch

    from exact_resume.check.training import SameProcess

    class Here:
        def __init__(self, name, *rest):
            self.name = name

        def __call__(self, request):
            return SameProcess(target.load(self.name), self.name)(request)

    monkeypatch.setattr(command, "FreshProcess", Here)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)

    def check(function, *options):
        name = function if ":" in function else f"{OWN_TRAINERS}:{function}"
        code = cli.main(["check", name, *map(str, options)])
        return code, *capsys.readouterr()

    return check
