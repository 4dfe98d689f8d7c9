"""Datasets, collators and samplers that keep random number generators, or other state, of their own."""

import random

import numpy as np
import torch
from torch.utils.data import Sampler, get_worker_info

from exact_resume.matrix import pieces

KINDS = ("torch", "numpy", "numpy_legacy", "python")


def make_generator(kind: str, seed: int):
    """A generator of one of `KINDS`."""
    if kind == "torch":
        return torch.Generator().manual_seed(seed)
    return {"numpy": np.random.default_rng, "numpy_legacy": np.random.RandomState, "python": random.Random}[kind](seed)


def draw_from(generator) -> float:
    """A number from a generator of any kind."""
    if isinstance(generator, torch.Generator):
        return torch.randn((), generator=generator).item()
    return generator.gauss(0, 1) if isinstance(generator, random.Random) else generator.normal()


class OwnNoise:
    """A transform with a generator, nested as transforms are in those that compose them."""

    def __init__(self, kind: str, seed: int):
        self.options = {"noise": [make_generator(kind, seed)]}

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x + draw_from(self.options["noise"][0])


class OwnNoiseDataset(pieces.NoisyDataset):
    """
    Adds noise from transforms that own generators, one of each of `kinds`.

    Args:
        size: Number of samples.
        kinds: A subset of `KINDS`.
        sources: The global RNGs drawn from as well.
    """

    def __init__(self, size: int, kinds: tuple[str, ...] = KINDS, sources: tuple[str, ...] = ()):
        super().__init__(size, sources)
        self.transforms = [OwnNoise(kind, seed) for seed, kind in enumerate(kinds)]

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        sample = super().__getitem__(index)
        for transform in self.transforms:
            sample["x"] = transform(sample["x"])
        return sample


module_generator = np.random.default_rng(0)


class ModuleNoiseDataset(pieces.NoisyDataset):
    """Adds noise from a generator that its module keeps."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        sample = super().__getitem__(index)
        return {**sample, "x": sample["x"] + module_generator.normal()}


def module_noise_dataset(size: int) -> ModuleNoiseDataset:
    """As a new process would make it."""
    module_generator.bit_generator.state = np.random.default_rng(0).bit_generator.state
    return ModuleNoiseDataset(size)


class LazyCollator:
    """
    Masks features with a generator that it makes for its first batch, seeded by worker, as the masking collators do.

    Args:
        kind: One of `KINDS`.
    """

    def __init__(self, kind: str):
        self.kind = kind
        self.generator = None

    def __call__(self, samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        if self.generator is None:
            worker = get_worker_info()
            self.generator = make_generator(self.kind, 3 + (worker.id if worker is not None else 0))
        batch = pieces.stack(samples)
        batch["x"] = batch["x"] * draw_from(self.generator)
        return batch


def closure_collator():
    """A collator whose generator is in a closure."""
    generator = random.Random(7)

    def collate(samples):
        batch = pieces.stack(samples)
        batch["x"] = batch["x"] + generator.random()
        return batch

    return collate


class CurriculumCollator:
    """Adds more noise the more batches it has seen; it tells its state, as any object of a pipeline can."""

    def __init__(self):
        self._num_batches = [0]

    def __call__(self, samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        batch = pieces.stack(samples)
        self._num_batches[0] += 1
        batch["x"] = batch["x"] + self._num_batches[0] / 10
        return batch

    def state_dict(self) -> dict[str, int]:
        """What has to be kept."""
        return {"num_batches": self._num_batches[0]}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Inverse of `state_dict`."""
        self._num_batches[0] = state_dict["num_batches"]


def seed_dataset(worker_id: int) -> None:
    """A `worker_init_fn` that gives the dataset of a worker a generator of its own."""
    info = get_worker_info()
    info.dataset.transforms = [OwnNoise(kind, info.seed % 2**32) for kind in KINDS]


class OwnOrderSampler(Sampler):
    """
    Draws indices one by one, from a generator of its own or else from the global RNG.

    Args:
        size: Number of samples.
        kind: One of `KINDS`, or `None` for PyTorch's global RNG.
    """

    def __init__(self, size: int, kind: str | None = None):
        self.size = size
        self.generator = None if kind is None else make_generator(kind, 11)

    def __len__(self) -> int:
        return self.size

    def __iter__(self):
        for _ in range(self.size):
            if self.generator is None:
                yield torch.randint(self.size, ()).item()
            elif isinstance(self.generator, torch.Generator):
                yield torch.randint(self.size, (), generator=self.generator).item()
            else:
                yield int(abs(draw_from(self.generator)) * 1000) % self.size


class EpochBatchSampler:
    """Batches whose order depends on the epoch that it is told."""

    def __init__(self, size: int, batch_size: int):
        self.size = size
        self.batch_size = batch_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch is next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.size // self.batch_size)

    def __iter__(self):
        order = list(range(self.size))
        random.Random(self.epoch).shuffle(order)
        yield from (order[start : start + self.batch_size] for start in range(0, self.size, self.batch_size))
