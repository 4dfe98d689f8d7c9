"""Run a scenario: golden, interrupted at every step, resumed and compared."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Trainer

from exact_resume.matrix import breaking
from exact_resume.matrix.chains import SINGLE, chains_of, epoch_ends, longer_chains
from exact_resume.matrix.client import FOLDER_VARIABLE
from exact_resume.matrix.compare import first_divergence
from exact_resume.matrix.interrupting import train_until_save, train_until_sigterm
from exact_resume.matrix.recording import Event, Recorder, digest
from exact_resume.matrix.scenarios import SCENARIOS, Scenario

# A resumed run may have any state before its Trainer is built; this one is as good as that of a new process.
_runs = 0


class NotDeterministic(Exception):
    """Two golden runs differ: nothing can be said about a resume here."""


def train(
    scenario: Scenario, folder: Path, checkpoint: Path | bool | None = None, save: bool = True, **arguments
) -> list[Event]:
    """
    Run the scenario's training, from the beginning or from `checkpoint`, and return what was recorded.

    Args:
        scenario: What to train.
        folder: Where checkpoints are written.
        checkpoint: The checkpoint to resume from; `True` for the newest in `folder`.
        save: Whether to write checkpoints.
        arguments: `TrainingArguments` of this run only.
    """
    global _runs
    _runs += 1
    random.seed(_runs)
    np.random.seed(_runs)
    torch.manual_seed(_runs)
    if not save and not scenario.saves_when_resumed:
        arguments["save_strategy"] = "no"
    trainer = scenario.make_trainer(folder, **arguments)
    recorder = Recorder(trainer, scenario.compares_summary)
    if scenario.seed_before_training and checkpoint is not None:
        torch.manual_seed(_runs)
    trainer.train(resume_from_checkpoint=str(checkpoint) if isinstance(checkpoint, Path) else checkpoint)
    release_workers(trainer)
    return recorder.events


def release_workers(trainer: Trainer) -> None:
    """End the persistent workers of a trainer that is done."""
    # Left to the garbage collector, which closes their queues before it tells them to stop, each would take 5 seconds.
    for loader in (trainer.callback_handler.train_dataloader, *trainer.accelerator._dataloaders):
        getattr(loader, "base_dataloader", loader)._iterator = None


def train_in_fresh_process(scenario: Scenario, folder: Path, checkpoint: Path | None = None) -> list[Event]:
    """As `train`, in a process of its own, with the transformers tree and environment of this one."""
    record = folder / "events.pt"
    command = [sys.executable, "-m", "exact_resume.matrix.running", scenario.name, str(folder), str(record)]
    folder.mkdir(parents=True, exist_ok=True)
    if scenario.num_processes > 1:
        from exact_resume.matrix import distributed  # which imports this module

        return distributed.launch(scenario, folder, record, checkpoint)
    done = subprocess.run(
        [*command, *([str(checkpoint)] if checkpoint else [])], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"a fresh process failed:\n{done.stderr[-2000:]}")
    return [Event(**event) for event in torch.load(record, weights_only=True)]


def run_scenario(
    name: str,
    chains: list[list[int]] | str | None = None,
    fresh: list[int] | None = None,
    broken: str | None = None,
) -> dict[str, Any]:
    """
    Run a scenario on the installed transformers.

    Args:
        name: Name of the scenario.
        chains: Interrupts to try, each a list of steps, or a kind that `chains.longer_chains` knows; every step and
            some chains by default.
        fresh: Steps that are resumed in a fresh process as well, from the checkpoints of a golden run in another.
        broken: A state of which one byte is flipped in every checkpoint of the golden run; see `breaking.flip_a_byte`.

    Returns:
        The cell of a result: `status`, `reason`, `seconds`, `resumes`, and `golden`, a digest of the golden run.
    """
    scenario, started = SCENARIOS[name], time.monotonic()
    cell: dict[str, Any] = {"status": "ok", "reason": None, "resumes": []}
    if (reason := scenario.reason_to_skip()) is not None:
        return {**cell, "status": "skipped", "reason": reason, "seconds": 0.0, "golden": None}
    work = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=os.environ.get(FOLDER_VARIABLE)))
    run, flip_a_byte, stack = train, breaking.flip_a_byte, contextlib.ExitStack()
    try:
        if scenario.num_processes > 1:
            from exact_resume.matrix import distributed  # which imports this module

            run = stack.enter_context(distributed.Ranks(scenario.num_processes)).train
            flip_a_byte = distributed.flip_a_byte
        golden = run(scenario, work / "golden")
        divergence = first_divergence(run(scenario, work / "again", save=False), golden, 0)
        if divergence is not None:
            raise NotDeterministic(f"two golden runs differ at step {divergence['step']}: {divergence['message']}")
        # The events of the end of the training stand after its last step.
        last = max(event.step for event in golden) - 1
        if broken is not None:
            flip_a_byte(work / "golden", broken)
        if not isinstance(chains, list):
            chains = _chains(scenario, chains or SINGLE, work / "golden", last)
        for chain in chains:
            cell["resumes"].append(_resume(scenario, golden, work, chain, run))
        for step in fresh or []:
            cell["resumes"].append(_resume_in_fresh_processes(scenario, golden, work, step))
        cell["golden"] = digest(asdict(event) for event in golden)
    except Exception as error:
        cell.update(status="error", reason=f"{type(error).__name__}: {error}", golden=None)
    finally:
        stack.close()
        shutil.rmtree(work, ignore_errors=True)
    cell["seconds"] = round(time.monotonic() - started, 2)
    return cell


def _chains(scenario: Scenario, kind: str, golden: Path, last: int) -> list[list[int]]:
    """The steps after which a run of the scenario is interrupted: those at which a checkpoint was taken."""
    saved = [step for step in range(1, last + 1) if (golden / f"checkpoint-{step}").is_dir()]
    if kind == SINGLE:
        return chains_of(list(scenario.interrupts or [step for step in saved if step < last]), scenario.num_processes)
    states = [json.loads((golden / f"checkpoint-{step}" / "trainer_state.json").read_text()) for step in saved]
    if states[-1]["global_step"] < states[-1]["max_steps"]:
        saved, states = saved[:-1], states[:-1]  # a run that was stopped goes on when it is resumed
    ends = epoch_ends(saved, [state["epoch"] for state in states])
    # A scenario that is interrupted at the ends of epochs only cannot be interrupted elsewhere.
    steps = sorted(ends) if {*(scenario.interrupts or saved)} <= ends else saved
    # Of data without a length, the passes are not to be told; they have six steps.
    ends = ends if len(ends) > 1 else {*(scenario.interrupts or saved[5::6])}
    if scenario.interrupts_save or scenario.interrupt_event in ("on_step_begin", "on_pre_optimizer_step"):
        steps = [step for step in steps if step < last]  # which neither a step nor a save follows
    if scenario.interrupts_again or scenario.interrupts_save:
        repeats = 2
    else:
        # What is left to do at the end of the step is to save, too.
        repeats = int(scenario.interrupt_event == "on_step_end")
    return longer_chains(kind, steps, ends, repeats)


def _outcome(at: list[int], divergence: dict[str, Any] | None) -> dict[str, Any]:
    return {"at": at, "exact": divergence is None, "divergence": divergence}


def _resume(
    scenario: Scenario, golden: list[Event], work: Path, chain: list[int], run: Callable[..., list[Event]]
) -> dict[str, Any]:
    """Resume from the golden run's checkpoint at `chain[0]`, from that run's checkpoint at `chain[1]`, and so on."""
    if scenario.interrupts_save:
        return _resume_from_newest(scenario, golden, work / f"interrupted-{_name(chain)}", chain, run)
    folder = work / "golden"
    if scenario.interrupt_event is not None:
        folder = work / f"interrupted-{chain[0]}"
        if not folder.exists():
            release_workers(train_until_sigterm(scenario, folder, chain[0]))
    for position, step in enumerate(chain):
        checkpoint, folder = folder / f"checkpoint-{step}", work / _name(chain[: position + 1])
        following = chain[position + 1 :]
        if following and scenario.interrupts_again:
            folder = folder.with_name(f"{folder.name}-until-{following[0]}")
            if not folder.exists():
                release_workers(train_until_sigterm(scenario, folder, following[0], checkpoint))
        elif not following or not folder.exists():  # else an earlier chain began like this one, and was exact so far
            folder = folder if following else folder.with_name(f"{folder.name}-end")
            events = run(scenario, folder, checkpoint, save=bool(following))
            divergence = first_divergence(golden, events, step)
            if divergence is not None:
                shutil.rmtree(folder, ignore_errors=True)
                return _outcome(chain, divergence)
    return _outcome(chain, None)


def _name(chain: list[int]) -> str:
    return "-".join(map(str, chain))


def _resume_from_newest(
    scenario: Scenario, golden: list[Event], folder: Path, chain: list[int], run: Callable[..., list[Event]]
) -> dict[str, Any]:
    try:
        for position, step in enumerate(chain):
            release_workers(train_until_save(scenario, folder, step, resumes=position > 0))
        events = run(scenario, folder, True, save=False)
    except Exception as error:  # what an incomplete checkpoint leads to
        message = f"the newest checkpoint cannot be resumed from: {type(error).__name__}: {error}"
        divergence = {"step": chain[-1], "micro_batch": None, "stream": "checkpoint", "message": message}
        return _outcome(chain, divergence)
    return _outcome(chain, first_divergence(golden, events, chain[-1]))


def _resume_in_fresh_processes(scenario: Scenario, golden: list[Event], work: Path, step: int) -> dict[str, Any]:
    if not (work / "fresh").exists():
        # The golden run of this process must not be the only witness.
        train_in_fresh_process(scenario, work / "fresh")
    events = train_in_fresh_process(scenario, work / f"fresh-{step}", work / "fresh" / f"checkpoint-{step}")
    return {**_outcome([step], first_divergence(golden, events, step)), "fresh": True}


def main() -> None:
    """One run of a scenario: NAME FOLDER RECORD [CHECKPOINT]."""
    name, folder, record, *checkpoint = sys.argv[1:]
    torch.set_num_threads(1)
    events = train(SCENARIOS[name], Path(folder), Path(checkpoint[0]) if checkpoint else None)
    torch.save([asdict(event) for event in events], record)


if __name__ == "__main__":
    main()
