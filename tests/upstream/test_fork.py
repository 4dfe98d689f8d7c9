"""The tests that the series adds to a fork pass there, on the sources that the series makes."""

import os
import shutil
import subprocess
import sys

import pytest

from exact_resume import patching, trees
from exact_resume.series import for_release

RELEASE = "5.23.0"
RESUME = "tests/trainer/test_trainer_resume.py"
OTHERS = (
    "tests/trainer/test_trainer_resume_files.py",
    "tests/trainer/test_trainer_resume_search.py",
    "tests/trainer/test_trainer_resume_check.py",
    "tests/trainer/test_trainer_resume_state.py",
    "tests/trainer/test_trainer_resume_partial.py",
    "tests/trainer/test_trainer_resume_gradient_buckets.py",
    "tests/trainer/test_trainer_resume_rescaling.py",
    "tests/trainer/test_trainer_resume_registered.py",
    "tests/trainer/test_trainer_weight_conversions.py",
    "tests/trainer/test_trainer_checkpoints.py",
    "tests/trainer/test_trainer_checkpoint_changes.py",
)


CORE = [patch.name for patch in for_release(RELEASE).patches if not patch.is_companion]


def make_fork(folder, upto=None):
    """Make a checkout of the release with the patches up to one."""
    package = trees.build(trees.STOCK, RELEASE) / "transformers"
    shutil.copytree(package, folder / "src" / "transformers", ignore=shutil.ignore_patterns("__pycache__"))
    patching.apply(folder, upto=upto)
    return folder


def run_tests(fork, module, selection="test"):
    """Run some of the tests in a fork; all of them pass, and there are some."""
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", selection)
    environment = {**os.environ, "PYTHONPATH": str(fork / "src"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "pytest", module, *options]
    done = subprocess.run(command, cwd=fork, env=environment, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.fixture(scope="module")
def fork(tmp_path_factory):
    return make_fork(tmp_path_factory.mktemp("fork"))


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
    run_tests(fork, module, selection)


@pytest.mark.parametrize("upto", CORE[:-1])
def test_the_tests_of_each_patch_pass_without_the_patches_after_it(tmp_path, upto):
    run_tests(make_fork(tmp_path, upto), RESUME)
