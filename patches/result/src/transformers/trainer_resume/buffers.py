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
The buffers of modules without parameters, such as a transform that keeps a running mean: those that its `state_dict`
has, and those that it has not. They are read and written where they are.
"""

import torch

from .kinds import attributes_of
from .storable import from_storable, to_storable


KIND = "buffers"


def _own_buffers(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    buffers = attributes_of(module).get("_buffers", {})
    return {name: buffer for name, buffer in dict.items(buffers) if buffer is not None}


def has_buffers(module: torch.nn.Module) -> bool:
    """Whether a module has buffers of its own, beside those of modules in it."""
    return bool(_own_buffers(module))


def versions_of(module: torch.nn.Module) -> dict[str, tuple[int, int]] | None:
    """What is another when a buffer was written to or replaced; `None` if that cannot be told."""
    try:
        return {name: (id(buffer), buffer._version) for name, buffer in _own_buffers(module).items()}
    except RuntimeError:  # of a buffer that was made for inference
        return None


def get_buffers(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the buffers of a module, by name."""
    return to_storable(_own_buffers(module))


def set_buffers(module: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    """
    Write what [`get_buffers`] returned into the buffers of a module.

    Raises:
        ValueError: If they are others than there were.
    """
    buffers, state = _own_buffers(module), from_storable(state)
    stored, current = ({name: _describe(each) for name, each in of.items()} for of in (state, buffers))
    if stored != current:
        name = min(name for name in stored | current if stored.get(name) != current.get(name))
        there_was, there_is = stored.get(name, "not there"), current.get(name, "not there")
        raise ValueError(f"the buffer `{name}` was {there_was} and is {there_is}")
    with torch.no_grad():
        for name, buffer in buffers.items():
            buffer.copy_(state[name])


def _describe(buffer: torch.Tensor) -> str:
    return f"{str(buffer.dtype).removeprefix('torch.')}{list(buffer.shape)}"
