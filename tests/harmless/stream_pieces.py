"""Iterable datasets with states of all kinds."""

import collections
import itertools

import torch
from pieces import Stream, sample
from torch.utils.data import IterableDataset

Position = collections.namedtuple("Position", ["epoch", "index"])


class TakesArguments(Stream):
    """Its states are asked for with the number of samples and workers, as a public library does."""

    def state_dict(self, num_samples, from_beginning):
        return {"num_samples": num_samples, "from_beginning": from_beginning}

    def load_state_dict(self, obj):
        raise AssertionError("there is no such state")


class RaisesBeforeItBegins(Stream):
    """It has no state before it is read."""

    iterator = None

    def __iter__(self):
        self.iterator = super().__iter__()
        return self.iterator

    def state_dict(self):
        if self.iterator is None:
            raise RuntimeError("not iterated yet")
        return {"size": self.size}

    def load_state_dict(self, state):
        self.size = state["size"]


class TellsItsEpoch(Stream):
    """Its state says nothing about the position within an epoch."""

    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def state_dict(self):
        return {"epoch": self.epoch}

    def load_state_dict(self, state):
        self.epoch = state["epoch"]


class TellsMoreLater(Stream):
    """Its state is empty at first and a namedtuple after some samples."""

    position = None

    def __iter__(self):
        start, self.position = (self.position.index if self.position else 0), None
        for index in range(start, self.size):
            self.position = Position(0, index + 1)
            yield sample(index)
        self.position = None

    def state_dict(self):
        return {"position": self.position if self.position and self.position.index > 3 else None}

    def load_state_dict(self, state):
        self.position = state["position"] and Position(*state["position"])


class CannotLoad(Stream):
    """It tells its state and cannot take it."""

    def state_dict(self):
        return {"position": 3}


class RefusesToLoad(CannotLoad):
    """It tells its state and raises when it is given back."""

    def load_state_dict(self, state):
        raise NotImplementedError("one day")


class RaisesAlways(RefusesToLoad):
    """Its base class says that states are not implemented."""

    def state_dict(self):
        raise NotImplementedError("one day")


class TellsObjects(Stream):
    """Its state holds what is not safe to load, and refers to what goes on living."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __iter__(self):
        for item in super().__iter__():
            self.seen.append(len(self.seen))
            yield item

    def state_dict(self):
        return {"seen": self.seen, "owner": self, "function": lambda: None, "tensor": torch.arange(3)}

    def load_state_dict(self, state):
        self.seen = list(state["seen"])


class Changes(Stream):
    """Its state has another type every time, and cannot be given back."""

    count = 0

    def state_dict(self):
        self.count += 1
        return [None, 3, "text", [1], {"a": {1, 2}}, Position(1, 2), object(), float("nan")][self.count % 8]

    def load_state_dict(self, state):
        raise TypeError("which of them?")


class Attribute(Stream):
    """What is called `state_dict` is no method."""

    state_dict = {"position": 0}
    load_state_dict = None


class Wrapper(IterableDataset):
    """Passes on every attribute to a stream, as wrappers of many libraries do."""

    def __init__(self):
        self.stream = Stream()

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def __iter__(self):
        return iter(self.stream)


class Endless(Stream):
    """It never ends, and has no length."""

    def __iter__(self):
        for index in itertools.count():
            yield sample(index)


class ReturnsItself(Stream):
    """It is its own iterator."""

    def __iter__(self):
        self.index = -1
        return self

    def __next__(self):
        self.index += 1
        if self.index >= self.size:
            raise StopIteration
        return sample(self.index)


class Sized(Stream):
    """It has a length."""

    def __len__(self):
        return self.size


KINDS = {
    kind.__name__: kind
    for kind in (
        TakesArguments,
        RaisesBeforeItBegins,
        TellsItsEpoch,
        TellsMoreLater,
        CannotLoad,
        RefusesToLoad,
        RaisesAlways,
        TellsObjects,
        Changes,
        Attribute,
        Wrapper,
        Endless,
        ReturnsItself,
        Sized,
    )
}
