"""
Chains of interrupts: what a run was told by its checkpoint, it passes on to the runs that are resumed from its own.

`EXACT_RESUME_CHAINS=all` in the environment tries every pair of steps, and every three around the ends of epochs.
"""

import os

import pytest

from exact_resume.matrix.chains import ALL, THINNED, epoch_ends, longer_chains
from exact_resume.matrix.scenarios import SCENARIOS
from exact_resume.trees import PATCHED, STOCK

KIND = os.environ.get("EXACT_RESUME_CHAINS", THINNED)
# In other groups, a few scenarios have states that no stop scenario has.
OTHERS = (
    "workers_2_prefetch_2_persistent_fork",
    "workers_accumulation",
    "own_persistent_workers",
    "collator_state_dict_workers",
    "sampler_lazy_workers",
    "stream_sized_workers",
    "stream_position",
    "streaming_shuffled",
    "logs_accumulation",
    "logs_evaluates_by_epoch",
)
TESTED = [scenario.name for scenario in SCENARIOS.values() if scenario.group == "stops"] + [*OTHERS]
# What a run has to pass on that it did not do itself, and a chain that shows it.
PASSED_ON = {
    "chain_by_epoch": [13, 17],  # that the workers of the evaluation were started
    "chain_by_steps": [12, 13],
    "chain_later": [11, 12],
    "chain_noise": [19, 23],
    "sigterm_again_on_step_end": [4, 5],
    "sigterm_on_step_end": [2, 2],  # how far the epoch is, before its iterator is made
    "sigterm_saves_max_steps": [4, 4],
    "sigterm_saves_stream": [3, 3],
    "sigterm_saves_workers": [3, 3],  # the states of workers that are not started yet
    "sigterm_saves_by_epoch": [6, 6],
    "sigterm_again_on_epoch_end": [3, 3],
    "sigterm_epoch_stopped": [4, 4],  # that the next epoch starts workers anew
    "sigterm_epoch_stopped_persistent": [4, 4],  # where they are after all that was drawn for the epoch
}


def _inexact(cell):
    return [f"interrupted at {r['at']}: {r['divergence']}" for r in cell["resumes"] if not r["exact"]]


@pytest.mark.timeout(3600 if KIND == ALL else 600)
@pytest.mark.parametrize("name", TESTED)
def test_a_resume_of_a_resumed_run_is_exact(matrix, name):
    cell = matrix.cell(PATCHED, name, KIND)
    assert cell["resumes"], "nothing was resumed"
    assert _inexact(cell) == []


@pytest.mark.parametrize("name", PASSED_ON)
def test_what_a_resumed_run_did_not_do_itself_is_passed_on(matrix, name):
    """The chain by which each was found, and the negative control: on stock, the chain is not exact."""
    chain = PASSED_ON[name]
    assert _inexact(matrix.cell(PATCHED, name, [chain])) == []
    assert len(_inexact(matrix.cell(STOCK, name, [chain]))) == 1


def test_a_run_that_is_resumed_when_it_is_over_ends_in_the_same_state(matrix):
    """Saved by epoch, no epoch is left in which the RNG states could be restored."""
    assert _inexact(matrix.cell(PATCHED, "evaluate_and_save_by_epoch", [[18], [6, 18]])) == []
    assert len(_inexact(matrix.cell(STOCK, "evaluate_and_save_by_epoch", [[18], [6, 18]]))) == 2


def test_a_step_ends_an_epoch_if_the_next_one_counts_for_another():
    assert epoch_ends([1, 2, 3, 4], [0.5, 1.0, 1.5, 2.0]) == {2, 4}
    assert epoch_ends([1, 2, 3, 4], [1 / 3, 2 / 3, 4 / 3, 5 / 3]) == {2}  # stopped early
    assert epoch_ends([3, 6], [1.0, 2.0]) == {3, 6}


def test_all_chains_are_every_pair_and_every_three_around_the_ends_of_epochs():
    chains = longer_chains(ALL, list(range(1, 10)), {3, 6, 9})
    assert len([chain for chain in chains if len(chain) == 2]) == 9 * 8 // 2
    assert [3, 4, 5] in chains and [1, 6, 9] in chains
    assert all(chain == sorted({*chain}) for chain in chains)


def test_few_chains_are_left_where_most_are_left_out_and_each_end_is_crossed():
    steps, ends = list(range(1, 19)), {6, 12, 18}
    chains = longer_chains(THINNED, steps, ends)
    assert {len(chain) for chain in chains} == {2, 3}
    assert len(chains) < 20 and [1, 18] in chains
    for end in (6, 12):
        assert [end - 1, end] in chains and [end, end + 1] in chains
    assert {*map(tuple, chains)} <= {*map(tuple, longer_chains(ALL, steps, ends))}


def test_a_run_that_is_interrupted_where_it_was_resumed_repeats_a_step():
    chains = longer_chains(THINNED, [1, 2, 3], {3}, repeats=2)
    assert [2, 2] in chains and [3, 3, 3] in chains
    assert [3, 3] not in longer_chains(THINNED, [1, 2, 3], {3})
