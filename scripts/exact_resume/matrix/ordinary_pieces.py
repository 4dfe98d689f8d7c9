"""Datasets and a collator that hold generators and buffers as ordinary code does."""

import functools
import random
from collections.abc import Callable

import numpy as np
import torch

from exact_resume.matrix import pieces
from exact_resume.matrix.stateful_pieces import KINDS, OwnNoise

_augmentations: list[OwnNoise] = []
_rng = random.Random()


class Samples(pieces.NoisyDataset):
    """Draws from a pipeline of its module in a comprehension, in a function that it calls, and from its class."""

    generator = np.random.default_rng()

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        sample = super().__getitem__(index)
        drawn = [augment(torch.zeros(())) for augment in _augmentations]
        sample["x"] = sample["x"] + sum(drawn) + _shift() + self.generator.random()
        return sample


def _shift() -> float:
    return _rng.random()


def samples(size: int) -> Samples:
    """As a new process would make it."""
    _augmentations[:] = [OwnNoise(kind, seed) for seed, kind in enumerate(KINDS)]
    _rng.seed(11)
    Samples.generator.bit_generator.state = np.random.default_rng(17).bit_generator.state
    return Samples(size)


def decorated_collator() -> Callable:
    """A collator within a decorator, which draws from what a cached factory has made."""

    @functools.lru_cache
    def generator(seed: int) -> random.Random:
        return random.Random(seed)

    def noisy(function: Callable) -> Callable:
        @functools.wraps(function)
        def collate(samples):
            batch = function(samples)
            return {**batch, "x": batch["x"] + generator(19).random()}

        return collate

    return noisy(pieces.stack)


class BufferTransform(torch.nn.Module):
    """A transform whose buffer follows what it has seen; nothing of it is in a checkpoint."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.mean += 0.1 * (x.mean() - self.mean)
        return x - self.mean


class BufferDataset(pieces.NoisyDataset):
    """Has such a transform."""

    def __init__(self, *args):
        super().__init__(*args)
        self.transform = BufferTransform()

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        sample = super().__getitem__(index)
        return {**sample, "x": self.transform(sample["x"])}
