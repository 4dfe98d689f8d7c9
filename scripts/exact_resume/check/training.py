"""A run of a user's trainer in this process: train, record, compare."""

import contextlib
import json
import logging
import os
import platform
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import Trainer, TrainerCallback
from transformers.integrations import INTEGRATION_TO_CALLBACK

from exact_resume.check.runs import Outcome, Request, refuse_what_is_too_short
from exact_resume.check.target import call, is_own_fault, told
from exact_resume.errors import UsageError
from exact_resume.matrix.compare import first_divergence
from exact_resume.matrix.recording import Event, Recorder

# What torch seeds its generator with in a new process.
TORCH_SEED = 67280421310721


class SameProcess:
    """
    Carries out each run in this process, with the global RNGs as in a new one.

    Args:
        make_trainer: The user's function.
        target: What it is called in messages.
    """

    def __init__(self, make_trainer: Callable[..., Any], target: str):
        self.make_trainer = make_trainer
        self.target = target

    def __call__(self, request: Request) -> Outcome:
        """Carry out a run; raises UsageError if it cannot be, for a reason that is the user's."""
        random.seed()
        np.random.seed()
        torch.manual_seed(TORCH_SEED)
        request.output.mkdir(parents=True)
        return run(call(self.make_trainer, self.target, request.output), self.target, request)


def run(trainer: Any, target: str, request: Request) -> Outcome:
    """
    Train, and compare with the golden run if there is one.

    Args:
        trainer: What the user's function returned.
        target: What is trained, for messages.
        request: The run.

    Raises:
        UsageError: It is no trainer, or the training is too short.
    """
    if not isinstance(trainer, Trainer):
        kind = "nothing; does it lack a `return`?" if trainer is None else f"a {type(trainer).__name__}"
        raise UsageError(f"{target} has to return a transformers.Trainer, and returned {kind}")
    _keep_to_itself(trainer, request.output)
    recorder = Recorder(trainer, compares_summary=True)
    keeper = _Keeper(trainer, target, request)
    started = time.monotonic()
    error = None
    with _warnings() as warnings:
        try:
            trainer.train(resume_from_checkpoint=None if request.checkpoint is None else str(request.checkpoint))
        except UsageError:
            raise
        except (Exception, SystemExit) as raised:
            if is_own_fault(raised):
                raise
            error = told("training", raised)
    _release_workers(trainer)
    divergence, only_logs = None, False
    if error is None and request.golden is not None:
        golden = [Event(**event) for event in json.loads(request.golden.read_text())]
        divergence, only_logs = _compare(golden, recorder.events, request.after)
    if error is None and request.golden is None:
        request.record.write_text(json.dumps([asdict(event) for event in recorder.events]))
    seconds = round(time.monotonic() - started, 1)
    environment = _describe(trainer)
    return Outcome(
        trainer.state.global_step, keeper.steps, divergence, only_logs, warnings, error, seconds, environment
    )


def _compare(golden: list[Event], events: list[Event], after: int) -> tuple[dict[str, Any] | None, bool]:
    divergence = first_divergence(golden, events, after)
    if divergence is None:
        return None, False
    without_logs = ([event for event in run if event.stream != "log"] for run in (golden, events))
    return divergence, first_divergence(*without_logs, after) is None


def _keep_to_itself(trainer: Trainer, folder: Path) -> None:
    """See that a run writes into its own folder and reports to nobody."""
    args = trainer.args
    if not Path(args.output_dir).resolve().is_relative_to(folder.resolve()):
        args.output_dir = str(folder)
    args.push_to_hub = False
    for reporter in INTEGRATION_TO_CALLBACK.values():
        trainer.remove_callback(reporter)


class _Keeper(TrainerCallback):
    """
    Forces checkpoints, keeps all that are written, and says how far the run is.

    Args:
        trainer: The trainer.
        target: What is trained, for messages.
        request: The run. Only the checkpoints of a golden run are kept.
    """

    def __init__(self, trainer: Trainer, target: str, request: Request):
        self.target = target
        self.request = request
        self.steps: list[int] = []
        self._told = 0.0
        trainer.add_callback(self)

    def on_train_begin(self, args, state, control, **kwargs):
        # Before anyone waits for a run that is of no use.
        refuse_what_is_too_short(self.target, self.request.at, state.max_steps)

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step in self.request.at:
            control.should_save = True
        if time.monotonic() - self._told > 1:
            self._told = time.monotonic()
            self.request.progress.write_text(f"step {state.global_step} of {state.max_steps}")

    def on_save(self, args, state, control, **kwargs):
        step = state.global_step
        checkpoint, kept = Path(args.output_dir, f"checkpoint-{step}"), self.request.kept(step)
        if self.request.golden is None and checkpoint.is_dir() and not kept.exists():
            # A later checkpoint may displace it.
            shutil.copytree(checkpoint, kept, copy_function=_link)
            self.steps.append(step)


def _link(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:  # a file system without hard links
        shutil.copy2(source, destination)


@contextlib.contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collects what the Trainer warns of; a patched one names what keeps a resume from being exact."""
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name.startswith("transformers.trainer") and record.getMessage() not in messages:
                messages.append(record.getMessage())

    collector, logger = Collector(logging.WARNING), logging.getLogger("transformers")
    logger.addHandler(collector)
    try:
        yield messages
    finally:
        logger.removeHandler(collector)


def _release_workers(trainer: Trainer) -> None:
    # Left to the garbage collector, persistent workers would take seconds to end.
    for loader in trainer.accelerator._dataloaders:
        loader = getattr(loader, "base_dataloader", loader)
        if getattr(loader, "_iterator", None) is not None:
            loader._iterator = None


def _describe(trainer: Trainer) -> dict[str, Any]:
    device = trainer.args.device
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "package": str(Path(transformers.__file__).parent),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "num_workers": trainer.args.dataloader_num_workers,
    }
