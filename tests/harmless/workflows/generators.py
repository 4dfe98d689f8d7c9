"""Generators that the data make when they are first used, and other things that are set up with them."""

import random

import numpy as np
import torch
from pieces import Samples, make, sample, train_and_resume
from registry import workflow
from torch.utils.data import Dataset


class Lazy(Samples):
    """Makes its generator, and a table beside it, at the first sample."""

    rng = None

    def __getitem__(self, index):
        if self.rng is None:
            self.rng = np.random.default_rng(5)
            self.table = [float(number) for number in range(self.size)]
        return {"x": sample(index)["x"] * self.rng.random() + self.table[index]}


class LazyByName(Samples):
    """The same with `hasattr`, and a generator of PyTorch."""

    def __getitem__(self, index):
        if not hasattr(self, "generator"):
            self.generator = torch.Generator().manual_seed(5)
            self.table = torch.arange(self.size)
        return {"x": sample(index)["x"] * torch.rand((), generator=self.generator) + self.table[index]}


class LazyInAnother(Samples):
    """The same in an object of its own, with a generator of Python."""

    def __init__(self):
        super().__init__()
        self.transform = type("Transform", (), {})()

    def __getitem__(self, index):
        if "random" not in vars(self.transform):
            self.transform.random = random.Random(5)
            self.transform.scale = 2.0
        return {"x": sample(index)["x"] * self.transform.random.random() * self.transform.scale}


class LazyInDict(Samples):
    """The same in a dictionary."""

    def __init__(self):
        super().__init__()
        self.resources = {}

    def __getitem__(self, index):
        if "rng" not in self.resources:
            self.resources.update(rng=np.random.RandomState(5), scale=2.0)
        return {"x": sample(index)["x"] * self.resources["rng"].rand() * self.resources["scale"]}


class Dice(random.Random):
    """A subclass of `random.Random` with a constructor of its own and more state."""

    def __init__(self, sides, seed):
        self.sides = sides
        super().__init__(seed)

    def roll(self):
        return 1 + self.randrange(self.sides)


class LazyDice(Samples):
    """Makes its own kind of generator."""

    dice = None

    def __getitem__(self, index):
        if self.dice is None:
            self.dice = Dice(6, seed=5)
        return {"x": sample(index)["x"] * self.dice.roll()}


class TwoNames(Samples):
    """One generator, made late, has two names, and has to be one."""

    rng = alias = None

    def __getitem__(self, index):
        if self.rng is None:
            self.rng = self.alias = np.random.default_rng(5)
        if self.rng is not self.alias:
            raise AssertionError("there are two generators")
        return {"x": sample(index)["x"] * self.rng.random() + self.alias.random()}


class Validates(Samples):
    """Refuses every attribute but its own, and generators that it did not make."""

    def __init__(self):
        super().__init__()
        self.rng = None
        self._key = None

    def __setattr__(self, name, value):
        if name not in ("size", "rng", "_key"):
            raise AttributeError(f"no attribute {name}")
        if name == "rng" and value is not None and getattr(self, "_key", None) != "mine":
            raise TypeError("not mine")
        super().__setattr__(name, value)

    def __getitem__(self, index):
        if self.rng is None:
            self._key = "mine"
            self.rng = random.Random(5)
            self._key = None
        return {"x": sample(index)["x"] * self.rng.random()}


class Slotted(Dataset):
    """Has slots, of which one is filled at the first sample."""

    __slots__ = ("rng", "table")

    def __len__(self):
        return 8

    def __getitem__(self, index):
        try:
            rng = self.rng
        except AttributeError:
            rng = self.rng = random.Random(5)
            self.table = list(range(8))
        return {"x": sample(index)["x"] * rng.random() + self.table[index]}


class ByProperty(Samples):
    """A property makes it, and opens what belongs to it."""

    _rng = None

    @property
    def rng(self):
        if self._rng is None:
            self._rng = random.Random(5)
            self.opened = True
        return self._rng

    def __getitem__(self, index):
        value = self.rng.random()
        if not self.opened:
            raise AssertionError
        return {"x": sample(index)["x"] * value}


class Renewed(Samples):
    """Replaces its generator for every pass, which it counts by its samples."""

    rng = None
    count = 0

    def __getitem__(self, index):
        if self.count % self.size == 0:
            self.rng, self.table = random.Random(self.count), dict.fromkeys(range(self.size), 1.0)
        self.count += 1
        return {"x": sample(index)["x"] * self.rng.random() * self.table.pop(index, 1.0)}


KINDS = {
    kind.__name__: kind
    for kind in (
        Lazy,
        LazyByName,
        LazyInAnother,
        LazyInDict,
        LazyDice,
        TwoNames,
        Validates,
        Slotted,
        ByProperty,
        Renewed,
    )
}


def _train_and_resume(run, kind, workers):
    options = {"dataloader_num_workers": workers}
    steps = run.train(make(run, dataset=KINDS[kind](), **options))
    resumed = make(run, out="resumed", dataset=KINDS[kind](), **options)
    return [steps, run.resume(resumed, run.out / "checkpoint-2")]


@workflow(
    each=(
        "Lazy",
        "LazyByName",
        "LazyInAnother",
        "LazyInDict",
        "LazyDice",
        "TwoNames",
        "Validates",
        "Slotted",
        "ByProperty",
        "Renewed",
    )
)
def generator(run, kind):
    """A generator that is made late, in the main process, resumed within the first epoch."""
    return _train_and_resume(run, kind, workers=0)


@workflow(
    each=(
        "Lazy",
        "LazyByName",
        "LazyInAnother",
        "LazyInDict",
        "LazyDice",
        "TwoNames",
        "Validates",
        "Slotted",
        "ByProperty",
    )
)
def generator_in_workers(run, kind):
    """The same in two worker processes."""
    return _train_and_resume(run, kind, workers=2)


@workflow()
def generator_of_the_collator(run):
    """A collator object makes its generator and a table at the first batch."""

    class Collator:
        rng = None

        def __call__(self, samples):
            if self.rng is None:
                self.rng = random.Random(5)
                self.table = {"scale": 2.0}
            return {"x": torch.stack([item["x"] for item in samples]) * self.rng.random() * self.table["scale"]}

    steps = run.train(make(run, collator=Collator()))
    return [steps, run.resume(make(run, out="resumed", collator=Collator()), run.out / "checkpoint-2")]


@workflow()
def generator_of_the_system(run):
    """A generator that has no state: `random.SystemRandom`, and one whose methods raise."""

    class NoState(random.Random):
        def getstate(self):
            raise NotImplementedError("no state")

        setstate = getstate

    class Draws(Samples):
        system = random.SystemRandom()

        def __init__(self):
            super().__init__()
            self.own = NoState(3)

        def __getitem__(self, index):
            self.system.random()
            self.own.random()
            return super().__getitem__(index)

    return train_and_resume(run, dataset=Draws())


@workflow()
def generator_is_shared(run):
    """Dataset, collator and callback share a generator, which is seen in many places and stays one."""
    shared = np.random.default_rng(5)

    class Draws(Samples):
        def __init__(self):
            super().__init__()
            self.rngs = [shared, {"again": shared}]

        def __getitem__(self, index):
            if self.rngs[0] is not self.rngs[1]["again"]:
                raise AssertionError
            return {"x": sample(index)["x"] * shared.random()}

    def collate(samples, rng=shared):
        return {"x": torch.stack([item["x"] for item in samples]) * rng.random()}

    return run.train(make(run, dataset=Draws(), collator=collate))
