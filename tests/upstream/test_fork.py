"""The tests that the series adds to a fork pass there, on the sources that the series makes."""

import os
import shutil
import subprocess
import sys

import pytest

from exact_resume import patching, trees

RELEASE = "5.23.0"
MODULE = "tests/trainer/test_trainer_exact_resume.py"


@pytest.fixture(scope="module")
def fork(tmp_path_factory):
    checkout = tmp_path_factory.mktemp("fork")
    package = trees.build(trees.STOCK, RELEASE) / "transformers"
    shutil.copytree(package, checkout / "src" / "transformers", ignore=shutil.ignore_patterns("__pycache__"))
    patching.apply(checkout)
    return checkout


# Two halves of about the same length, so that two processes can share them.
@pytest.mark.parametrize("selection", ["spawned or main_process", "not (spawned or main_process)"])
def test_the_tests_for_upstream_pass_in_a_patched_fork(fork, selection):
    command = [
        sys.executable,
        "-m",
        "pytest",
        MODULE,
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-k",
        selection,
    ]
    environment = {**os.environ, "PYTHONPATH": str(fork / "src"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=fork, env=environment, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
