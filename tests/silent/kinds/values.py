"""Values that the next one is made of, and iterators."""

import collections
import functools
import heapq
import itertools
import random

import numpy as np
import torch
from torch import nn

from kinds.register import ROOM, kind


@kind
def rotating_queue():
    """a deque that is rotated"""
    queue = collections.deque(number / ROOM for number in range(ROOM))

    def draw():
        queue.rotate(1)
        return queue[0]

    return draw


@kind
def cache():
    """the last values in a list, of which the next is made"""
    values = [0.1, 0.7, 0.3]

    def draw():
        values.append((values[-1] + 0.37 * values[-3] + 0.11) % 1)
        return values[-1]

    return draw


@kind
def stack():
    """a shuffled list that is popped, and filled anew"""
    values = []

    def draw():
        if not values:
            values.extend(random.Random(3).sample(range(ROOM), ROOM))
        return values.pop() / ROOM

    return draw


@kind
def heap():
    """a heap of which the smallest is replaced"""
    values = [0.1, 0.25, 0.5]

    def draw():
        return heapq.heapreplace(values, (values[0] * 1.7 + 0.05) % 1)

    return draw


@kind
def numpy_array():
    """an array that is changed in place"""
    values = np.array([0.1, 0.2])

    def draw():
        values[:] = (values[::-1] * 1.3 + 0.07) % 1
        return float(values[0])

    return draw


@kind
def tensor():
    """a tensor that is changed in place"""
    value = torch.tensor(0.1)
    return lambda: value.mul_(1.3).add_(0.07).remainder_(1).item()


@kind
def module_buffer():
    """a buffer of an `nn.Module`"""

    class Draws(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("value", torch.tensor(0.1))

        def forward(self):
            return self.value.mul_(1.3).add_(0.07).remainder_(1).item()

    return Draws()


@kind
def hidden_buffer():
    """a non-persistent buffer of an `nn.Module`"""

    class Draws(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("value", torch.tensor(0.1), persistent=False)

        def forward(self):
            return self.value.mul_(1.3).add_(0.07).remainder_(1).item()

    return Draws()


@kind
def cycle():
    """an `itertools.cycle`"""
    numbers = itertools.cycle(number / ROOM for number in range(ROOM))
    return lambda: next(numbers)


@kind
def python_generator():
    """a Python generator, whose frame has a number"""

    def numbers():
        for number in itertools.count():
            yield number % ROOM / ROOM

    return functools.partial(next, numbers())


@kind
def python_generator_with_random():
    """a Python generator, whose frame has a `random.Random`"""

    def numbers():
        generator = random.Random(13)
        while True:
            yield generator.random()

    return numbers().__next__


@kind
def mapped_iterator():
    """a `map` over an endless iterator"""
    numbers = map(lambda number: number % ROOM / ROOM, itertools.count())
    return lambda: next(numbers)


@kind
def torch_sobol():
    """a Sobol engine, which counts its points"""
    engine = torch.quasirandom.SobolEngine(1, scramble=True, seed=33)
    return lambda: engine.draw(1).item()
