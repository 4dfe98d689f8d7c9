"""Verdicts, exit codes and renderings of a gate, and the merging of shards, on invented results."""

import copy
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from exact_resume import cli
from exact_resume.gate import render, verdicts
from exact_resume.gate import results as gate_results
from exact_resume.gate.verdicts import ERRORED, NEWLY_BROKEN, NEWLY_EXACT, NOT_DETERMINISTIC, SAME, SKIPPED, judge

HOSTILE = "</details> @everyone [x](http://e.org) `tick` | pipe <img src=x> \x1b[31m \u202e \ud800 # head\nline two"

BASE, HEAD = "base", "head"


def cell(exact=(), wrong=(), golden="g", message="micro-batch: x[0, 1] golden 0.25, resumed 0.75"):
    """A cell with these interrupts, each a step."""
    divergence = {"step": 4, "micro_batch": 0, "stream": "data", "message": message}
    resumes = [{"at": [step], "exact": True, "divergence": None} for step in exact]
    resumes += [{"at": [step], "exact": False, "divergence": dict(divergence)} for step in wrong]
    resumes.sort(key=lambda resume: resume["at"])
    return {"status": "ok", "reason": None, "seconds": 1.5, "golden": golden, "resumes": resumes}


def without(status, reason):
    """A cell without resumes."""
    return {"status": status, "reason": reason, "seconds": 0.5, "golden": None, "resumes": []}


def row(name, base, head):
    """A scenario with its cells."""
    return {"name": name, "title": f"title of {name}", "group": "any", "guard": False} | {
        "cells": {BASE: base, HEAD: head}
    }


def tree(name, digest, **details):
    return {
        "name": name,
        "title": f"{name}, 5.23.0",
        "spec": f"clone@{name}",
        "kind": "git ref",
        "release": "5.23.0",
        "commit": "0123456789abcdef",
        "edited": False,
        "digest": digest,
        "requires": ["numpy>=1.17"],
        "environment": {"python": "3.11.7", "torch": "2.13.0"},
        **details,
    }


def results(*rows, **details):
    """A result object with these scenarios."""
    return copy.deepcopy(
        {
            "schema": 1,
            "kind": "gate",
            "command": "python -m exact_resume gate --base clone@base --head clone@head",
            "started": "2026-01-02T03:04:05+00:00",
            "seconds": 12.5,
            "selection": {"tier": "quick", "only": []},
            "shard": [1, 1],
            "planned": [scenario["name"] for scenario in rows],
            "same": False,
            "trees": [tree(BASE, "aa"), tree(HEAD, "bb")],
            "scenarios": list(rows),
            **details,
        }
    )


RANDOM = without("error", "NotDeterministic: two golden runs differ at step 3: loss")
ERROR = without("error", "ValueError: no\nsuch thing")
SKIP = without("skipped", "no CUDA device on this machine")


@pytest.mark.parametrize(
    ("base", "head", "kind", "why"),
    [
        (cell([1, 2]), cell([1, 2]), SAME, ""),
        (cell([], [1, 2]), cell([], [1, 2]), SAME, ""),
        (cell([1], [2]), cell([1], [2]), SAME, ""),
        (cell([1], [2]), cell([1, 2]), NEWLY_EXACT, "1 of 2 interrupts"),
        (ERROR, cell([1, 2]), NEWLY_EXACT, "2 of 2 interrupts"),
        (SKIP, cell([1]), NEWLY_EXACT, "1 of 1 interrupts"),
        (
            cell([1, 2, 3]),
            cell([1], [2, 3]),
            NEWLY_BROKEN,
            "2 of 3 interrupts that were exact; interrupted at step 2: ",
        ),
        # As many are exact as before, but not the same ones.
        (cell([1], [2]), cell([2], [1]), NEWLY_BROKEN, "1 of 1 interrupts that were exact; interrupted at step 1: "),
        (
            cell([1, 2]),
            cell([1]),
            NEWLY_BROKEN,
            "1 of 2 interrupts that were exact; head took no checkpoint after step 2",
        ),
        (cell([1]), ERROR, NEWLY_BROKEN, "error on head: ValueError: no such thing"),
        (cell([], [1]), ERROR, NEWLY_BROKEN, "error on head: "),
        (cell([1]), RANDOM, NEWLY_BROKEN, "error on head: two golden runs differ at step 3: loss"),
        (cell([1]), SKIP, NEWLY_BROKEN, "no longer run on head: no CUDA"),
        (cell([], [1]), SKIP, SKIPPED, "on head: no CUDA"),
        (SKIP, SKIP, SKIPPED, "on base: no CUDA"),
        (SKIP, ERROR, ERRORED, "error on head: "),
        (ERROR, ERROR, ERRORED, "error on base: "),
        (ERROR, cell([], [1]), ERRORED, "error on base: "),
        (RANDOM, cell([1]), NOT_DETERMINISTIC, "on base: two golden runs differ at step 3: loss"),
        (RANDOM, ERROR, NOT_DETERMINISTIC, "on base: "),
        (cell(), cell(), ERRORED, "no resume was measured on base"),
    ],
)
def test_each_pair_of_cells_has_its_verdict(base, head, kind, why):
    verdict = judge(base, head)
    assert verdict.kind == kind
    assert verdict.why.startswith(why) if why else not verdict.why
    assert "\n" not in verdict.why


