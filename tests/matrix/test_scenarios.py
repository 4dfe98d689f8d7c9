"""Every scenario: exact from every step on the patched tree, and as expected on the trees without the patch."""

import tomllib
from pathlib import Path

import pytest

from exact_resume.matrix import tiers_upto
from exact_resume.matrix.scenarios import MODULES, SCENARIOS, basic
from exact_resume.matrix.scenarios.base import NAMING
from exact_resume.series import for_release
from exact_resume.trees import DRAIN, LITERAL, PATCHED, STOCK

RELEASE = "5.23.0"
TESTED = [name for name, scenario in SCENARIOS.items() if scenario.tier != "long"]
COMPARED = [scenario.name for scenario in basic.scenarios() if scenario.tier in tiers_upto("quick")]
EXPECTED = tomllib.loads((Path(__file__).parent / f"expected-{RELEASE}.toml").read_text())


def _inexact(cell):
    return [f"interrupted at {r['at']}: {r['divergence']}" for r in cell["resumes"] if not r["exact"]]


@pytest.mark.parametrize("name", TESTED)
def test_resume_is_exact_from_every_step(matrix, name):
    cell = matrix.cell(PATCHED, name)
    assert cell["resumes"], "nothing was resumed"
    assert _inexact(cell) == []


@pytest.mark.parametrize("name", TESTED)
def test_stock_fails_where_the_patch_claims_a_fix_and_trains_the_same(matrix, name):
    """The negative control: a scenario that stock resumes exactly proves nothing, unless it is listed as a guard."""
    chains = None if name in COMPARED else SCENARIOS[name].control_chains()
    cell = matrix.cell(STOCK, name, chains)
    assert bool(_inexact(cell)) == (SCENARIOS[name].fixed_by is not None)
    assert matrix.cell(PATCHED, name)["golden"] == cell["golden"], "an uninterrupted run differs with the patch"


@pytest.mark.parametrize("tree", [STOCK, LITERAL, DRAIN])
@pytest.mark.parametrize("name", COMPARED)
def test_other_orders_fail_as_recorded(matrix, tree, name):
    exact_steps = [resume["at"] for resume in matrix.cell(tree, name)["resumes"] if resume["exact"]]
    assert [chain[0] for chain in exact_steps if len(chain) == 1] == EXPECTED[tree][name]


def test_the_table_of_expected_results_is_complete():
    assert {tree: sorted(row) for tree, row in EXPECTED.items()} == dict.fromkeys(
        (STOCK, LITERAL, DRAIN), sorted(COMPARED)
    )


def test_there_are_scenarios_for_each_kind_of_loading_and_each_patch():
    patches = {*for_release(RELEASE).names} - {*NAMING}
    assert {scenario.fixed_by for scenario in SCENARIOS.values()} == {None, *patches}
    combinations = [name for name in SCENARIOS if name.startswith("workers_") and "_prefetch_" in name]
    assert len(combinations) == 3 * 3 * 2 * 3


def test_a_core_scenario_shows_each_patch_and_each_is_short():
    core = [scenario for scenario in SCENARIOS.values() if scenario.tier == "core"]
    assert {scenario.fixed_by for scenario in core} == {scenario.fixed_by for scenario in SCENARIOS.values()}
    assert all(scenario.device == "cpu" for scenario in core)
    # Fewer ranks than three do not show it
    assert [scenario.name for scenario in core if scenario.num_processes > 1] == ["ddp_buckets_one"]


def test_no_two_scenarios_have_the_same_name():
    names = [scenario.name for module in MODULES for scenario in module.scenarios()]
    assert len(names) == len(SCENARIOS)
