"""Record everything of a training run that a bit-exact resume has to reproduce, without drawing a random number."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import Trainer, TrainerCallback

from exact_resume.matrix.rng_states import rng_states

# Values of `log_history` that measure time, and those that sum up a whole run.
TIMINGS = ("step_time", "runtime", "per_second")
SUMMARIES = ("train_loss", "total_flos")
# Bytes of tensors that an event keeps as they are, so that a differing element can be shown: of n tensors, each that
# has at most an n-th of them. Of larger ones it keeps a digest.
KEPT_BYTES = 2**17
DIGEST = "digest:"


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


def exact(value: Any, limit: int | None = None) -> Any:
    """
    A form of `value` that is equal only for equal bytes, dtypes and shapes, and that JSON keeps.

    Args:
        value: What to bring into that form.
        limit: The bytes of the largest tensor that is kept as it is; of a larger one, a digest of its bytes is.

    Returns:
        Of a tensor, `[dtype, shape, bytes]`, where the bytes are hex digits, or `DIGEST` and a digest; of a float its
        hex form; of a container, the same of its entries.
    """
    if isinstance(value, torch.Tensor):
        if hasattr(value, "to_local"):  # this rank's part of it
            value = value.to_local()
        array = value.detach().cpu().contiguous()
        return [str(value.dtype), list(value.shape), _bytes(array.reshape(-1).view(torch.uint8).numpy(), limit)]
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return exact(value.tolist(), limit)
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), _bytes(value, limit)]
    if isinstance(value, (float, np.floating)):
        return float(value).hex()
    if isinstance(value, dict):
        return {str(key): exact(entry, limit) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [exact(entry, limit) for entry in value]
    return value if isinstance(value, (int, str, type(None))) else repr(value)


def _bytes(array: np.ndarray, limit: int | None) -> str:
    data = array.tobytes()
    return data.hex() if limit is None or len(data) <= limit else DIGEST + _hash(data)


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def digest(values: Iterable[Any]) -> str:
    """A digest of the exact bytes of `values`."""
    return _hash(repr([exact(value) for value in values]).encode())


def kept(values: Any) -> dict[str, Any]:
    """
    The tensors and other values in nested containers, each in a form that is equal only for equal bytes.

    Returns:
        By path, such as "inputs/0", what `exact` returns; of tensors larger than their share of `KEPT_BYTES`, digests.
    """
    found = dict(leaves(values))
    tensors = sum(isinstance(leaf, (torch.Tensor, np.ndarray)) for leaf in found.values())
    return {path: exact(leaf, KEPT_BYTES // max(1, tensors)) for path, leaf in found.items()}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values in nested containers by path; an empty container is a value, too."""
    if isinstance(value, (Mapping, list, tuple)) and len(value) > 0:
        for name, entry in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from leaves(entry, f"{path}/{name}" if path else str(name))
    else:
        yield path, value


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

    def _add_rng_states(self, what: str, micro_batch: int | None = None) -> None:
        for stream, state in rng_states().items():
            self._add(stream, what, state, micro_batch)

    def _record_training_step(self, model, inputs, *args, **kwargs):
        micro_batch = self.micro_batch
        indices = inputs.get("index") if isinstance(inputs, Mapping) else None
        self._add("sampler", "sample indices", exact(indices), micro_batch)
        self._add("data", "micro-batch", kept(inputs), micro_batch)
        self._add_rng_states("RNG state before the forward pass", micro_batch)
        loss = self._training_step(model, inputs, *args, **kwargs)
        self._add("model", "loss", exact(loss), micro_batch)
        self.micro_batch += 1
        return loss

    def on_step_begin(self, args, state, control, **kwargs):
        self.step, self.micro_batch = state.global_step + 1, 0

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self._add(
            "model", "gradients", kept({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        )

    def on_step_end(self, args, state, control, model=None, optimizer=None, lr_scheduler=None, **kwargs):
        self._add("model", "parameters", kept(model.state_dict()))
        self._add("optimizer", "optimizer state", kept(_by_name(optimizer, model)))
        self._add("scheduler", "scheduler state", kept(lr_scheduler.state_dict()))
        # What a checkpoint that is taken here stores: from here, a resumed run should draw what this one draws.
        self._add_rng_states("RNG state after the step")

    def on_log(self, args, state, control, logs=None, **kwargs):
        values = self._values(logs or {})
        if values:
            self.step = max(self.step, state.global_step)
            self._add("log", "logged values", values)

    def on_train_end(self, args, state, control, model=None, **kwargs):
        # After every step, so that a run that was resumed after the last one is compared, too.
        self.step = state.global_step + 1
        self._add("log", "log history", kept([self._values(logs) for logs in state.log_history]))
        best = {
            "metric": exact(state.best_metric),
            "step": state.best_global_step,
            "checkpoint": os.path.basename(state.best_model_checkpoint or ""),
        }
        self._add("log", "best metric and checkpoint", best)
        self._add("model", "final parameters", kept(model.state_dict()))
        self._add_rng_states("RNG state at the end")


def _by_name(optimizer: Any, model: torch.nn.Module) -> dict[str, Any]:
    """The state of an optimizer, with the names of parameters in place of their numbers."""
    state = optimizer.state_dict()
    entries = state.get("state")
    if not isinstance(entries, dict):  # an optimizer of another make than PyTorch's
        return state
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbered = {number: names.get(id(parameter), number) for number, parameter in enumerate(parameters)}
    return {**state, "state": {numbered.get(number, number): entry for number, entry in entries.items()}}
