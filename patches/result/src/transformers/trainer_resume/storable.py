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
Storable states: copies of what `state_dict` methods of users return, of types that are safe to load from a file.

Tensors and NumPy arrays are copied, when a state is taken and again when it is given back, as what is returned may be
what the object goes on working with.
"""

import io
from collections import Counter, OrderedDict
from typing import Any

import numpy as np
import torch


# Of a state that is taken for every batch, in bytes
MAX_STATE_SIZE = 2**20

_NUMPY = "numpy dtype"
_PLAIN = {type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size}


def to_storable(value: Any, max_size: int | None = MAX_STATE_SIZE) -> Any:
    """
    Return a copy of a state.

    Args:
        value: Tensors, NumPy arrays and numbers, Python's own numbers, strings, bytes and `None`, and dictionaries,
            lists, tuples and sets of these.
        max_size (`int`, *optional*): The most that it may have, in bytes.

    Raises:
        ValueError: If there is something of another type in it, which is not safe to load, or more bytes.
    """
    if max_size is not None and (size := size_of(value)) > max_size:
        raise ValueError(f"it has {size} bytes, and {max_size} are the most")
    return _copy(value)


def _copy(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().as_subclass(torch.Tensor).clone()
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.hasobject:
            raise ValueError(f"an array of type {value.dtype} holds objects")
        data = torch.frombuffer(bytearray(value.tobytes()) or bytearray(1), dtype=torch.uint8)
        return {_NUMPY: value.dtype.str, "shape": value.shape, "is_array": isinstance(value, np.ndarray), "data": data}
    if kind in (dict, OrderedDict, Counter):
        return kind({_copy(name): _copy(entry) for name, entry in value.items()})
    if kind in (list, tuple, set):
        return kind(_copy(entry) for entry in value)
    raise ValueError(f"a `{kind.__name__}` in it is not safe to load from a file")


def from_storable(value: Any) -> Any:
    """Inverse of [`to_storable`]; a copy as well."""
    if isinstance(value, dict) and _NUMPY in value:
        dtype = np.dtype(value[_NUMPY])
        array = np.frombuffer(value["data"].numpy().tobytes(), dtype, count=int(np.prod(value["shape"])))
        array = array.reshape(value["shape"]).copy()
        return array if value["is_array"] else array[()]
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return type(value)({name: from_storable(entry) for name, entry in value.items()})
    return type(value)(map(from_storable, value)) if type(value) in (list, tuple, set) else value


def size_of(value: Any) -> int:
    """About how many bytes a state takes."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return value.nbytes
    if isinstance(value, dict):
        return sum(size_of(name) + size_of(entry) for name, entry in value.items())
    if type(value) in (list, tuple, set):
        return sum(map(size_of, value))
    return len(value) if isinstance(value, (str, bytes)) else 8


def pack_state(state: Any) -> bytes:
    """Encode a state that is safe to load; no bytes for an empty one."""
    if not state:
        return b""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def unpack_state(packed: bytes) -> Any:
    """Inverse of [`pack_state`]."""
    if not packed:
        return {}
    return torch.load(io.BytesIO(packed), weights_only=True)
