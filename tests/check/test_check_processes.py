"""Runs in processes of their own."""

import contextlib
import os
import re
import time
from pathlib import Path

import pytest

from exact_resume.check import command
from exact_resume.check.process import FreshProcess
from exact_resume.check.runs import Outcome, Request
from exact_resume.errors import UsageError

README = command.PACKAGE_PARENT.parent / "README.md"
HANGING = """
import subprocess, time
def make_trainer():
    child = subprocess.Popen(["sleep", "100"])
    open("pid", "w").write(str(child.pid))
    time.sleep(100)
"""


@pytest.fixture(scope="session")
def guide(tmp_path_factory):
    """A folder with the file of README's guide, and the arguments of Python in its commands by their module."""
    section = README.read_text(encoding="utf-8").partition("\n## Your own trainer\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    commands = [found.split() for found in re.findall(r"`(python3\s[^`]+)`", section)]
    folder = tmp_path_factory.mktemp("guide")
    (folder / "test_resume.py").write_text(code)
    return folder, {command[2]: command[1:] for command in commands}


def test_the_guide_on_stock(guide, check_here, monkeypatch):
    folder, commands = guide
    monkeypatch.syspath_prepend(folder)
    name, target = commands["exact_resume"][2:]
    code, out, err = check_here(target)
    assert (name, code) == ("check", 1)
    assert "step 3         not exact  step 4, micro-batch 0, data\n" in out
    assert re.search(r"golden run: 6 steps, [\d.]+ s; the same again, then resumed after step 3\n", err)


def test_the_guide_on_a_patched_tree_in_pytest(guide, run_python, patched):
    folder, commands = guide
    options = ["-p", "no:cacheprovider", "-s"]
    done = run_python(*commands["pytest"], *options, folder=folder, path=[patched])
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout and "[1/1] resumed after step 3: exact" in done.stderr


def test_what_a_patched_trainer_names_is_shown_with_the_values(run_python, patched):
    arguments = ("check", "own_trainers.py:with_a_dataset_that_counts", "--interrupt-at", "3")
    done = run_python("-m", "exact_resume", *arguments, folder=Path(__file__).parent, path=[patched])
    assert done.returncode == 1, done.stderr
    values, _, said = done.stdout.partition("the Trainer warned:\n")
    assert "differs first at step 4, micro-batch 0, data: micro-batch: x[0, 0] golden " in values
    assert "batch 3 of epoch 0 is not what it was" in said and "field `x` (float32 [4, 3]) differs" in said


def _processes(folder, code, timeout=60.0, tree=None, path=()):
    """Runs the function `make_trainer` of `code` in `folder`."""
    (folder / "made.py").write_text(code)
    return FreshProcess(
        f"{folder / 'made.py'}:make_trainer", [*map(str, path), str(command.PACKAGE_PARENT)], timeout, tree
    )


def _is_alive(pid):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(") ")[2][0] != "Z"
    return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")
def test_a_run_that_hangs_is_ended_with_all_that_it_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    started = time.monotonic()
    outcome = _processes(tmp_path, HANGING, timeout=8.0)(Request(tmp_path / "golden"))
    assert time.monotonic() - started < 60
    first, *frames = outcome.error.splitlines()
    assert first.startswith("no end within 8 s (--timeout)")
    assert re.search(r'made.py", line 6 in make_trainer', frames[0])
    pid = (tmp_path / "pid").read_text()
    deadline = time.monotonic() + 10
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_alive(pid)


def test_a_run_that_dies_is_told_of_with_its_last_words(tmp_path):
    code = "import os\ndef make_trainer():\n    os.write(2, b'out of luck')\n    os.abort()\n"
    outcome = _processes(tmp_path, code)(Request(tmp_path / "golden"))
    assert outcome.error == "its process was ended by SIGABRT; its last lines:\n  out of luck"
    code = "import os\ndef make_trainer():\n    os._exit(5)\n"
    assert _processes(tmp_path, code)(Request(tmp_path / "other")).error.startswith(
        "its process ended with exit code 5"
    )


def test_what_is_refused_in_the_process_is_refused_here(tmp_path):
    with pytest.raises(UsageError, match="made.py:make_trainer raised ValueError: no"):
        _processes(tmp_path, "def make_trainer():\n    raise ValueError('no')\n")(Request(tmp_path / "golden"))


def test_a_fault_of_ours_is_one_here(tmp_path):
    # A module of ours that cannot be imported.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['exact_resume.check.training'] = None\n")
    (tmp_path / "transformers.py").write_text("")
    processes = _processes(tmp_path, "def make_trainer(): pass\n", path=[tmp_path])
    with pytest.raises(RuntimeError, match="a run failed: (.|\n)*exact_resume.check.training"):
        processes(Request(tmp_path / "golden"))


def test_without_transformers_it_says_what_to_install(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['transformers'] = None\n")
    processes = _processes(tmp_path, "import transformers\n", path=[tmp_path])
    with pytest.raises(UsageError, match="transformers cannot be imported by .*; install what is missing"):
        processes(Request(tmp_path / "golden"))


def test_a_tree_comes_first_and_nothing_else_will_do(tmp_path, monkeypatch, capsys):
    (tmp_path / "fork" / "src" / "transformers").mkdir(parents=True)
    (tmp_path / "fork" / "src" / "transformers" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    made = []

    def run(self, request):
        made.append(self)
        return Outcome(error="enough")

    monkeypatch.setattr(FreshProcess, "__call__", run)
    parser = command.argparse.ArgumentParser()
    command.add_arguments(parser)
    with pytest.raises(UsageError, match="enough"):
        command.run(parser.parse_args(["a:b", "--tree", "fork", "--timeout", "7"]))
    source = tmp_path / "fork" / "src"
    assert made[0].path == [str(source), str(tmp_path), "elsewhere", str(command.PACKAGE_PARENT)]
    assert (made[0].tree, made[0].timeout) == (source, 7.0)


def test_another_transformers_than_that_of_the_tree_is_refused(tmp_path):
    (tmp_path / "transformers.py").write_text("")
    processes = _processes(tmp_path, "def make_trainer(): pass\n", tree=tmp_path / "fork" / "src", path=[tmp_path])
    with pytest.raises(UsageError, match="transformers was imported from .*transformers.py instead of .*fork/src"):
        processes(Request(tmp_path / "golden"))
