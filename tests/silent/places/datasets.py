"""What map-style datasets hide."""

import random
from collections import namedtuple
from dataclasses import dataclass, field

import numpy as np
import torch
from base import NUM_SAMPLES, Samples, place, sample
from torch.utils.data import ConcatDataset, Dataset, Subset

generator_of_module = random.Random(8)
Parts = namedtuple("Parts", "generator scale")


def helper():
    return generator_of_module.random()


def first_helper():
    return helper()


class Noisy(Samples):
    """Draws from its attribute `generator`."""

    def __init__(self, generator):
        self.generator = generator

    def draw(self):
        return self.generator.random()


@place
def dataset_counter():
    """A dataset counts its samples in an attribute."""

    class Counts(Samples):
        calls = 0

        def draw(self):
            self.calls += 1
            return self.calls / 100

    return {"dataset": Counts()}


@place
def dataset_torch_generator():
    """A dataset has a `torch.Generator` in an attribute."""

    class TorchNoise(Samples):
        def __init__(self):
            self.generator = torch.Generator().manual_seed(5)

        def draw(self):
            return torch.rand((), generator=self.generator).item()

    return {"dataset": TorchNoise()}


@place
def dataset_generator_by_class():
    """A dataset has a NumPy generator for every third sample, in an object array."""

    class ByClass(Samples):
        def __init__(self):
            self.generators = np.array([np.random.default_rng(seed) for seed in range(3)], dtype=object)

        def __getitem__(self, index):
            return sample(index, self.generators[index % 3].random())

    return {"dataset": ByClass()}


@place
def dataset_comprehension():
    """A comprehension in `__getitem__` uses a generator of the module."""

    class Comprehends(Samples):
        def __getitem__(self, index):
            return sample(index, sum([generator_of_module.random() for _ in range(2)]))

    return {"dataset": Comprehends()}


@place
def dataset_lambda():
    """A lambda within `__getitem__` uses a generator of the module."""

    class Sorts(Samples):
        def __getitem__(self, index):
            return sample(index, max([0.1, 0.2, 0.3], key=lambda _: generator_of_module.random()))

    return {"dataset": Sorts()}


@place
def dataset_helper():
    """A helper function of the module uses a generator of the module."""

    class Helped(Samples):
        def draw(self):
            return helper()

    return {"dataset": Helped()}


@place
def dataset_helper_of_helper():
    """A helper of a helper uses a generator of the module."""

    class Helped(Samples):
        def draw(self):
            return first_helper()

    return {"dataset": Helped()}


@place
def dataset_generator_in_named_tuple():
    """A dataset has a generator in a named tuple."""

    class Tuples(Samples):
        parts = None

        def draw(self):
            return self.parts.generator.random() * self.parts.scale

    dataset = Tuples()
    dataset.parts = Parts(np.random.default_rng(4), 0.5)
    return {"dataset": dataset}


@place
def dataset_dataclass():
    """A dataset is a dataclass, with a generator as a default and a count."""

    @dataclass
    class Data(Samples):
        generator: random.Random = field(default_factory=lambda: random.Random(3))
        calls: int = 0

        def draw(self):
            self.calls += 1
            return self.generator.random() + self.calls / 50

    return {"dataset": Data()}


@place
def dataset_shuffles_itself():
    """A dataset shuffles its list of samples when all were taken, with a generator of its own."""

    class Shuffles(Samples):
        def __init__(self):
            self.order, self.taken, self.generator = list(range(NUM_SAMPLES)), 0, random.Random(1)

        def __getitem__(self, index):
            if self.taken % NUM_SAMPLES == 5:
                self.generator.shuffle(self.order)
            self.taken += 1
            return sample(self.order[index])

    return {"dataset": Shuffles()}


@place
def dataset_curriculum():
    """A dataset becomes harder with each sample, by a number in a list of a dictionary."""

    class Harder(Samples):
        def __init__(self):
            self.state = {"difficulty": [0.0]}

        def draw(self):
            self.state["difficulty"][0] += 0.01
            return self.state["difficulty"][0]

    return {"dataset": Harder()}


@place
def dataset_wrapped_twice():
    """A subset of a concatenation has a dataset that counts."""

    class Counts(Samples):
        calls = 0

        def draw(self):
            self.calls += 1
            return self.calls / 100

    return {"dataset": Subset(ConcatDataset([Counts(), Noisy(random.Random(4))]), list(range(4, 20)))}


@place
def dataset_proxy():
    """A dataset that passes all attributes on with `__getattr__` wraps one with a generator in a closure."""

    def closes(generator):
        return lambda: (generator.random(),)

    class Proxy(Dataset):
        def __init__(self, wrapped):
            self.__dict__["wrapped"] = wrapped

        def __getattr__(self, name):
            return getattr(self.__dict__["wrapped"], name)

        def __len__(self):
            return NUM_SAMPLES

        def __getitem__(self, index):
            return self.wrapped[index]

    class Inner(Samples):
        draw_noise = staticmethod(closes(np.random.default_rng(3)))

        def draw(self):
            return self.draw_noise()[0]

    return {"dataset": Proxy(Inner())}
