"""README's table follows the results of verify, and nothing but complete results."""

import json
from pathlib import Path

import pytest

from exact_resume import cli, readme_table, support_table
from exact_resume.readme_table import BEGIN, END
from exact_resume.series import Release, Series

SUPPORT = f"{support_table.BEGIN}\n{support_table.table()}{support_table.END}\n"
README = (
    f"# A project\n\nThe line {BEGIN} in a sentence is no marker.\n\n{BEGIN}\nold\n{END}\n\n{SUPPORT}\nThe rest.\n"
)


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
    assert (folder / "README.md").read_bytes().endswith(f"{support_table.END}\r\n\r\nThe rest.\r\n".encode())


def test_check_finds_another_table_and_writes_nothing(folder, capsys):
    assert_refused(capsys, "README.md", "report/results.json", code=1, arguments=["--check"])
    assert (folder / "README.md").read_text() == README
    assert cli.main(["readme-table"]) == cli.main(["readme-table", "--check"]) == 0
    changed = results()
    changed["scenarios"][0]["cells"]["patched"] = cell(3, 4)
    write(folder, changed)
    capsys.readouterr()
    assert_refused(capsys, "does not agree", code=1, arguments=["--check"])


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
    (folder / "README.md").write_text(readme + SUPPORT)
    assert_refused(capsys, "README.md", BEGIN, END)
    assert (folder / "README.md").read_text() == readme + SUPPORT
    (folder / "README.md").write_text(README.replace(support_table.END, ""))
    assert_refused(capsys, "README.md", support_table.BEGIN, support_table.END)


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


def test_the_support_table_alone_needs_no_results(folder, capsys):
    (folder / "report" / "results.json").unlink()
    (folder / "README.md").write_text(README.replace(SUPPORT, f"{support_table.BEGIN}\n{support_table.END}\n"))
    said = ("README.md", "releases.toml", "readme-table --support`")
    assert_refused(capsys, *said, code=1, arguments=["--check", "--support"])
    assert cli.main(["readme-table", "--support"]) == cli.main(["readme-table", "--support", "--check"]) == 0
    assert (folder / "README.md").read_text() == README


def test_the_readme_shows_the_releases_as_they_are_recorded():
    checkout = Path(__file__).resolve().parents[2]
    assert cli.main(["readme-table", "--support", "--check", "--readme", str(checkout / "README.md")]) == 0


def proven(version, lane, patched, **changed):
    proof = {"python": "3.11.7", "torch": "2.13.0", "accelerate": "1.15.0", "tier": "core", "skipped": 0}
    return Release(version, lane, {}, {**proof, "patched": patched, "stock": "1/4", "series": "fresh", **changed})


def test_releases_of_a_lane_with_equal_proofs_share_a_row(monkeypatch):
    releases = [
        proven("5.4", "new", "4/4"),
        proven("5.3", "new", "4/4"),
        proven("5.2", "new", "4/4"),
        proven("5.1", "new", "8/8", tier="whole", skipped=2),
        proven("5.0", "old", "4/4"),
        proven("4.9", "old", "4/4", series="stale"),
        Release("4.8", "old", {}),
        proven("4.7", "old", "4/4"),
    ]
    monkeypatch.setattr(support_table, "load_releases", lambda folder: {one.version: one for one in releases})
    monkeypatch.setattr(support_table, "load_lane", lambda lane, folder: Series(lane, "", ("patch",) * len(lane)))
    monkeypatch.setattr(
        support_table.proofs, "is_fresh", lambda one, folder: bool(one.proof) and one.proof["series"] == "fresh"
    )
    versions = "Python 3.11.7, torch 2.13.0, accelerate 1.15.0"
    assert support_table.table().splitlines()[2:-2] == [
        f"| 5.2 to 5.4 (3) | new | 3 | core | 4/4 | 1/4 |  | {versions} |",
        f"| 5.1 | new | 3 | whole | 8/8 | 1/4 | 2 | {versions} |",
        f"| 5.0 | old | 3 | core | 4/4 | 1/4 |  | {versions} |",
        f"| 4.9 | old | 3 | core, of earlier patches | 4/4 | 1/4 |  | {versions} |",
        "| 4.8 | old | 3 | **not proven** | - | - |  |  |",
        f"| 4.7 | old | 3 | core | 4/4 | 1/4 |  | {versions} |",
    ]
