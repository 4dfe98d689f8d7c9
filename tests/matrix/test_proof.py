"""The matrix can fail: broken restores are noticed, the series is a ladder, the golden run must be deterministic."""

import pytest

from exact_resume import combinations
from exact_resume.matrix import tiers_upto
from exact_resume.matrix.scenarios import SCENARIOS
from exact_resume.matrix.scenarios.base import NAMING
from exact_resume.series import for_release
from exact_resume.trees import PATCHED

SERIES = for_release("5.23.0")
PATCHES = SERIES.names
COMPANIONS = [patch.name for patch in SERIES.patches if patch.is_companion]
TESTED = [scenario for scenario in SCENARIOS.values() if scenario.tier != "long" and scenario.reason_to_skip() is None]
# The others of these groups differ in what no patch treats differently, and take long.
CHEAP = [scenario for scenario in TESTED if scenario.group not in ("workers", "distributed")]
QUICK = [scenario for scenario in CHEAP if scenario.tier in tiers_upto("quick")]


def _rung(scenario) -> int:
    """The number of patches with which the scenario becomes exact."""
    return 0 if scenario.fixed_by is None else PATCHES.index(scenario.fixed_by) + 1


@pytest.mark.parametrize("upto", PATCHES)
def test_each_patch_makes_its_scenarios_exact_and_keeps_the_others(matrix, upto):
    """On the tree with the patches up to one: its own scenarios, those of the next patch, and all quick ones."""
    rung = PATCHES.index(upto) + 1
    own = [s for s in TESTED if s.tier in tiers_upto("quick") and _rung(s) in (rung, rung + 1)]
    chosen = [scenario for scenario in CHEAP if scenario in QUICK or _rung(scenario) in (rung, rung + 1)]
    chosen += [scenario for scenario in own if scenario not in chosen]
    expected = {scenario.name: _rung(scenario) <= rung for scenario in chosen}
    exact = {}
    for name in expected:
        chains = SCENARIOS[name].control_chains()
        if _rung(SCENARIOS[name]) not in (rung, rung + 1):
            chains = chains[-1:]
        cell = matrix.cell(PATCHED, name, chains, upto)
        exact[name] = all(resume["exact"] for resume in cell["resumes"])
    assert exact == expected


@pytest.mark.parametrize("without", combinations.subsets(COMPANIONS)[1:], ids="+".join)
def test_without_companions_only_their_own_scenarios_are_not_exact(matrix, without):
    chosen = [scenario for scenario in CHEAP if scenario.tier == "core" or scenario.fixed_by in COMPANIONS]
    exact = {}
    for scenario in chosen:
        cell = matrix.cell(PATCHED, scenario.name, scenario.control_chains(), without=without)
        exact[scenario.name] = all(resume["exact"] for resume in cell["resumes"])
    assert exact == {scenario.name: scenario.fixed_by not in without for scenario in chosen}


def test_each_patch_has_scenarios_that_it_makes_exact():
    """But for what names a difference and prevents none, which `tests/silent` is about."""
    assert {scenario.fixed_by for scenario in TESTED} == {None, *PATCHES} - {*NAMING}


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("all_noise", "fetch"),
        ("unseedable_sampler", "first_draw"),
        ("dropout", "step"),
        ("all_noise", "step"),
        ("workers_2_prefetch_2_fork", "worker"),
        ("workers_2_prefetch_2_persistent_fork", "worker"),
        ("own_torch", "pipeline"),
        ("stream", "fetch"),
        ("logs_by_4_steps", "sums"),
        ("sampler_lazy_workers", "indices"),
        ("stand_in_mps", "device"),
    ],
)
@pytest.mark.parametrize("step", [2, 9])
def test_one_flipped_byte_of_one_stored_state_is_noticed_after_the_restore(matrix, name, state, step):
    cell = matrix.client(PATCHED).run(name, chains=[[step]], broken=state)
    assert cell["status"] == "ok", cell["reason"]
    (resume,) = cell["resumes"]
    assert not resume["exact"]
    assert resume["divergence"]["step"] > step


def test_an_environment_that_is_not_deterministic_is_an_error(matrix):
    cell = matrix.client(PATCHED).run("not_deterministic", chains=[[2]])
    assert cell["status"] == "error"
    assert "two golden runs differ" in cell["reason"]


@pytest.mark.parametrize(
    "name",
    [
        "plain_loader_noise",
        "all_noise",
        "workers_3_prefetch_2_persistent_fork",
        "own_all",
        "evaluate_by_epoch",
        "stream_2_persistent_workers",
        "bert_masked_lm",
    ],
)
def test_resume_is_exact_between_fresh_processes(matrix, name):
    cell = matrix.client(PATCHED).run(name, chains=[[1]], fresh=[7])
    assert cell["status"] == "ok", cell["reason"]
    fresh = [resume for resume in cell["resumes"] if resume.get("fresh")]
    assert [resume["divergence"] for resume in fresh] == [None]
