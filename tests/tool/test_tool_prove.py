"""`prove`: what is run, what is recorded, and what is done when something fails. No scenario is run here."""

import json
import shutil
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from exact_resume import cli, environments, patching, proofs, prove, releases, runs, tree_check, trees
from exact_resume.errors import Finding, UsageError
from exact_resume.matrix.client import ProcessEnded
from exact_resume.series import Release, for_release, load_lanes, load_releases

NEWER, OLDER = "9.9.0", "9.8.0"
SCENARIOS = [
    {"name": name, "title": name, "group": "any", "tier": tier, "fixed_by": fixed_by, "guard": fixed_by is None}
    | {"control_chains": [[2], [7]]}
    for name, tier, fixed_by in (
        ("plain", "core", None),
        ("noise", "core", "some-patch"),
        ("more", "suite", "some-patch"),
        ("by_name", "long", "some-patch"),
    )
]


def cell(exact, total, status="ok", reason=None, golden="g"):
    resumes = [{"at": [step], "exact": step <= exact, "divergence": None} for step in range(1, total + 1)]
    return {"status": status, "reason": reason, "seconds": 0.1, "golden": golden, "resumes": resumes}


class Processes:
    """Stands in for the processes that run scenarios: what each cell is, and which were asked for."""

    def __init__(self):
        self.cells = {}
        self.raised = {}
        self.asked = []
        self.pythons = set()

    def client(self, tree, python):
        release, name = tree.parent.name, tree.name.partition("-")[0]
        self.pythons.add(python)
        if (release, name) in self.raised:
            raise self.raised[release, name]
        return FakeClient(self, release, name)

    def releases(self):
        """The releases that were run since the last call, in order."""
        asked, self.asked = self.asked, []
        return list(dict.fromkeys(release for release, *_ in asked))


class FakeClient:
    scenarios = SCENARIOS

    def __init__(self, processes, release, tree):
        self.processes, self.release, self.tree = processes, release, tree
        self.environment = {"python": "3.11.7", "torch": "2.13.0", "accelerate": "1.15.0", "tree": "/some/where"}

    def run(self, name, chains):
        self.processes.asked.append((self.release, self.tree, name, chains))
        guard = name == "plain"
        usual = cell(4, 4) if self.tree == "patched" or guard else cell(1, 4)
        return self.processes.cells.get((self.release, self.tree, name), usual)

    def __enter__(self):
        return self

    def __exit__(self, *details):
        pass


@pytest.fixture(scope="module")
def shared(fake_series, tmp_path_factory):
    """A series for two releases, and a cache that has their wheels and trees."""
    patches, _, stages = fake_series
    work = tmp_path_factory.mktemp("prove")
    shutil.copytree(patches, work / "patches")
    (work / "cache" / "wheels").mkdir(parents=True)
    package = stages[0] / "src"
    for version in (NEWER, OLDER):
        with zipfile.ZipFile(work / "cache" / "wheels" / trees.wheel_name(version), "w") as wheel:
            for path in package.rglob("*.py"):
                wheel.writestr(path.relative_to(package).as_posix(), path.read_text().replace(NEWER, version))
    with pytest.MonkeyPatch.context() as patch:
        set_variables(patch, work)
        # They differ in their version, which no patch touches.
        newer = load_releases()[NEWER]
        releases.save(work / "patches", load_lanes(), [newer, replace(newer, version=OLDER)])
        for version in (NEWER, OLDER):
            trees.build(trees.PATCHED, version)
    return work


def set_variables(patch, work):
    patch.setenv("EXACT_RESUME_PATCHES", str(work / "patches"))
    patch.setenv("EXACT_RESUME_CACHE", str(work / "cache"))


@pytest.fixture
def processes(shared, tmp_path, monkeypatch):
    shutil.copytree(shared / "patches", tmp_path / "patches")
    set_variables(monkeypatch, shared)
    monkeypatch.setenv("EXACT_RESUME_PATCHES", str(tmp_path / "patches"))
    made = Processes()
    monkeypatch.setattr(environments, "python_for", lambda version: Path(f"python-for-{version}"))
    monkeypatch.setattr(tree_check, "check", lambda version: None)
    for module in (prove, runs):
        monkeypatch.setattr(module, "Client", made.client)
    return made


