"""Ordinary datasets, transforms, collators and models."""

import itertools
import random
import time

import datasets
import numpy as np
import torch
from base import NUM_SAMPLES, Model, Samples, Transformed, noisy, ordinary, sample, stack
from torch import nn
from torch.utils.data import ConcatDataset, Subset, TensorDataset
from transformers import Trainer, TrainerCallback, default_data_collator


def plain_rows():
    return [{"x": [index / 10, index % 3 / 10, 0.5]} for index in range(NUM_SAMPLES)]


def stack_lists(rows):
    return {"x": torch.tensor([row["x"] for row in rows])}


@ordinary
def plain():
    """Fixed samples."""
    return {}


@ordinary
def list_of_dictionaries():
    """A list is the dataset."""
    return {"dataset": plain_rows(), "collator": stack_lists}


@ordinary
def tensor_dataset():
    """A `TensorDataset`."""
    return {
        "dataset": TensorDataset(torch.rand(NUM_SAMPLES, 3)),
        "collator": lambda rows: {"x": torch.cat([row[0][None] for row in rows])},
    }


@ordinary
def subsets():
    """A subset of a concatenation."""
    return {"dataset": Subset(ConcatDataset([Samples(), Samples()]), list(range(5, 21)))}


@ordinary
def default_collator():
    """The collate function that a Trainer has without another."""
    return {"collator": default_data_collator}


@ordinary
def noise_of_torch():
    """A dataset draws from PyTorch's RNG."""

    class Noisy(Samples):
        def draw(self):
            return torch.rand(()).item()

    return {"dataset": Noisy()}


@ordinary
def noise_of_python_and_numpy():
    """A dataset draws from Python's RNG, and a collator from NumPy's."""

    class Noisy(Samples):
        def draw(self):
            return random.gauss(0, 1)

    return {"dataset": Noisy(), "collator": lambda samples: noisy(samples, np.random.standard_normal())}


@ordinary
def noise_by_index():
    """A dataset seeds a generator with the index of the sample."""

    class Noisy(Samples):
        def __getitem__(self, index):
            return sample(index, np.random.default_rng(index).random())

    return {"dataset": Noisy()}


@ordinary
def noise_of_own_generator():
    """A dataset has a NumPy generator in an attribute."""

    class Noisy(Samples):
        def __init__(self):
            self.generator = np.random.default_rng(5)

        def draw(self):
            return self.generator.random()

    return {"dataset": Noisy()}


@ordinary
def counter_with_state_dict():
    """A transform counts, and has a `state_dict` and a `load_state_dict`."""

    class Counts:
        calls = 0

        def __call__(self, value):
            self.calls += 1
            return value + self.calls / 100

        def state_dict(self):
            return {"calls": self.calls}

        def load_state_dict(self, state):
            self.calls = state["calls"]

    return {"dataset": Transformed(Counts())}


@ordinary
def collator_with_state_dict():
    """A collator mixes with the last batch, and keeps that in its `state_dict`."""

    class Mixes:
        def __init__(self):
            self.last = torch.zeros(2, 3)

        def __call__(self, samples):
            batch = stack(samples)["x"]
            mixed, self.last = batch + self.last / 2, batch
            return {"x": mixed}

        def state_dict(self):
            return {"last": self.last}

        def load_state_dict(self, state):
            self.last = state["last"]

    return {"collator": Mixes()}


@ordinary
def cache_of_fixed_samples():
    """A dataset keeps samples that are always the same."""

    class Caches(Samples):
        def __init__(self):
            self.kept, self.hits = {}, 0

        def __getitem__(self, index):
            self.hits += index in self.kept
            return self.kept.setdefault(index, sample(index))

    return {"dataset": Caches()}


@ordinary
def statistics_of_no_effect():
    """A dataset counts and measures time, and nothing depends on it."""

    class Measures(Samples):
        def __init__(self):
            self.seconds, self.numbers = [], itertools.count()

        def __getitem__(self, index):
            begin = time.perf_counter()
            next(self.numbers)
            self.seconds.append(time.perf_counter() - begin)
            return sample(index)

    return {"dataset": Measures()}


@ordinary
def datasets_in_memory():
    """A `datasets.Dataset` in the format of PyTorch."""
    return {"dataset": datasets.Dataset.from_list(plain_rows()).with_format("torch")}


@ordinary
def datasets_mapped_and_shuffled():
    """A `datasets.Dataset`, shuffled, mapped and filtered."""
    rows = datasets.Dataset.from_list(plain_rows() * 2).shuffle(seed=3)
    rows = rows.filter(lambda row: row["x"][1] < 0.15).select(range(NUM_SAMPLES))
    return {"dataset": rows.with_format("torch")}


@ordinary
def datasets_with_random_transform():
    """A `datasets.Dataset` with a transform that draws from PyTorch's RNG."""

    def transform(rows):
        return {"x": [torch.tensor(x) + torch.rand(3) for x in rows["x"]]}

    return {"dataset": datasets.Dataset.from_list(plain_rows()).with_transform(transform)}


@ordinary
def dropout_and_batch_norm():
    """A model with dropout, and batch normalization."""

    class Normalized(Model):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x, return_loss=True):
            return super().forward(self.norm(x) + torch.rand_like(x), return_loss)

    return {"model": Normalized()}


@ordinary
def callbacks_that_draw():
    """Callbacks draw from all RNGs in every event."""

    class Draws(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            random.random(), np.random.random(), torch.rand(())

        on_step_end = on_epoch_begin = on_epoch_end = on_log = on_step_begin

    return {"callbacks": [Draws()]}


@ordinary
def loss_of_labels():
    """A trainer with a loss of its own, and smoothed labels of no effect."""

    class Weighs(Trainer):
        def compute_loss(self, model, inputs, **kwargs):
            return (model(**inputs)["logits"] - inputs["x"][:, :1]).abs().mean()

    return {"trainer_class": Weighs}
