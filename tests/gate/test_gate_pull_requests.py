"""Pull requests on a local clone, judged end to end by the scripts that the workflows call."""

import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import pytest

import bootstrap
import gate_action
import gate_comment
from exact_resume.checkout import checkout

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
RELEASE = "5.23.0"
QUICK_ONE = "issue_39215"
FORK, SPAWN = "workers_1_prefetch_1_persistent_fork", "workers_1_prefetch_1_persistent_spawn"
TRAINER, WORKERS = "src/transformers/trainer.py", "src/transformers/trainer_resume/worker_process.py"


def git(folder, *arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True).stdout.decode()


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone of a fork that has the patches as commits, on the branch main."""
    folder = tmp_path_factory.mktemp("fork") / "clone"
    checkout(RELEASE, folder)
    return folder


def pull_request(clone, name, path, old, new):
    """Make a branch with a commit that replaces a text once."""
    git(clone, "checkout", "--quiet", "-b", name, "main")
    text = (clone / path).read_text()
    assert text.count(old) == 1
    (clone / path).write_text(text.replace(old, new))
    git(clone, "commit", "--quiet", "--all", "--message", name)


class Machine:
    """What a runner of GitHub has: a folder to be in, and the file for the summary."""

    def __init__(self, folder, clone):
        self.folder, self.clone, self.runs = folder, clone, 0

    def gate(self, head, only, **more):
        """Judge a branch as the action does; return the exit code, the results and the summary."""
        self.runs += 1
        output, summary = self.folder / f"shards-{self.runs}" / "1", self.folder / f"summary-{self.runs}"
        values = {"BASE": f"{self.clone}@main", "HEAD": f"{self.clone}@{head}", "ONLY": only, "QUICK": "true"}
        values |= {"SHARD": "1/1", "TIMEOUT": "120", "OUTPUT": str(output)} | more
        environ = {f"GATE_{name}": value for name, value in values.items()}
        code = gate_action.main(["run"], environ | {"GITHUB_STEP_SUMMARY": str(summary)})
        results = json.loads((output / "results.json").read_text()) if (output / "results.json").exists() else None
        return code, results, summary.read_text()

    def merge(self, number="12"):
        """Merge what the last run wrote, as the job after the shards does; return the exit code and the folder."""
        output = self.folder / "merged"
        environ = {"GATE_SHARDS": str(self.folder / f"shards-{self.runs}"), "GATE_OUTPUT": str(output)}
        environ |= {"GATE_PULL_REQUEST": number, "GITHUB_STEP_SUMMARY": str(self.folder / "summary")}
        return gate_action.main(["merge"], environ), output


@pytest.fixture
def machine(tmp_path, clone, monkeypatch):
    # In the place of the environment that the first run on a machine makes.
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{SCRIPTS}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(bootstrap, "prepare", lambda job: python)
    monkeypatch.chdir(tmp_path)
    return Machine(tmp_path, clone)


def test_a_pull_request_that_reverts_the_patches(machine, clone):
    git(clone, "checkout", "--quiet", "-b", "revert", "main")
    git(clone, "revert", "--no-edit", "base..main")
    code, results, summary = machine.gate("revert", QUICK_ONE)
    assert code == 1
    assert "**Exact resume: 1 of 1 scenario got worse.**" in summary
    # The cause, for somebody who knows the Trainer: batches are drawn in another state from the first step on.
    assert f"- `{QUICK_ONE}`: `12 of 12 interrupts that were exact; interrupted at step 1: first difference" in summary
    assert "at step 2, micro-batch 0, stream data: micro-batch" in summary
    assert results["trees"][0]["commit"] == git(clone, "rev-parse", "main").strip()

    code, merged = machine.merge()
    assert code == 1
    (case,) = ElementTree.parse(merged / "junit.xml").getroot()
    assert [mark.tag for mark in case] == ["failure"]
    archive = Path(shutil.make_archive(str(machine.folder / "artifact"), "zip", merged))
    number, parsed = gate_comment.unpack(archive.read_bytes())
    assert (number, parsed) == (12, json.loads((merged / "results.json").read_text()))
    assert set(zipfile.ZipFile(archive).namelist()) >= {"results.json", "pull-request.txt", "gate.html", "summary.md"}


def test_a_pull_request_that_breaks_only_spawned_workers(machine, clone):
    # A lock cannot be sent to a process that does not inherit it.
    old = "        self.num_served = 0\n\n    def begin("
    new = old.replace("= 0\n", '= 0\n        self.lock = __import__("threading").Lock()\n', 1)
    pull_request(clone, "lock", WORKERS, old, new)
    code, results, summary = machine.gate("lock", f"{FORK} {SPAWN}", TIMEOUT="400")
    assert code == 1
    assert "**Exact resume: 1 of 2 scenarios got worse.** 2 scenarios: 1 newly broken, 1 same" in summary
    assert f"- `{SPAWN}`: `error on head: TypeError: cannot pickle '_thread.lock' object`" in summary
    assert {row["name"]: row["cells"]["head"]["status"] for row in results["scenarios"]} == {
        FORK: "ok",
        SPAWN: "error",
    }


def test_a_pull_request_that_cannot_be_imported(machine, clone):
    pull_request(clone, "import", TRAINER, "\nimport contextlib\n", "\nimport contextlib\nimport no_such_module\n")
    code, results, summary = machine.gate("import", QUICK_ONE)
    assert code == 1
    (row,) = results["scenarios"]
    reason = row["cells"]["head"]["reason"]
    assert reason.startswith("transformers cannot be imported: ") and "No module named 'no_such_module'" in reason
    assert f"- `{QUICK_ONE}`: `error on head: transformers cannot be imported: " in summary
    assert row["cells"]["base"]["status"] == "ok"


def test_a_pull_request_that_hangs(machine, clone):
    old = "            model.train()\n            if hasattr(self.optimizer, "
    hang = '            while self.state.global_step == 3:\n                __import__("time").sleep(1)\n'
    pull_request(clone, "hang", TRAINER, old, hang + old)
    code, results, summary = machine.gate("hang", QUICK_ONE, TIMEOUT="45")
    assert code == 1
    assert f"- `{QUICK_ONE}`: `error on head: timed out: no answer within 45 s`" in summary
    assert results["scenarios"][0]["cells"]["base"]["status"] == "ok"


def test_a_pull_request_that_changes_documents_passes_at_once(machine, clone):
    git(clone, "checkout", "--quiet", "-b", "documents", "main")
    (clone / "README.md").write_text("words\n")
    git(clone, "add", "README.md")
    git(clone, "commit", "--quiet", "--message", "documents")
    code, results, summary = machine.gate("documents", "")
    assert (code, results["scenarios"]) == (0, [])
    assert "hold the same transformers" in summary
    assert machine.merge()[0] == 0


def test_a_base_that_cannot_be_used_gives_no_verdict(machine):
    code, results, summary = machine.gate("main", "", BASE="nowhere@main")
    assert (code, results, summary) == (2, None, "**Exact resume: no result.** Exit code 2.\n")


def test_a_shard_without_results_is_no_verdict(machine):
    (machine.folder / "shards-1" / "1").mkdir(parents=True)
    machine.runs = 1
    assert machine.merge()[0] == 2
    assert "no result" in (machine.folder / "summary").read_text()