def recorded():
    return {version: release.proof for version, release in load_releases().items()}


def run(capsys, *arguments, code=0):
    assert cli.main(["prove", *arguments]) == code
    return capsys.readouterr().out.splitlines()


def test_what_passed_is_recorded(processes, capsys):
    (line, last) = run(capsys, OLDER)
    assert line.startswith(
        "transformers 9.8.0: proven: core, 2 scenarios, exact resumes 8/8 patched, 5/8 stock, "
    ) and line.endswith(" s")
    assert last == "1 of 1 releases are proven"
    assert recorded() == {
        NEWER: None,
        OLDER: {
            "python": "3.11.7",
            "torch": "2.13.0",
            "accelerate": "1.15.0",
            "tier": "core",
            "scenarios": 2,
            "skipped": 0,
            "patched": "8/8",
            "stock": "5/8",
            "series": proofs.digest(for_release(OLDER)),
        },
    }
    assert processes.pythons == {Path("python-for-9.8.0")}


def test_a_fresh_proof_is_not_made_again_unless_asked_for(processes, capsys):
    run(capsys, "--all")
    assert processes.releases() == [NEWER, OLDER]
    assert "9.9.0: proven already: core, 2 scenarios" in run(capsys, "--all")[0]
    assert processes.releases() == []
    run(capsys, NEWER, "--again")
    assert processes.releases() == [NEWER]


def test_a_proof_of_another_series_is_stale(processes, capsys):
    run(capsys, "--all")
    proofs.record(OLDER, {**recorded()[OLDER], "series": "0" * 12})
    processes.releases()
    run(capsys, "--all")
    assert processes.releases() == [OLDER]


def test_the_whole_matrix_runs_the_suite_and_on_stock_only_where_it_has_to_fail(processes, capsys):
    run(capsys, NEWER)
    processes.asked.clear()
    run(capsys, NEWER, "--whole")
    assert {(tree, name, str(chains)) for _, tree, name, chains in processes.asked} == {
        (tree, name, "None" if tree == "patched" else "[[2], [7]]")
        for tree in ("stock", "patched")
        for name in ("plain", "noise", "more")
    }
    assert recorded()[NEWER]["tier"] == "whole"
    processes.asked.clear()
    run(capsys, NEWER)
    assert processes.asked == []


@pytest.mark.parametrize(
    ("tree", "name", "broken", "said"),
    [
        ("patched", "noise", cell(3, 4), "noise: not exact on patched, 3/4"),
        ("patched", "noise", cell(0, 0), "noise: not exact on patched"),
        ("patched", "noise", cell(4, 4, golden="other"), "noise: the patch changes the uninterrupted run"),
        ("stock", "noise", cell(4, 4), "cannot fail: noise is exact on stock"),
        ("stock", "plain", cell(0, 0, "error", "crashed\nbadly"), "plain: error on stock: crashed badly"),
    ],
)
def test_a_finding_takes_the_old_proof_away_and_does_not_stop_the_others(processes, capsys, tree, name, broken, said):
    run(capsys, "--all")
    processes.cells[NEWER, tree, name] = broken
    lines = run(capsys, "--all", "--again", code=1)
    assert lines[0].startswith(f"transformers 9.9.0: finding: {said}")
    assert lines[1].startswith("transformers 9.8.0: proven: ")
    assert lines[2] == "1 of 2 releases are proven"
    assert recorded()[NEWER] is None and recorded()[OLDER] is not None


def test_only_the_first_of_several_findings_is_told(processes, capsys):
    processes.cells[NEWER, "patched", "plain"] = processes.cells[NEWER, "patched", "noise"] = cell(1, 4)
    (line, _) = run(capsys, NEWER, code=1)
    assert "finding: plain: not exact" in line and line.endswith("(and 1 more)")


