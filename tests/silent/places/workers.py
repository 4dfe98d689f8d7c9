"""What is made or kept in worker processes."""

import os
import random
import threading

import numpy as np
import torch
from base import Samples, Stream, loaded, noisy, place, sample, shares
from torch.utils.data import get_worker_info

per_process = {}
settings_of_module = {}


class Noisy(Samples):
    """Draws from an attribute that a worker gets when it starts."""

    def __init__(self):
        self.generator = random.Random(0)

    def draw(self):
        return self.generator.random()


@place
def worker_init_generator():
    """`worker_init_fn` gives the dataset of each worker a generator."""

    def begin(id):
        get_worker_info().dataset.generator = np.random.default_rng(id)

    return {"dataset": Noisy(), **loaded(worker_init_fn=begin)}


@place
def worker_init_global():
    """`worker_init_fn` puts a generator into a dictionary of the module."""

    def begin(id):
        settings_of_module["generator"] = random.Random(id)

    class Uses(Samples):
        def draw(self):
            return settings_of_module.setdefault("generator", random.Random(9)).random()

    return {"dataset": Uses(), **loaded(worker_init_fn=begin)}


@place
def worker_generator_by_seed():
    """A dataset makes a generator from the worker's seed when it is first asked."""

    class BySeed(Samples):
        generator = None

        def draw(self):
            if self.generator is None:
                info = get_worker_info()
                self.generator = np.random.default_rng(3 if info is None else info.seed)
            return self.generator.random()

    return {"dataset": BySeed()}


@place
def worker_generator_by_id():
    """A dataset has a generator for each worker in a dictionary, and makes them when they are needed."""

    class ById(Samples):
        def __init__(self):
            self.generators = {}

        def draw(self):
            info = get_worker_info()
            id = -1 if info is None else info.id
            if id not in self.generators:
                self.generators[id] = random.Random(id)
            return self.generators[id].random()

    return {"dataset": ById()}


@place
def worker_state_by_process():
    """A function keeps a generator for each process, under its number, in a dictionary of the module."""

    class ByProcess(Samples):
        def draw(self):
            if os.getpid() not in per_process:
                per_process[os.getpid()] = random.Random(4)
            return per_process[os.getpid()].random()

    return {"dataset": ByProcess()}


@place
def worker_counter_of_thread():
    """A dataset counts in an attribute of the thread that it is asked in."""

    class Counts(Samples):
        def draw(self):
            thread = threading.current_thread()
            thread.calls = getattr(thread, "calls", 0) + 1
            return thread.calls / 100

    return {"dataset": Counts()}


@place
def worker_shared_tensor():
    """A tensor in shared memory, one row for each worker, counts samples for all processes."""
    counts = torch.zeros(3).share_memory_()

    class Counts(Samples):
        def draw(self):
            info = get_worker_info()
            row = 2 if info is None else info.id
            counts[row] += 1
            return counts[row].item() / 100

    return {"dataset": Counts()}


@place
def worker_thread_local():
    """A dataset has a generator in a `threading.local`, made at first use."""
    local = threading.local()

    class Local(Samples):
        def draw(self):
            if not hasattr(local, "generator"):
                local.generator = np.random.default_rng(3)
            return local.generator.random()

    return {"dataset": Local()}


@place
def worker_collator_counts():
    """A collator counts in each worker."""

    class Counts:
        calls = 0

        def __call__(self, samples):
            self.calls += 1
            return noisy(samples, self.calls / 50)

    return {"collator": Counts(), **loaded(worker_init_fn=lambda id: None)}


@place
def worker_stream_keeps_rest():
    """A stream in each worker keeps a sample of each pass for the next."""

    class Keeps(Stream):
        rest = None

        def __iter__(self):
            if self.rest is not None:
                yield self.rest
            for index in shares():
                self.rest = sample(index, 0.5)
                yield sample(index)

    return {"dataset": Keeps()}


@place
def worker_prefetches_far(mode):
    """A dataset counts, ahead of which workers look eight batches."""

    class Counts(Samples):
        calls = 0

        def draw(self):
            self.calls += 1
            return self.calls / 100

    return {"dataset": Counts(), **({"dataloader_prefetch_factor": 4} if mode.num_workers else {})}


@place
def worker_cache_of_decoded():
    """A dataset keeps decoded samples, augmented once, up to five in each worker."""

    class Caches(Samples):
        def __init__(self):
            self.kept, self.generator = [], random.Random(3)

        def __getitem__(self, index):
            if index % 3 or len(self.kept) < 5:
                self.kept.append(sample(index, self.generator.random()))
                self.kept = self.kept[-5:]
                return self.kept[-1]
            return self.kept[0]

    return {"dataset": Caches()}
