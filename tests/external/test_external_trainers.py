"""Trainers of other projects: they build on Trainer, so what they train is resumed exactly, too."""

import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import exact_resume
from exact_resume.trees import PATCHED, STOCK, build

RELEASE = "5.23.0"
PROCESS = Path(__file__).with_name("external_trainers.py")
TRL, SENTENCE_TRANSFORMERS = ("trl", "peft"), ("sentence_transformers",)

CASES = {
    "sft": TRL,
    "sft_lora": TRL,
    "sft_packing": TRL,
    "sft_workers": TRL,
    "dpo": TRL,
    "dpo_accumulation": TRL,
    "sentence_transformer": SENTENCE_TRANSFORMERS,
    "sentence_transformer_no_duplicates": SENTENCE_TRANSFORMERS,
    "sentence_transformer_two_datasets": SENTENCE_TRANSFORMERS,
    "sentence_transformer_workers": SENTENCE_TRANSFORMERS,
}
# What TRL keeps over steps and does not store, and the same with what is registered for checkpoints.
NOT_STORED_BY_TRL = {"dpo_synchronized": "dpo_registered", "grpo": "grpo_registered", "sft": "sft_registered"}


@functools.cache
def _run(tree: str, packages: tuple[str, ...]) -> dict[str, dict]:
    """Run all cases that need `packages` on `tree`, in one process."""
    cases = [case for case, needed in CASES.items() if needed == packages]
    if (tree, packages) == (PATCHED, TRL):
        cases += {*NOT_STORED_BY_TRL, *NOT_STORED_BY_TRL.values()} - {*cases}
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(build(tree, RELEASE)), str(Path(exact_resume.__file__).parents[1])]),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "results.json"
        done = subprocess.run(
            [sys.executable, PROCESS, record, *cases], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(record.read_text())


def _result(tree: str, case: str, packages: tuple[str, ...]) -> dict:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; `tox -e external` installs it")
    return _run(tree, packages)[case]


@pytest.mark.parametrize("case", CASES)
def test_resume_is_exact(case):
    result = _result(PATCHED, case, CASES[case])
    assert result["deterministic"], "two golden runs differ"
    assert len(result["resumes"]) > 3
    assert {step: divergence for step, divergence in result["resumes"].items() if divergence is not None} == {}


@pytest.mark.parametrize("case", CASES)
def test_stock_draws_other_batches(case):
    """The negative control: every case drops random tokens when it makes a batch."""
    result = _result(STOCK, case, CASES[case])
    assert result["deterministic"], "two golden runs differ"
    assert result["resumes"]["4"]["stream"] == "data"


@pytest.mark.parametrize("case", CASES)
def test_without_its_rng_state_a_checkpoint_resumes_otherwise(case):
    """The control of the comparison: on the patched tree, too, it can fail."""
    assert _result(PATCHED, case, CASES[case])["without_rng_state"] is not None


@pytest.mark.parametrize("case", [case for case, packages in CASES.items() if packages == TRL])
def test_only_the_count_of_tokens_is_lost_by_trl(case):
    """The other tests continue this count, which TRL logs and starts at 0 in a resumed run."""
    divergence = _result(PATCHED, case, TRL)["without_token_count"]
    assert (divergence["stream"], "num_tokens" in divergence["message"]) == ("log", True)


def test_a_synchronized_reference_model_is_lost_by_trl():
    """No patch of Trainer can help: the checkpoint lacks it, so a resumed run starts again from the initial one."""
    resumes = _result(PATCHED, "dpo_synchronized", TRL)["resumes"]
    # It is first synchronized after step 2. The batch and the RNG states are right.
    assert resumes.pop("1") is None
    assert {(divergence["stream"], divergence["message"].split(":")[0]) for divergence in resumes.values()} == {
        ("model", "loss")
    }


def test_generated_inputs_that_serve_several_steps_are_lost_by_trl():
    resumes = _result(PATCHED, "grpo", TRL)["resumes"]
    # Of two generations for two steps each, step 4 is the end of the first.
    assert resumes.pop("4") is None
    assert {(divergence["stream"], divergence["message"].split(":")[0]) for divergence in resumes.values()} == {
        ("model", "loss")
    }


@pytest.mark.parametrize("case", NOT_STORED_BY_TRL.values())
def test_what_trl_does_not_store_is_exact_if_it_is_registered(case):
    result = _result(PATCHED, case, TRL)
    assert result["deterministic"], "two golden runs differ"
    assert {step: divergence for step, divergence in result["resumes"].items() if divergence is not None} == {}


def test_a_count_that_is_registered_goes_on():
    assert _result(PATCHED, "sft_registered", TRL)["without_token_count"] is None
