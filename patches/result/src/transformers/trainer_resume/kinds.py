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
What the objects of a data pipeline are, as the search for their state takes them.

It is told by their classes. Nothing of a user's class or of its metaclass is called for it, and so no `isinstance`,
which may ask an object for its `__class__`, and no hash of a class.
"""

import functools
import inspect
import io
import logging
import random
import subprocess
import sys
import threading
import types
from collections.abc import Callable
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
    SeedableRandomSampler = Accelerator = None

MAX_CACHED = 2048

GENERATORS = {
    "torch.Generator": torch.Generator,
    "numpy.random.Generator": np.random.Generator,
    "numpy.random.BitGenerator": np.random.BitGenerator,
    "numpy.random.RandomState": np.random.RandomState,
    "random.Random": random.Random,
}

# From a logger, all others can be reached; of an iterator, nothing can be.
_OPAQUE = (
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    slice,
    types.ModuleType,
    types.GeneratorType,
    types.CoroutineType,
    types.FrameType,
    types.CodeType,
    type(threading.Lock()),
    threading.Thread,
    subprocess.Popen,
    torch.Tensor,
    np.generic,
    io.IOBase.__mro__[1],  # the one of which files are, for all that the other says
    logging.Logger,
    logging.Handler,
    DataLoader,
    PreTrainedTokenizerBase,
    torch.optim.Optimizer,
    torch.optim.lr_scheduler.LRScheduler,
    Accelerator,
)
_OPAQUE_IDS = set(map(id, filter(None, _OPAQUE)))
_COMPILED_IDS = set(map(id, (types.MethodDescriptorType, types.WrapperDescriptorType, types.BuiltinFunctionType)))
# Not imported, as this module is among what they import, and workers need neither
_OWN = {
    "transformers.trainer_resume.session": "ExactResume",
    "transformers.trainer_callback": "CallbackHandler",
    "transformers.trainer": "Trainer",
}

_mro = type.__dict__["__mro__"].__get__
namespace_of = type.__dict__["__dict__"].__get__  # of a class, by name
qualified_name_of = type.__dict__["__qualname__"].__get__


def cached_by_identity(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A cache by what a class or a code object is, as to hash or to compare one may be a call of what is a user's."""
    results = {}

    @functools.wraps(function)
    def cached(key: Any) -> Any:
        if (entry := results.get(id(key))) is None:
            if len(results) >= MAX_CACHED:
                results.clear()
            # The key is kept, so that its address is not that of another.
            entry = results[id(key)] = (key, function(key))
        return entry[1]

    return cached


@cached_by_identity
def bases_of(cls: type) -> tuple[type, ...]:
    """A class and its bases, in the order in which it looks for what it has."""
    return tuple(_mro(cls))


def is_subclass(cls: type, base: type | None) -> bool:
    return any(candidate is base for candidate in bases_of(cls))


def lookup(cls: type, name: str) -> Any:
    """What a class has under a name, as it is."""
    return next((namespace_of(base)[name] for base in bases_of(cls) if name in namespace_of(base)), None)


def _imported(module: str, name: str) -> Any:
    """A class of a module, if that is imported."""
    return getattr(sys.modules.get(module), name, None)


@cached_by_identity
def kind_of(cls: type) -> str | None:
    """
    What an object of a class is: the kind of a state, "opaque", "trainer", "module", or `None` for one that is merely
    to be looked into.
    """
    bases = bases_of(cls)
    if any(base is random.SystemRandom for base in bases):  # which has no state
        return "opaque"
    for kind, generator in GENERATORS.items():
        if any(base is generator for base in bases):
            return kind
    if SeedableRandomSampler is not None and is_subclass(cls, SeedableRandomSampler):
        return "seed"  # from which it seeds its generator in every epoch
    own = [_imported(module, name) for module, name in _OWN.items()]
    if any(base is own[-1] for base in bases):
        return "trainer"
    if any(id(base) in _OPAQUE_IDS or any(base is other for other in own) for base in bases):
        return "opaque"
    if any(base is torch.nn.Module for base in bases):
        return "module"
    return "state_dict" if _is_stateful(cls) else None


