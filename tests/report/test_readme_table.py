"""README's table follows the results of verify, and nothing but complete results."""

import json

import pytest

from exact_resume import cli, readme_table
from exact_resume.readme_table import BEGIN, END

README = f"# A project\n\nThe line {BEGIN} in a sentence is no marker.\n\n{BEGIN}\nold\n{END}\n\nThe rest.\n"


def cell(exact, total):
    resumes = [{"at": [step], "exact": step <= exact, "divergence": None} for step in range(1, total + 1)]
    return {"status": "ok", "seconds": 0.1, "reason": None, "resumes": resumes}


def without_resumes(status, reason):
    return {"status": status, "seconds": 0.0, "reason": reason, "resumes": []}


def scenario(name, group, fixed_by, stock, patched):
    cells = {"stock": stock, "patched": patched}
    return {"name": name, "title": name, "group": group, "fixed_by": fixed_by, "cells": cells}


def results():
    skipped = without_resumes("skipped", "no CUDA | device")
    return {
        "command": "python -m exact_resume verify --release 5.23.0 --all",
        "selection": {"all": True, "only": []},
        "scenarios": [
            scenario("torch", "noise", "per-step", cell(1, 4), cell(4, 4)),
            scenario("dropout", "model", None, cell(4, 4), cell(4, 4)),
            scenario("numpy", "noise", "per-step", cell(0, 4), cell(4, 4)),
            scenario("early", "noise", "order", cell(2, 3), cell(2, 3)),
            scenario("gpu", "group | of the future", "per-step", skipped, skipped),
        ],
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report").mkdir()
    (tmp_path / "README.md").write_text(README)
    write(tmp_path, results())
    return tmp_path


def write(folder, changed):
    (folder / "report" / "results.json").write_text(json.dumps(changed))


def assert_refused(capsys, *said, code=2, arguments=()):
    assert cli.main(["readme-table", *arguments]) == code
    output = capsys.readouterr()
    assert output.err.startswith("exact-resume: ") and output.err.count("\n") == 1
    for words in said:
        assert words in output.err


def test_a_row_for_each_group_and_patch_in_the_order_of_the_results():
    noise, model = readme_table.GROUP_TITLES["noise"], readme_table.GROUP_TITLES["model"]
    assert readme_table.table(results()).splitlines()[2:-2] == [
        f"| {noise}: torch; numpy | `per-step` | 2 | 1/8 | 8/8 |  |",
        f"| {noise}: early | `order` | 1 | 2/3 | 2/3 |  |",
        f"| {model} | stock already | 1 | 4/4 | 4/4 |  |",
        r"| group \| of the future | `per-step` | 1 | - | - | 1: no CUDA \| device |",
        r"| **all** |  | 5 | 7/15 | 14/15 | 1: no CUDA \| device |",
    ]


def test_titles_that_do_not_fit_are_counted():
    changed = results()
    for row, title in zip(changed["scenarios"], ["a" * 60, "", "b" * 60, "c" * 200], strict=False):
        row["title"] = title
    lines = readme_table.table(changed).splitlines()
    assert f": {'a' * 60}; 1 more | `per-step`" in lines[2]
    assert f": {'c' * 200} | `order`" in lines[3]


def test_the_command_is_named():
    assert "`python -m exact_resume verify --release 5.23.0 --all`" in readme_table.table(results()).splitlines()[-1]


def test_only_what_is_between_the_markers_changes(folder, capsys):
    assert cli.main(["readme-table"]) == 0
    text = (folder / "README.md").read_text()
    assert text == README.replace("old\n", readme_table.table(results()))
    assert capsys.readouterr().out == "wrote README.md\n"
    assert cli.main(["readme-table"]) == 0
    assert (folder / "README.md").read_text() == text
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "report"]


def test_line_ends_of_the_rest_stay(folder):
    (folder / "README.md").write_bytes(README.replace("\n", "\r\n").encode())
    assert cli.main(["readme-table"]) == 0
    assert (folder / "README.md").read_bytes().endswith(f"{END}\r\n\r\nThe rest.\r\n".encode())


def test_check_finds_another_table_and_writes_nothing(folder, capsys):
    assert_refused(capsys, "README.md", "report/results.json", code=1, arguments=["--check"])
    assert (folder / "README.md").read_text() == README
    assert cli.main(["readme-table"]) == cli.main(["readme-table", "--check"]) == 0
    changed = results()
    changed["scenarios"][0]["cells"]["patched"] = cell(3, 4)
    write(folder, changed)
    capsys.readouterr()
    assert_refused(capsys, "is not what", code=1, arguments=["--check"])


def test_other_files_may_be_named(folder):
    (folder / "README.md").rename(folder / "OTHER.md")
    (folder / "report" / "results.json").rename(folder / "other.json")
    assert cli.main(["readme-table", "other.json", "--readme", "OTHER.md"]) == 0


@pytest.mark.parametrize(
    "readme",
    [
        "no marker\n",
        f"{BEGIN}\n",
        f"{END}\n{BEGIN}\n",
        f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n",
        f"indented\n  {BEGIN}\n{END}\n",
    ],
)
def test_markers_that_are_not_there_once_each_are_named(folder, capsys, readme):
    (folder / "README.md").write_text(readme)
    assert_refused(capsys, "README.md", BEGIN, END)
    assert (folder / "README.md").read_text() == readme


@pytest.mark.parametrize(
    ("selection", "said"),
    [({"all": True, "only": ["noise"]}, "--only noise"), ({"all": False, "only": []}, "neither --all nor --only")],
)
def test_partial_results_are_refused_unless_asked_for(folder, capsys, selection, said):
    write(folder, {**results(), "selection": selection})
    assert_refused(capsys, "partial", said, "verify --all", "--partial")
    assert cli.main(["readme-table", "--partial"]) == 0


@pytest.mark.parametrize("field", ["command", "selection", "scenarios"])
def test_a_missing_field_is_named(folder, capsys, field):
    changed = results()
    del changed[field]
    write(folder, changed)
    assert_refused(capsys, f"lacks `{field}`", "verify --all")


@pytest.mark.parametrize("field", ["title", "group", "fixed_by", "cells"])
def test_a_missing_field_of_a_scenario_is_named(folder, capsys, field):
    changed = results()
    del changed["scenarios"][2][field]
    write(folder, changed)
    assert_refused(capsys, f"lacks `{field}` of scenario numpy")


def test_a_missing_cell_and_missing_scenarios_are_named(folder, capsys):
    changed = results()
    del changed["scenarios"][2]["cells"]["patched"]
    write(folder, changed)
    assert_refused(capsys, "the cell of numpy on patched")
    write(folder, {**results(), "scenarios": []})
    assert_refused(capsys, "any scenario")


def test_results_that_are_missing_or_no_json_are_refused(folder, capsys):
    (folder / "report" / "results.json").write_text("{")
    assert_refused(capsys, "not the JSON", "verify --all")
    (folder / "report" / "results.json").unlink()
    assert_refused(capsys, "cannot read report/results.json", "verify --all")
    write(folder, results())
    assert_refused(capsys, "cannot read no.md", "choose --readme", arguments=["--readme", "no.md"])


@pytest.mark.parametrize("broken", [without_resumes("error", "crashed"), cell(0, 0)])
def test_what_could_not_be_run_is_a_finding(folder, capsys, broken):
    changed = results()
    changed["scenarios"][1]["cells"]["stock"] = broken
    write(folder, changed)
    assert_refused(capsys, "dropout on stock", code=1)
    assert (folder / "README.md").read_text() == README
