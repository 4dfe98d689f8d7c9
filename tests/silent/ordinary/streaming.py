"""Ordinary iterable datasets."""

import random

import datasets
import numpy as np
import torch
from base import NUM_SAMPLES, Stream, ordinary, sample, shares
from datasets.distributed import split_dataset_by_node


def stack_lists(rows):
    return {"x": torch.tensor([row["x"] for row in rows])}


def generate(shards):
    for shard in shards:
        for index in range(shard * 4, shard * 4 + 4):
            yield {"x": [index / 10, index % 3 / 10, 0.5]}


def of_datasets():
    return datasets.IterableDataset.from_generator(generate, gen_kwargs={"shards": list(range(NUM_SAMPLES // 4))})


@ordinary
def stream_plain():
    """A stream of fixed samples."""
    return {"dataset": Stream()}


@ordinary
def stream_of_global_noise():
    """A stream whose samples draw from PyTorch's RNG."""

    class Noisy(Stream):
        def draw(self):
            return torch.rand(()).item()

    return {"dataset": Noisy()}


@ordinary
def stream_of_own_generator():
    """A stream with a generator of its own."""

    class Noisy(Stream):
        def __init__(self):
            self.generator = np.random.default_rng(2)

        def draw(self):
            return self.generator.random()

    return {"dataset": Noisy()}


@ordinary
def stream_with_length():
    """A stream that tells its length."""

    class Long(Stream):
        def __len__(self):
            return NUM_SAMPLES

    return {"dataset": Long(), "max_steps": -1}


@ordinary
def stream_with_set_epoch(mode):
    """A stream that seeds each epoch with its number, which workers that persist are not told."""

    class Shuffles(Stream):
        epoch = 0

        def set_epoch(self, epoch):
            self.epoch = epoch

        def __iter__(self):
            order = random.Random(self.epoch).sample(range(NUM_SAMPLES), NUM_SAMPLES)
            for index in shares():
                yield sample(order[index])

    return {"dataset": Stream() if mode.is_persistent else Shuffles()}


@ordinary
def stream_of_seeded_buffer():
    """A stream with a shuffle buffer, seeded in each pass."""

    class Buffers(Stream):
        def __iter__(self):
            generator, buffer = random.Random(3), []
            for index in shares():
                buffer.append(index)
                if len(buffer) > 3:
                    yield sample(buffer.pop(generator.randrange(4)))
            yield from map(sample, buffer)

    return {"dataset": Buffers()}


@ordinary
def stream_of_datasets():
    """A `datasets.IterableDataset` of four shards."""
    return {"dataset": of_datasets(), "collator": stack_lists}


@ordinary
def stream_of_datasets_shuffled():
    """A `datasets.IterableDataset` that is shuffled with a buffer and mapped."""
    stream = of_datasets().shuffle(seed=2, buffer_size=5).map(lambda row: {"x": [2 * value for value in row["x"]]})
    return {"dataset": stream, "collator": stack_lists}


@ordinary
def stream_split_by_node():
    """A `datasets.IterableDataset`, split for the first of two nodes."""
    return {"dataset": split_dataset_by_node(of_datasets(), 0, 2), "collator": stack_lists, "max_steps": 8}


@ordinary
def stream_interleaved():
    """Two interleaved `datasets.IterableDataset`."""
    return {"dataset": datasets.interleave_datasets([of_datasets(), of_datasets()]), "collator": stack_lists}
