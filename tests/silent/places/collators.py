"""What collators hide."""

import functools
import random

import numpy as np
import torch
from base import noisy, place, stack

generator_of_module = np.random.default_rng(9)


@place
def collator_counter():
    """A collator counts its batches."""

    class Counts:
        calls = 0

        def __call__(self, samples):
            self.calls += 1
            return noisy(samples, self.calls / 100)

    return {"collator": Counts()}


@place
def collator_generator_of_module():
    """A function uses a generator of its module."""

    def collate(samples):
        return noisy(samples, generator_of_module.random())

    return {"collator": collate}


@place
def collator_nested_function():
    """A function within the function uses a generator of its module."""

    def collate(samples):
        def noise():
            return [generator_of_module.random() for _ in samples][0]

        return noisy(samples, noise())

    return {"collator": collate}


@place
def collator_keeps_last_batch():
    """A collator mixes each batch with the last one."""

    class Mixes:
        last = None

        def __call__(self, samples):
            batch = stack(samples)["x"]
            mixed = batch if self.last is None else batch + self.last.flip(0) / 2
            self.last = batch
            return {"x": mixed}

    return {"collator": Mixes()}


@place
def collator_leftover_samples():
    """A collator keeps a sample of each batch for the next one."""

    class Keeps:
        def __init__(self):
            self.kept = []

        def __call__(self, samples):
            self.kept.extend(samples)
            self.kept, given = self.kept[-1:], self.kept[:2]
            return stack(given)

    return {"collator": Keeps()}


@place
def collator_grows_until():
    """A collator scales noise by a warm-up that ends after some batches."""

    class WarmsUp:
        step = 0

        def __call__(self, samples):
            self.step += 1
            return noisy(samples, min(1.0, self.step / 14))

    return {"collator": WarmsUp()}


@place
def collator_masks_with_schedule():
    """A collator masks a feature that the bits of a number select, which is shifted each time."""

    class Masks:
        bits = 0b1011001110001011

        def __call__(self, samples):
            self.bits = (self.bits >> 1) | ((self.bits ^ self.bits >> 2 ^ self.bits >> 3) & 1) << 15
            batch = stack(samples)
            batch["x"][:, self.bits % 3] = 0
            return batch

    return {"collator": Masks()}


@place
def collator_generator_in_attribute_of_function():
    """A function has a generator in an attribute."""

    def collate(samples):
        return noisy(samples, collate.generator.random())

    collate.generator = random.Random(4)
    return {"collator": collate}


@place
def collator_partial_with_object():
    """A partial has an object with a Python generator."""

    def numbers():
        number = 0
        while True:
            number = (number * 5 + 3) % 64
            yield number / 64

    def collate(samples, source):
        return noisy(samples, next(source))

    return {"collator": functools.partial(collate, source=numbers())}


@place
def collator_pool_of_noise():
    """A collator takes its noise from a pool that it permutes in place."""

    class Pools:
        def __init__(self):
            self.pool = torch.linspace(0, 1, 17)

        def __call__(self, samples):
            self.pool.copy_(self.pool.roll(5))
            return noisy(samples, self.pool[0].item())

    return {"collator": Pools()}


@place
def collator_singleton():
    """A collator asks a singleton, which its class has, for a number."""

    class Source:
        instance = None

        @classmethod
        def get(cls):
            if cls.instance is None:
                cls.instance = cls()
                cls.instance.generator = np.random.default_rng(2)
            return cls.instance

    return {"collator": lambda samples: noisy(samples, Source.get().generator.random())}


@place
def collator_thread():
    """A collator gets numbers from a queue, of which a generator fills more than is taken."""

    class Prefetches:
        def __init__(self):
            self.generator, self.queue = random.Random(6), []

        def __call__(self, samples):
            while len(self.queue) < 5:
                self.queue.append(self.generator.random())
            return noisy(samples, self.queue.pop(0))

    return {"collator": Prefetches()}


@place
def collator_gaussian():
    """A collator draws with `random.Random.gauss`, which keeps the second of two numbers."""

    class Gauss:
        def __init__(self):
            self.generator = random.Random(7)

        def __call__(self, samples):
            return noisy(samples, self.generator.gauss(0, 1))

    return {"collator": Gauss()}


@place
def collator_subclass_of_random():
    """A collator has a subclass of `random.Random` with a number of its own."""

    class Counts(random.Random):
        calls = 0

        def random(self):
            self.calls += 1
            return (super().random() + self.calls / 10) % 1

    class Collates:
        def __init__(self):
            self.generator = Counts(3)

        def __call__(self, samples):
            return noisy(samples, self.generator.random())

    return {"collator": Collates()}