def test_a_loss_names_its_first_divergence():
    why = judge(cell([1, 2]), cell([1], [2])).why
    assert why.endswith(
        "interrupted at step 2: first difference at step 4, micro-batch 0, stream data: "
        "micro-batch: x[0, 1] golden 0.25, resumed 0.75"
    )


def test_another_uninterrupted_run_is_noted_and_is_no_fault():
    verdict = judge(cell([1], golden="a"), cell([1], golden="b"))
    assert (verdict.kind, verdict.golden_changed) == (SAME, True)


@pytest.mark.parametrize(
    ("rows", "details", "code"),
    [
        ([row("a", cell([1]), cell([1]))], {}, 0),
        ([row("a", cell([1]), cell([1])), row("b", cell([1]), cell([], [1]))], {}, 1),
        ([row("a", cell([1]), cell([1])), row("b", ERROR, ERROR)], {}, 0),
        ([row("a", cell([1]), ERROR)], {}, 1),
        ([row("a", ERROR, ERROR), row("b", SKIP, SKIP), row("c", RANDOM, cell([1]))], {}, 70),
        ([], {}, 70),
        ([row("a", SKIP, SKIP)], {"shard": [1, 2]}, 0),
        ([row("a", cell([1]), ERROR)], {"shard": [1, 2]}, 1),
        ([], {"same": True}, 0),
    ],
)
def test_the_exit_code_is_never_that_of_no_change_where_nothing_was_compared(rows, details, code):
    assert gate_results.exit_code(results(*rows, **details)) == code


def test_the_word_for_runs_that_differ_is_that_of_the_matrix():
    source = (Path(verdicts.__file__).parents[1] / "matrix" / "running.py").read_text()
    assert f"class {verdicts.TWO_GOLDEN_RUNS_DIFFER.removesuffix(': ')}(Exception):" in source
    # What becomes of an exception in a cell.
    assert 'reason=f"{type(error).__name__}: {error}"' in source


def mixed():
    return results(
        row("one", cell([1, 2]), cell([1, 2])),
        row("two", cell([1, 2, 3]), cell([1], [2, 3], message=HOSTILE)),
        row("three", SKIP, SKIP),
        row("four", cell([1], [2]), cell([1, 2], golden="h")),
    )


def hostile():
    made = mixed()
    made["trees"][1].update(spec=HOSTILE, title=HOSTILE, kind=HOSTILE, release=HOSTILE, commit=HOSTILE)
    made["command"] = HOSTILE
    for scenario in made["scenarios"]:
        scenario.update(title=HOSTILE, group=HOSTILE)
    made["scenarios"][2]["cells"]["base"]["reason"] = HOSTILE
    return made


def test_a_clean_summary_is_one_line_with_the_rest_folded():
    clean = results(row("one", cell([1, 2]), cell([1, 2])), row("two", cell([1], [2]), cell([1, 2])))
    text = render.markdown(clean)
    first, blank, fold, *rest = text.splitlines()
    assert first == (
        "**Exact resume: nothing got worse.** 2 scenarios: 1 newly exact, 1 same; "
        "base `clone@base`, head `clone@head`."
    )
    assert (blank, fold, rest[-1]) == ("", "<details><summary>Details</summary>", "</details>")
    assert "| `two` | newly exact | `1 of 2 interrupts` | 1/2 | 2/2 |" in rest


