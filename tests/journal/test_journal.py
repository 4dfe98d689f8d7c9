"""The journal of a real run: it disturbs nothing, sees what differs, and goes on when the run is resumed."""

import random
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from exact_resume import cli, journal_cost
from exact_resume.journal import FIELDS, PARAMETERS, RNGJournal, Step
from exact_resume.journal_file import read
from exact_resume.matrix import pieces
from exact_resume.matrix.recording import Recorder
from exact_resume.matrix.scenarios import SCENARIOS

pytestmark = pytest.mark.usefixtures("one_thread")

# Two epochs of three update steps, each of two micro-batches.
NOISY = replace(SCENARIOS["accumulation_2"], dataset=partial(pieces.NoisyDataset, 24, ("torch", "numpy", "python")))
ARGUMENTS = {"num_train_epochs": 2, "save_strategy": "no", "logging_strategy": "no"}


def train(folder, scenario=NOISY, every=1, callbacks=(), checkpoint=None, **arguments):
    """Train with a journal and return what it holds."""
    trainer = scenario.make_trainer(folder / "out", **{**ARGUMENTS, **arguments})
    for callback in callbacks:
        trainer.add_callback(callback)
    RNGJournal(trainer, folder / "journal", every)
    trainer.train(resume_from_checkpoint=checkpoint)
    return read(folder / "journal" / "rank-0.journal")


def differing(a, b):
    """By step, the fields that differ between two journals."""
    return {
        step: {name for name in FIELDS if a.digests(step).get(name) != b.digests(step).get(name)}
        for step in sorted(a.steps.keys() | b.steps.keys())
        if a.steps[step] != b.steps[step]
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return train(tmp_path_factory.mktemp("plain"))


def test_every_step_and_every_field_is_recorded_in_a_few_bytes(plain):
    assert sorted(plain.steps) == [1, 2, 3, 4, 5, 6]
    assert plain.digests(1).keys() == set(FIELDS) - {"device"}
    assert len({plain.digests(step)[name] for step in plain.steps for name in plain.digests(step)}) == 6 * 6
    assert len(plain.steps[1]) == 8 * len(FIELDS)
    header = plain.header
    assert (header.world_size, header.rank, header.seed, header.every) == (1, 0, 42, 1)
    assert header.torch == torch.__version__


@pytest.mark.parametrize("every", [1, 4])
def test_a_journalled_run_is_bit_identical(tmp_path, every):
    events = []
    for has_journal in (False, True):
        trainer = NOISY.make_trainer(tmp_path, **ARGUMENTS)
        recorder = Recorder(trainer)
        if has_journal:
            RNGJournal(trainer, tmp_path / "journal", every)
        trainer.train()
        events.append(recorder.events)
    assert events[0] == events[1]
    assert sorted(read(tmp_path / "journal" / "rank-0.journal").steps) == ([4] if every == 4 else [1, 2, 3, 4, 5, 6])


def test_the_same_run_gives_the_same_journal(tmp_path, plain):
    assert differing(train(tmp_path), plain) == {}


class At(TrainerCallback):
    """Calls `function(model)` at an event when `steps_done` update steps are done."""

    def __init__(self, event, steps_done, function):
        def call(args, state, control, model, **kwargs):
            if state.global_step == steps_done:
                with torch.no_grad():
                    function(model)

        setattr(self, event, call)


@pytest.mark.parametrize(
    ("event", "steps_done", "function", "step", "fields"),
    [
        ("on_step_begin", 3, lambda model: random.random(), 4, {"python"}),
        ("on_step_begin", 3, lambda model: np.random.bytes(1), 4, {"numpy"}),
        ("on_step_begin", 2, lambda model: np.random.seed(7), 3, {"numpy"}),
        ("on_step_begin", 3, lambda model: torch.manual_seed(7), 4, {"torch", "loss", "parameters"}),
        ("on_step_end", 2, lambda model: model.hidden.weight[0, 0].add_(1), 2, {"parameters"}),
        ("on_step_begin", 2, lambda model: model.head.bias.add_(1), 3, {"loss", "parameters"}),
    ],
)
def test_what_differs_first_is_seen(tmp_path, plain, event, steps_done, function, step, fields):
    found = differing(train(tmp_path, callbacks=[At(event, steps_done, function)]), plain)
    first = min(found)
    assert first == step and fields <= found[first] and "batch" not in found[first]
    if fields <= {"python", "numpy", "torch"}:
        assert found[first] == fields


class OtherValue(pieces.NoisyDataset):
    """One value of one sample is another."""

    def __init__(self, *args):
        super().__init__(*args)
        self.x[5, 2] += 0.001


def test_another_value_of_a_sample_is_seen_in_the_step_that_has_it(tmp_path, plain):
    noisy = replace(NOISY, dataset=partial(OtherValue, 24, ("torch", "numpy", "python")))
    found = differing(train(tmp_path, noisy), plain)
    assert found[min(found)] == {"batch", "loss", "parameters"}


class StopAfter(TrainerCallback):
    """As a run that is preempted."""

    def __init__(self, steps_done):
        self.steps_done = steps_done

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.steps_done


def preempted(folder, scenario):
    """A run that is stopped after step 5, and resumed from its checkpoint of step 4."""
    saving = {"save_strategy": "steps", "save_steps": 4}
    train(folder, scenario, callbacks=[StopAfter(5)], **saving)
    checkpoint = folder / "out" / "checkpoint-4"
    return train(folder, scenario, checkpoint=str(checkpoint), **saving)


def test_a_resume_that_is_exact_leaves_the_journal_of_an_uninterrupted_run(tmp_path):
    resumed, uninterrupted = (
        preempted(tmp_path / "a", SCENARIOS["dropout"]),
        train(tmp_path / "b", SCENARIOS["dropout"]),
    )
    assert resumed.steps == uninterrupted.steps
    assert [(resume.step, resume.repeated, resume.parted) for resume in resumed.resumes] == [(4, 1, None)]


def test_a_resume_of_random_data_without_the_patch_is_found(tmp_path, plain, capsys):
    resumed = preempted(tmp_path, NOISY)
    assert cli.main(["diff", str(plain.path), str(tmp_path / "journal" / "rank-0.journal")]) == 1
    out = capsys.readouterr().out
    assert "parted at step 5: different: python, numpy, torch, batch, loss, parameters" in out
    assert "the RNG state was another before the data were drawn" in out
    assert "last common step: 4\n" in out and "in between, B was resumed after step 4" in out
    assert resumed.resumes[0].parted == 5


def test_each_process_writes_a_file_of_its_own(tmp_path):
    trainer = NOISY.make_trainer(tmp_path)
    journal = RNGJournal(trainer, tmp_path / "journal")
    args = SimpleNamespace(world_size=4, process_index=2, seed=1, device=torch.device("cpu"))
    journal.on_train_begin(args, SimpleNamespace(global_step=7), None, model=trainer.model)
    journal.on_train_end(args, None, None)
    found = read(tmp_path / "journal" / "rank-2.journal")
    assert (found.header.world_size, found.header.rank) == (4, 2)
    assert [resume.step for resume in found.resumes] == [7]


def test_a_journal_of_no_steps_is_refused(tmp_path):
    with pytest.raises(ValueError, match="every is 0"):
        RNGJournal(NOISY.make_trainer(tmp_path), tmp_path, every=0)


def test_tensors_are_taken_from_their_device_once_a_step(monkeypatch):
    copies = []
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: copies.append(self.numel()) or self)
    step = Step({})
    for name in ("batch", "batch", "loss", "parameters"):
        step.add(name, torch.ones(10), 5)
    step.digests()
    assert copies == [4 * 4 * 4]  # each of the four has an element in every three, of four bytes


