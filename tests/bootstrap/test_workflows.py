"""The workflows: what they run is run here, with stand-ins for the tools of the runner."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from exact_resume import proofs
from exact_resume.series import load_releases

CHECKOUT = Path(__file__).resolve().parents[2]
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (CHECKOUT / ".github/workflows").glob("*.yml")}
JOBS = {f"{name}/{job}": body for name, workflow in WORKFLOWS.items() for job, body in workflow["jobs"].items()}

# Says what it is called with, and answers as a file tells it to.
FAKE_GH = """#!/bin/sh
printf '%s\\n' "$*" >> "$CALLS"
case "$1 $2" in
    api*) printf '%s' "$ARTIFACTS" ;;
    'run download') mkdir -p "$9" && printf '%s' "$REPORT" > "$9/report.md" ;;
    'issue list') printf '%s' "$ISSUE" ;;
    'issue create' | 'issue edit') cat body.md ;;
esac
"""


def step_of(job, name):
    (step,) = (step for step in JOBS[job]["steps"] if step.get("name") == name)
    return step


def run_step(job, name, folder, **variables):
    """Run a step as the runner does, in a folder, with `bin` in it before everything else on PATH."""
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_OUTPUT": str(folder / "output"),
        **variables,
    }
    script = step_of(job, name)["run"]
    return subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def put_tool(folder, name, text):
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / name).write_text(text)
    (folder / "bin" / name).chmod(0o755)


def test_every_job_has_a_time_limit_and_says_what_it_may_do():
    assert {name for name, workflow in WORKFLOWS.items() if workflow["permissions"] != {}} == set()
    for body in JOBS.values():
        # What calls a workflow has the limits of that.
        assert "uses" in body or body["timeout-minutes"] <= 60
        assert "permissions" in body


def test_every_action_is_pinned_and_the_same_everywhere():
    action = yaml.safe_load((CHECKOUT / ".github/actions/gate/action.yml").read_text())
    lists = [body.get("steps", []) for body in JOBS.values()] + [action["runs"]["steps"]]
    used = [step["uses"] for steps in lists for step in steps if "uses" in step]
    # What is of this project is taken at the commit of the workflow.
    used = [action for action in used if not action.startswith("$/.github/actions/")]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in used)
    assert len({action.partition("@")[0] for action in used}) == len(set(used))


def test_the_check_that_a_branch_rule_names_needs_every_other_job():
    last = JOBS["ci/ci-ok"]
    assert sorted(last["needs"]) == sorted(set(WORKFLOWS["ci"]["jobs"]) - {"ci-ok"})
    assert f'"{" ".join(["success"] * len(last["needs"]))}"' in last["steps"][0]["run"]


@pytest.mark.parametrize(
    ("listing", "proving", "name", "expected"),
    [
        ("ci/boundaries", "ci/prove", "List them", proofs.boundaries),
        ("releases/list", "releases/prove", "List all releases", list),
    ],
)
def test_the_releases_to_prove_are_those_of_the_series(tmp_path, listing, proving, name, expected):
    put_tool(tmp_path, "python3", f'#!/bin/sh\ncd {CHECKOUT}\nexec {sys.executable} "$@"\n')
    assert run_step(listing, name, tmp_path).returncode == 0
    (line,) = (tmp_path / "output").read_text().splitlines()
    assert json.loads(line.removeprefix("releases=")) == expected(load_releases())
    job = listing.partition("/")[2]
    assert JOBS[proving]["strategy"]["matrix"]["release"] == f"${{{{ fromJSON(needs.{job}.outputs.releases) }}}}"


def test_only_the_job_that_runs_nothing_of_others_may_write():
    writing = {name for name, body in JOBS.items() if "write" in body["permissions"].values()}
    assert writing == {"releases/report", "gate-comment/comment"}
    assert [list(step) for step in JOBS["releases/report"]["steps"]] == [["name", "run", "env"]]


def test_what_comments_fetches_and_runs_only_this_project():
    fetch, write = JOBS["gate-comment/comment"]["steps"]
    assert fetch["with"]["repository"] == "${{ job.workflow_repository }}"
    assert fetch["with"]["ref"] == "${{ job.workflow_sha }}"
    assert write["run"] == "python3 tool/scripts/gate_comment.py"


def test_what_runs_the_code_of_a_pull_request_may_only_read_and_has_no_secret():
    for name in ("gate", "gate-pull-request"):
        text = (CHECKOUT / f".github/workflows/{name}.yml").read_text()
        assert "secrets" not in text and "token" not in text and "write" not in text
        for job, body in WORKFLOWS[name]["jobs"].items():
            assert body["permissions"] in ({}, {"contents": "read"}), job


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (1, 0), (2, 1), (70, 1)])
@pytest.mark.parametrize("tree", ["", "upstream"])
def test_trying_hands_on_what_was_found_and_fails_where_nothing_was_tried(tmp_path, code, ends, tree):
    put_tool(tmp_path, "python3", f'#!/bin/sh\necho "$@"\nexit {code}\n')
    done = run_step("releases/try", "Try the patches", tmp_path, TREE=tree)
    assert done.returncode == ends
    assert (tmp_path / "output").read_text() == f"code={code}\n"
    said = "scripts/bootstrap.py try-new --output finding/report.md"
    assert done.stdout == f"{said} --tree {tree}\n" if tree else f"{said}\n"


def report(tmp_path, artifacts, issue=""):
    put_tool(tmp_path, "gh", FAKE_GH)
    (tmp_path / "calls").touch()
    done = run_step(
        "releases/report",
        "Open or update an issue for each finding",
        tmp_path,
        CALLS=str(tmp_path / "calls"),
        ARTIFACTS=artifacts,
        REPORT="# transformers 9\n```\n@somebody, a [link](x)\n",
        ISSUE=issue,
        REPOSITORY="owner/name",
        RUN="42",
        WORKFLOW="Releases",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in (tmp_path / "calls").read_text().splitlines() if "issue" in line[:5]]


def test_no_finding_is_no_issue(tmp_path):
    assert report(tmp_path, "report-5.22.2\nfinding-other\n") == ("", [])


def test_a_finding_opens_an_issue_that_shows_the_report_as_it_is(tmp_path):
    text, calls = report(tmp_path, "report-5.22.2\nfinding-main\n")
    title = "The patches do not do for upstream's newest main"
    assert calls[-1] == f"issue create --repo owner/name --title {title} --body-file body.md"
    assert len(calls) == 2
    # Indented, so that nothing in it is a mention or ends the block.
    assert text.splitlines() == [
        "Found by run 42 of the workflow Releases:",
        "",
        "    # transformers 9",
        "    ```",
        "    @somebody, a [link](x)",
    ]


def test_findings_that_have_an_issue_are_written_into_it(tmp_path):
    _, calls = report(tmp_path, "finding-release\nfinding-main", issue="7")
    edited = [call for call in calls if not call.startswith("issue list")]
    assert edited == ["issue edit 7 --repo owner/name --body-file body.md"] * 2
