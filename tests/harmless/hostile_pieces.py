"""Objects in a data pipeline that do not want to be looked at."""

import contextvars
import ctypes
import functools
import logging
import queue
import sqlite3
import tempfile
import threading
import types
import weakref
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import numpy as np
import torch
from pieces import Model, Samples, stack


class RaisesForNames:
    """Has slots, and raises for every name that it does not have, as a client without a connection does."""

    __slots__ = ("value", "connection")

    def __getattr__(self, name):
        raise ConnectionError(f"cannot ask for {name}")


class MakesUpNames:
    """Has slots, and an answer for every name."""

    __slots__ = ("value", "unset")

    def __getattr__(self, name):
        return MakesUpNames()


class AnswersEverything:
    """Has an answer for every name, which can be called."""

    def __getattr__(self, name):
        return AnswersEverything()

    def __call__(self, *arguments, **options):
        return self


class RaisesForAll:
    """Raises for every attribute, also for `__dict__` and `__class__`."""

    def __getattribute__(self, name):
        raise RuntimeError(f"do not touch {name}")


class LiesAboutItsClass:
    """Says that it is a generator."""

    @property
    def __class__(self):
        return torch.Generator


class OwnDict:
    """Its `__dict__` is a property that raises."""

    @property
    def __dict__(self):
        raise RuntimeError("no dictionary")


class BadKey:
    """A key of a dictionary that has no `repr`."""

    def __repr__(self):
        raise ValueError("no repr")

    __str__ = __repr__


class BadBool:
    """Cannot be compared, hashed, counted, or taken for true."""

    def _raise(self, *arguments):
        raise ValueError("ambiguous")

    __eq__ = __bool__ = __len__ = __iter__ = __contains__ = __hash__ = __getitem__ = _raise


class LazyItems(dict):
    """Makes its entries when they are asked for, without end, and none that it would hold."""

    def items(self):
        number = 0
        while True:
            yield f"entry {number}", [number]
            number += 1

    def values(self):
        return (value for _, value in self.items())

    def __iter__(self):
        return (name for name, _ in self.items())

    keys = __iter__


class ReadsWhenAsked(dict):
    """Asks a closed service for its entries."""

    def items(self):
        raise ConnectionError("closed")

    values = keys = __iter__ = __len__ = items


class EndlessList(list):
    """A sequence that makes its entries."""

    def __iter__(self):
        while True:
            yield [object()]

    def __len__(self):
        return 3


class WithoutInit(torch.nn.Module):
    """A module whose constructor does not call that of `nn.Module`."""

    def __init__(self):
        pass

    def forward(self, x):
        return x


class CountsDown:
    """Each object makes the next one when it is looked at."""

    @property
    def child(self):
        return CountsDown()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return CountsDown()


class RaisingDescriptor:
    """A class attribute that raises when it is read."""

    class Raises:
        def __get__(self, instance, owner):
            raise RuntimeError("not now")

    state = Raises()


class RaisingStates:
    """Offers states, and raises."""

    def state_dict(self):
        raise RuntimeError("no state")

    def load_state_dict(self, state):
        raise RuntimeError("no state")


class NeedsArguments:
    """Offers states that have to be asked for in a way of its own."""

    def state_dict(self, prefix, keep):
        raise AssertionError("not called with both")

    def load_state_dict(self):
        raise AssertionError("called without a state")


def _cycle():
    entries = []
    entries.append({"entries": entries, "more": (entries,)})
    return entries


def _deep():
    nested = []
    for _ in range(100_000):
        nested = [nested]
    _KEPT.append(nested)  # freeing it would need a deep stack, too
    return nested


def _proxied():
    target = Samples()
    return types.SimpleNamespace(proxy=weakref.proxy(target), ref=weakref.ref(target), dead=weakref.proxy(Samples()))


_KEPT = []
KINDS = {
    "slots, getattr raises": RaisesForNames,
    "slots, getattr makes up": MakesUpNames,
    "answers everything": AnswersEverything,
    "mock": mock.MagicMock,
    "getattribute raises": RaisesForAll,
    "lies about its class": LiesAboutItsClass,
    "own __dict__": OwnDict,
    "key without repr": lambda: {BadKey(): [1], "other": {BadKey(): 2}},
    "ambiguous": lambda: [BadBool(), {"array": np.arange(3)}],
    "lazy items": LazyItems,
    "items raise": ReadsWhenAsked,
    "endless list": lambda: EndlessList([1, 2, 3]),
    "module without init": WithoutInit,
    "children without end": CountsDown,
    "raising descriptor": RaisingDescriptor,
    "raising states": RaisingStates,
    "states with arguments": NeedsArguments,
    "cycle": _cycle,
    "deep list": _deep,
    "weak references": _proxied,
    "lock": threading.Lock,
    "local": threading.local,
    "queue": queue.Queue,
    "pool": lambda: ThreadPoolExecutor(1),
    "database": lambda: sqlite3.connect(":memory:"),
    "file": tempfile.TemporaryFile,
    "generator": lambda: (number for number in range(3)),
    "coroutine": lambda: types.coroutine(lambda: (yield))(),
    "cached": lambda: functools.lru_cache(lambda number: number),
    "partials": lambda: functools.partial(functools.partial(stack), [1]),
    "context variable": lambda: contextvars.ContextVar("name", default=(1,)),
    "logger": lambda: logging.getLogger("hostile"),
    "memory": lambda: memoryview(bytearray(9)),
    "c struct": lambda: ctypes.create_string_buffer(9),
    "object array": lambda: np.full(3, {"a": 1}, dtype=object),
    "class": lambda: Samples,
    "metaclass": lambda: type("Meta", (type,), {"__getattr__": lambda cls, name: 1 / 0})("Odd", (), {}),
    "module": lambda: types,
    "model": Model,
    "optimizer": lambda: torch.optim.SGD(Model().parameters(), lr=0.1),
    "loader": lambda: torch.utils.data.DataLoader(Samples(), num_workers=2),
    "meta tensor": lambda: torch.empty(3, device="meta"),
    "large number": lambda: 10**100_000,
}
