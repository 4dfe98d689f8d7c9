"""Several ranks: failures and divergences name a rank, and another number of ranks than before is noticed."""

import contextlib
import json
import logging
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from transformers import Trainer

from exact_resume import trees
from exact_resume.matrix.compare import first_divergence
from exact_resume.matrix.distributed import RankFailed, Ranks, merge
from exact_resume.matrix.recording import Event
from exact_resume.matrix.running import train
from exact_resume.matrix.scenarios import SCENARIOS
from exact_resume.matrix.scenarios.base import ALL, noise
from exact_resume.trees import PATCHED

SCENARIO = "ddp_noise"


# Source, as ranks cannot import this module. Rank 0 waits for rank 1.
FAILURE = """
import os, time, torch
if torch.distributed.get_rank() == 1:
    {}
torch.distributed.barrier()
"""


@pytest.mark.parametrize(
    ("source", "timeout", "message"),
    [
        ("os._exit(3)", 60.0, "^rank 1 died with exit code 3$"),
        ("raise ValueError('no such thing')", 60.0, "^rank 1: ValueError: no such thing$"),
        ("time.sleep(60)", 3.0, "^no answer from rank 0, 1 within 3 s\\n(.*\\n)*.* in barrier\\n"),
    ],
)
def test_a_rank_that_fails_is_named_and_ends_the_others(source, timeout, message):
    multiprocessing.set_forkserver_preload(["exact_resume.matrix.running"])
    with Ranks(2) as ranks:
        processes = [Path(f"/proc/{pid}") for pid in ranks.call(os.getpid)]
        ranks.timeout = timeout
        with pytest.raises(RankFailed, match=message):
            ranks.call(exec, FAILURE.format(source), {})
    assert not any(process.exists() for process in processes)


def _events(step, *values):
    return [Event(step, None, "model", what, value) for what, value in zip("ab", values, strict=False)]


def test_merged_events_stand_in_the_order_of_the_run_and_name_their_ranks():
    # Rank 1 observes less in each step, as a rank that logs nothing.
    golden = merge([_events(1, 1, 2) + _events(2, 3, 4), _events(1, 5) + _events(2, 6)])
    assert [event.what for event in golden] == ["a on rank 0", "a on rank 1", "b on rank 0"] * 2
    assert first_divergence(golden, merge([_events(2, 3, 4), _events(2, 6)]), 1) is None
    divergence = first_divergence(golden, merge([_events(2, 3, 9), _events(2, 8)]), 1)
    assert "a on rank 1" in divergence["message"]


def test_a_divergence_on_one_rank_is_reported_with_its_rank(matrix):
    cell = matrix.client(PATCHED).run(SCENARIO, chains=[[3]], broken="fetch")
    assert cell["status"] == "ok", cell["reason"]
    (resume,) = cell["resumes"]
    # Of rank 1 alone, a state was broken; the gradients of the step differ on both.
    assert (resume["divergence"]["step"], resume["divergence"]["stream"]) == (4, "data")
    assert "on rank 1" in resume["divergence"]["message"]


def test_resume_is_exact_between_processes_of_accelerate_launch(matrix):
    cell = matrix.client(PATCHED).run(SCENARIO, chains=[[3]], fresh=[2])
    assert cell["status"] == "ok", cell["reason"]
    assert [(resume["at"], resume["divergence"]) for resume in cell["resumes"]] == [([3], None), ([2], None)]


@pytest.fixture(scope="module")
def resumed_elsewhere():
    tree = trees.build(PATCHED, "5.23.0")
    package = Path(trees.__file__).parents[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tree), str(package)]),
        "TRANSFORMERS_VERBOSITY": "warning",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, env=environment, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("num_processes", [1, 3])
def test_another_number_of_ranks_is_named_once(resumed_elsewhere, num_processes):
    outcomes = resumed_elsewhere[f"{num_processes} warn"]
    assert len(outcomes) == num_processes
    for rank, (messages, error) in enumerate(outcomes):
        assert error is None
        (message,) = messages
        assert "is not bit-exact" in message
        has_file = num_processes > 1 and rank < 2
        assert ("world_size was 2 and is 3" if has_file else "with another number of processes") in message


@pytest.mark.parametrize("num_processes", [1, 3])
def test_another_number_of_ranks_is_an_error_if_strict(resumed_elsewhere, num_processes):
    for messages, error in resumed_elsewhere[f"{num_processes} strict"]:
        assert messages == []
        assert error.startswith("ExactResumeError") and "is not bit-exact" in error


def test_other_numbers_of_ranks_repeat_and_leave_out_no_sample(resumed_elsewhere):
    entries = resumed_elsewhere["4, 2 and 4"]
    for epoch in range(NUM_EPOCHS):
        counts = Counter(index for each, _, indices in entries if each == epoch for index in indices)
        assert set(counts) == set(range(NUM_SAMPLES))
        # At the end of the first epoch, 4 samples are left for 8 places, which Accelerate fills.
        assert sum(counts.values()) == NUM_SAMPLES + (4 if epoch == 0 else 0)
    # One step with 4 ranks, one with 2, two for the 12 samples that are left, and an epoch.
    assert max(step for _, step, _ in entries) == 1 + 1 + 2 + 3


