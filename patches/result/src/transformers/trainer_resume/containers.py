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
What is in containers that the search for the state of a data pipeline meets, and which of them hold data.

The containers are read as Python's own classes have them, whatever a subclass has in their place.
"""

import contextvars
import functools
import gc
import threading
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from .kinds import attributes_of, bases_of, cached_by_identity, kind_of, namespace_of, qualified_name_of


# A container with more entries holds data, and so does one that has something else at none of some evenly spread
# places.
MAX_CONTAINER_SIZE = 1000
NUM_PLACES = 64
NUM_INNER_PLACES = 8

# Most of the entries of most containers, which are told by their very type
_DATA = {type(None), bool, int, float, complex, str, bytes, bytearray, torch.Tensor, torch.nn.Parameter, range, slice}
_DATA |= {torch.dtype, torch.device, torch.Size, types.EllipsisType, object}
_DATA_IDS = frozenset(map(id, _DATA))
_KEYS = {str, int, bool, bytes, float, type(None)}
_KEY_IDS = frozenset(map(id, _KEYS))
_Cached = type(functools.lru_cache(print))


def is_data(value: Any, depth: int = 0) -> bool:
    """Whether there is no need to look into a value, as told without a call of anything of it."""
    cls = type(value)
    if id(cls) in _DATA_IDS:
        return True
    if cls is list or cls is tuple:
        # The samples of a dataset are many, and of one kind.
        if len(value) > NUM_PLACES or depth > 0:
            places = NUM_INNER_PLACES if depth > 0 else NUM_PLACES
            return depth < 4 and all(is_data(entry, depth + 1) for entry in value[:: 1 + len(value) // places])
        return all(id(type(entry)) in _DATA_IDS for entry in value)
    if cls is dict or cls is OrderedDict:
        if depth == 0:
            return not value
        return depth < 4 and len(value) <= NUM_PLACES and all(is_data(entry, depth + 1) for entry in value.values())
    if cls is np.ndarray:
        return value.dtype.kind != "O"
    return (cls is set or cls is frozenset or cls is deque) and not value


def _name_of_key(position: int, key: Any) -> str:
    if id(type(key)) in _KEY_IDS or (type(key) is tuple and all(id(type(entry)) in _KEY_IDS for entry in key)):
        return f"[{key!r}]"
    return f"[{type(key).__name__} {position}]"


def _num_different(entries: list) -> int:
    """How many of some entries to look into: of many of one class that have nothing but data, the first will do."""
    if len(entries) <= NUM_PLACES:
        return len(entries)
    cls, places = type(entries[0]), entries[:: 1 + len(entries) // NUM_PLACES]
    is_alike = all(type(entry) is cls and _holds_data(entry) for entry in places)
    return 1 if is_alike else len(entries)


def _holds_data(value: Any) -> bool:
    if reader_of(type(value)) is not None:
        return is_data(value, depth=1)
    attributes = attributes_of(value) if kind_of(type(value)) is None else {}
    return bool(attributes) and all(is_data(attribute, depth=1) for attribute in attributes.values())


def _of_dict(value: dict) -> Iterator[tuple[str, Any]]:
    if dict.__len__(value) <= MAX_CONTAINER_SIZE:
        # At once, as another thread may be adding some
        entries = [(*item, each) for each, item in enumerate(list(dict.items(value))) if not is_data(item[1])]
        for key, entry, position in entries[: _num_different([entry for _, entry, _ in entries])]:
            yield _name_of_key(position, key), entry


def _of_sequence(cls: type, value: Any) -> Iterator[tuple[str, Any]]:
    if cls.__len__(value) <= MAX_CONTAINER_SIZE and not is_data(entries := list(cls.__iter__(value))):
        for position, entry in enumerate(entries[: _num_different(entries)]):
            if not is_data(entry):
                yield f"[{position}]", entry


def _of_set(cls: type, value: Any) -> Iterator[tuple[str, Any]]:
    if cls.__len__(value) > MAX_CONTAINER_SIZE:
        return
    entries = [entry for entry in list(cls.__iter__(value)) if not is_data(entry)]
    names = [qualified_name_of(type(entry)) for entry in entries]
    for name, entry in sorted(zip(names, entries), key=lambda item: item[0]):
        if names.count(name) == 1:  # of several, another process has them in another order
            yield f"[{name}]", entry


def _of_array(value: np.ndarray) -> Iterator[tuple[str, Any]]:
    if np.ndarray.dtype.__get__(value).kind == "O" and np.ndarray.size.__get__(value) <= MAX_CONTAINER_SIZE:
        yield "", np.ndarray.tolist(value)


def _of_mapping_proxy(value: types.MappingProxyType) -> Iterator[tuple[str, Any]]:
    yield from (("", mapping) for mapping in gc.get_referents(value))  # which may be of a user's class


def _of_weak_reference(value: weakref.ref) -> Iterator[tuple[str, Any]]:
    yield "()", weakref.ref.__call__(value)


def _of_cache(value: Any) -> Iterator[tuple[str, Any]]:
    """
    What a function with a cache has returned. The cache is a dictionary among what the function refers to. If its size
    is limited, the values in there are entries of a list, and each key is among the rest, followed by what was
    returned.
    """
    if _Cached.cache_info(value).currsize > MAX_CONTAINER_SIZE:
        return
    attributes, referents = namespace_of(_Cached)["__dict__"].__get__(value), gc.get_referents(value)
    cache = next((each for each in reversed(referents) if type(each) is dict and each is not attributes), {})
    results = list(cache.items())
    if results and qualified_name_of(type(results[0][1])) == "_lru_list_elem":
        ids, others = {id(key) for key in list(cache)}, iter(referents)
        results = [(key, next(others, None)) for key in others if id(key) in ids]
    for position, (key, result) in enumerate(results):
        if not is_data(result):
            # Without the mark between the arguments and those with a name
            key = tuple(each for each in key if type(each) is not object) if type(key) is tuple else key
            yield f"(){_name_of_key(position, key)}", result


def _of_thread(value: threading.local) -> Iterator[tuple[str, Any]]:
    if type(value) is threading.local:  # a subclass may be initialised when it is asked
        attributes = dict(threading.local.__getattribute__(value, "__dict__"))
        yield from ((f".{name}", attribute) for name, attribute in attributes.items())


def _of_context(value: contextvars.ContextVar) -> Iterator[tuple[str, Any]]:
    yield ".get()", value.get(None)


_READERS = {
    dict: _of_dict,
    **{cls: functools.partial(_of_sequence, cls) for cls in (list, tuple, deque)},
    **{cls: functools.partial(_of_set, cls) for cls in (set, frozenset)},
    np.ndarray: _of_array,
    types.MappingProxyType: _of_mapping_proxy,
    weakref.ref: _of_weak_reference,
    _Cached: _of_cache,
    threading.local: _of_thread,
    contextvars.ContextVar: _of_context,
}
_READERS_BY_ID = {id(cls): reader for cls, reader in _READERS.items()}


@cached_by_identity
def reader_of(cls: type) -> Callable[[Any], Iterator[tuple[str, Any]]] | None:
    """Reads what may be or hold a generator from a container of a class, each with its part of a path."""
    return next((_READERS_BY_ID[id(base)] for base in bases_of(cls) if id(base) in _READERS_BY_ID), None)
