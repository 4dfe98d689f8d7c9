"""The comparison names the first difference, and takes nothing for equal that is not."""

import random
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from exact_resume.matrix.compare import first_divergence
from exact_resume.matrix.distributed import merge
from exact_resume.matrix.recording import KEPT_BYTES, Event, digest, exact, kept
from exact_resume.matrix.rng_states import MOST_WORDS, rng_states, words_between
from exact_resume.matrix.running import train
from exact_resume.matrix.scenarios import SCENARIOS

pytestmark = pytest.mark.usefixtures("one_thread")


def _events(*values, step=2, stream="data", what="micro-batch"):
    return [Event(step, micro_batch, stream, what, value) for micro_batch, value in enumerate(values)]


def test_equal_runs_do_not_diverge():
    assert first_divergence(_events(1, 2), _events(1, 2), 1) is None


def test_events_before_the_checkpoint_are_not_compared():
    golden = [Event(1, 0, "data", "micro-batch", "gone"), *_events(1)]
    assert first_divergence(golden, _events(1), 1) is None


def test_the_first_difference_is_named_with_its_element():
    golden = _events({"x": exact(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))})
    resumed = _events({"x": exact(torch.tensor([[1.0, 2.0], [3.5, 4.0]]))})
    assert first_divergence(golden, resumed, 1) == {
        "step": 2,
        "micro_batch": 0,
        "stream": "data",
        "message": "micro-batch: x[1, 0] golden 3.0, resumed 3.5 (1 of 4 elements)",
        "element": "x[1, 0]",
        "golden": "3.0",
        "resumed": "3.5",
    }


def test_a_run_that_ends_early_or_late_diverges():
    assert "resumed run ends" in first_divergence(_events(1, 2), _events(1), 1)["message"]
    assert "golden run ends" in first_divergence(_events(1), _events(1, 2), 1)["message"]


def test_another_order_of_events_diverges():
    other = _events(1, what="loss", stream="model")
    assert "golden run has micro-batch of step 2" in first_divergence(_events(1), other, 1)["message"]


def test_dtype_shape_sign_of_zero_and_nan_payload_count():
    assert exact(torch.zeros(2)) != exact(torch.zeros(2, dtype=torch.float64))
    assert exact(torch.zeros(2)) != exact(torch.zeros(2, 1))
    assert exact(torch.tensor(0.0)) != exact(torch.tensor(-0.0))
    assert exact(0.0) != exact(-0.0)
    assert exact(float("nan")) == exact(float("nan"))


def test_a_digest_tells_neighbouring_floats_apart():
    one = torch.tensor(1.0)
    assert digest([one]) != digest([torch.nextafter(one, torch.tensor(2.0))])


def _divergence(golden, resumed, stream="model", what="parameters"):
    return first_divergence([Event(2, None, stream, what, golden)], [Event(2, None, stream, what, resumed)], 1)


@pytest.mark.parametrize(
    ("golden", "resumed", "said"),
    [
        (torch.zeros(2).bfloat16(), torch.tensor([0.0, 1.5]).bfloat16(), "w[1] golden 0.0, resumed 1.5 "),
        (torch.zeros(1), -torch.zeros(1), "w[0] golden 0.0, resumed -0.0"),
        (torch.tensor(True), torch.tensor(False), "w golden True, resumed False"),
        (np.array([1, 2]), np.array([1, 3]), "w[1] golden 2, resumed 3 "),
        (torch.zeros(2), torch.zeros(1, 2), "w golden torch.float32 [2], resumed torch.float32 [1, 2]"),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32), "w golden torch.float32 [2], resumed torch.int32 [2]"),
        (torch.zeros(2), None, "w golden torch.float32 [2], resumed None"),
        (0.1, 0.2, "w golden 0.1, resumed 0.2"),
        ("0x", "0y", "w golden '0x', resumed '0y'"),
    ],
)
def test_a_difference_is_shown_whatever_its_type(golden, resumed, said):
    message = _divergence(kept({"v": torch.ones(3), "w": golden}), kept({"v": torch.ones(3), "w": resumed}))["message"]
    assert message.startswith("parameters: ") and said in message


