"""What map-style datasets keep of samples, in files and in databases."""

import functools
import itertools
import random
import sqlite3
import tempfile
from collections import OrderedDict

import datasets
import numpy as np
import torch
from base import NUM_SAMPLES, Samples, place, sample

OWNER = "datasets"


@place
def dataset_mixes_with_last():
    """A dataset mixes each sample with the one before, which it keeps (mixup)."""

    class Mixes(Samples):
        last = torch.zeros(3)

        def __getitem__(self, index):
            x = sample(index)["x"]
            mixed, self.last = 0.7 * x + 0.3 * self.last, x
            return {"x": mixed}

    return {"dataset": Mixes()}


@place
def dataset_replay_buffer():
    """A dataset keeps the last samples, and gives the oldest with a new one."""

    class Replays(Samples):
        def __init__(self):
            self.buffer = OrderedDict()

        def __getitem__(self, index):
            self.buffer[index] = len(self.buffer)
            self.buffer.move_to_end(index)
            if len(self.buffer) > 4:
                return sample(index, self.buffer.popitem(last=False)[0] / 16)
            return sample(index)

    return {"dataset": Replays()}


@place
def dataset_limited_cache():
    """A dataset keeps augmented samples in an `lru_cache`, of which old ones are made again."""

    generator = np.random.default_rng(7)

    @functools.lru_cache(maxsize=6)
    def load(index):
        return sample(index, generator.random())

    class Cached(Samples):
        def __getitem__(self, index):
            return load(index)

    return {"dataset": Cached()}


@place
def dataset_cache_of_first_epoch():
    """A dataset keeps each augmented sample for later epochs."""

    class Keeps(Samples):
        def __init__(self):
            self.kept, self.generator = {}, random.Random(2)

        def __getitem__(self, index):
            if index not in self.kept:
                self.kept[index] = sample(index, self.generator.random())
            return self.kept[index]

    return {"dataset": Keeps()}


@place
def dataset_reads_file_on():
    """A dataset reads its noise from a file, line after line, in each process with a cursor of its own."""

    file = tempfile.NamedTemporaryFile("w", suffix=".txt")
    file.writelines(f"{number * 37 % 101}\n" for number in range(500))
    file.flush()

    class Reads(Samples):
        lines = None

        def __init__(self):
            self.file = file

        def draw(self):
            if self.lines is None:
                self.lines = open(file.name)
            return int(self.lines.readline()) / 101

    return {"dataset": Reads()}


@place
def dataset_sqlite():
    """A dataset marks rows of an sqlite table as used."""

    class Marks(Samples):
        connection = None

        def draw(self):
            if self.connection is None:
                self.connection = sqlite3.connect(":memory:")
                self.connection.execute("create table rows (id integer, used integer)")
                self.connection.executemany("insert into rows values (?, 0)", [(id,) for id in range(60)])
            (id,) = self.connection.execute("select min(id) from rows where used = 0").fetchone()
            self.connection.execute("update rows set used = 1 where id = ?", (id,))
            return id / 60

    return {"dataset": Marks()}


@place
def dataset_set_transform():
    """A `datasets.Dataset` has a transform, set with `set_transform`, that counts."""
    numbers = itertools.count()

    def transform(rows):
        return {"x": [torch.tensor([*x, next(numbers) / 100]) for x in rows["x"]]}

    dataset = datasets.Dataset.from_dict({"x": [[index / 10, index % 3 / 10] for index in range(NUM_SAMPLES)]})
    dataset.set_transform(transform)
    return {"dataset": dataset}


@place
def dataset_set_transform_generator():
    """A `datasets.Dataset` has a transform, set with `with_transform`, with a NumPy generator in its closure."""
    generator = np.random.default_rng(6)

    def transform(rows):
        return {"x": [torch.tensor([*x, generator.random()], dtype=torch.float32) for x in rows["x"]]}

    dataset = datasets.Dataset.from_dict({"x": [[index / 10, index % 3 / 10] for index in range(NUM_SAMPLES)]})
    return {"dataset": dataset.with_transform(transform)}
