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
The search for what the objects of a data pipeline keep for themselves: random number generators, and objects with the
methods `state_dict` and `load_state_dict`.

It looks at what is there and calls nothing of it: no property, no `__getattr__`, no `__iter__`, no `__repr__`. It does
not look into the trainer and what belongs to it, models, optimizers, dataloaders, loggers, files and iterators, nor
into containers that hold data. It ends after `MAX_OBJECTS` objects.
"""

import functools
import inspect
import io
import logging
import random
import sys
import threading
import types
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from ..tokenization_utils_base import PreTrainedTokenizerBase
from ..utils import is_accelerate_available


if is_accelerate_available():
    from accelerate import Accelerator
    from accelerate.data_loader import SeedableRandomSampler
else:
    SeedableRandomSampler = Accelerator = ()  # nothing is an instance of them

MAX_OBJECTS = 10_000
# A container with more entries holds data, and so does a list that has something else at none of some evenly spread
# places.
MAX_CONTAINER_SIZE = 1000
NUM_PLACES = 64

GENERATORS = {
    "torch.Generator": torch.Generator,
    "numpy.random.Generator": np.random.Generator,
    "numpy.random.BitGenerator": np.random.BitGenerator,
    "numpy.random.RandomState": np.random.RandomState,
    "random.Random": random.Random,
}

# Most of the entries of most containers, which are told by their very type
_DATA = {type(None), bool, int, float, complex, str, bytes, bytearray, torch.Tensor, np.ndarray, range, slice}
# From a logger, all others can be reached; of an iterator, nothing can be.
_OPAQUE = (
    *_DATA - {type(None), bool, range, slice},
    type,
    types.ModuleType,
    types.GeneratorType,
    types.CoroutineType,
    types.FrameType,
    type(threading.Lock()),
    np.generic,
    io.IOBase,
    logging.Logger,
    logging.Handler,
    DataLoader,
    PreTrainedTokenizerBase,
    torch.optim.Optimizer,
    torch.optim.lr_scheduler.LRScheduler,
    *([Accelerator] if Accelerator else []),
)
_LIBRARIES = ("torch.", "transformers.", "datasets.", "accelerate.", "numpy.", "builtins")


def _is_of_the_process(value: Any) -> bool:
    """Whether `value` is a generator that is not the pipeline's."""
    return value is torch.default_generator or value is np.random.mtrand._rand or value is random._inst


def _is_stateful(cls: type) -> bool:
    """Whether `state_dict` can be called without arguments, and `load_state_dict` with one."""
    # The state of an iterable dataset, and of what `datasets` makes one of, is its position.
    if issubclass(cls, (IterableDataset, torch.nn.Module)) or cls.__module__.startswith("datasets."):
        return False
    for name, arguments in (("state_dict", ("self",)), ("load_state_dict", ("self", "state"))):
        # Of the class, as asking an object may have it make up an answer
        method = inspect.getattr_static(cls, name, None)
        if not callable(method):
            return False
        try:
            inspect.signature(method).bind(*arguments)
        except TypeError:
            return False
        except ValueError:  # compiled code may not tell
            continue
    return True


def _own_opaque_classes() -> tuple[type, ...]:
    """
    The trainer and what is its own. Not imported, as this module is among what it imports, and workers need neither.
    """
    names = {"transformers.trainer": "Trainer", "transformers.trainer_resume.session": "ExactResume"}
    names["transformers.trainer_callback"] = "CallbackHandler"
    return tuple(getattr(sys.modules[module], name) for module, name in names.items() if module in sys.modules)


@functools.lru_cache(maxsize=1024)
def _kind_of(cls: type) -> str | None:
    """What an object of a class is: the kind of a state, "opaque", "module", or `None` for one to look into."""
    if issubclass(cls, random.SystemRandom):  # which has no state
        return "opaque"
    for kind, generator in GENERATORS.items():
        if issubclass(cls, generator):
            return kind
    if issubclass(cls, SeedableRandomSampler):
        return "seed"  # from which it seeds its generator in every epoch
    if issubclass(cls, (*_OPAQUE, *_own_opaque_classes())):
        return "opaque"
    if issubclass(cls, torch.nn.Module):
        return "module"
    return "state_dict" if _is_stateful(cls) else None


@functools.lru_cache(maxsize=1024)
def _slots_of(cls: type) -> list[tuple[str, types.MemberDescriptorType]]:
    slots = [(name, slot) for base in cls.__mro__ for name, slot in vars(base).items()]
    return [(name, slot) for name, slot in slots if type(slot) is types.MemberDescriptorType]


@functools.lru_cache(maxsize=1024)
def _functions_of(cls: type) -> list[types.FunctionType]:
    bases = [base for base in cls.__mro__ if not f"{base.__module__}.".startswith(_LIBRARIES)]
    return [value for base in bases for value in vars(base).values() if type(value) is types.FunctionType]