def test_a_summary_of_a_loss_names_it_before_the_fold():
    text = render.markdown(mixed())
    above = text.partition("<details>")[0]
    assert above.startswith("**Exact resume: 1 of 4 scenarios got worse.**")
    assert "- `two`: `2 of 3 interrupts that were exact; interrupted at step 2: first difference at step 4" in above
    assert "`one`" not in above
    assert "the uninterrupted run itself differs between base and head in 1 scenario" in text


def test_no_text_of_a_tree_gets_out_of_its_place_in_markdown():
    text = render.markdown(hostile())
    assert text.count("<details>") == text.count("</details>\n") == 1
    # What is not code has none of it.
    plain = re.sub(r"`[^`]*`", "", text)
    for piece in ("@everyone", "http", "<img", "\x1b", "\u202e", "pipe", "line two"):
        assert piece not in plain
    assert "\x1b" not in text and "\u202e" not in text
    table = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(table) == 4
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 6 for line in table)


@pytest.mark.parametrize("limit", [400, 900, 2000, 60_000])
def test_a_summary_keeps_to_its_limit_and_says_that_it_was_cut(limit):
    rows = [row(f"scenario_{number}", cell([1]), cell([], [1], message="é" * 900)) for number in range(500)]
    text = render.markdown(results(*rows), limit)
    assert len(text.encode()) <= limit
    assert f"This was cut, as it may have {limit} bytes; results.json has it whole." in text
    assert text.startswith("**Exact resume: 500 of 500 scenarios got worse.**")
    assert text.count("<details>") == text.count("</details>")


def test_all_of_a_large_run_fits_into_a_job_summary_or_is_cut():
    rows = [row(f"scenario_{number}", cell([1]), cell([], [1], message="x" * 2000)) for number in range(2000)]
    assert len(render.markdown(results(*rows)).encode()) <= 2**20


def test_the_same_tree_twice_is_said_in_every_rendering():
    made = results(same=True)
    words = "hold the same transformers, so there is nothing to compare"
    assert words in render.markdown(made) and words in render.console(made) and words in render.html(made)


@pytest.mark.parametrize("make", [mixed, hostile])
def test_junit_is_well_formed_and_has_a_case_for_each_scenario(make):
    suite = ElementTree.fromstring(render.junit(make()).encode())
    assert suite.attrib | {"time": "", "name": ""} == {
        "name": "",
        "tests": "4",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
        "time": "",
    }
    found = {case.get("name"): [mark.tag for mark in case] for case in suite}
    assert found == {"one": [], "two": ["failure"], "three": ["skipped"], "four": []}
    (failure,) = suite.iter("failure")
    assert failure.get("message").startswith("newly broken: 2 of 3 interrupts")


def test_junit_of_a_run_that_compared_nothing_is_red():
    suite = ElementTree.fromstring(render.junit(results(row("one", ERROR, ERROR))).encode())
    assert (suite.get("errors"), suite.get("skipped")) == ("1", "0")


def test_the_page_shows_both_trees_and_the_verdicts_and_runs_nothing():
    page = render.html(hostile())
    assert "1 of 4 scenarios got worse" in page and "newly broken" in page and "newly exact" in page
    assert "<img" not in page and "\x1b" not in page
    assert page.count('class="mark diverged"') == 2 + 1 + 1  # the legend has one, and base one
    assert render.html(mixed()).count("base, 5.23.0") >= 2


def test_what_is_written_is_read_back_as_it_was(tmp_path):
    names = [path.name for path in render.write(mixed(), tmp_path)]
    assert sorted(names) == ["gate.html", "junit.xml", "results.json", "summary.md"]
    assert gate_results.read(tmp_path) == mixed()


def changed(place, value):
    """A result object that has another value somewhere."""
    made = mixed()
    *path, last = place
    target = made
    for step in path:
        target = target[step]
    target[last] = value
    return json.dumps(made).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"schema": 1}',
        changed(["schema"], 2),
        changed(["kind"], "verify"),
        changed(["seconds"], -1),
        changed(["seconds"], 10**400),
        changed(["seconds"], float("nan")),
        changed(["same"], 1),
        changed(["shard"], [3, 2]),
        changed(["shard"], [1]),
        changed(["trees"], []),
        changed(["trees", 0, "name"], "patched"),
        changed(["planned"], ["a b"]),
        changed(["planned"], ["a"] * 2001),
        changed(["scenarios", 0, "name"], "`x`"),
        changed(["scenarios", 0, "cells"], {}),
        changed(["scenarios", 0, "cells", "head", "status"], "exact"),
        changed(["scenarios", 0, "cells", "head", "resumes", 0, "exact"], "yes"),
        changed(["scenarios", 0, "cells", "head", "resumes", 0, "at"], [True]),
        changed(["scenarios", 1, "cells", "head", "resumes", 1, "divergence"], {"step": "<b>"}),
    ],
)
def test_what_is_no_result_is_refused(data):
    with pytest.raises(gate_results.Malformed, match="not the result of a gate"):
        gate_results.parse(data)