def test_skipped_scenarios_are_counted(processes, capsys):
    for tree in ("stock", "patched"):
        processes.cells[NEWER, tree, "noise"] = cell(0, 0, "skipped", "in this release: no such argument", None)
    assert ", exact resumes 4/4 patched, 4/4 stock, 1 skipped, " in run(capsys, NEWER)[0]
    assert (recorded()[NEWER]["scenarios"], recorded()[NEWER]["skipped"]) == (1, 1)


def test_a_tree_that_cannot_be_imported_is_a_finding_in_one_line(processes, capsys):
    processes.raised[NEWER, "patched"] = ProcessEnded("ended with exit code 1:\nTraceback\nImportError: no")
    lines = run(capsys, "--all", code=1)
    assert lines[0] == "transformers 9.9.0: finding: ended with exit code 1: Traceback ImportError: no"
    assert "9.8.0: proven" in lines[1]


def test_a_tree_that_fails_its_check_is_a_finding(processes, capsys, monkeypatch):
    def check(release):
        raise Finding("revert: a/file is not what it has to be")

    monkeypatch.setattr(tree_check, "check", check)
    assert run(capsys, NEWER, code=1)[0] == ("transformers 9.9.0: finding: revert: a/file is not what it has to be")
    assert processes.asked == []


def test_what_could_not_be_run_keeps_its_proof_and_does_not_stop_the_others(processes, capsys, monkeypatch):
    run(capsys, "--all")

    def python_for(version):
        if version == NEWER:
            raise UsageError("no network")
        return Path("python")

    monkeypatch.setattr(environments, "python_for", python_for)
    lines = run(capsys, "--all", "--again", code=2)
    assert lines[0] == "transformers 9.9.0: could not be run: no network"
    assert "9.8.0: proven" in lines[1]
    assert None not in recorded().values()


def test_an_interrupted_run_goes_on_where_it_was(processes, capsys):
    processes.raised[OLDER, "stock"] = KeyboardInterrupt()
    run(capsys, "--all", code=130)
    assert recorded()[NEWER] is not None
    processes.raised.clear()
    processes.releases()
    run(capsys, "--all")
    assert processes.releases() == [OLDER]


def test_a_report_of_each_release_is_written_where_it_is_asked_for(processes, capsys, tmp_path):
    run(capsys, "--all", "--output", str(tmp_path / "reports"))
    results = json.loads((tmp_path / "reports" / OLDER / "results.json").read_text())
    assert results["command"] == "python -m exact_resume prove 9.8.0"
    assert [tree["title"] for tree in results["trees"]] == ["stock 9.8.0", "patched"]
    assert "tree" not in results["environment"]
    assert (tmp_path / "reports" / NEWER / "report.html").is_file()


def test_an_unknown_release_is_refused_with_the_known_ones(processes, capsys):
    assert cli.main(["prove", NEWER, "1.2.3"]) == 2
    assert "no series for release 1.2.3; supported: 9.9.0, 9.8.0" in capsys.readouterr().err
    assert processes.asked == []


def test_missing_packages_are_named(processes, capsys, monkeypatch):
    monkeypatch.setattr(runs, "NEEDED", ("json", "no_such_package"))
    assert cli.main(["prove", NEWER]) == 2
    assert "prove needs no_such_package: run `python3 scripts/bootstrap.py prove`" in capsys.readouterr().err


def test_the_boundaries_are_the_first_and_the_last_of_each_lane():
    lanes = {"5.3": "b", "5.2": "b", "5.1": "b", "5.0": "middle", "4.9": "a", "4.8": "a"}
    known = {version: Release(version, lane, {}) for version, lane in lanes.items()}
    assert proofs.boundaries(known) == ["5.3", "5.1", "5.0", "4.9", "4.8"]


