# Copyright 2026 The HuggingFace Team. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The states of the random number generators (RNGs) of a process: how they are read, set and packed."""

import contextlib
import ctypes
import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..training_args import ParallelMode
from .owned import OwnedState
from .pipeline import PipelineState


# Python's 625 words and cached Gaussian, then NumPy's 624-word key, position and cached Gaussian. PyTorch's state
# follows.
_HOST_STATE = struct.Struct("<625I?d2496sI?d")
HOST_STATE_SIZE = _HOST_STATE.size + torch.get_rng_state().numel()
_HOST = ("python", "numpy", "cpu")
_MT19937 = ctypes.c_char * (4 * 624 + 4)  # NumPy's state: the key and the position
_get_bit_generator = getattr(np.random, "get_bit_generator", lambda: None)  # since NumPy 1.24


class RNGStates:
    """
    The RNG states of a process: of its global generators, of the device that trains, of the data pipeline, and of what
    else owns some.

    Args:
        pipeline ([`PipelineState`]): The generators and other state that the data pipeline owns.
        args ([`TrainingArguments`], *optional*): The arguments of the run; a worker process has no device.
        owned ([`OwnedState`], *optional*): The generators of the model, the trainer and its callbacks.
    """

    def __init__(self, pipeline: PipelineState, args=None, owned: OwnedState | None = None):
        self.pipeline = pipeline
        self.owned = OwnedState(dict, pipeline) if owned is None else owned
        self._device_type = self._get_device = None
        if args is not None:
            device, all_devices = training_device(args)
            if device.type != "cpu" and hasattr(backend := torch.get_device_module(device), "get_rng_state"):
                has_several = all_devices and hasattr(backend, "get_rng_state_all")
                self._device_type = device.type
                self._get_device = backend.get_rng_state_all if has_several else backend.get_rng_state
        self._numpy_generator = self._numpy_memory = self._numpy_words = self._numpy_state = None

    def get(self) -> dict[str, Any]:
        """
        Return a copy of the states, under the keys and in the form that `Trainer._save_rng_state` writes; those of the
        pipeline are under `"pipeline"`, if it has any, and so are those of `owned`.
        """
        state = {"python": random.getstate(), "numpy": self._get_numpy(), "cpu": torch.get_rng_state()}
        if self._get_device is not None:
            state[self._device_type] = self._get_device()
        if (self.pipeline.has_states or self.pipeline.missing) and (pipeline := self.pipeline.state_dict()):
            state["pipeline"] = pipeline
        if self.owned.has_states and (owned := self.owned.state_dict()):
            state["owned"] = owned
        return state

    def set(self, state: dict[str, Any]) -> None:
        """Set the states to what [`~RNGStates.get`] returned."""
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])
        torch.set_rng_state(state["cpu"])
        for device_type in state.keys() - {*_HOST, "pipeline", "owned"}:
            _set_device(device_type, state[device_type])
        self.set_objects(state)

    def set_objects(self, state: dict[str, Any]) -> None:
        """Of `state`, set that of the pipeline and of what else owns some."""
        self.pipeline.load_state_dict(state.get("pipeline", {}))
        self.owned.load_state_dict(state.get("owned", {}))

    @property
    def unsearched(self) -> str | None:
        """Where a search for generators ended early, as a sentence."""
        return self.pipeline.unsearched or self.owned.unsearched

    def find_faults(self) -> list[str]:
        """As [`PipelineState.find_faults`], of both."""
        return [*self.pipeline.find_faults(), *self.owned.find_faults()]

    def rehearse(self, use_pipeline: Callable[[], Any]) -> None:
        """
        Use the pipeline once if it lacks states that it had at the checkpoint, and then set them.

        Some make what they need for their first batch, such as a generator. What exists has a state that can be set.

        Args:
            use_pipeline (`Callable[[], Any]`): Uses it for the batch for which it will be used next.
        """
        if not self.pipeline.missing:
            return
        missing, state = self.pipeline.missing, self.get()
        with contextlib.suppress(Exception):  # which the batch itself meets, too
            use_pipeline()
        self.pipeline.refresh()
        self.set({**state, "pipeline": {**state.get("pipeline", {}), **missing}})

    def _get_numpy(self) -> tuple:
        """`np.random.get_state()`, at about a hundredth of its cost if nothing was drawn since the last call."""
        bit_generator = _get_bit_generator()
        if bit_generator is not self._numpy_generator:
            if not isinstance(bit_generator, np.random.MT19937):
                return np.random.get_state()
            self._numpy_generator, self._numpy_state = bit_generator, None
            self._numpy_memory = _MT19937.from_address(bit_generator.ctypes.state_address)
        elif bit_generator is None:
            return np.random.get_state()
        words = self._numpy_memory.raw
        # A draw that is served from the cached Gaussian leaves the words as they are.
        if self._numpy_state is None or words != self._numpy_words or self._numpy_state[3]:
            self._numpy_words, self._numpy_state = words, np.random.get_state()
        return self._numpy_state


