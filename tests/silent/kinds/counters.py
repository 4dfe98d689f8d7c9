"""Numbers that count."""

import array
import collections
import functools
import itertools

from kinds.register import ROOM, kind


@kind
def counter():
    """an `itertools.count` in a closure"""
    numbers = itertools.count(1)
    return lambda: next(numbers) % ROOM / ROOM


@kind
def nonlocal_number():
    """a number that a nested function rebinds"""
    number = 0

    def draw():
        nonlocal number
        number += 1
        return number % ROOM / ROOM

    return draw


@kind
def attribute():
    """a number in an attribute of a callable object"""

    class Draws:
        number = 0

        def __call__(self):
            self.number += 1
            return self.number % ROOM / ROOM

    return Draws()


@kind
def slots():
    """a number in a slot"""

    class Draws:
        __slots__ = ("number",)

        def __init__(self):
            self.number = 0

        def __call__(self):
            self.number += 1
            return self.number % ROOM / ROOM

    return Draws()


@kind
def mutable_default():
    """a list that is the default of an argument"""

    def draw(numbers=[0]):  # noqa: B006
        numbers[0] += 1
        return numbers[0] % ROOM / ROOM

    return draw


@kind
def function_attribute():
    """a number in an attribute of a function"""

    def draw():
        draw.number += 1
        return draw.number % ROOM / ROOM

    draw.number = 0
    return draw


@kind
def class_attribute():
    """a number in an attribute of a class"""

    class Draws:
        number = 0

        def __call__(self):
            type(self).number += 1
            return self.number % ROOM / ROOM

    return Draws()


@kind
def counter_subclass():
    """counts in a `collections.Counter`"""
    counts = collections.Counter()

    def draw():
        counts["draws"] += 1
        return counts["draws"] % ROOM / ROOM

    return draw


@kind
def counting_decorator():
    """a number of calls in the closure of a decorator"""

    def counts(function):
        calls = [0]

        @functools.wraps(function)
        def wrapper():
            calls[0] += 1
            return function() + calls[0] % ROOM / ROOM

        return wrapper

    return counts(lambda: 0.0)


@kind
def shared_array():
    """a number in an `array.array` behind a memoryview"""
    view = memoryview(array.array("l", [0]))

    def draw():
        view[0] += 1
        return view[0] % ROOM / ROOM

    return draw


@kind
def state_in_string():
    """the state of a generator in an attribute, as text"""

    class Draws:
        state = "1"

        def __call__(self):
            self.state = str(int(self.state) * 1103515245 % 2**31 + 12345)
            return int(self.state) / 2**31 % 1

    return Draws()