def test_payloads_of_nan_are_told_apart():
    payloads = torch.tensor([0x7FC00000, 0x7FC00001], dtype=torch.int32).view(torch.float32)
    golden, resumed = payloads[:1], payloads[1:]
    message = _divergence(kept({"w": golden}), kept({"w": resumed}))["message"]
    assert "w[0] golden nan (bytes 0000c07f), resumed nan (bytes 0100c07f)" in message


def test_names_that_only_one_run_has_are_listed():
    few, many = {}, {f"w{number}": torch.zeros(1) for number in range(6)}
    assert "parameters: only the resumed run has w0, w1, w2, w3 and 2 more" in _divergence(few, many)["message"]
    assert "parameters: only the golden run has w0, w1, w2, w3 and 2 more" in _divergence(many, few)["message"]


def test_the_number_of_tensors_that_differ_is_told():
    golden, resumed = ({name: value for name in "abc"} | {"d": 0} for value in (torch.zeros(1), torch.ones(1)))
    assert "a[0] golden 0.0, resumed 1.0; 3 of 4 entries differ" in _divergence(kept(golden), kept(resumed))["message"]


def test_of_a_large_tensor_the_record_is_small_and_the_difference_is_still_seen():
    large = torch.zeros(KEPT_BYTES)
    golden = kept({"w": large, "b": torch.zeros(1)})
    large[-1] = 1
    resumed = kept({"w": large, "b": torch.zeros(1)})
    assert len(str(golden)) < 300
    message = _divergence(golden, resumed)["message"]
    assert f"w differs, torch.float32 [{KEPT_BYTES}], too large for the record to keep its elements" in message


def test_nested_containers_are_kept_by_path_and_empty_ones_count():
    values = kept({"a": [{"b": torch.zeros(1)}, 0.5], "c": []})
    assert values == {"a/0/b": ["torch.float32", [1], "00000000"], "a/1": "0x1.0000000000000p-1", "c": []}
    assert kept({"a": {}}) != kept({"a": []})


DRAWS = {
    "python": lambda count: [random.random() for _ in range(count)],  # two words each
    "numpy": lambda count: np.random.bytes(4 * count),
    "torch": lambda count: torch.rand(count),
}


@pytest.mark.parametrize("stream", DRAWS)
@pytest.mark.parametrize("count", [0, 1, 700, 100_000])
def test_the_words_between_two_states_are_counted(stream, count):
    start = rng_states()[stream]
    if count > 0:
        DRAWS[stream](count)
    end = rng_states()[stream]
    assert words_between(start, end) == (2 * count if stream == "python" else count)
    assert (words_between(end, start) is None) == (count > 0)


def test_words_are_counted_from_a_state_that_was_just_seeded():
    torch.manual_seed(1)
    start = rng_states()["torch"]
    assert words_between(start, rng_states()["torch"]) == 0
    torch.rand(624)
    assert words_between(start, rng_states()["torch"]) == 624


def test_states_too_far_apart_have_no_distance():
    start = rng_states()["torch"]
    torch.rand(MOST_WORDS)
    end = rng_states()["torch"]
    torch.rand(1)
    assert words_between(start, end) == MOST_WORDS
    assert words_between(start, rng_states()["torch"]) is None


def test_reading_the_states_draws_nothing():
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    rng_states()
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


class Disturb(TrainerCallback):
    """Calls `function(model, optimizer)` at an event when `steps_done` update steps are done."""

    def __init__(self, event, steps_done, function):
        def call(args, state, control, model, optimizer, **kwargs):
            if state.global_step == steps_done:
                with torch.no_grad():
                    function(model, optimizer)

        setattr(self, event, call)


def _add_to(tensor, index):
    tensor[index] += 1


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    return train(SCENARIOS["dropout"], tmp_path_factory.mktemp("golden"), save=False, num_train_epochs=1)