def _set_device(device_type: str, state: Any) -> None:
    backend = torch.get_device_module(device_type)
    (backend.set_rng_state_all if isinstance(state, list) else backend.set_rng_state)(state)


def training_device(args) -> tuple[torch.device, bool]:
    """
    The device that trains, and whether the states of every device of its type belong to the state of this process.
    """
    return args.device, args.parallel_mode in (ParallelMode.DISTRIBUTED, ParallelMode.NOT_DISTRIBUTED)


def to_file(state: dict[str, Any], args) -> dict[str, Any]:
    """`state` in a form of which an earlier version of the [`Trainer`] can take its part."""
    device, _ = training_device(args)
    if args.parallel_mode != ParallelMode.NOT_DISTRIBUTED or device.type not in state:
        return state
    current = torch.get_device_module(device).current_device()
    return {**state, device.type: state[device.type][current], "all_devices": {device.type: state[device.type]}}


def set_device_rng_state(state: dict[str, Any], args) -> None:
    """
    Set the RNG states of devices that `Trainer._load_rng_state` does not know of: XPU, MPS, and several GPUs of a
    process.

    Args:
        state (`dict`): What the RNG file of a checkpoint holds.
        args ([`TrainingArguments`]): The arguments of the run.
    """
    device, _ = training_device(args)
    names = [device.type] if device.type in ("xpu", "mps") and device.type in state else []
    for device_type, value in {**{name: state[name] for name in names}, **state.get("all_devices", {})}.items():
        _set_device(device_type, value)


def check_rng_state(state: dict[str, Any]) -> dict[str, Any]:
    """Return `state` if generators of our own take it, as those of the process must not be left with half of it."""
    random.Random().setstate(state["python"])
    np.random.RandomState().set_state(state["numpy"])
    torch.Generator().set_state(state["cpu"])
    return state


def pack_host_state(state: dict[str, Any]) -> torch.Tensor:
    """Encode the host part of an RNG state as a `uint8` tensor of shape `(HOST_STATE_SIZE,)`."""
    packed = torch.empty(HOST_STATE_SIZE, dtype=torch.uint8)
    pack_host_state_into(packed.numpy(), state)
    return packed


def pack_host_state_into(packed: np.ndarray, state: dict[str, Any]) -> None:
    """The same, into a `uint8` array of shape `(HOST_STATE_SIZE,)`."""
    _, words, gauss = state["python"]
    _, key, position, has_gauss, cached = state["numpy"]
    numpy_fields = (np.asarray(key, dtype="<u4").tobytes(), position, bool(has_gauss), cached)
    _HOST_STATE.pack_into(packed, 0, *words, gauss is not None, gauss or 0.0, *numpy_fields)
    packed[_HOST_STATE.size :] = state["cpu"].numpy()


def unpack_host_state(packed: torch.Tensor) -> dict[str, Any]:
    """Inverse of [`pack_host_state`]; raises a `ValueError` for what is no packed state."""
    if packed.numel() != HOST_STATE_SIZE:  # of a file, it may claim any size
        raise ValueError(f"a packed RNG state has {packed.numel()} bytes instead of {HOST_STATE_SIZE}")
    fields = _HOST_STATE.unpack(packed[: _HOST_STATE.size].numpy().tobytes())
    words, (has_gauss, gauss, key, position, numpy_has_gauss, cached) = fields[:625], fields[625:]
    return check_rng_state(
        {
            "python": (random.Random.VERSION, words, gauss if has_gauss else None),
            "numpy": ("MT19937", np.frombuffer(key, dtype="<u4"), position, int(numpy_has_gauss), cached),
            "cpu": packed[_HOST_STATE.size :].clone(),
        }
    )


def pack_rng_state(state: dict[str, Any]) -> dict[str, Any]:
    """`state` as a file has it: its host part packed under `"host"`, the rest as it is."""
    return {"host": pack_host_state(state), **{name: value for name, value in state.items() if name not in _HOST}}


def unpack_rng_state(packed: dict[str, Any]) -> dict[str, Any]:
    """Inverse of [`pack_rng_state`]."""
    return {**unpack_host_state(packed["host"]), **{name: packed[name] for name in packed if name != "host"}}


def is_same_rng_state(state: Any, other: Any) -> bool:
    """Whether two RNG states are the same: tensors, arrays, numbers and strings, in dictionaries, lists and tuples."""
    if type(state) is not type(other):
        return False
    if isinstance(state, dict):
        return state.keys() == other.keys() and all(is_same_rng_state(state[name], other[name]) for name in state)
    if isinstance(state, (list, tuple)):
        if not state or set(map(type, state)) == {int}:  # 625 of them are the state of Python's generator
            return state == other
        return len(state) == len(other) and all(map(is_same_rng_state, state, other))
    if isinstance(state, torch.Tensor):
        return torch.equal(state, other)
    return np.array_equal(state, other) if isinstance(state, np.ndarray) else state == other
