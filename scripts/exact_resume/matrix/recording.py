"""Record everything of a training run that a bit-exact resume has to reproduce, without drawing a random number."""

import hashlib
import os
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import Trainer, TrainerCallback

# Values of `log_history` that measure time, and those that sum up a whole run.
TIMINGS = ("runtime", "per_second")
SUMMARIES = ("train_loss", "total_flos")


@dataclass(frozen=True)
class Event:
    """
    Something observed at a point of a run.

    Args:
        step: The update step, counted from 1.
        micro_batch: The micro-batch within the step, or `None` for what happens once a step.
        stream: One of sampler, data, python, numpy, torch, device, model, optimizer, scheduler, log.
        what: What was observed, in words.
        value: Its value or digest; two events are the same only if this is equal.
    """

    step: int
    micro_batch: int | None
    stream: str
    what: str
    value: Any


def exact(value: Any) -> Any:
    """A form of `value` that is equal only for equal bytes, dtypes and shapes, and that JSON keeps."""
    if isinstance(value, torch.Tensor):
        if hasattr(value, "to_local"):  # this rank's part of it
            value = value.to_local()
        array = value.detach().cpu().contiguous()
        return [str(value.dtype), list(value.shape), array.reshape(-1).view(torch.uint8).numpy().tobytes().hex()]
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), value.tobytes().hex()]
    if isinstance(value, (float, np.floating)):
        return float(value).hex()
    if isinstance(value, dict):
        return {str(key): exact(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [exact(entry) for entry in value]
    return value if isinstance(value, (int, str, type(None))) else repr(value)


def digest(values: Iterable[Any]) -> str:
    """A digest of the exact bytes of `values`."""
    return hashlib.blake2b(repr([exact(value) for value in values]).encode(), digest_size=12).hexdigest()


def rng_states() -> dict[str, str]:
    """Digests of this process's RNG states by stream."""
    states = {
        "python": digest([random.getstate()]),
        "numpy": digest([np.random.get_state()]),
        "torch": digest([torch.get_rng_state()]),
    }
    if torch.cuda.is_available():
        states["device"] = digest(torch.cuda.get_rng_state_all())
    return states


class Recorder(TrainerCallback):
    """
    Records a run of `trainer` into `events`, in the order in which things happen.

    Attach it before `trainer.train()`. It works on any trainer, as it wraps the instance's `training_step`.

    Args:
        trainer: The trainer.
        compares_summary: Whether the values that sum up a whole run, such as `train_loss`, belong to the record.
    """

    def __init__(self, trainer: Trainer, compares_summary: bool = False):
        self.compares_summary = compares_summary
        self.events: list[Event] = []
        self.trainer = trainer
        self.step = 0
        self.micro_batch = 0
        self._training_step = trainer.training_step
        trainer.training_step = self._record_training_step
        trainer.add_callback(self)

    def _values(self, logs: dict[str, Any]) -> dict[str, Any]:
        ignored = TIMINGS if self.compares_summary else TIMINGS + SUMMARIES
        return {name: exact(logs[name]) for name in sorted(logs) if not any(part in name for part in ignored)}

    def _add(self, stream: str, what: str, value: Any, micro_batch: int | None = None) -> None:
        self.events.append(Event(self.step, micro_batch, stream, what, value))

    def _record_training_step(self, model, inputs, *args, **kwargs):
        micro_batch = self.micro_batch
        inputs = dict(inputs)
        self._add("sampler", "sample indices", exact(inputs.get("index")), micro_batch)
        self._add("data", "micro-batch", {name: exact(inputs[name]) for name in sorted(inputs)}, micro_batch)
        for stream, state in rng_states().items():
            self._add(stream, "RNG state before the forward pass", state, micro_batch)
        loss = self._training_step(model, inputs, *args, **kwargs)
        self._add("model", "loss", exact(loss), micro_batch)
        self.micro_batch += 1
        return loss

    def on_step_begin(self, args, state, control, **kwargs):
        self.step, self.micro_batch = state.global_step + 1, 0

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self._add("model", "gradients", digest(p.grad for p in model.parameters() if p.grad is not None))

    def on_step_end(self, args, state, control, model=None, optimizer=None, lr_scheduler=None, **kwargs):
        self._add("model", "parameters", digest(model.state_dict().items()))
        self._add("optimizer", "optimizer state", digest([optimizer.state_dict()]))
        self._add("scheduler", "scheduler state", digest([lr_scheduler.state_dict()]))

    def on_log(self, args, state, control, logs=None, **kwargs):
        values = self._values(logs or {})
        if values:
            self.step = max(self.step, state.global_step)
            self._add("log", "logged values", values)

    def on_train_end(self, args, state, control, model=None, **kwargs):
        # After every step, so that a run that was resumed after the last one is compared, too.
        self.step = state.global_step + 1
        self._add("log", "log history", digest([self._values(logs) for logs in state.log_history]))
        best = os.path.basename(state.best_model_checkpoint or "")
        self._add("log", "best metric and checkpoint", [exact(state.best_metric), state.best_global_step, best])
        self._add("model", "final parameters", digest(model.state_dict().items()))
        for stream, value in rng_states().items():
            self._add(stream, "RNG state at the end", value)