@pytest.mark.parametrize(
    ("event", "steps_done", "function", "stream", "said"),
    [
        (
            "on_step_end",
            3,
            lambda m, o: _add_to(m.hidden.weight, (1, 2)),
            "model",
            "parameters: hidden.weight[1, 2] golden",
        ),
        (
            "on_pre_optimizer_step",
            2,
            lambda m, o: _add_to(m.head.bias.grad, 0),
            "model",
            "gradients: head.bias[0] golden",
        ),
        (
            "on_pre_optimizer_step",
            2,
            lambda m, o: setattr(m.head.bias, "grad", None),
            "model",
            "only the golden run has head.bias",
        ),
        (
            "on_step_end",
            3,
            lambda m, o: _add_to(o.state[m.head.bias]["exp_avg"], 0),
            "optimizer",
            "state/head.bias/exp_avg[0] golden",
        ),
        (
            "on_step_end",
            3,
            lambda m, o: o.param_groups[0].update(eps=0.5),
            "optimizer",
            "param_groups/0/eps golden 1e-08, resumed 0.5",
        ),
        (
            "on_step_end",
            3,
            lambda m, o: torch.rand(7),
            "torch",
            "RNG state after the step: torch: since the forward pass of step 3, micro-batch 0, golden",
        ),
        ("on_step_end", 3, lambda m, o: random.random(), "python", "golden drew 0 words of 32 bits, resumed 2"),
        (
            "on_step_begin",
            2,
            lambda m, o: np.random.bytes(20),
            "numpy",
            "since the end of step 2, golden drew 0 words of 32 bits, resumed 5",
        ),
        ("on_step_begin", 2, lambda m, o: torch.manual_seed(7), "torch", "initial seed golden 42, resumed 7"),
    ],
)
def test_what_is_disturbed_in_a_run_is_named(golden, tmp_path, event, steps_done, function, stream, said):
    scenario = replace(SCENARIOS["dropout"], callbacks=(partial(Disturb, event, steps_done, function),))
    divergence = first_divergence(golden, train(scenario, tmp_path, save=False, num_train_epochs=1), 0)
    assert (divergence["step"], divergence["stream"]) == (3, stream)
    assert said in divergence["message"]


def _parted_at(golden, step, function):
    """The divergence of a run that is resumed after `step - 1` and has other values in `step`, as `function` says."""
    resumed = [replace(e, value=function(e)) if e.step == step else e for e in golden if e.step >= step]
    return first_divergence(golden, resumed, step - 1)


def test_where_the_resumed_state_was_in_the_golden_run_is_told(golden):
    first = {e.stream: e.value for e in golden if e.step == 2 and e.what == "RNG state before the forward pass"}
    divergence = _parted_at(golden, 5, lambda e: first.get(e.stream, e.value))
    assert divergence["stream"] == "torch"
    assert divergence["draws"].keys() == {"torch"}
    assert divergence["message"].endswith(
        "behind, resumed is where golden was at the forward pass of step 2, micro-batch 0"
    )


def test_equal_states_clear_the_rng_of_the_main_process(golden):
    divergence = _parted_at(golden, 5, lambda e: {} if e.stream == "data" else e.value)
    assert divergence["message"].endswith("; the RNG states of the main process are equal")
    assert "draws" not in divergence


def test_a_device_state_is_compared_by_seed_and_offset():
    golden, resumed = ({"kind": "devices", "cuda:0 seed": 1, "cuda:0 offset": offset} for offset in (4, 8))
    divergence = _divergence(golden, resumed, "device", "RNG state after the step")
    assert divergence["message"] == "RNG state after the step: device: cuda:0 offset golden 4, resumed 8"


def test_of_several_ranks_the_draws_of_the_one_that_differs_are_told(golden):
    other = next(e.value for e in golden if e.stream == "torch")
    disturbed = [replace(e, value=other) if (e.step, e.stream) == (3, "torch") else e for e in golden]
    divergence = first_divergence(merge([golden, golden]), merge([golden, disturbed]), 0)
    assert "on rank 1" in divergence["message"]
    assert "resumed is where golden was at the forward pass of step 1, micro-batch 0" in divergence["draws"]["torch"]
