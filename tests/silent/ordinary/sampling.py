"""Ordinary samplers, and arguments of the Trainer that choose one."""

import random

import torch
from base import NUM_BATCHES, NUM_SAMPLES, Samples, loaded, ordinary, sample, sampled
from torch.utils.data import BatchSampler, RandomSampler, Sampler, SequentialSampler, WeightedRandomSampler


class Lengths(Samples):
    """Samples with token ids of different lengths."""

    def __getitem__(self, index):
        if index >= NUM_SAMPLES:
            raise IndexError(index)
        return {**sample(index), "input_ids": list(range(1 + index * 7 % 5))}


@ordinary
def sampler_weighted():
    """A `WeightedRandomSampler` that draws from the RNG of the process."""
    return sampled(lambda dataset: WeightedRandomSampler([1.0, 2.0] * (NUM_SAMPLES // 2), NUM_SAMPLES))


@ordinary
def sampler_weighted_with_generator():
    """A `WeightedRandomSampler` with a generator of its own."""
    generator = torch.Generator().manual_seed(2)
    return sampled(lambda dataset: WeightedRandomSampler([1.0, 2.0] * 8, NUM_SAMPLES, generator=generator))


@ordinary
def sampler_with_replacement():
    """A `RandomSampler` with replacement."""
    return sampled(lambda dataset: RandomSampler(dataset, replacement=True))


@ordinary
def sampler_sequential():
    """The sequential strategy of sampling."""
    return {"train_sampling_strategy": "sequential"}


@ordinary
def sampler_by_length():
    """The strategy of sampling that groups by length."""
    return {"train_sampling_strategy": "group_by_length", "dataset": Lengths()}


@ordinary
def sampler_with_set_epoch():
    """A sampler that seeds each epoch with its number."""

    class Shuffles(Sampler):
        epoch = 0

        def __init__(self, dataset):
            pass

        def __len__(self):
            return NUM_SAMPLES

        def __iter__(self):
            return iter(random.Random(self.epoch).sample(range(NUM_SAMPLES), NUM_SAMPLES))

        def set_epoch(self, epoch):
            self.epoch = epoch

    return sampled(Shuffles)


@ordinary
def sampler_with_data_seed():
    """A seed for the order of the data."""
    return {"data_seed": 5}


@ordinary
def batch_sampler_plain():
    """PyTorch's `BatchSampler` in a dataloader of the user's."""
    return loaded(batch_sampler=lambda dataset: BatchSampler(SequentialSampler(dataset), 2, False))


@ordinary
def batch_sampler_lazy():
    """A batch sampler that draws each batch from Python's RNG."""

    class Draws(Sampler):
        batch_size, drop_last = 2, False

        def __init__(self, dataset):
            pass

        def __len__(self):
            return NUM_BATCHES

        def __iter__(self):
            for _ in range(NUM_BATCHES):
                yield [random.randrange(NUM_SAMPLES), random.randrange(NUM_SAMPLES)]

    return loaded(batch_sampler=Draws)


@ordinary
def loader_with_worker_init():
    """A dataloader whose `worker_init_fn` seeds NumPy as its documentation shows."""

    def begin(id):
        import numpy as np

        np.random.seed(torch.initial_seed() % 2**32)

    return loaded(worker_init_fn=begin, shuffle=True)


@ordinary
def loader_with_generator():
    """A dataloader with a generator of its own."""
    return loaded(shuffle=True, generator=torch.Generator().manual_seed(3))