def _is_stateful(cls: type) -> bool:
    # The state of an iterable dataset, and of what `datasets` makes one of, is its position.
    names = [qualified_name_of(base) for base in bases_of(cls)]
    of_datasets = [_imported("datasets.iterable_dataset", name) for name in names]
    is_iterable = any(base is IterableDataset or base is other for base, other in zip(bases_of(cls), of_datasets))
    return not is_iterable and has_state_methods(cls)


@cached_by_identity
def has_state_methods(cls: type) -> bool:
    """Whether `state_dict` can be called without arguments, and `load_state_dict` with one."""
    for name, arguments in (("state_dict", ("self",)), ("load_state_dict", ("self", "state"))):
        method = lookup(cls, name)  # not of the object, which may make it up when it is asked
        if kind_of_function(method) is None:
            return False
        try:
            inspect.signature(method, follow_wrapped=False).bind(*arguments)
        except TypeError:
            return False
        except ValueError:  # compiled code may not tell
            continue
    return True


def kind_of_function(value: Any) -> str | None:
    """Whether a value is a function of Python or a compiled one; `None` for one that only acts as if it was."""
    if type(value) is types.FunctionType:
        return "function"
    is_compiled = id(type(value)) in _COMPILED_IDS or qualified_name_of(type(value)) == "cython_function_or_method"
    return "compiled" if is_compiled else None


@cached_by_identity
def overrides_state(cls: type) -> bool:
    """Whether a class of modules has a state of its own, which is not that of its buffers alone."""
    methods = [name for name in namespace_of(torch.nn.Module) if name.endswith(("state_dict", "extra_state"))]
    has_own = any(lookup(cls, name) is not namespace_of(torch.nn.Module)[name] for name in methods)
    return has_own and has_state_methods(cls)


def is_of_the_process(value: Any) -> bool:
    """Whether `value` is a generator that is not the pipeline's."""
    return value is torch.default_generator or value is np.random.mtrand._rand or value is random._inst


@cached_by_identity
def _attribute_getters(cls: type) -> tuple[Callable | None, list[tuple[str, types.MemberDescriptorType]]]:
    """How to read the `__dict__` of an object, whatever its class has under that name, and its slots."""
    getter, slots = None, []
    for base in bases_of(cls):
        for name, value in namespace_of(base).items():
            is_slot = type(value) is types.MemberDescriptorType
            if name == "__dict__" and (is_slot or type(value) is types.GetSetDescriptorType):
                getter = getter or value.__get__
            elif is_slot and base is not types.FunctionType:
                slots.append((name, value))
    return getter, slots


def attributes_of(value: Any) -> dict[str, Any]:
    """What an object keeps in its `__dict__` and in slots."""
    getter, slots = _attribute_getters(type(value))
    attributes = {} if getter is None else dict(getter(value))
    for name, slot in slots:
        try:
            attributes.setdefault(name, slot.__get__(value))
        except AttributeError:  # it is empty
            continue
    return attributes


# What every module has, empty but for a few; and what a trainer has that is of the data pipeline
_OF_MODULES = frozenset(vars(torch.nn.Module()))
_HOOKS = frozenset(name for name in _OF_MODULES if name.endswith("_hooks"))
_OF_PIPELINE = frozenset({"train_dataset", "eval_dataset", "data_collator", "processing_class", "_train_dataloader"})


def parts_of(value: Any) -> dict[str, Any]:
    """The attributes of an object that it may keep something in; of a module, its modules and hooks are among them."""
    attributes, kind = attributes_of(value), kind_of(type(value))
    if kind == "trainer":
        return {name: part for name, part in attributes.items() if name not in _OF_PIPELINE}
    if not is_subclass(type(value), torch.nn.Module):
        return attributes
    parts = {name: part for name, part in attributes.items() if name not in _OF_MODULES or (name in _HOOKS and part)}
    return {**parts, **attributes.get("_modules", {})}


def is_model(value: Any) -> bool:
    """Whether `value` is a module with parameters, and not a transform."""
    modules, seen = [value], set()
    while modules:
        attributes = attributes_of(module := modules.pop())
        if id(module) in seen or not is_subclass(type(module), torch.nn.Module):
            continue
        seen.add(id(module))
        if any(parameter is not None for parameter in attributes.get("_parameters", {}).values()):
            return True
        modules.extend(attributes.get("_modules", {}).values())
    return False
