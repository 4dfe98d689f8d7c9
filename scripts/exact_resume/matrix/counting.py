"""What a training run does, in numbers that are the same on every machine: for tests of what must not grow."""

import gc
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from accelerate import data_loader
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback

from exact_resume.matrix import pieces
from exact_resume.matrix.interrupting import SaveAt
from exact_resume.matrix.iterable_pieces import SizedStream
from exact_resume.matrix.running import release_workers
from exact_resume.matrix.scenarios import Scenario

BATCH_SIZE = 4
# At 1, 2, 4, ... batches the pipeline is looked through again; from 35 to 50 it is not, with room for looking ahead.
FIRST, LAST, NUM_BATCHES = 35, 50, 70
# What reads the value of a tensor, copies one from another device or to it, or waits by name.
SYNCHRONIZING = {
    "aten::_local_scalar_dense",
    "aten::_to_copy",
    "aten::is_nonzero",
    "aten::nonzero",
    "cudaDeviceSynchronize",
    "cudaEventSynchronize",
    "cudaStreamSynchronize",
}


def count(what: str, **options) -> dict[str, int]:
    """Run one of the functions of this module, by its name."""
    functions = (hot_path_calls, synchronizations, skipped_work, resume_calls)
    return {function.__name__: function for function in functions}[what](**options)


class _Profile:
    """
    Counts the calls of functions, in this thread, while it is on.

    Args:
        files: Names of files: calls of and by what is in them count. Without them every call of a Python function
            does. The resumption of a generator is a call.
    """

    def __init__(self, files: frozenset[str] | None = None):
        self.files = files
        self.num_calls = 0

    def start(self) -> None:
        gc.disable()  # finalizers are calls, too
        sys.setprofile(self._notice)

    def stop(self) -> None:
        sys.setprofile(None)
        gc.enable()

    def _notice(self, frame, event: str, argument: Any) -> None:
        if self.files is None:
            self.num_calls += event == "call"
        elif event == "c_call":
            self.num_calls += self._counts(frame)
        elif event == "call":
            self.num_calls += self._counts(frame) or self._counts(frame.f_back)

    def _counts(self, frame) -> bool:
        return frame is not None and Path(frame.f_code.co_filename).name in self.files


class _At(TrainerCallback):
    """Calls functions, by the number of update steps done, at an event."""

    def __init__(self, event: str, functions: dict[int, Callable[[], None]]):
        self.functions = functions
        setattr(self, event, self._call)

    def _call(self, args, state, control, **kwargs):
        self.functions.get(state.global_step, lambda: None)()


def _trainer(folder: str, dataset: Any, *callbacks: TrainerCallback, collator=pieces.stack, **arguments) -> Trainer:
    made = tuple(partial(lambda callback: callback, callback) for callback in callbacks)
    scenario = Scenario("counting", "", "", None, lambda: dataset, make_collator=lambda: collator, callbacks=made)
    defaults = {"num_train_epochs": 1, "save_strategy": "no", "logging_strategy": "no"}
    return scenario.make_trainer(Path(folder), **{**defaults, "per_device_train_batch_size": BATCH_SIZE, **arguments})


def hot_path_calls(num_workers: int, files: list[str], exact_resume: str = "warn") -> dict[str, int]:
    """
    Count the calls within some files, in the main process, while a run is under way.

    Args:
        num_workers: Workers of the dataloader.
        files: Names of the files.
        exact_resume: `TrainingArguments.exact_resume`.

    Returns:
        `calls` and `steps`, the number of update steps with one micro-batch each in which they were counted.
    """
    profile = _Profile(frozenset(files))
    window = _At("on_step_begin", {FIRST: profile.start, LAST: profile.stop})
    with tempfile.TemporaryDirectory() as folder:
        dataset = pieces.NoisyDataset(NUM_BATCHES * BATCH_SIZE, ("torch", "numpy", "python"))
        trainer = _trainer(folder, dataset, window, dataloader_num_workers=num_workers, exact_resume=exact_resume)
        trainer.train()
        release_workers(trainer)
    return {"calls": profile.num_calls, "steps": LAST - FIRST}


def synchronizations(device: str) -> dict[str, int]:
    """
    Count what makes the host wait for a device, as the profiler sees it, while a run is under way.

    Args:
        device: "cpu", on which these operations wait for nothing but are seen as well, or "cuda".

    Returns:
        The numbers by the name of the operation.
    """
    activities = torch.profiler.supported_activities()
    profiler = torch.profiler.profile(activities=activities if device != "cpu" else None)
    window = _At("on_step_begin", {FIRST: profiler.start, LAST: profiler.stop})
    with tempfile.TemporaryDirectory() as folder:
        dataset = pieces.NoisyDataset(NUM_BATCHES * BATCH_SIZE, ("torch", "numpy", "python"))
        _trainer(folder, dataset, window, use_cpu=device == "cpu").train()
    counted = {event.key: event.count for event in profiler.key_averages()}
    return {name: counted[name] for name in sorted(SYNCHRONIZING & counted.keys())}


class _CountingCollate:
    """Counts the samples that are collated, with which their conversion to a batch of tensors begins."""

    def __init__(self):
        self.num_samples = 0

    def __call__(self, samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        self.num_samples += len(samples)
        return pieces.stack(samples)


def skipped_work(position: int) -> dict[str, int]:
    """
    Count what a run over an iterable dataset, in the main process, does with samples.

    Args:
        position: The update step after which it is resumed; 0 for a run that is not.

    Returns:
        `batches`, how many were trained on, `collated` samples, batches that were `moved` to the device, and
        `placeholders` for batches that were.
    """
    collate, size = _CountingCollate(), NUM_BATCHES * BATCH_SIZE
    with tempfile.TemporaryDirectory() as folder:
        if position:
            _trainer(folder, SizedStream(size), SaveAt(position)).train()
        trainer = _trainer(folder, SizedStream(size), collator=collate)
        with mock.patch("accelerate.data_loader.send_to_device", wraps=data_loader.send_to_device) as move:
            trainer.train(resume_from_checkpoint=f"{folder}/checkpoint-{position}" if position else None)
    moved = sum(isinstance(call.args[0], dict) for call in move.call_args_list)
    return {
        "batches": NUM_BATCHES - position,
        "collated": collate.num_samples,
        "moved": moved,
        "placeholders": move.call_count - moved,
    }


class _CountingDataset(Dataset):
    """Counts the samples that are fetched."""

    def __init__(self, size: int):
        self.samples = pieces.NoisyDataset(size)
        self.num_fetched = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        self.num_fetched += 1
        return self.samples[index]


def resume_calls(position: int) -> dict[str, int]:
    """
    Count what a run over a map-style dataset, shuffled as by default, does before its first step.

    Args:
        position: The update step after which it is resumed.

    Returns:
        `fetched` samples, up to the last step, and `calls` of Python functions from the call of `train` to the first
        step: what grows with `position` is walked through.
    """
    with tempfile.TemporaryDirectory() as folder:
        _trainer(folder, _CountingDataset(NUM_BATCHES * BATCH_SIZE), SaveAt(position)).train()
        for _ in range(2):  # on the first resume, modules are imported
            profile, dataset = _Profile(), _CountingDataset(NUM_BATCHES * BATCH_SIZE)
            trainer = _trainer(folder, dataset, _At("on_step_begin", {position: profile.stop}))
            profile.start()
            trainer.train(resume_from_checkpoint=f"{folder}/checkpoint-{position}")
    return {"fetched": dataset.num_fetched, "calls": profile.num_calls}