def test_what_has_no_place_in_a_result_is_dropped_and_long_text_is_cut():
    made = mixed() | {"more": 1}
    made["scenarios"][0]["cells"]["base"]["reason"] = "x" * 100_000
    parsed = gate_results.parse(json.dumps(made).encode())
    assert parsed.keys() == mixed().keys()
    assert len(parsed["scenarios"][0]["cells"]["base"]["reason"]) == gate_results.MOST_CHARACTERS


NAMES = ["one", "two", "three"]


def shards():
    """The result objects of two shards of three scenarios."""
    whole = results(*(row(name, cell([1]), cell([1])) for name in NAMES))
    parts = []
    for number in (1, 2):
        part = copy.deepcopy(whole) | {"shard": [number, 2], "scenarios": whole["scenarios"][number - 1 :: 2]}
        parts.append(copy.deepcopy(part))
    return parts


def merge(tmp_path, *parts):
    """Merge by the command line; return the exit code."""
    folders = []
    for number, part in enumerate(parts):
        folders.append(tmp_path / f"shard-{number}")
        folders[-1].mkdir()
        (folders[-1] / "results.json").write_text(json.dumps(part))
    return cli.main(["gate", "--output", str(tmp_path / "merged"), "--merge", *map(str, folders)])


def test_shards_merge_into_what_one_run_would_have_written(tmp_path, capsys):
    first, second = shards()
    second["scenarios"][0]["cells"]["head"] = cell([], [1])
    assert merge(tmp_path, second, first) == 1
    assert "newly broken: two: " in capsys.readouterr().out
    merged = gate_results.read(tmp_path / "merged")
    assert [scenario["name"] for scenario in merged["scenarios"]] == NAMES
    assert (merged["shard"], merged["seconds"]) == ([1, 1], 25.0)
    assert merged["trees"] == first["trees"]


def with_digest(part):
    part["trees"][1]["digest"] = "cc"
    return part


@pytest.mark.parametrize(
    ("choose", "said"),
    [
        (lambda first, second: [first], "shard 2/2 is missing; give the folder of each shard once"),
        (lambda first, second: [first, second, second], "shard 2/2 is there twice"),
        (lambda first, second: [first, with_digest(second)], "not of one gate: they differ in head"),
        (lambda first, second: [first, second | {"shard": [2, 3]}], "they differ in their number"),
        (lambda first, second: [first, second | {"planned": ["one", "two"]}], "they differ in their scenarios"),
        (lambda first, second: [first, second | {"scenarios": []}], "shard 2/2 has not run what it should"),
        (lambda first, second: [first, {"schema": 1}], "shard-1/results.json: not the result of a gate"),
    ],
)
def test_shards_that_do_not_belong_together_are_refused(tmp_path, capsys, choose, said):
    assert merge(tmp_path, *choose(*shards())) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "merged" / "results.json").exists()


def test_shards_that_compared_nothing_at_all_are_a_fault(tmp_path):
    parts = shards()
    for part in parts:
        for scenario in part["scenarios"]:
            scenario["cells"] = {"base": SKIP, "head": SKIP}
    assert merge(tmp_path, *parts) == 70


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--base", "x"], "gate needs --base and --head, or --merge"),
        (["--merge", "nowhere"], "nowhere/results.json: cannot be read"),
        (["--base", "x", "--head", "y", "--shard", "3/2"], "'3/2' is not I/N with I from 1 to N"),
        (["--base", "x", "--head", "y", "--timeout", "0"], "'0' is not a positive number"),
        (["--base", "x", "--head", "y", "--quick", "--only", "z"], "not allowed with argument"),
        (["--base", "nowhere", "--head", "y"], "nowhere: there is no such file or folder; give a transformers"),
    ],
)
def test_requests_that_mean_nothing_are_refused(tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["gate", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(tmp_path, capsys):
    (tmp_path / "file").touch()
    code = cli.main(["gate", "--base", "x", "--head", "y", "--output", str(tmp_path / "file" / "out")])
    assert code == 2
    assert "the report cannot be written to" in capsys.readouterr().err
