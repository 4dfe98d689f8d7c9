"""The comparison names the first difference, and takes nothing for equal that is not."""

import torch

from exact_resume.matrix.compare import first_divergence
from exact_resume.matrix.recording import Event, digest, exact


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
        "message": "micro-batch: x[1, 0] golden 3.0, resumed 3.5",
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