def _digest(*values, count=100):
    step = Step({})
    for value in values:
        step.add("batch", value, count)
    return step.digests()[FIELDS.index("batch")]


def test_what_a_tensor_was_counts_not_what_it_becomes():
    value = torch.zeros(3)
    step = Step({})
    step.add("batch", value, 100)
    value += 1
    assert step.digests()[FIELDS.index("batch")] == _digest(torch.zeros(3))


def test_bytes_dtype_and_shape_count():
    values = [torch.zeros(4), torch.zeros(2, 2), torch.zeros(4, dtype=torch.int32), -torch.zeros(4), torch.ones(4)]
    values += [torch.zeros(4).bfloat16(), torch.zeros(0), torch.tensor(True), torch.tensor(False), 0, 0.0, "0", None]
    assert len({_digest(value) for value in values}) == len(values)
    assert _digest(torch.arange(6).view(2, 3).T) == _digest(torch.tensor([[0, 3], [1, 4], [2, 5]]))


def test_elements_of_large_tensors_are_from_many_rows_and_columns():
    def is_seen(place):
        changed = torch.zeros(8, 8)
        changed[place] = 1
        return _digest(changed, count=8) != _digest(torch.zeros(8, 8), count=8)

    seen = [place for place in np.ndindex(8, 8) if is_seen(place)]
    assert len(seen) == 8
    assert len({row for row, _ in seen}) > 6 and len({column for _, column in seen}) > 6


def test_objects_that_are_no_values_count_by_type_only():
    assert _digest(object()) == _digest(object()) != _digest(SimpleNamespace())


def test_a_model_with_many_parameters_is_sampled(tmp_path):
    trainer = NOISY.make_trainer(tmp_path)
    model = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(50)))
    model[0].weight.requires_grad_(False)
    journal = RNGJournal(trainer, tmp_path)
    args = SimpleNamespace(world_size=1, process_index=0, seed=1, device=torch.device("cpu"))
    journal.on_train_begin(args, SimpleNamespace(global_step=0), None, model=model)
    assert len(journal._parameters) == PARAMETERS
    assert journal._parameters[0] is model[0].bias and journal._parameters[-1] is model[49].bias


def test_the_cost_of_a_journal_is_measured():
    assert all(seconds > 0 for seconds in journal_cost.cost_of_steps(8, width=16))
    assert journal_cost.cost_of_fields(torch.device("cpu"), 3).keys() == {"RNG states", "batch", "loss", "parameters"}
