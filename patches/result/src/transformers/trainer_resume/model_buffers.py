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
"""
The buffers of the model, as far as the file with its weights does not have those of S.

That file has no buffer that is not persistent, and within an update step the others are those of the moment, where a
resume begins the step anew. Only what has changed is stored and put back: a buffer that is as it was made may be
another one on purpose, when the run goes on.
"""

import hashlib
import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch


# Of all that are stored, in bytes
MAX_SIZE = 2**26

Slot = tuple[str, dict[str, Any], str]  # the name of a buffer, the dictionary that has it, and the key therein


class Buffers:
    """
    Keeps the buffers of the model for a checkpoint.

    Args:
        find_model (`Callable[[], torch.nn.Module | None]`): Returns the model, which is not kept.
        with_persistent (`bool`): Whether the file with the weights has those of another process.
    """

    def __init__(self, find_model: Callable[[], torch.nn.Module | None], with_persistent: bool = False):
        self._find_model, self._with_persistent = find_model, with_persistent
        self.faults: list[str] = []  # what could not be put back, as sentences
        # A counter of versions tells of no change by the kernels of batch normalization.
        self._made = {name: _digest(owner[key]) for name, owner, key in self._find(with_persistent=False)}
        self._slots: list[Slot] | None = None  # what is copied when a step begins
        self._current: list[torch.Tensor] = []
        self._copies: list[torch.Tensor] = []
        self._left_out: dict[str, str] = {}  # digests of what is not copied

    def _find(self, with_persistent: bool) -> list[Slot]:
        """The buffers, small ones first."""
        found = [
            (f"{prefix}{key}", module._buffers, key)
            for prefix, module in _walk(self._find_model())
            for key, buffer in module._buffers.items()
            if with_persistent or key in module._non_persistent_buffers_set
            if buffer is not None and buffer.layout == torch.strided and not buffer.is_meta and not buffer.is_quantized
        ]
        return sorted(found, key=lambda slot: slot[1][slot[2]].nbytes)

    def look(self) -> None:
        """Look for the buffers that are copied from now on when a step begins."""
        self._slots, left_out = _divide(self._find(with_persistent=True))
        self._left_out = {name: _digest(owner[key]) for name, owner, key in left_out}
        self._current, self._copies = [], []

    def forget(self) -> None:
        """Copy nothing from now on."""
        self._slots, self._current, self._copies, self._left_out = None, [], [], {}

    def keep(self) -> None:
        """Copy the buffers at the beginning of a step."""
        current = [owner[key] for _, owner, key in self._slots]
        with torch.no_grad():
            if len(self._current) != len(current) or not all(map(operator.is_, current, self._current)):
                self._current, self._copies = current, [buffer.detach().clone() for buffer in current]
            elif current:
                torch._foreach_copy_(self._copies, current)

    def state_dict(self) -> tuple[dict[str, Any], list[str]]:
        """What no other file has, and what is missing there, as sentences."""
        # Of one that is not as it was made, or that is in the file, too
        slots = self._find(self._with_persistent)
        stored, left_out = _divide([slot for slot in slots if _digest(slot[1][slot[2]]) != self._made.get(slot[0])])
        values = {name: _copy(owner[key]) for name, owner, key in stored}
        made = {name: self._made[name] for name, _, _ in slots if name in self._made}
        cause = f"is not stored, as all that have changed have more than {MAX_SIZE} bytes"
        return {"values": values, "made": made}, [f"the buffer `{name}` {cause}" for name, _, _ in left_out]

    def step_state_dict(self) -> tuple[dict[str, Any], list[str]]:
        """The same, as it was when the step began."""
        state, faults = self.state_dict()
        if self._slots is None:
            statistics = [name for name, _, key in self._find(with_persistent=True) if key == "running_mean"]
            changed = [name for name, _, _ in self._find(with_persistent=False) if name in state["values"]]
            unknown = [*changed, *statistics]
        else:
            unknown = [
                name
                for name, owner, key in self._find(with_persistent=True)
                if name in self._left_out and _digest(owner[key]) != self._left_out[name]
            ]
            for (name, owner, key), copy in zip(self._slots, self._copies):
                if name in state["values"] or _digest(copy) != _digest(owner[key]):
                    state["values"][name] = _copy(copy)
        faults += [f"the buffer `{name}` is not known as it was when the step began" for name in unknown]
        return state, faults

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put back, in place, what [`~Buffers.state_dict`] returned; `faults` has what that is not possible for."""
        slots = {name: (owner, key) for name, owner, key in self._find(with_persistent=True)}
        values, self.faults = state_dict.get("values", {}), []
        for name, value in values.items():
            if name not in slots:
                self.faults.append(f"the model had a buffer `{name}`, and has none now")
                continue
            try:
                _put(value, *slots[name])
            except Exception as error:
                self.faults.append(f"the buffer `{name}` cannot be put back ({type(error).__name__}: {error})")
        for name, digest in state_dict.get("made", {}).items():
            if name not in values and self._made.get(name, digest) != digest:
                self.faults.append(f"the buffer `{name}`, which is not in the weights, was another one")


def _walk(model: torch.nn.Module | None) -> Iterator[tuple[str, torch.nn.Module]]:
    """The modules with the prefix of what they have; not with a method of theirs, which may do anything."""
    modules, seen = [] if model is None else [("", model)], set()
    while modules:
        prefix, module = modules.pop()
        if id(module) not in seen:
            seen.add(id(module))
            yield prefix, module
            modules += [(f"{prefix}{name}.", each) for name, each in module._modules.items() if each is not None]


def _divide(slots: list[Slot]) -> tuple[list[Slot], list[Slot]]:
    """Divide them where they exceed the bound."""
    total = 0
    for number, (_, owner, key) in enumerate(slots):
        total += owner[key].nbytes
        if total > MAX_SIZE:
            return slots[:number], slots[number:]
    return slots, []


def _put(value: torch.Tensor, owner: dict[str, Any], key: str) -> None:
    buffer = _plain(owner[key])
    if buffer.shape == value.shape and buffer.dtype == value.dtype:
        buffer.copy_(value)
    else:  # it grew
        owner[key] = value.to(buffer.device, copy=True)


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory, of this process, without a class of its own."""
    tensor = tensor.detach()
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor.as_subclass(torch.Tensor)


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return _plain(tensor).to("cpu", copy=True).contiguous()


def _digest(tensor: torch.Tensor) -> str:
    tensor = _plain(tensor)
    data = tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    layout = f"{tensor.dtype} {list(tensor.shape)}".encode()
    return hashlib.blake2b(data, digest_size=16, key=layout[:64]).hexdigest()
