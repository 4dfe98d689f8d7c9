"""The matrix can fail: broken restores are noticed, the series is a ladder, the golden run must be deterministic."""

import pytest

from exact_resume.matrix.scenarios import SCENARIOS
from exact_resume.trees import PATCHED

LADDER = ["restore-order", "per-step-rng-checkpoints", "worker-rng-states"]
SPARSE = [[2], [6], [9]]
QUICK = [name for name, scenario in SCENARIOS.items() if scenario.tier == "quick" and scenario.device == "cpu"]


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("upto", LADDER[:2])
def test_each_patch_makes_its_scenarios_exact_and_no_other(matrix, upto, name):
    fixed_by = SCENARIOS[name].fixed_by
    expected = fixed_by is None or LADDER.index(fixed_by) <= LADDER.index(upto)
    cell = matrix.cell(
        PATCHED, name, None if expected else SPARSE[: 1 if name == "issue_39215" else 3], f"{upto}.patch"
    )
    assert all(resume["exact"] for resume in cell["resumes"]) == expected


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("all_noise", "fetch"),
        ("unseedable_sampler", "first_draw"),
        ("dropout", "step"),
        ("all_noise", "step"),
        ("workers_2_prefetch_2_fork", "worker"),
        ("workers_2_prefetch_2_persistent_fork", "worker"),
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
        "dropout",
        "plain_loader_noise",
        "all_noise",
        "accumulation_2_ragged",
        "workers_3_prefetch_2_persistent_fork",
    ],
)
def test_resume_is_exact_between_fresh_processes(matrix, name):
    cell = matrix.client(PATCHED).run(name, chains=[[1]], fresh=[2, 7])
    assert cell["status"] == "ok", cell["reason"]
    fresh = [resume for resume in cell["resumes"] if resume.get("fresh")]
    assert [resume["divergence"] for resume in fresh] == [None, None]
