"""What `check` finds, on the transformers that is installed, with every run in this process."""

import json

import pytest

from exact_resume.check import cures, runs
from exact_resume.matrix import recording


def test_the_first_divergence_is_named_with_its_cures(check_here, tmp_path):
    code, out, err = check_here("noisy", "--output", tmp_path / "out")
    assert code == 1
    assert "not exact: the run that was resumed after step 2 differs first at step 3, micro-batch 0, data: " in out
    assert "x[0, " in out and " golden 0." in out and ", resumed 0." in out
    assert "`python -m exact_resume apply --installed` would apply" in out and "transformers/trainer.py" in out
    assert "- a random generator that no checkpoint has" in out
    assert err.splitlines()[0] == "golden run" and "[3/3] resumed after step 6: not exact" in err
    written = json.loads((tmp_path / "out" / "check.json").read_text())
    assert (written["verdict"], written["steps"], written["checkpoints"]) == ("not exact", 8, [2, 4, 6, 8])
    assert [resume["at"] for resume in written["resumes"]] == [2, 4, 6]
    assert written["resumes"][0]["divergence"]["stream"] == "data"
    assert written["transformers"]["patches"] == "stock"
    text = (tmp_path / "out" / "check.md").read_text()
    assert "| step 2 | not exact | step 3, micro-batch 0, data |\n" in text and "**not exact: " in text


def test_what_differs_in_logs_alone_is_told_apart(check_here):
    code, out, _ = check_here("plain")
    assert code == 1
    assert "step 3         exact but for logs  step 8, log\n" in out
    assert "differs in nothing but logged values, first at step 8, log: logged values: train_loss golden" in out


def test_training_that_is_not_deterministic_is_not_called_inexact(check_here, tmp_path):
    code, out, err = check_here("unseeded", "--output", tmp_path)
    assert code == 1
    assert "not deterministic: two runs that were not interrupted differ" in out and "not exact" not in out
    assert "They first differ at step 1, micro-batch 0, data: micro-batch: x[0, 0] first " in out
    assert ", second " in out and "golden" not in out and "resumed after" not in out
    assert "- an unseeded generator" in out and "apply --installed" not in out
    assert "[1/" not in err
    assert json.loads((tmp_path / "check.json").read_text())["verdict"] == "not deterministic"


def test_checkpoints_are_forced_where_the_trainer_never_saves(check_here, tmp_path):
    code, _, _ = check_here("never_saving", "--interrupt-at", "5,1", "--output", tmp_path)
    written = json.loads((tmp_path / "check.json").read_text())
    assert code == 1 and written["checkpoints"] == [1, 5]
    assert [resume["divergence"]["step"] for resume in written["resumes"]] == [2, 6]


def test_a_handful_of_rotated_checkpoints_is_tried(check_here, tmp_path):
    code, out, _ = check_here("rotating", "--output", tmp_path)
    written = json.loads((tmp_path / "check.json").read_text())
    assert code == 1 and written["checkpoints"] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [resume["at"] for resume in written["resumes"]] == [1, 3, 4, 5, 7]
    assert all(resume["error"] is None for resume in written["resumes"])
    assert "5 of 7 checkpoints were tried; choose others with --interrupt-at" in out


def test_a_resume_that_fails_is_a_finding(check_here):
    code, out, _ = check_here("not_resumable", "--interrupt-at", "4")
    assert code == 1
    assert "step 4         failed  training raised RuntimeError: cannot go on\n" in out
    assert "not exact: the run that was resumed after step 4 failed: training raised RuntimeError" in out
    assert "in on_train_begin" in out and "exact_resume/check" not in out


@pytest.mark.parametrize("name", ["with_tuples", "with_batches_of_its_own"])
def test_batches_of_any_kind_are_compared_and_handed_on(check_here, name):
    code, out, _ = check_here(name, "--interrupt-at", "5")
    assert code == 1 and "differs first at step 6, micro-batch 0, data: micro-batch: " in out


def test_a_function_without_parameters_gets_a_folder_of_ours(check_here, tmp_path):
    code, _, _ = check_here("without_parameters", "--interrupt-at", "3")
    assert code == 1
    assert list((tmp_path / "runs").glob("*")) == []


def test_nothing_is_pushed(check_here):
    code, out, _ = check_here("publishing", "--interrupt-at", "3")
    assert code == 1 and "step 4, micro-batch 0, data" in out


def test_what_fails_in_the_recording_is_our_own_fault(check_here, monkeypatch):
    monkeypatch.setattr(recording, "rng_states", None)
    code, _, err = check_here("noisy")
    assert code == 70 and "fault of this tool: TypeError" in err


def test_interrupts_are_spread():
    assert runs.spread([4]) == [4]
    assert runs.spread(list(range(1, 101))) == [1, 26, 51, 75, 100]


def test_every_stream_has_cures():
    streams = ["sampler", "data", "python", "numpy", "torch", "device", "model", "optimizer", "scheduler", "log"]
    for is_resume in (True, False):
        assert all(cures.of(stream, is_resume=is_resume) for stream in streams)
