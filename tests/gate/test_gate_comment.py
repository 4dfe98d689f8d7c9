"""The comment on a pull request, with a program that answers in the place of gh."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SHA = "a" * 40
CELL = {"status": "ok", "reason": None, "seconds": 1.0, "golden": "g"}
RESUME = {"at": [2], "exact": True, "divergence": None}
WRONG = {"step": 3, "micro_batch": 0, "stream": "data", "message": "</details> @everyone `x` <img src=x>"}
ROW = {
    "name": "workers",
    "title": "<b>",
    "group": "any",
    "guard": False,
    "cells": {
        "base": {**CELL, "resumes": [RESUME]},
        "head": {**CELL, "resumes": [{"at": [2], "exact": False, "divergence": WRONG}]},
    },
}
TREE = {"title": "t", "spec": "s", "kind": "wheel", "release": "5.23.0", "commit": None, "edited": False}
RESULTS = {
    "schema": 1,
    "kind": "gate",
    "command": "python -m exact_resume gate",
    "started": "2026-01-02",
    "seconds": 1.0,
    "selection": {"tier": "core", "only": []},
    "shard": [1, 1],
    "planned": ["workers"],
    "same": False,
    "trees": [{"name": name, **TREE, "digest": name, "requires": [], "environment": {}} for name in ("base", "head")],
    "scenarios": [ROW],
}

# Answers from a folder, and keeps what it is asked.
GH = """\
import json, os, pathlib, sys
folder = pathlib.Path(os.environ["FAKE_GH"])
method, path = sys.argv[3], sys.argv[4]
body = json.loads(sys.stdin.read()) if "--input" in sys.argv else None
assert sys.argv[1:3] == ["api", "--method"] and os.environ["GH_TOKEN"] == "token"
with open(folder / "asked", "a") as asked:
    print(json.dumps([method, path, body]), file=asked)
answer = folder / (method + " " + path).replace("/", ":")
if not answer.exists():
    sys.exit(f"HTTP 404: {path}")
sys.stdout.buffer.write(answer.read_bytes())
"""
ARTIFACTS = "GET repos/o/r/actions/runs/7/artifacts?name=gate&per_page=2"
ARCHIVE = "GET repos/o/r/actions/artifacts/9/zip"
PULL = "GET repos/o/r/pulls/12"
COMMENTS = "GET repos/o/r/issues/12/comments?per_page=100&page=1"
NEW = "POST repos/o/r/issues/12/comments"


def archive(**members):
    """A zip file; a dash in the name of a member is written as two underscores, a dot as one."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name.replace("__", "-").replace("_", "."), content)
    return packed.getvalue()


class GitHub:
    def __init__(self, folder):
        self.folder = folder
        program = folder / "bin" / "gh"
        program.parent.mkdir()
        program.write_text(f"#!{sys.executable}\n{GH}")
        program.chmod(0o755)
        self.answers(ARTIFACTS, {"artifacts": [{"id": 9, "size_in_bytes": 900}]})
        self.answers(ARCHIVE, archive(results_json=json.dumps(RESULTS), pull__request_txt="12\n"))
        self.answers(PULL, {"head": {"sha": SHA}})
        self.answers(COMMENTS, [])
        self.answers(NEW, {"id": 1})

    def answers(self, request, answer):
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        (self.folder / request.replace("/", ":")).write_bytes(data)

    def run(self):
        """Run the script as the workflow does, with nothing but the standard library; return what it printed."""
        variables = {"REPOSITORY": "o/r", "RUN_ID": "7", "HEAD_SHA": SHA, "GH_TOKEN": "token"}
        environment = {"PATH": f"{self.folder / 'bin'}{os.pathsep}/usr/bin:/bin", "FAKE_GH": str(self.folder)}
        # Without site-packages, which a runner need not have.
        command = [sys.executable, "-S", str(SCRIPTS / "gate_comment.py")]
        return subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=False)

    def written(self):
        """What was asked that is no mere question."""
        asked = [json.loads(line) for line in (self.folder / "asked").read_text().splitlines()]
        return [entry for entry in asked if entry[0] != "GET"]