def test_a_record_stands_with_its_release_and_keeps_the_rest(processes, tmp_path):
    path = tmp_path / "patches" / "releases.toml"
    before = path.read_bytes()
    proofs.record(NEWER, {"tier": "core", "scenarios": 3})
    table = tomllib.loads(path.read_text())
    assert table["releases"][NEWER]["proof"] == {"tier": "core", "scenarios": 3}
    assert "proof" not in table["releases"][OLDER]
    proofs.record(NEWER, None)
    assert path.read_bytes() == before


def test_the_digest_is_of_what_the_package_holds_in_the_end(processes):
    series = for_release(NEWER)
    reworded = replace(series, patches=tuple(replace(patch, title="other") for patch in series.patches))
    assert proofs.digest(reworded) == proofs.digest(series)
    only_tests = [patch for patch in series.patches if all(diff.path.startswith("tests/") for diff in patch.diffs)]
    assert only_tests
    without = replace(series, patches=tuple(patch for patch in series.patches if patch not in only_tests))
    assert proofs.digest(without) == proofs.digest(series)
    assert proofs.digest(replace(series, patches=series.patches[:-1])) != proofs.digest(series)


@pytest.fixture
def own_cache(shared, tmp_path, monkeypatch):
    """A copy of the cache whose trees a test may damage."""
    shutil.copytree(shared, tmp_path / "own")
    set_variables(monkeypatch, tmp_path / "own")


def test_the_check_of_a_tree_passes_whatever_python_left_there(own_cache):
    caches = trees.build(trees.PATCHED, NEWER) / "transformers" / "__pycache__"
    caches.mkdir()
    (caches / "trainer.pyc").touch()
    tree_check.check(NEWER)
    tree_check.check(OLDER)


@pytest.mark.parametrize(
    ("name", "said"),
    [(trees.PATCHED, "^apply: transformers/untouched.py is"), (trees.STOCK, "^the stock tree of 9.9.0: ")],
)
def test_the_check_finds_an_edited_file_of_the_cache(own_cache, name, said):
    (trees.build(name, NEWER) / "transformers" / "untouched.py").write_text("edited")
    with pytest.raises(Finding, match=said):
        tree_check.check(NEWER)


def test_the_check_finds_what_a_revert_leaves(own_cache, monkeypatch):
    revert = patching.revert

    def leave_a_file(tree, **options):
        revert(tree, **options)
        (tree / "transformers" / "left.py").touch()

    monkeypatch.setattr(patching, "revert", leave_a_file)
    with pytest.raises(Finding, match="^revert: transformers/left.py is not"):
        tree_check.check(NEWER)


def test_the_check_finds_patches_that_do_not_fit(own_cache, monkeypatch):
    def refuse(tree, **options):
        raise UsageError("hunk 2 does not fit")

    monkeypatch.setattr(patching, "apply", refuse)
    trees.build(trees.PATCHED, NEWER)
    with pytest.raises(Finding, match="^apply: hunk 2 does not fit"):
        tree_check.check(NEWER)


def test_scenarios_are_selected_by_tier_or_by_name():
    def names(upto, *only):
        return [scenario["name"] for scenario in runs.select(SCENARIOS, upto, only)]

    assert names("core") == names("quick") == ["plain", "noise"]
    assert names("suite") == ["plain", "noise", "more"]
    assert names("core", "by_name") == ["by_name"]
    assert names("core", "any") == ["plain", "noise", "more", "by_name"]
    with pytest.raises(UsageError, match="no scenario or group other; there are: any, by_name"):
        names("core", "other")


@pytest.mark.parametrize(("jobs", "shares"), [(1, 1), (3, 2), (8, 5)])
def test_each_cell_is_run_once_however_the_scenarios_are_shared_out(processes, tmp_path, jobs, shares):
    folders = {name: tmp_path / NEWER / name for name in ("stock", "patched")}
    chosen = {"stock": SCENARIOS[:2], "patched": SCENARIOS}
    cells = runs.run_cells(folders, chosen, Path("python"), jobs=jobs, shares=shares)
    assert sorted(cells) == sorted((tree, s["name"]) for tree, scenarios in chosen.items() for s in scenarios)
    assert len(processes.asked) == len(cells)
