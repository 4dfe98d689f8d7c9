"""What recording and resuming do, counted: numbers that are the same on every machine, and must not grow."""

import pytest
import torch

from exact_resume import trees
from exact_resume.matrix.counting import BATCH_SIZE, NUM_BATCHES
from exact_resume.trees import PATCHED, STOCK

RELEASE = "5.23.0"
POSITION = 60
# Upper bounds: what the series does. Lower them with it. A dozen of the first are for the check of a resume: the
# digest of the indices that are drawn, and the batch that is kept until it is trained on.
CALLS_A_STEP = {"warn": 41, "off": 4}
# The iterators of two samplers, one in the other, are walked through one index after the other.
CALLS_A_SKIPPED_BATCH = 2 * BATCH_SIZE
PLACEHOLDERS_A_SKIPPED_BATCH = 1


@pytest.fixture(scope="module")
def created_files():
    """The names of the modules that the series adds to the package."""
    stock, patched = (
        {
            path.name
            for pattern in ("*.py", "trainer_resume/*.py")
            for path in (trees.build(tree, RELEASE) / "transformers").glob(pattern)
        }
        for tree in (STOCK, PATCHED)
    )
    return sorted(patched - stock)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("mode", CALLS_A_STEP)
def test_calls_that_recording_adds_to_an_update_step(matrix, created_files, num_workers, mode):
    """With one micro-batch a step, in the main process, while all three RNGs are drawn from."""
    counted = matrix.client(PATCHED).count(
        "hot_path_calls", num_workers=num_workers, files=created_files, exact_resume=mode
    )
    assert 0 < counted["calls"] <= CALLS_A_STEP[mode] * counted["steps"]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_recording_never_waits_for_the_device(matrix, device):
    """The profiler sees the same operations that wait on both trees; on a CPU, those that would on a device."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    stock, patched = (matrix.client(tree).count("synchronizations", device=device) for tree in (STOCK, PATCHED))
    assert stock, "the profiler sees nothing"
    assert patched == stock


def test_what_a_resume_skips_of_an_iterable_dataset_is_not_collated_and_not_moved(matrix):
    counted = matrix.client(PATCHED).count("skipped_work", position=POSITION)
    batches = NUM_BATCHES - POSITION
    assert {name: counted[name] for name in ("batches", "collated", "moved")} == {
        "batches": batches,
        "collated": batches * BATCH_SIZE,
        "moved": batches,
    }
    assert counted["placeholders"] <= PLACEHOLDERS_A_SKIPPED_BATCH * POSITION
    # Stock collates and moves all of it, and so is counted.
    counted = matrix.client(STOCK).count("skipped_work", position=POSITION)
    assert (counted["collated"], counted["moved"]) == (NUM_BATCHES * BATCH_SIZE, NUM_BATCHES)


def test_what_a_resume_skips_of_a_map_style_dataset_is_not_fetched_and_little_walked_through(matrix):
    # From the one to the other, recording does not look through the pipeline anew.
    near, far = (matrix.client(PATCHED).count("resume_calls", position=position) for position in (40, POSITION))
    assert near["fetched"] == (NUM_BATCHES - 40) * BATCH_SIZE
    assert far["fetched"] == (NUM_BATCHES - POSITION) * BATCH_SIZE
    assert far["calls"] - near["calls"] <= CALLS_A_SKIPPED_BATCH * (POSITION - 40)
