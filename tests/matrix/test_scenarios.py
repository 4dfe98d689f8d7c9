"""Every scenario: exact from every step on the patched tree, and as expected on the trees without the patch."""

import tomllib
from pathlib import Path

import pytest

from exact_resume.matrix.scenarios import SCENARIOS
from exact_resume.trees import DRAIN, LITERAL, PATCHED, STOCK

TESTED = [name for name, scenario in SCENARIOS.items() if scenario.tier != "long"]
QUICK = [name for name, scenario in SCENARIOS.items() if scenario.tier == "quick" and scenario.device == "cpu"]
COMPARED = [name for name in QUICK if SCENARIOS[name].group != "workers"]
EXPECTED = tomllib.loads((Path(__file__).parent / "expected-5.23.0.toml").read_text())

# For the control of a scenario that is not quick, two interrupts are enough.
CONTROL_CHAINS = [[2], [4]]


def _inexact(cell):
    return [f"interrupted at {r['at']}: {r['divergence']}" for r in cell["resumes"] if not r["exact"]]


@pytest.mark.parametrize("name", TESTED)
def test_resume_is_exact_from_every_step(matrix, name):
    cell = matrix.cell(PATCHED, name)
    assert cell["resumes"], "nothing was resumed"
    assert _inexact(cell) == []


@pytest.mark.parametrize("name", TESTED)
def test_an_uninterrupted_run_is_the_same_with_and_without_the_patch(matrix, name):
    chains = None if name in QUICK else CONTROL_CHAINS
    assert matrix.cell(PATCHED, name)["golden"] == matrix.cell(STOCK, name, chains)["golden"]


@pytest.mark.parametrize("name", TESTED)
def test_stock_fails_where_the_patch_claims_a_fix(matrix, name):
    """The negative control: a scenario that stock resumes exactly proves nothing, unless it is listed as a guard."""
    cell = matrix.cell(STOCK, name, None if name in QUICK else CONTROL_CHAINS)
    assert bool(_inexact(cell)) == (SCENARIOS[name].fixed_by is not None)


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
    assert {scenario.fixed_by for scenario in SCENARIOS.values()} == {
        None,
        "restore-order",
        "per-step-rng-checkpoints",
        "worker-rng-states",
    }
    combinations = [name for name in SCENARIOS if "_prefetch_" in name]
    assert len(combinations) == 3 * 3 * 2 * 3
