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
"""How the state of a thing that the search finds is read and written, by its kind. What is read is a copy."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from . import buffers
from .storable import from_storable, to_storable


# In the place of a state that could not be taken, with the reason
UNSTORABLE = "unstorable"


def _to_lists(state: Any) -> Any:
    """Replace the arrays, of which not every type is safe to load."""
    if isinstance(state, dict):
        return {name: _to_lists(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state


def _set_seed(sampler: Any, seed: int) -> None:
    sampler.initial_seed = seed


# A subclass may draw when it is asked in its own way.
_METHODS: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]] = {
    "torch.Generator": (
        lambda generator: (str(generator.device), torch.Generator.get_state(generator)),
        lambda generator, state: torch.Generator.set_state(generator, state[1]),
    ),
    "numpy.random.Generator": (
        lambda generator: _to_lists(generator.bit_generator.state),
        lambda generator, state: setattr(generator.bit_generator, "state", state),
    ),
    "numpy.random.BitGenerator": (
        lambda generator: _to_lists(generator.state),
        lambda generator, state: setattr(generator, "state", state),
    ),
    "numpy.random.RandomState": (
        lambda generator: _to_lists(np.random.RandomState.get_state(generator, legacy=False)),
        lambda generator, state: np.random.RandomState.set_state(generator, state),
    ),
    "random.Random": (random.Random.getstate, random.Random.setstate),
    "seed": (lambda sampler: sampler.initial_seed, _set_seed),
    "state_dict": (
        lambda value: to_storable(value.state_dict()),
        lambda value, state: value.load_state_dict(from_storable(state)),
    ),
    buffers.KIND: (buffers.get_buffers, buffers.set_buffers),
}


def get_state(kind: str, value: Any) -> Any:
    """A copy of the state of `value`, of types that are safe to load."""
    return _METHODS[kind][0](value)


def set_state(kind: str, value: Any, state: Any) -> None:
    """Set the state of `value` to a copy of one that [`get_state`] returned."""
    _METHODS[kind][1](value, state)


def describe(error: Exception) -> str:
    """An error that a user's method raised, on a line."""
    try:
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    except Exception:  # it cannot even say what it is
        return type(error).__name__
