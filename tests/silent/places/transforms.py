"""What transforms hide."""

import functools
import random
import types

import numpy as np
import torch
from base import Samples, Transformed, place, sample
from torch import nn


class Owner:
    """An object of the module that has a generator."""

    def __init__(self, seed):
        self.generator = random.Random(seed)

    def __call__(self, value):
        return value + self.generator.random()


pipeline_of_module = [Owner(1), Owner(2)]
registry_of_module = {"noise": Owner(3)}
owner_of_module = Owner(4)


@place
def transform_list_of_module():
    """A function uses a list of the module whose objects have generators."""

    def transform(value):
        for each in pipeline_of_module:
            value = each(value) / 2
        return value

    return {"dataset": Transformed(transform)}


@place
def transform_registry_of_module():
    """A function looks up a transform in a dictionary of the module."""
    return {"dataset": Transformed(lambda value: registry_of_module["noise"](value))}


@place
def transform_object_of_module():
    """A method of a dataset uses an object of the module that has a generator."""

    class Uses(Samples):
        def draw(self):
            return owner_of_module(0.1)

    return {"dataset": Uses()}


@place
def transform_two_modules_with_one_name():
    """Two modules have one name and a generator each."""
    found = []
    for seed in (1, 2):
        module = types.ModuleType("augmentation")
        exec("import random\ngenerator = random.Random(0)\ndef draw(x): return x + generator.random()", vars(module))
        module.generator.seed(seed)
        found.append(module.draw)
    return {"dataset": Transformed(lambda value: found[0](value) + found[1](value) ** 2)}


@place
def transform_composed():
    """Functions are composed by `functools.reduce`, and one of them counts."""
    calls = {"n": 0}

    def count(value):
        calls["n"] += 1
        return value + calls["n"] / 100

    def compose(*functions):
        return functools.reduce(lambda outer, inner: lambda value: outer(inner(value)), functions)

    return {"dataset": Transformed(compose(count, abs))}


@place
def transform_partial_method():
    """A transform is a partial of a bound method of an object with a `RandomState`."""

    class Jitters:
        def __init__(self):
            self.state = np.random.RandomState(3)

        def jitter(self, scale, value):
            return value + scale * self.state.random_sample()

    return {"dataset": Transformed(functools.partial(Jitters().jitter, 0.5))}


@place
def transform_module_with_generator():
    """A transform is an `nn.Module` with a `torch.Generator` in an attribute."""

    class Noise(nn.Module):
        def __init__(self):
            super().__init__()
            self.generator = torch.Generator().manual_seed(2)

        def forward(self, value):
            return value + torch.rand((), generator=self.generator).item()

    return {"dataset": Transformed(nn.Sequential(nn.Identity(), Noise()))}


@place
def transform_running_mean():
    """A transform is an `nn.Module` whose buffer is the running mean."""

    class Centers(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(()))

        def forward(self, value):
            self.mean.mul_(0.9).add_(0.1 * value)
            return value - self.mean.item()

    return {"dataset": Transformed(Centers())}


@place
def transform_batch_norm():
    """A transform is a `BatchNorm1d` without parameters, which keeps running statistics."""
    norm = nn.BatchNorm1d(3, affine=False)

    class Normalizes(Samples):
        def __init__(self):
            self.norm = norm

        def __getitem__(self, index):
            self.norm(torch.stack([sample(index)["x"], sample(index + 1)["x"]]))
            return {"x": sample(index)["x"] - self.norm.running_mean}

    return {"dataset": Normalizes()}


@place
def transform_welford():
    """A transform keeps count, mean and deviation in plain attributes, and normalizes with them."""

    class Normalizes:
        count, mean, squares = 0, 0.0, 0.0

        def __call__(self, value):
            self.count += 1
            delta = value - self.mean
            self.mean += delta / self.count
            self.squares += delta * (value - self.mean)
            return delta / (1 + self.squares / self.count)

    return {"dataset": Transformed(Normalizes())}


@place
def transform_every_third():
    """A transform changes every third sample that it sees."""

    class Third:
        seen = 0

        def __call__(self, value):
            self.seen += 1
            return -value if self.seen % 7 == 0 else value

    return {"dataset": Transformed(Third())}


@place
def transform_alternates():
    """A transform swaps two functions at each call."""

    class Swaps:
        def __init__(self):
            self.first, self.second = (lambda value: value), (lambda value: value**2 + 1)

        def __call__(self, value):
            if value > 0.45:
                self.first, self.second = self.second, self.first
            return self.first(value)

    return {"dataset": Transformed(Swaps())}


@place
def transform_reseeds_itself():
    """A transform makes a new generator at each call, of a seed that it draws from the last."""

    class Reseeds:
        generator = random.Random(9)

        def __call__(self, value):
            self.generator = random.Random(self.generator.randrange(2**31))
            return value + self.generator.random()

    return {"dataset": Transformed(Reseeds())}
