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
The state that the objects of a data pipeline keep for themselves: the datasets, transforms, collators and samplers.

Random number generators that such an object owns are found by looking through its attributes, and so are objects with
the methods `state_dict` and `load_state_dict`. These two methods are how a pipeline can keep any other state: what
`state_dict` returns (tensors, NumPy arrays, numbers, strings, and containers of these) is stored in every checkpoint,
and `load_state_dict` is called with it before training resumes.
"""

import random
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from .search import MAX_OBJECTS, find_states
from .storable import MAX_STATE_SIZE, from_storable, size_of, to_storable


def _to_lists(state: Any) -> Any:
    """Replace the arrays, of which not every type is safe to load."""
    if isinstance(state, dict):
        return {name: _to_lists(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state


# Each with how to read and to write the state. A subclass of `random.Random` may draw when it is asked in its own way.
_GENERATORS = {
    "torch.Generator": (
        lambda generator: (str(generator.device), generator.get_state()),
        lambda generator, state: generator.set_state(state[1]),
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
        lambda generator: _to_lists(generator.get_state(legacy=False)),
        lambda generator, state: generator.set_state(state),
    ),
    "random.Random": (random.Random.getstate, random.Random.setstate),
}


class PipelineState:
    """
    The generators and the stateful objects of a data pipeline.

    Args:
        find_roots (`Callable[[], dict[str, Any]]`):
            Returns the objects of the pipeline, by the names under which they are mentioned in messages. They are not
            kept.
    """

    def __init__(self, find_roots: Callable[[], dict[str, Any]] = dict):
        self._find_roots = find_roots
        self.faults: dict[str, str] = {}  # by path, what is wrong with a state, as a sentence
        self.unsearched: str | None = None  # where the search for generators ended early, as a sentence
        self.missing: dict[str, Any] = {}  # by path, the states of a checkpoint that nothing here has taken
        self._entries: dict[str, tuple[str, Callable[[], Any]]] = {}  # kind and reference, by path
        self.has_states = False
        self.refresh()

    def refresh(self) -> None:
        """
        Look for what has appeared since the last time, such as a generator that a collator makes for its first batch.
        """
        states, end = find_states(self._find_roots())
        self._entries = {path: (kind, refer_to(value)) for path, (kind, value) in states.items()}
        self.has_states = bool(self._entries)
        self.unsearched = (
            None if end is None else f"`{end[:100]}` and more was not searched, after {MAX_OBJECTS} objects"
        )

    def state_dict(self) -> dict[str, tuple[str, Any]]:
        """The kind and a copy of the state of every generator and stateful object, by path."""
        states = {}
        for path, (kind, refer) in self._entries.items():
            if path not in self.faults and (value := refer()) is not None:
                try:
                    states[path] = (kind, self._get(kind, value))
                except Exception as error:  # whatever users' methods raise
                    cause = " ".join(f"{type(error).__name__}: {error}".split())
                    self.faults[path] = f"`{path}.state_dict()` cannot be stored ({cause[:200]})"
        return states

    @staticmethod
    def _get(kind: str, value: Any) -> Any:
        if kind == "seed":
            return value.initial_seed
        if kind != "state_dict":
            return _GENERATORS[kind][0](value)
        state = to_storable(value.state_dict())
        if size_of(state) > MAX_STATE_SIZE:  # which is taken for every batch
            raise ValueError(f"it has {size_of(state)} bytes, and {MAX_STATE_SIZE} are the most")
        return state

    def load_state_dict(self, state_dict: dict[str, tuple[str, Any]]) -> None:
        """Set the states that `state_dict` returned. Those that nothing here takes are `missing` afterwards."""
        self.missing = {}
        for path, (kind, state) in state_dict.items():
            if self._find_mismatch(path, kind, state) is not None:
                self.missing[path] = (kind, state)
                continue
            value = self._entries[path][1]()
            self.faults.pop(path, None)
            try:
                if kind == "seed":
                    value.initial_seed = state
                elif kind == "state_dict":
                    value.load_state_dict(from_storable(state))
                else:
                    _GENERATORS[kind][1](value, state)
            except Exception as error:  # whatever users' methods raise
                cause = " ".join(f"{type(error).__name__}: {error}".split())
                self.faults[path] = f"`{path}.load_state_dict()` failed ({cause[:200]})"

    def _find_mismatch(self, path: str, kind: str, state: Any) -> str | None:
        entry_kind, refer = self._entries.get(path, (None, None))
        if entry_kind is None or refer() is None:
            return f"the data pipeline had a state in `{path}`, and has none now"
        if entry_kind != kind:
            return f"`{path}` was a `{kind}` and is a `{entry_kind}`"
        if kind.startswith("numpy."):
            current = self._get(entry_kind, refer())["bit_generator"]
            if current != state["bit_generator"]:
                return f"`{path}` drew from a `{state['bit_generator']}` and draws from a `{current}`"
        return None

    def find_faults(self) -> list[str]:
        """What is wrong with states of the pipeline, and with those of a checkpoint that nothing has taken."""
        mismatches = (self._find_mismatch(path, *entry) for path, entry in self.missing.items())
        return [*self.faults.values(), *filter(None, mismatches)]


def refer_to(value: Any) -> Callable[[], Any]:
    """A reference that does not keep an object alive which may hold data, as far as its class allows."""
    try:
        return weakref.ref(value)
    except TypeError:
        return lambda: value
