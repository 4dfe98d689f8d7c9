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
"""The states of the random number generators (RNGs) of a process: how they are read, set, packed and kept in files."""

import ctypes
import os
import random
import struct
from typing import Any

import numpy as np
import torch

from .trainer_checked_states import check_checksum
from .trainer_checkpoint_files import AFTER_ON_SAVE
from .training_args import ParallelMode
from .utils import check_torch_load_is_safe, logging


logger = logging.get_logger(__name__)

# Python's 625 words and cached Gaussian, then NumPy's 624-word key, position and cached Gaussian. PyTorch's state follows.
_HOST_STATE = struct.Struct("<625I?d2496sI?d")


HOST_STATE_SIZE = _HOST_STATE.size + torch.get_rng_state().numel()


_MT19937_SIZE = 4 * 624 + 4  # bytes of NumPy's state: the key and the position


_last_numpy_state = (None, None)


def _get_numpy_state() -> tuple:
    """`np.random.get_state()`, at about a hundredth of its cost if nothing was drawn since the last call."""
    global _last_numpy_state
    bit_generator = getattr(np.random, "get_bit_generator", lambda: None)()  # since NumPy 1.24
    if not isinstance(bit_generator, np.random.MT19937):
        return np.random.get_state()
    words = ctypes.string_at(bit_generator.ctypes.state_address, _MT19937_SIZE)
    last_words, state = _last_numpy_state
    # A draw that is served from the cached Gaussian leaves the words as they are.
    if words != last_words or state[3]:
        state = np.random.get_state()
        _last_numpy_state = (words, state)
    return state


def get_rng_state(device: torch.device, all_devices: bool = False) -> dict[str, Any]:
    """
    Return the RNG states of this process, under the keys and in the form that `Trainer._save_rng_state` writes.

    Args:
        device (`torch.device`): The device that trains; its state is included when it is not the CPU.
        all_devices (`bool`, *optional*, defaults to `False`): Whether to include every device of that type.
    """
    state = {"python": random.getstate(), "numpy": _get_numpy_state(), "cpu": torch.get_rng_state()}
    if device.type != "cpu" and hasattr(backend := torch.get_device_module(device), "get_rng_state"):
        has_several = all_devices and hasattr(backend, "get_rng_state_all")
        state[device.type] = backend.get_rng_state_all() if has_several else backend.get_rng_state()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Set the RNG states of this process to what [`get_rng_state`] returned."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["cpu"])
    for device_type in state.keys() - {"python", "numpy", "cpu"}:
        backend = torch.get_device_module(device_type)
        is_list = isinstance(state[device_type], list)
        (backend.set_rng_state_all if is_list else backend.set_rng_state)(state[device_type])


def training_device(args) -> tuple[torch.device, bool]:
    """The device that trains, and whether the states of every device of its type belong to the state of this process."""
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
    Set the RNG states of devices that `Trainer._load_rng_state` does not know of: XPU, MPS, and several GPUs of a process.

    Args:
        state (`dict`): What [`load_rng_file`] returned.
        args ([`TrainingArguments`]): The arguments of the run.
    """
    device, _ = training_device(args)
    names = [device.type] if device.type in ("xpu", "mps") and device.type in state else []
    for device_type, value in {**{name: state[name] for name in names}, **state.get("all_devices", {})}.items():
        backend = torch.get_device_module(device_type)
        (backend.set_rng_state_all if isinstance(value, list) else backend.set_rng_state)(value)


def check_rng_state(state: dict[str, Any]) -> dict[str, Any]:
    """Return `state` if generators of our own take it, as those of the process must not be left with half of it."""
    random.Random().setstate(state["python"])
    np.random.RandomState().set_state(state["numpy"])
    torch.Generator().set_state(state["cpu"])
    return state


def pack_rng_state(state: dict[str, Any]) -> torch.Tensor:
    """Encode the host part of an RNG state as a `uint8` tensor of shape `(HOST_STATE_SIZE,)`."""
    _, words, gauss = state["python"]
    _, key, position, has_gauss, cached = state["numpy"]
    numpy_fields = (np.asarray(key, dtype="<u4").tobytes(), position, bool(has_gauss), cached)
    host = _HOST_STATE.pack(*words, gauss is not None, gauss or 0.0, *numpy_fields)
    return torch.frombuffer(bytearray(host + state["cpu"].numpy().tobytes()), dtype=torch.uint8)


def unpack_rng_state(packed: torch.Tensor) -> dict[str, Any]:
    """Inverse of `pack_rng_state`; raises an error for what is no packed state."""
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


def is_same_rng_state(state: Any, other: Any) -> bool:
    """Whether two RNG states are the same: tensors, arrays, numbers and strings, in dictionaries, lists and tuples."""
    if type(state) is not type(other):
        return False
    if isinstance(state, dict):
        return state.keys() == other.keys() and all(is_same_rng_state(state[name], other[name]) for name in state)
    if isinstance(state, (list, tuple)):
        return len(state) == len(other) and all(map(is_same_rng_state, state, other))
    if isinstance(state, torch.Tensor):
        return torch.equal(state, other)
    return np.array_equal(state, other) if isinstance(state, np.ndarray) else state == other


class ExactResumeError(ValueError):
    """Raised with `exact_resume="strict"` where a run cannot be resumed bit for bit."""


def report_inexact(mode: str, message: str) -> None:
    if mode == "strict":
        raise ExactResumeError(f'{message} (`exact_resume="strict"`)')
    logger.warning_once(message)


def rng_file_name(args) -> str:
    """Name, in a checkpoint, of the file with the RNG states of this process."""
    return "rng_state.pth" if args.world_size <= 1 else f"rng_state_{args.process_index}.pth"


def after_on_save(path: str) -> str:
    """The file in which a checkpoint has the RNG states that followed the callbacks of `on_save`, if these have drawn."""
    return path.removesuffix(".pth") + AFTER_ON_SAVE


def load_rng_file(path: str, mode: str) -> dict[str, Any] | None:
    """
    Read the RNG states of a process, in a file that this or an earlier version of the [`Trainer`] wrote.

    Args:
        path (`str`): The file. If callbacks have drawn in `on_save`, the one with what followed is read instead.
        mode (`str`): The value of `TrainingArguments.exact_resume`; decides what happens when the file is damaged.

    Returns:
        `dict` or `None`: The RNG states, or `None` for a damaged file, after a warning.

    Raises:
        ExactResumeError: If the file is damaged and `mode` is `"strict"`.
    """
    if mode == "off":
        return _load(path)
    states = _load_checked(path, mode)
    following = (
        _load_checked(after_on_save(path), mode)
        if states is not None and os.path.isfile(after_on_save(path))
        else None
    )
    if following is None:
        return states
    # Of another save, it is from before the step was written anew
    saves = [(content.get("exact_resume") or {}).get("save") for content in (states, following)]
    return {**states, **following} if saves[0] == saves[1] else states


def _load(path: str) -> dict[str, Any]:
    # The name in that module is what others replace; not at the top, as that module imports this one
    from .trainer import safe_globals

    with safe_globals():
        check_torch_load_is_safe()
        return torch.load(path, weights_only=True)


def _load_checked(path: str, mode: str) -> dict[str, Any] | None:
    try:
        return check_rng_state(check_checksum(_load(path)))
    except Exception as error:  # whatever unpickling a damaged file leads to
        # Without the advice to load such a file in a way that is not safe
        cause = f"{type(error).__name__}: {error}".partition("\n")[0].partition(". ")[0]
    report_inexact(mode, f"{path} is damaged, and no RNG state is restored from it ({cause}).")
    return None
