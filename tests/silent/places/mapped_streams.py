"""What iterable datasets of others hide, and those that wrap another."""

import itertools
import random

import datasets
import numpy as np
import torch
from base import NUM_SAMPLES, Stream, place, sample, shares

OWNER = "streams"


@place
def stream_wrapped():
    """A stream wraps one that counts."""

    class Inner(Stream):
        calls = 0

        def draw(self):
            self.calls += 1
            return self.calls / 100

    class Outer(Stream):
        def __init__(self):
            self.inner = Inner()

        def __iter__(self):
            return iter(each for each in self.inner if each["x"][0] != 0.3)

    return {"dataset": Outer()}


@place
def stream_state_dict_of_pass():
    """A stream's `state_dict` has the pass that it is in, and not what it has counted."""

    class Forgets(Stream):
        passes, calls = 0, 0

        def __iter__(self):
            self.passes += 1
            return super().__iter__()

        def draw(self):
            self.calls += 1
            return self.calls / 100

        def state_dict(self):
            return {"passes": self.passes}

        def load_state_dict(self, state):
            self.passes = state["passes"]

    return {"dataset": Forgets()}


@place
def stream_endless():
    """A stream is one Python generator for all passes, with more than they take."""

    class Endless(Stream):
        def __init__(self):
            self.samples = (sample(index % 13, index % 7 / 7) for index in range(400))

        def __iter__(self):
            return self.samples

    return {"dataset": Endless()}


@place
def stream_set_epoch():
    """A stream seeds each epoch with its number, which workers that persist are not told."""

    class Shuffles(Stream):
        epoch = 0

        def set_epoch(self, epoch):
            self.epoch = epoch

        def __iter__(self):
            order = random.Random(self.epoch).sample(range(NUM_SAMPLES), NUM_SAMPLES)
            for index in shares():
                yield sample(order[index])

    return {"dataset": Shuffles()}


@place
def stream_of_datasets_counts():
    """A mapped `datasets.IterableDataset` has a function that counts."""
    numbers = itertools.count()

    def add(row):
        return {"x": [*row["x"], next(numbers) % 50 / 50]}

    def generate():
        for index in range(NUM_SAMPLES):
            yield {"x": [index / 10, index % 3 / 10]}

    stream = datasets.IterableDataset.from_generator(generate).map(add)
    return {"dataset": stream, "max_steps": 16, "collator": _stack_lists}


@place
def stream_of_datasets_noise():
    """A mapped `datasets.IterableDataset` has a function with a generator in a closure."""
    generator = np.random.default_rng(5)

    def add(row):
        return {"x": [*row["x"], generator.random()]}

    def generate():
        for index in range(NUM_SAMPLES):
            yield {"x": [index / 10, index % 3 / 10]}

    stream = datasets.IterableDataset.from_generator(generate).map(add)
    return {"dataset": stream, "max_steps": 16, "collator": _stack_lists}


def _stack_lists(rows):
    return {"x": torch.tensor([row["x"] for row in rows])}
