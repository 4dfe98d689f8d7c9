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
The search for what the objects of a data pipeline keep for themselves: random number generators, objects with the
methods `state_dict` and `load_state_dict`, and the buffers of modules that are transforms.

It looks at what is there and calls nothing of it: no property, no `__getattr__`, no `__iter__`, no `__repr__`. It does
not look into the trainer and what belongs to it, models, optimizers, dataloaders, loggers, files and iterators, nor
into containers that hold data. It ends after `MAX_OBJECTS` objects, or `MAX_SECONDS`.
"""

import contextlib
import time
import types
from collections import deque
from collections.abc import Iterator
from typing import Any

from . import buffers
from .code_search import label_of_class, of_class, of_function, users_bases_of
from .containers import is_data, reader_of
from .kinds import GENERATORS, is_model, is_of_the_process, is_subclass, kind_of, overrides_state, parts_of


MAX_OBJECTS = 10_000
# Of the thread as well as by the clock, as a machine that is busy with something else must not change what is found
MAX_SECONDS = 0.02
_CLOCK_INTERVAL = 32  # how many objects are looked into from one look at the clocks to the next


class _Search:
    def __init__(self, roots: dict[str, Any], only_generators: bool):
        self.roots = roots
        self.only_generators = self.enters_models = only_generators
        self.states: dict[str, tuple[str, Any]] = {}
        self.end: str | None = None
        # What is made here, such as a dictionary of attributes, must not make way for another of the same address.
        self.seen: dict[int, Any] = {}
        self.classes: set[int] = set()  # those of users that were met, which stay as their objects do
        self.queue: deque = deque()
        self.stateful: list[tuple[Any, Any]] = []  # those whose methods were found, with their paths
        self.labels: dict[str, list[int]] = {}  # by name, the namespaces that have it
        self.start = time.monotonic(), time.thread_time()
        self.num_expanded = 0

    def run(self) -> None:
        for name, value in self.roots.items():
            self._visit((None, name), value, is_root=True)
        self._drain()
        # What a user's method may have left out, once all that is found otherwise is known
        self.only_generators = True
        for path, value in self.stateful:
            with contextlib.suppress(Exception):
                self._expand(path, value)
        self._drain()

    def _drain(self) -> None:
        while self.queue:
            self._visit(*self.queue.popleft())

    def _visit(self, path: Any, value: Any, is_root: bool = False) -> None:
        # Of an object that is not made as its class has it, or that another thread changes
        with contextlib.suppress(Exception):
            kind = None if is_data(value) or id(value) in self.seen else self._kind_of(value, is_root)
            if kind is None:
                return
            self.seen[id(value)] = value
            if kind in GENERATORS:
                if not is_of_the_process(value):
                    self._add(path, kind, value)
                return
            if not self.only_generators:
                self._add_state(path, kind, value)
            if kind == "state_dict" and not self.only_generators:
                self.stateful.append((path, value))
            elif kind != "seed":
                self._expand(path, value)

    def _kind_of(self, value: Any, is_root: bool) -> str | None:
        """The kind of an object that is to be looked at, which is "object" if it has none; else `None`."""
        kind = kind_of(type(value))
        is_model_to_skip = kind == "module" and not self.enters_models and is_model(value)
        if kind == "opaque" or is_model_to_skip or (kind == "trainer" and not (self.enters_models and is_root)):
            return None
        return kind or "object"

    def _add_state(self, path: Any, kind: str, value: Any) -> None:
        if kind in ("seed", "state_dict"):
            self._add(path, kind, value)
        elif kind == "module":
            if overrides_state(type(value)):
                self._add(path, "state_dict", value)
            if buffers.has_buffers(value):
                self._add((path, "._buffers"), buffers.KIND, value)

    def _add(self, path: Any, kind: str, value: Any) -> None:
        name, number = _name(path), 2
        unique = name
        while unique in self.states:
            unique, number = f"{name}#{number}", number + 1
        self.states[unique] = (kind, value)

    def _expand(self, path: Any, value: Any) -> None:
        if self._is_over():  # what is in the queue is looked at, but not into
            self.end = self.end or _name(path)
        else:
            self.queue.extend(self._children(path, value))

    def _is_over(self) -> bool:
        if self.end is not None or len(self.seen) + len(self.queue) >= MAX_OBJECTS:
            return True
        self.num_expanded += 1
        if self.num_expanded % _CLOCK_INTERVAL:
            return False
        now = time.monotonic(), time.thread_time()
        return all(current - start > MAX_SECONDS for current, start in zip(now, self.start))

    def _children(self, path: Any, value: Any) -> Iterator[tuple[Any, Any]]:
        cls = type(value)
        if is_subclass(cls, type):
            yield from (((None, name), entry) for name, entry in of_class(value, self._label))
            return
        if (read := reader_of(cls)) is not None:
            yield from (((path, part), entry) for part, entry in read(value))
        if cls is types.FunctionType:
            yield from (((path, part), entry) for part, entry in _of_function(value))
        elif cls is types.BuiltinMethodType or cls is types.MethodWrapperType:
            yield (path, ".__self__"), value.__self__
        for name, attribute in parts_of(value).items():
            if not is_data(attribute) and kind_of(type(attribute)) != "opaque":
                yield (path, f".{name}"), attribute
        if cls is types.FunctionType:
            yield from (((None, name), entry) for name, entry in of_function(value, self._label))
        for base in users_bases_of(cls):
            if id(base) not in self.classes:
                self.classes.add(id(base))
                yield (None, label_of_class(base, self._label)), base

    def _label(self, name: str, namespace: Any) -> str:
        """A name for a module or class, with a number if another has it as well, or a root may have."""
        # A root's first, so that what is in it is never mistaken for what is in the module.
        others = self.labels.setdefault(name, [0] if name.partition(".")[0] in self.roots else [])
        if id(namespace) not in others:
            others.append(id(namespace))
        position = others.index(id(namespace))
        return name if position == 0 else f"{name}#{position + 1}"


def _of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    yield ".__defaults__", function.__defaults__
    yield ".__kwdefaults__", function.__kwdefaults__
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            yield f".{name}", cell.cell_contents
        except ValueError:  # it is empty
            continue


def _name(path: Any) -> str:
    parts = []
    while path is not None:
        path, part = path
        parts.append(part)
    return "".join(reversed(parts))


def find_states(roots: dict[str, Any], only_generators: bool = False) -> tuple[dict[str, tuple[str, Any]], str | None]:
    """
    Look through the objects of a data pipeline, the nearest first.

    Args:
        roots (`dict[str, Any]`): The objects, by the names under which they are mentioned in messages.
        only_generators (`bool`, *optional*, defaults to `False`):
            Whether to return nothing but generators, those of models included, and of a [`Trainer`] among the roots.

    Returns:
        The kind of each state and the object that has it, by path; then the path at which the search ended early, or
        `None`.
    """
    search = _Search(roots, only_generators)
    search.run()
    return search.states, search.end
