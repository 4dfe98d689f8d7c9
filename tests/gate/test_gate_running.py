"""Processes that hang, die or cannot start, with small scripts in the place of the real ones."""

import os
import sys
import textwrap
import time
from pathlib import Path

import pytest

from exact_resume.gate import running
from exact_resume.gate.running import Side, run_cells
from exact_resume.matrix import client as matrix_client

# It does what the name of a scenario says.
SERVER = """\
    import json, os, subprocess, sys, time
    tree = os.environ["PYTHONPATH"].split(os.pathsep)[0]
    if os.path.basename(tree) == "unimportable":
        print("a warning\\nTraceback (most recent call last):\\n  a line\\nKeyError: 'x'\\n", file=sys.stderr)
        print("The above exception was the direct cause of the following exception:\\n", file=sys.stderr)
        sys.exit("Traceback (most recent call last):\\n  b\\nImportError: cannot import name 'Trainer'\\n  (a hint)")
    answer = {"environment": {"tree": tree, "python": "3.11"}, "scenarios": []}
    print(json.dumps(answer), flush=True)
    for line in sys.stdin:
        name = json.loads(line)["name"]
        with open(os.path.join(tree, "ran"), "a") as ran:
            print(os.getpid(), name, file=ran)
        if name.startswith("hang"):
            # In a process group of its own, as the ranks of a distributed run are.
            child = subprocess.Popen(["sleep", "600"], process_group=0)
            with open(os.path.join(tree, "children"), "a") as children:
                print(child.pid, file=children)
            os.mkdir(os.path.join(os.environ["EXACT_RESUME_FOLDER"], "checkpoints"))
            with open(os.path.join(tree, "folder"), "w") as folder:
                folder.write(os.environ["EXACT_RESUME_FOLDER"])
            time.sleep(600)
        if name == "die":
            os.kill(os.getpid(), 9)
        if name == "garbage":
            print("no JSON", flush=True)
            continue
        resumes = [{"at": [1], "exact": True, "divergence": None}]
        cell = {"status": "ok", "reason": None, "seconds": 0.1, "golden": name, "resumes": resumes}
        print(json.dumps(cell), flush=True)
    """


@pytest.fixture
def sides(tmp_path, monkeypatch):
    """Makes sides, whose interpreter is a script that ignores its arguments."""
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\n" + textwrap.dedent(SERVER))
    python.chmod(0o755)

    def make(*names):
        for name in names:
            (tmp_path / name).mkdir()
        return {name: Side(tmp_path / name, python) for name in names}

    return make


def run(sides, names, timeout=20.0, jobs=2):
    added = []
    done = run_cells(
        sides, names, started={}, jobs=jobs, timeout=timeout, add=lambda side, name, cell: added.append((side, name))
    )
    assert sorted(added) == sorted(done.cells) == sorted((side, name) for side in sides for name in names)
    return done


def ran(side):
    return [line.split() for line in (side.folder / "ran").read_text().splitlines()]


def gone(side):
    """Whether all that the processes of a side started have ended."""
    pids = [int(pid) for pid in (side.folder / "children").read_text().split()]
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def alive(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_every_scenario_is_run_on_every_side(sides):
    both = sides("base", "head")
    done = run(both, ["a", "b", "c"], jobs=3)
    assert {cell["golden"] for cell in done.cells.values()} == {"a", "b", "c"}
    assert done.environments["head"]["python"] == "3.11"
    assert sorted(name for _, name in ran(both["head"])) == ["a", "b", "c"]


def test_one_process_of_a_side_runs_all_its_scenarios(sides):
    both = sides("base", "head")
    run(both, ["a", "b", "c"], jobs=1)
    assert len({pid for pid, _ in ran(both["base"])}) == 1


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are listed in /proc only on Linux")
def test_a_scenario_that_hangs_is_killed_with_all_that_it_started(sides):
    one = sides("head")
    done = run(one, ["hang", "a"], timeout=1.0, jobs=1)
    assert done.cells["head", "hang"]["status"] == "error"
    assert done.cells["head", "hang"]["reason"] == "timed out: no answer within 1 s"
    assert done.cells["head", "a"]["status"] == "ok"
    assert gone(one["head"])
    assert not Path((one["head"].folder / "folder").read_text()).exists()


def test_a_tree_on_which_everything_hangs_is_given_up(sides):
    one = sides("head")
    names = [f"hang{number}" for number in range(6)]
    done = run(one, names, timeout=0.5, jobs=1)
    reasons = [done.cells["head", name]["reason"] for name in names]
    assert reasons == ["timed out: no answer within 0.5 s"] * 3 + ["not run, as 3 scenarios timed out before"] * 3


def test_a_process_that_dies_costs_its_scenario(sides):
    done = run(sides("head"), ["die", "a"], jobs=1)
    assert "ended with exit code -9" in done.cells["head", "die"]["reason"]
    assert done.cells["head", "a"]["status"] == "ok"


def test_a_tree_that_cannot_be_imported_has_nothing_but_errors(sides):
    done = run(sides("base", "unimportable"), ["a", "b", "c"])
    assert all(done.cells["base", name]["status"] == "ok" for name in "abc")
    reasons = {done.cells["unimportable", name]["reason"] for name in "abc"}
    said = "ImportError: cannot import name 'Trainer' (caused by KeyError: 'x')"
    assert reasons == {f"transformers cannot be imported: {said}"}


def test_an_import_that_hangs_is_an_error_of_the_tree(sides, tmp_path, monkeypatch):
    monkeypatch.setattr(matrix_client, "START_TIMEOUT", 0.5)
    one = sides("head")
    one["head"].python.write_text("#!/bin/sh\nsleep 600\n")
    done = run(one, ["a"])
    assert done.cells["head", "a"]["reason"] == ("transformers cannot be imported: timed out: no answer within 0.5 s")


def test_a_fault_of_the_harness_is_raised_and_leaves_no_process(sides, monkeypatch):
    started = []
    make = running.Client

    def client(*arguments):
        started.append(make(*arguments))
        return started[-1]

    monkeypatch.setattr(running, "Client", client)
    with pytest.raises(ValueError, match="Expecting value"):
        run(sides("base", "head"), ["garbage", "a"])
    assert started and all(client._process.poll() is not None for client in started)


def test_a_process_that_runs_already_is_used(sides):
    one = sides("base")
    with matrix_client.Client(one["base"].folder, one["base"].python, 20.0) as client:
        pid = client._process.pid
        done = run_cells(one, ["a"], started={"base": client}, jobs=1, timeout=20.0, add=lambda *cell: None)
    assert done.cells["base", "a"]["status"] == "ok"
    assert ran(one["base"]) == [[str(pid), "a"]]
    assert not alive(pid) and os.getpid() != pid
