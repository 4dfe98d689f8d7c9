"""How calls are timed where they are made, each without the timed calls within it, here and in forks."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

CALIBRATIONS = 5000


class _Steps:
    """An iterator whose every step is a call of a function."""

    def __init__(self, function: Callable[[], Any]):
        self.function = function

    def __iter__(self):
        return self

    def __next__(self):
        return self.function()


class Stopwatch:
    """
    Times calls within calls, and notes of each what is not within another.

    Args:
        num_processes: How many processes there are: this one, and those that are forked from it.
        num_kinds: How many kinds of calls there are, at least three.
        most: How many calls of a kind a process may make.

    Attributes:
        process: Which of the processes this is.
    """

    def __init__(self, num_processes: int, num_kinds: int, most: int):
        # In memory that all of them share.
        shape = num_processes, num_kinds
        self._times = torch.zeros(*shape, max(most, CALIBRATIONS), dtype=torch.float64).share_memory_().numpy()
        self._counts = torch.zeros(*shape, dtype=torch.int64).share_memory_().numpy()
        self.process = 0
        self._inner = [0.0]  # what is to be taken off each call that is running
        self._within = self._around = 0.0

    def wrap(self, kind: int | None, function: Callable) -> Callable:
        """Return `function`, timed; without a kind, what it takes is only taken off that of its caller."""

        def timed(*args, **kwargs):
            begin = time.perf_counter()
            self._inner.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                taken = time.perf_counter() - begin
                own = taken - self._inner.pop() - self._within
                self._inner[-1] += taken + self._around
                if kind is not None:
                    row = self.process, kind
                    self._times[(*row, self._counts[row])] = own
                    self._counts[row] += 1

        return timed

    def wrap_generator(self, kind: int, function: Callable) -> Callable:
        """The same for a generator of something and an iterator, without the steps of that iterator."""

        def make(owner, iterator):
            return _Steps(self.wrap(kind, function(owner, _Steps(self.wrap(None, iterator.__next__))).__next__))

        return make

    def calibrate(self) -> tuple[float, float]:
        """Take off from now on what timing a call takes, within it and in its caller; return both in seconds."""
        inner = self.wrap(0, lambda: None)
        outer, alone = self.wrap(1, lambda: inner()), self.wrap(2, lambda: None)
        for _ in range(CALIBRATIONS):
            outer()
            alone()
        within, calling = (statistics.median(self.times(kind, 0)) for kind in (2, 1))
        self._counts[:] = 0
        self._within, self._around = within, calling - within
        return self._within, self._around

    def times(self, kind: int, *processes: int) -> list[float]:
        """The seconds of each call, in these processes."""
        return [
            taken
            for process in processes
            for taken in self._times[process, kind, : self._counts[process, kind]].tolist()
        ]
