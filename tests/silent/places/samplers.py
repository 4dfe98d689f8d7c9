"""What samplers and batch samplers hide."""

import itertools
import random

import numpy as np
import torch
from base import BATCH_SIZE, NUM_BATCHES, NUM_SAMPLES, loaded, place, sampled
from torch.utils.data import BatchSampler, RandomSampler, Sampler, SequentialSampler, SubsetRandomSampler


class OfAll(Sampler):
    """A sampler of as many indices as there are samples."""

    def __init__(self, dataset=None):
        pass

    def __len__(self):
        return NUM_SAMPLES


class OfBatches(Sampler):
    """A batch sampler."""

    batch_size, drop_last = BATCH_SIZE, False

    def __init__(self, dataset=None):
        pass

    def __len__(self):
        return NUM_BATCHES


@place
def sampler_counts_passes():
    """A sampler seeds each pass with a number that it counts up itself."""

    class Counts(OfAll):
        passes = 0

        def __iter__(self):
            self.passes += 1
            return iter(random.Random(self.passes).sample(range(NUM_SAMPLES), NUM_SAMPLES))

    return sampled(Counts)


@place
def sampler_rotates():
    """A sampler begins each pass one further in its list, which it changes in place."""

    class Rotates(OfAll):
        def __init__(self, dataset):
            self.order = list(range(NUM_SAMPLES))

        def __iter__(self):
            self.order.append(self.order.pop(0))
            return iter(list(self.order))

    return sampled(Rotates)


@place
def sampler_shuffles_in_place():
    """A sampler shuffles its list in place, with a generator that is seeded alike in each pass."""

    class Shuffles(OfAll):
        def __init__(self, dataset):
            self.order = list(range(NUM_SAMPLES))

        def __iter__(self):
            random.Random(5).shuffle(self.order)
            return iter(list(self.order))

    return sampled(Shuffles)


@place
def sampler_endless():
    """A sampler goes on in an endless order where the last pass has stopped."""

    class Endless(OfAll):
        def __init__(self, dataset):
            self.indices = itertools.cycle(random.Random(4).sample(range(NUM_SAMPLES), NUM_SAMPLES - 3))

        def __iter__(self):
            return itertools.islice(self.indices, NUM_SAMPLES)

    return sampled(Endless)


@place
def sampler_torch_generator():
    """PyTorch's `RandomSampler` has a generator of its own."""
    return sampled(lambda dataset: RandomSampler(dataset, generator=torch.Generator().manual_seed(3)))


@place
def sampler_subset_random():
    """`SubsetRandomSampler` has a generator of its own."""
    return sampled(lambda dataset: SubsetRandomSampler(range(NUM_SAMPLES), torch.Generator().manual_seed(3)))


@place
def sampler_buffer():
    """A sampler shuffles with a buffer that stays filled between passes."""

    class Buffers(OfAll):
        def __init__(self, dataset):
            self.buffer, self.indices = [], itertools.cycle(range(NUM_SAMPLES))
            self.generator = random.Random(3)

        def __iter__(self):
            for _ in range(NUM_SAMPLES):
                while len(self.buffer) < 6:
                    self.buffer.append(next(self.indices))
                yield self.buffer.pop(self.generator.randrange(6))

    return sampled(Buffers)


@place
def sampler_draws_in_blocks():
    """A sampler draws five numbers ahead from the RNG of the process, and keeps them for later passes."""

    class Blocks(OfAll):
        def __init__(self, dataset):
            self.drawn = []

        def __iter__(self):
            for _ in range(NUM_SAMPLES):
                if not self.drawn:
                    self.drawn = torch.randint(NUM_SAMPLES, (5,)).tolist()
                yield self.drawn.pop()

    return sampled(Blocks)


@place
def sampler_weights_of_seen():
    """A sampler prefers what it has seen least, by an array of counts."""

    class Least(OfAll):
        def __init__(self, dataset):
            self.seen = np.zeros(NUM_SAMPLES)

        def __iter__(self):
            for number in range(NUM_SAMPLES):
                index = int(np.argmin(self.seen))
                self.seen[index] += 1 + (index * 7 + number) % 5
                yield index

    return sampled(Least)