def _attributes(value: Any) -> dict[str, Any]:
    """What an object keeps in its `__dict__` and in slots."""
    try:
        attributes = dict(object.__getattribute__(value, "__dict__"))
    except AttributeError:
        attributes = {}
    for name, slot in _slots_of(type(value)):
        try:
            attributes.setdefault(name, slot.__get__(value))
        except AttributeError:  # it is empty
            continue
    return attributes


def _is_model(value: Any) -> bool:
    """Whether `value` is a module with parameters, and not a transform."""
    modules, seen = [value], set()
    while modules:
        attributes = _attributes(module := modules.pop())
        if id(module) in seen or not issubclass(type(module), torch.nn.Module):
            continue
        seen.add(id(module))
        if any(parameter is not None for parameter in attributes.get("_parameters", {}).values()):
            return True
        modules.extend(attributes.get("_modules", {}).values())
    return False


def _is_data(value: Any) -> bool:
    """Whether there is no need to look into a value, as told without a call of anything of it."""
    if type(value) in (list, tuple):
        return _DATA.issuperset(map(type, value[:: 1 + len(value) // NUM_PLACES]))
    return type(value) in _DATA


def _entries(path: Any, value: Any) -> Iterator[tuple[Any, Any]]:
    """The entries of a container that may be or hold a generator."""
    cls = type(value)
    kind = next(kind for kind in (dict, list, tuple, deque) if issubclass(cls, kind))
    if kind.__len__(value) > MAX_CONTAINER_SIZE:
        return
    # As these classes have them; at once, as another thread may be adding some
    entries = list(dict.items(value)) if kind is dict else list(kind.__iter__(value))
    if kind is not dict:
        entries = [] if _is_data(entries) else enumerate(entries)
    for position, (key, entry) in enumerate(entries):
        if not _is_data(entry):
            name = repr(key) if type(key) in (str, int, bool, bytes, float) else f"{type(key).__name__} {position}"
            yield (path, f"[{name}]"), entry


def _children(path: Any, value: Any) -> Iterator[tuple[Any, Any]]:
    cls = type(value)
    if issubclass(cls, (dict, list, tuple, deque)):
        yield from _entries(path, value)
    if issubclass(cls, functools.partial):
        parts = vars(functools.partial)  # not the object's, whose class may have properties of these names
        yield from (((path, f".{name}"), parts[name].__get__(value)) for name in ("func", "args", "keywords"))
    elif cls is types.MethodType:
        yield (path, ".__self__"), value.__self__
        yield (path, ".__func__"), value.__func__
    elif cls is types.BuiltinMethodType:
        yield (path, ".__self__"), value.__self__
    elif cls is types.FunctionType:
        yield (path, ".__defaults__"), value.__defaults__
        yield (path, ".__kwdefaults__"), value.__kwdefaults__
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or ()):
            try:
                yield (path, f".{name}"), cell.cell_contents
            except ValueError:  # it is empty
                continue
        yield from _globals(value)
    else:
        for name, attribute in _attributes(value).items():
            if not _is_data(attribute):
                yield (path, f".{name}"), attribute
        for function in _functions_of(cls):
            yield from _globals(function)


def _globals(function: types.FunctionType) -> Iterator[tuple[Any, Any]]:
    """The generators of its module that a function uses."""
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if _kind_of(type(value)) in GENERATORS:
            yield (None, f"{function.__module__}.{name}"), value


def _name(path: Any) -> str:
    parts = []
    while path is not None:
        path, part = path
        parts.append(part)
    return "".join(reversed(parts))


def find_states(roots: dict[str, Any]) -> tuple[dict[str, tuple[str, Any]], str | None]:
    """
    Look through the objects of a data pipeline, the nearest first.

    Args:
        roots (`dict[str, Any]`): The objects, by the names under which they are mentioned in messages.

    Returns:
        The kind of each state and the object that has it, by path; then the path at which the search ended early, or
        `None`.
    """
    states = {}
    # What is made here, such as a dictionary of attributes, must not make way for another of the same address.
    seen, queue, end = {}, deque(((None, name), value) for name, value in roots.items()), None
    while queue:
        path, value = queue.popleft()
        if type(value) in _DATA or id(value) in seen:
            continue
        seen[id(value)] = value
        try:
            kind = _kind_of(type(value))
            if kind == "opaque" or (kind == "module" and _is_model(value)):
                continue
            if kind not in (None, "module"):
                if not _is_of_the_process(value):
                    states[_name(path)] = (kind, value)
            elif len(seen) + len(queue) < MAX_OBJECTS:
                queue.extend(_children(path, value))
            elif end is None:  # what is in the queue is looked at, but not into
                end = _name(path)
        except Exception:  # of an object that is not made as its class has it, or that another thread changes
            continue
    return states, end
