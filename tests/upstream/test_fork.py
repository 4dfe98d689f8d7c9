"""The tests that the series adds to a fork pass there, on the sources that the series makes."""

import os
import shutil
import subprocess
import sys

import pytest

from exact_resume import patching, trees

RELEASE = "5.23.0"
RESUME = "tests/trainer/test_trainer_resume.py"
OTHERS = (
    "tests/trainer/test_trainer_resume_files.py",
    "tests/trainer/test_trainer_weight_conversions.py",
    "tests/trainer/test_trainer_checkpoints.py",
    "tests/trainer/test_trainer_checkpoint_changes.py",
)


@pytest.fixture(scope="module")
def fork(tmp_path_factory):
    checkout = tmp_path_factory.mktemp("fork")
    package = trees.build(trees.STOCK, RELEASE) / "transformers"
    shutil.copytree(package, checkout / "src" / "transformers", ignore=shutil.ignore_patterns("__pycache__"))
    patching.apply(checkout)
    return checkout


# Parts of about the same length, so that two processes can share them.
@pytest.mark.parametrize(
    ("module", "selection"),
    [
        (RESUME, "spawned or main_process"),
        (RESUME, "not (spawned or main_process)"),
        *((module, "test") for module in OTHERS),
    ],
)
def test_the_tests_for_upstream_pass_in_a_patched_fork(fork, module, selection):
    command = [
        sys.executable,
        "-m",
        "pytest",
        module,
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
