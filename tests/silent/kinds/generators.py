"""Generators, where nobody looks for them."""

import functools
import random
import types

import numpy as np
import torch

from kinds.register import kind


@kind
def torch_generator():
    """a `torch.Generator` in a closure"""
    generator = torch.Generator().manual_seed(11)
    return lambda: torch.rand((), generator=generator).item()


@kind
def numpy_generator():
    """the bound method of a `numpy.random.Generator`"""
    return np.random.default_rng(11).random


@kind
def numpy_random_state():
    """a `RandomState` in the keywords of a partial"""
    return functools.partial(lambda state: float(state.random_sample()), state=np.random.RandomState(11))


@kind
def python_random():
    """the bound method of a `random.Random`"""
    return random.Random(11).random


@kind
def slots_with_generator():
    """a `random.Random` in a slot"""

    class Draws:
        __slots__ = ("generator",)

        def __init__(self):
            self.generator = random.Random(12)

        def __call__(self):
            return self.generator.random()

    return Draws()


@kind
def function_attribute_with_generator():
    """a `random.Random` in an attribute of a function"""

    def draw():
        return draw.generator.random()

    draw.generator = random.Random(14)
    return draw


@kind
def class_attribute_with_generator():
    """a `random.Random` in an attribute of a class"""

    class Draws:
        generator = random.Random(15)

        def __call__(self):
            return self.generator.random()

    return Draws()


@kind
def static_method():
    """a NumPy generator in an attribute of a class that a static method uses"""

    class Draws:
        generator = np.random.default_rng(16)

        @staticmethod
        def draw():
            return Draws.generator.random()

    return Draws.draw


@kind
def dict_subclass():
    """a `random.Random` in an attribute of a subclass of `dict`"""

    class Config(dict):
        pass

    config = Config(a=1)
    config.generator = random.Random(17)
    return lambda: config.generator.random()


@kind
def list_subclass():
    """a NumPy generator in an attribute of a subclass of `list`"""

    class Names(list):
        pass

    names = Names("abc")
    names.generator = np.random.default_rng(18)
    return lambda: names.generator.random()


@kind
def object_array():
    """a `random.Random` in an object array"""
    generators = np.array([random.Random(19), None], dtype=object)
    return lambda: generators[0].random()


@kind
def generator_in_set():
    """a `random.Random` in a set"""
    generators = {random.Random(20)}
    return lambda: next(iter(generators)).random()


@kind
def generator_in_keys():
    """a `random.Random` that is the key of a dictionary"""
    generators = {random.Random(21): None}
    return lambda: next(iter(generators)).random()


@kind
def mapping_proxy():
    """a `random.Random` behind a `MappingProxyType`"""
    proxy = types.MappingProxyType({"generator": random.Random(22)})
    return lambda: proxy["generator"].random()


@kind
def cached_factory():
    """a `random.Random` that an `lru_cache` has made"""

    @functools.lru_cache
    def generator(seed):
        return random.Random(seed)

    return lambda: generator(26).random()


@kind
def cached_property():
    """a `random.Random` that a `cached_property` makes"""

    class Draws:
        @functools.cached_property
        def generator(self):
            return random.Random(27)

        def __call__(self):
            return self.generator.random()

    return Draws()


@kind
def private_property():
    """a `random.Random` that a property gives from a mangled name"""

    class Draws:
        def __init__(self):
            self.__generator = random.Random(28)

        @property
        def generator(self):
            return self.__generator

        def __call__(self):
            return self.generator.random()

    return Draws()


@kind
def decorator():
    """a NumPy generator in the closure of a decorator"""

    def adds_noise(function, generator):
        @functools.wraps(function)
        def wrapper():
            return function() + generator.random() / 2

        return wrapper

    return adds_noise(lambda: 0.1, np.random.default_rng(29))


@kind
def bare_bit_generator():
    """a NumPy bit generator that is asked for raw words"""
    bits = np.random.PCG64(32)
    return lambda: bits.random_raw() / 2**64


@kind
def many_generators():
    """two thousand instances of `random.Random` in a list, of which one is used after the other"""
    generators = [random.Random(seed) for seed in range(2000)]
    numbers = random.Random(34)
    return lambda: generators[1500 + int(numbers.random() * 3)].random()


@kind
def long_dictionary():
    """a NumPy generator in a dictionary of two thousand entries"""
    entries = {name: name for name in range(2000)}
    entries["generator"] = np.random.default_rng(35)
    return lambda: entries["generator"].random()