@pytest.fixture
def github(tmp_path):
    return GitHub(tmp_path)


def test_a_comment_is_written_from_the_results(github):
    done = github.run()
    assert (done.returncode, done.stdout) == (0, "wrote a comment on pull request 12\n"), done.stderr
    ((method, path, body),) = github.written()
    assert f"{method} {path}" == NEW
    mark, first, *rest = body["body"].splitlines()
    assert mark == "<!-- exact-resume gate -->"
    assert first.startswith("**Exact resume: 1 of 1 scenario got worse.**")
    assert "- `workers`: `1 of 1 interrupts that were exact; interrupted at step 2: first difference" in body["body"]
    # What a stranger wrote is in code, and cannot end it.
    assert "</details> @everyone 'x' <img src=x>`" in rest[1]


def test_the_comment_of_an_earlier_run_is_changed_and_those_of_others_are_not(github):
    mark = "<!-- exact-resume gate -->\nold"
    comments = [
        {"id": 3, "user": {"login": "somebody"}, "body": mark},
        {"id": 4, "user": {"login": "github-actions[bot]"}, "body": "of another workflow"},
        {"id": 5, "user": {"login": "github-actions[bot]"}, "body": mark},
    ]
    github.answers(COMMENTS, [{"id": 1, "user": {"login": "x"}, "body": ""}] * 100)
    github.answers(COMMENTS.replace("&page=1", "&page=2"), comments)
    github.answers("PATCH repos/o/r/issues/comments/5", {"id": 5})
    assert github.run().stdout == "changed the comment on pull request 12\n"
    assert [entry[:2] for entry in github.written()] == [["PATCH", "repos/o/r/issues/comments/5"]]


def test_a_run_without_results_is_no_fault(github):
    github.answers(ARTIFACTS, {"artifacts": []})
    done = github.run()
    assert (done.returncode, done.stdout) == (0, "the run has no results\n")
    assert github.written() == []


BOMB = archive(results_json=b" " * (17 * 2**20), pull__request_txt="12")


@pytest.mark.parametrize(
    ("request_", "answer", "said"),
    [
        (ARTIFACTS, {"artifacts": [{"id": 9, "size_in_bytes": 5 * 2**20}]}, "too large"),
        (ARTIFACTS, {"artifacts": [{"id": 9, "size_in_bytes": 9}, {"id": 8, "size_in_bytes": 9}]}, "several"),
        (ARCHIVE, b"PK\x03\x04 and no more", "cannot be read"),
        (ARCHIVE, archive(pull__request_txt="12"), "cannot be read: KeyError"),
        (ARCHIVE, archive(results_json=json.dumps(RESULTS)), "cannot be read: KeyError"),
        (ARCHIVE, archive(results_json="{}", pull__request_txt="12"), "not the result of a gate"),
        (ARCHIVE, BOMB, "results.json is too large"),
        (ARCHIVE, archive(results_json=json.dumps(RESULTS), pull__request_txt="12/../13"), "holds no number"),
        (ARCHIVE, archive(results_json=json.dumps(RESULTS), pull__request_txt="-1"), "holds no number"),
        (ARCHIVE, archive(results_json=json.dumps(RESULTS), pull__request_txt="9" * 30), "too large"),
        (ARCHIVE, archive(results_json=json.dumps(RESULTS), pull__request_txt="13"), "GET repos/o/r/pulls/13 failed"),
        (PULL, {"head": {"sha": "b" * 40}}, "pull request 12 is not at the commit of the run"),
    ],
)
def test_what_is_not_fit_to_be_shown_is_refused_and_nothing_is_written(github, request_, answer, said):
    github.answers(request_, answer)
    done = github.run()
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
    assert github.written() == []


def test_a_comment_keeps_to_the_size_that_is_taken(github):
    rows = [{**ROW, "name": f"workers_{number}"} for number in range(1000)]
    github.answers(ARCHIVE, archive(results_json=json.dumps({**RESULTS, "scenarios": rows}), pull__request_txt="12"))
    assert github.run().returncode == 0
    ((_, _, body),) = github.written()
    assert len(body["body"]) < 65_536 and "This was cut" in body["body"]
