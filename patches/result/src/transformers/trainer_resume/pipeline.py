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

Random number generators that such an object owns or uses are found by looking through its attributes and its code, and
so are objects with the methods `state_dict` and `load_state_dict`, and the buffers of modules that are transforms.
These two methods are how a pipeline can keep any other state: what `state_dict` returns (tensors, NumPy arrays,
numbers, strings, and containers of these) is stored in every checkpoint, and `load_state_dict` is called with it
before training resumes.
"""

import weakref
from collections.abc import Callable
from typing import Any

from . import buffers
from .search import MAX_OBJECTS, MAX_SECONDS, find_states
from .states import UNSTORABLE, describe, get_state, set_state


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
        self.faults: dict[str, str] = {}  # by path, what is wrong with a state that was to be set, as a sentence
        # The same of those that could not be stored when they were last asked, and how many states are without it
        self._unstorable: dict[str, tuple[str, int]] = {}
        self.unsearched: str | None = None  # where the search for generators ended early, as a sentence
        self.missing: dict[str, Any] = {}  # by path, the states of a checkpoint that nothing here has taken
        self._entries: dict[str, tuple[str, Callable[[], Any]]] = {}  # kind and reference, by path
        self._versions: dict[str, Any] = {}  # by path, what tells whether buffers changed since they were found
        self.has_states = False
        self.refresh()

    def refresh(self) -> None:
        """
        Look for what has appeared since the last time, such as a generator that a collator makes for its first batch.
        """
        states, end = find_states(self._find_roots())
        self._entries = {path: (kind, refer_to(value)) for path, (kind, value) in states.items()}
        for path, (kind, value) in states.items():
            if kind == buffers.KIND and path not in self._versions:
                self._versions[path] = buffers.versions_of(value)
        self.has_states = bool(self._entries)
        self.unsearched = None
        if end is not None:
            bound = f"{MAX_OBJECTS} objects or {MAX_SECONDS} seconds"
            self.unsearched = f"`{end[:100]}` and more was not searched, after {bound}"

    @property
    def paths(self) -> list[str]:
        """Where states were found."""
        return list(self._entries)

    def state_dict(self) -> dict[str, tuple[str, Any]]:
        """
        The kind and a copy of the state of every generator and stateful object, by path, with what is `missing`; or
        why there is none, as what cannot be stored at one time may be stored at another.
        """
        states = dict(self.missing)  # of a checkpoint, until something takes them
        for path, (kind, refer) in self._entries.items():
            if (value := refer()) is None:
                continue
            fault, num_without = self._unstorable.get(path, ("", 0))
            if num_without & (num_without - 1):  # which may take long, so that it is asked less and less often
                self._unstorable[path] = (fault, num_without + 1)
                states[path] = (UNSTORABLE, fault)
                continue
            try:
                states[path] = (kind, get_state(kind, value))
                if num_without:
                    del self._unstorable[path]
            except Exception as error:  # whatever users' methods raise
                if kind == buffers.KIND and buffers.versions_of(value) == self._versions[path] is not None:
                    continue  # constants, which the next run makes as this one did
                method = ".state_dict()" if kind == "state_dict" else ""
                fault = f"`{path}{method}` cannot be stored ({describe(error)})"
                self._unstorable[path] = (fault, num_without + 1)
                states[path] = (UNSTORABLE, fault)
        return states

    def load_state_dict(self, state_dict: dict[str, tuple[str, Any]]) -> None:
        """Set the states that `state_dict` returned. Those that nothing here takes are `missing` afterwards."""
        self.missing = {}
        for path, (kind, state) in state_dict.items():
            if kind == UNSTORABLE:
                self.faults[path] = state
                continue
            if self._find_mismatch(path, kind, state) is not None:
                self.missing[path] = (kind, state)
                continue
            try:
                set_state(kind, self._entries[path][1](), state)
            except Exception as error:  # whatever users' methods raise
                method = ".load_state_dict()` failed" if kind == "state_dict" else "` could not be set"
                self.faults[path] = f"`{path}{method} ({describe(error)})"

    def _find_mismatch(self, path: str, kind: str, state: Any) -> str | None:
        entry_kind, refer = self._entries.get(path, (None, None))
        if entry_kind is None or refer() is None:
            return f"the data pipeline had a state in `{path}`, and has none now"
        if entry_kind != kind:
            return f"`{path}` was a `{kind}` and is a `{entry_kind}`"
        if kind.startswith("numpy."):
            current = get_state(entry_kind, refer())["bit_generator"]
            if current != state["bit_generator"]:
                return f"`{path}` drew from a `{state['bit_generator']}` and draws from a `{current}`"
        return None

    def find_faults(self) -> list[str]:
        """What is wrong with states of the pipeline, and with those of a checkpoint that nothing has taken."""
        mismatches = (self._find_mismatch(path, *entry) for path, entry in self.missing.items())
        unstorable = (fault for fault, _ in self._unstorable.values())
        return [*dict.fromkeys((*self.faults.values(), *unstorable, *filter(None, mismatches)))]


def refer_to(value: Any) -> Callable[[], Any]:
    """A reference that does not keep an object alive which may hold data, as far as its class allows."""
    try:
        return weakref.ref(value)
    except TypeError:
        return lambda: value
