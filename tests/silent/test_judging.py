"""What the suite calls exact, named, later and silent."""

import importlib.util
from pathlib import Path

import pytest


def _load(name: str):
    spec = importlib.util.spec_from_file_location(f"silent_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


judge = _load("judging").judge
OURS = "transformers.trainer_resume.session"


def run(values, *, said=(), error=None):
    """A run of a batch and a loss a step, each trained on at the time that is the number of its step."""
    streams = (("data", 0), ("model", 1))
    events = [
        (step, 0, stream, stream, value[n], float(step)) for step, value in values.items() for stream, n in streams
    ]
    return {"events": events, "said": [list(message) for message in said], "error": error}


GOLDEN = {1: "aA", 2: "bB", 3: "cC"}
OTHER = {2: "bB", 3: "xX"}
NAMED = "The resume is not bit-exact: x."


@pytest.mark.parametrize(
    ("outcome", "values", "options"),
    [
        ("exact", {2: "bB", 3: "cC"}, {}),
        ("exact", {2: "bB", 3: "cC"}, {"said": [(0.0, OURS, NAMED)]}),
        ("silent", OTHER, {}),
        ("silent", {2: "bB"}, {}),
        ("silent", {2: "bB", 3: "cX"}, {}),
        ("silent", OTHER, {"said": [(0.5, "transformers.trainer", NAMED)]}),
        ("silent", OTHER, {"said": [(0.5, OURS, "Something else.")]}),
        ("named", OTHER, {"said": [(2.5, OURS, NAMED)]}),
        ("later", OTHER, {"said": [(3.5, OURS, NAMED)]}),
        ("named", {}, {"error": "ExactResumeError: no"}),
        ("named", {2: "bB"}, {"error": "ExactResumeError: no"}),
        ("later", OTHER, {"error": "ExactResumeError: no"}),
        ("error", {2: "bB", 3: "cC"}, {"error": "ValueError: no"}),
    ],
)
def test_outcome(outcome, values, options):
    assert judge(run(GOLDEN), run(values, **options), 1)["outcome"] == outcome


def test_said_before_the_checkpoint():
    for when, outcome in ((0.5, "named"), (2.5, "silent")):
        golden = run(GOLDEN, said=[(when, OURS, "Checkpoints cannot be resumed exactly.")])
        assert judge(golden, run(OTHER), 1)["outcome"] == outcome