@contextlib.contextmanager
def _heard(name: str) -> Iterator[list[str]]:
    """The warnings of a logger, as they come."""
    messages, handler = [], logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger(name).addHandler(handler)
    try:
        yield messages
    finally:
        logging.getLogger(name).removeHandler(handler)


def _resume(folder: Path, checkpoint: Path, mode: str) -> tuple[list[str], str | None]:
    """Runs in a rank: what the mechanism said, and the error it raised."""
    with _heard("transformers.trainer_resume.errors") as messages:
        try:
            # With three ranks and no such search, the order in which gradients are summed up would be named instead.
            other = {"ddp_find_unused_parameters": True}
            train(SCENARIOS[SCENARIO], folder, checkpoint, save=False, exact_resume=mode, **other)
        except ValueError as error:
            return messages, f"{type(error).__name__}: {error}"
    return messages, None


def test_ranks_with_output_folders_of_their_own(resumed_elsewhere):
    """Each node has its weights, with the running statistics of its own rank."""
    runs = {
        name: merge([[Event(**event) for event in events] for events, _ in by_rank])
        for name, by_rank in resumed_elsewhere["nodes"].items()
    }
    for step in (3, 13):
        assert first_divergence(runs["golden"], runs[str(step)], step) is None
    said = [message for _, messages in resumed_elsewhere["nodes"]["13"] for message in messages]
    assert [message for message in said if "not every process has it" in message]


# Its ranks train on 8 samples a step where there are 4 of them, and on 4 where there are 2.
NUM_SAMPLES, NUM_EPOCHS = 24, 2


def _samples(folder: Path, checkpoint: Path | None, last_step: int) -> list[tuple[int, int, list[int]]]:
    """Runs in a rank: the epochs, steps and samples of a run up to a step."""
    scenario = replace(SCENARIOS[SCENARIO], dataset=noise(*ALL, size=NUM_SAMPLES), trainer_class=EpochTrainer)
    EpochTrainer.seen = seen = []
    train(scenario, folder, checkpoint, num_train_epochs=NUM_EPOCHS)
    return [entry for entry in seen if entry[1] <= last_step]


class EpochTrainer(Trainer):
    """Keeps the epoch, the step and the samples of each micro-batch."""

    seen = []

    def training_step(self, model, inputs, *args, **kwargs):
        self.seen.append((self._exact_resume.progress.epoch, self.state.global_step + 1, inputs["index"].tolist()))
        return super().training_step(model, inputs, *args, **kwargs)


def _change_world(folder: Path) -> list[tuple[int, int, list[int]]]:
    """4 ranks for a step, then 2 for a step, which is half of a step of 4, then 4 to the end."""
    entries, checkpoint = [], None
    for number, (num_processes, last_step) in enumerate([(4, 1), (2, 2), (4, 100)]):
        with Ranks(num_processes) as ranks:
            for seen in ranks.call(_samples, folder / str(number), checkpoint, last_step):
                entries += seen
        checkpoint = folder / str(number) / f"checkpoint-{last_step}"
    return entries


def _on_own_node(folder: Path, checkpoint: str | bool | None) -> tuple[list[Event], list[str]]:
    """Runs in a rank, as if each had a machine and an output folder of its own: what was recorded and said."""
    rank = os.environ["RANK"]
    os.environ.update(LOCAL_RANK="0", LOCAL_WORLD_SIZE="1", MASTER_ADDR="localhost", MASTER_PORT="0")
    folder = folder / f"node-{rank}"
    path = folder / checkpoint if isinstance(checkpoint, str) else checkpoint
    arguments = {"save_on_each_node": True, "eval_strategy": "no"}
    with _heard("transformers") as messages:
        events = train(SCENARIOS["ddp_own_statistics"], folder, path, checkpoint is None, **arguments)
    return [asdict(event) for event in events], messages


def _use_nodes(folder: Path) -> dict[str, list]:
    """Resume a run of two nodes, at last from the newest checkpoint that both have."""
    runs = {}
    with Ranks(2) as ranks:
        runs["golden"] = ranks.call(_on_own_node, folder, None)
        runs["3"] = ranks.call(_on_own_node, folder, "checkpoint-3")
        shutil.rmtree(folder / "node-1" / "checkpoint-14")
        runs["13"] = ranks.call(_on_own_node, folder, True)
    return runs


def main() -> None:
    """Resume a checkpoint of 2 ranks with 1 and with 3, in a process that imports a patched tree."""
    multiprocessing.set_forkserver_preload(["exact_resume.matrix.running"])
    outcomes = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Ranks(2) as ranks:
            ranks.train(SCENARIOS[SCENARIO], folder / "golden")
        for num_processes in (1, 3):
            with Ranks(num_processes) as ranks:
                for mode in ("warn", "strict"):
                    args = (folder / "resumed", folder / "golden" / "checkpoint-3", mode)
                    outcomes[f"{num_processes} {mode}"] = ranks.call(_resume, *args)
        outcomes["4, 2 and 4"] = _change_world(folder / "rescaled")
        outcomes["nodes"] = _use_nodes(folder / "nodes")
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