@place
def sampler_reseeded():
    """A sampler seeds its generator in each pass from a number that it draws at the end of the last."""

    class Reseeds(OfAll):
        seed = 1

        def __iter__(self):
            generator = random.Random(self.seed)
            yield from generator.sample(range(NUM_SAMPLES), NUM_SAMPLES)
            self.seed = generator.randrange(1000)

    return sampled(Reseeds)


@place
def sampler_of_python_generator():
    """A sampler takes indices from a Python generator with a generator of numbers."""

    def indices():
        generator = np.random.default_rng(3)
        while True:
            yield int(generator.integers(NUM_SAMPLES))

    class Takes(OfAll):
        def __init__(self, dataset):
            self.indices = indices()

        def __iter__(self):
            for _ in range(NUM_SAMPLES):
                yield next(self.indices)

    return sampled(Takes)


@place
def sampler_state_dict_of_pass():
    """A sampler's `state_dict` has the pass, and not the place within the endless order."""

    class Forgets(OfAll):
        passes = 0

        def __init__(self, dataset):
            self.indices = itertools.cycle(range(NUM_SAMPLES - 3))

        def __iter__(self):
            self.passes += 1
            return itertools.islice(self.indices, NUM_SAMPLES)

        def state_dict(self):
            return {"passes": self.passes}

        def load_state_dict(self, state):
            self.passes = state["passes"]

    return sampled(Forgets)


@place
def batch_sampler_keeps_leftovers():
    """A batch sampler of buckets keeps those that are not full for the next pass."""

    class Buckets(OfBatches):
        def __init__(self, dataset):
            self.buckets, self.order = {}, itertools.cycle(range(NUM_SAMPLES - 1))

        def __iter__(self):
            given = 0
            while given < NUM_BATCHES:
                index = next(self.order)
                bucket = self.buckets.setdefault(index % 5, [])
                bucket.append(index)
                if len(bucket) == BATCH_SIZE:
                    yield self.buckets.pop(index % 5)
                    given += 1

    return loaded(batch_sampler=Buckets)


@place
def batch_sampler_counts():
    """A batch sampler counts the batches that it has given."""

    class Counts(OfBatches):
        given = 0

        def __iter__(self):
            for _ in range(NUM_BATCHES):
                self.given += 1
                yield [self.given % NUM_SAMPLES, self.given * 5 % NUM_SAMPLES]

    return loaded(batch_sampler=Counts)


@place
def batch_sampler_shuffles_batches():
    """A batch sampler shuffles its list of batches in place, with a NumPy generator of its own."""

    class Shuffles(OfBatches):
        def __init__(self, dataset):
            self.batches = [[index, index + 1] for index in range(0, NUM_SAMPLES, 2)]
            self.generator = np.random.default_rng(2)

        def __iter__(self):
            self.generator.shuffle(self.batches)
            return iter(list(self.batches))

    return loaded(batch_sampler=Shuffles)


@place
def batch_sampler_of_hidden_order():
    """PyTorch's `BatchSampler` has a sampler that takes indices from an iterator."""

    class Hidden(SequentialSampler):
        def __init__(self, dataset):
            super().__init__(dataset)
            self.indices = itertools.cycle(range(NUM_SAMPLES - 1))

        def __iter__(self):
            return itertools.islice(self.indices, NUM_SAMPLES)

    return loaded(batch_sampler=lambda dataset: BatchSampler(Hidden(dataset), BATCH_SIZE, False))


@place
def batch_sampler_two_sources():
    """A batch sampler takes from two endless iterators, as a pipeline with two tasks does."""

    class Two(OfBatches):
        def __init__(self, dataset):
            self.sources = [itertools.cycle(range(0, 7)), itertools.cycle(range(7, 12))]
            self.turn = 0

        def __iter__(self):
            for _ in range(NUM_BATCHES):
                self.turn = (self.turn * 3 + 1) % 5
                source = self.sources[self.turn % 2]
                yield [next(source), next(source)]

    return loaded(batch_sampler=Two)
