"""What iterable datasets hide."""

import collections
import io
import itertools
import random

import numpy as np
import torch
from base import NUM_SAMPLES, Stream, place, sample, shares


@place
def stream_counter():
    """A stream counts its samples over all passes."""

    class Counts(Stream):
        calls = 0

        def draw(self):
            self.calls += 1
            return self.calls / 100

    return {"dataset": Counts()}


@place
def stream_counts_passes():
    """A stream counts its passes, and seeds each with the number."""

    class Counts(Stream):
        passes = 0

        def __iter__(self):
            self.passes += 1
            generator = random.Random(self.passes)
            for index in shares():
                yield sample(index, generator.random())

    return {"dataset": Counts()}


@place
def stream_loses_place():
    """A stream goes on in the next pass where the last one has stopped."""

    class GoesOn(Stream):
        position = 0

        def __iter__(self):
            for _ in shares():
                self.position += 1
                yield sample(self.position * 5 % 13)

    return {"dataset": GoesOn()}


@place
def stream_file_left_open():
    """A stream reads on in an open file from pass to pass."""

    class Reads(Stream):
        file = None

        def __iter__(self):
            if self.file is None:
                self.file = io.StringIO("\n".join(str(number * 17 % 31) for number in range(300)))
            for _ in shares():
                yield sample(int(self.file.readline()))

    return {"dataset": Reads()}


@place
def stream_shuffle_buffer():
    """A stream's shuffle buffer draws from the RNG of the process, and stays filled between passes."""

    class Buffers(Stream):
        def __init__(self):
            self.buffer = []

        def __iter__(self):
            for index in shares():
                self.buffer.append(index)
                if len(self.buffer) > 4:
                    yield sample(self.buffer.pop(random.randrange(len(self.buffer))))
            while len(self.buffer) > 2:
                yield sample(self.buffer.pop())

    return {"dataset": Buffers()}


@place
def stream_global_shuffle_buffer():
    """A stream fills a shuffle buffer anew in each pass, and draws from the RNG of the process."""

    class Buffers(Stream):
        def __iter__(self):
            buffer = []
            for index in shares():
                buffer.append(index)
                if len(buffer) > 4:
                    yield sample(buffer.pop(random.randrange(len(buffer))))
            while buffer:
                yield sample(buffer.pop())

    return {"dataset": Buffers()}


@place
def stream_torch_generator():
    """A stream has a `torch.Generator` that goes on from pass to pass."""

    class Noisy(Stream):
        def __init__(self):
            self.generator = torch.Generator().manual_seed(4)

        def draw(self):
            return torch.rand((), generator=self.generator).item()

    return {"dataset": Noisy()}


@place
def stream_generator_in_frame():
    """A stream's noise is drawn by a generator in the frame of its `__iter__`."""

    class Noisy(Stream):
        def __iter__(self):
            generator = np.random.default_rng(3)
            for index in shares():
                yield sample(index, generator.random())

    return {"dataset": Noisy()}


@place
def stream_interleaves():
    """A stream takes turns among iterators, which are kept, and begins those anew that have ended."""

    class Interleaves(Stream):
        def __init__(self):
            self.sources = collections.deque(iter(range(start, start + 5)) for start in (0, 5, 10))

        def __iter__(self):
            for _ in shares():
                source = self.sources.popleft()
                index = next(source, None)
                if index is None:
                    source = iter(range(3))
                    index = next(source)
                self.sources.append(source)
                yield sample(index)

    return {"dataset": Interleaves()}


@place
def stream_tee():
    """A stream gives each sample with the next one, by an `itertools.tee` over an endless iterator."""

    class Pairs(Stream):
        def __init__(self):
            first, second = itertools.tee(itertools.cycle(range(11)))
            next(second)
            self.pairs = zip(first, second, strict=False)

        def __iter__(self):
            for _, (first, second) in zip(shares(), self.pairs, strict=False):
                yield sample(first, second / 11)

    return {"dataset": Pairs()}


@place
def stream_packs():
    """A stream packs pieces, and keeps what is left over for the next pass."""

    class Packs(Stream):
        def __init__(self):
            self.rest = []

        def __iter__(self):
            for index in shares(NUM_SAMPLES + 6):
                self.rest.append(index)
                if len(self.rest) >= 3:
                    yield {"x": torch.tensor(self.rest[:3]) / 10}
                    self.rest = self.rest[2:]

    return {"dataset": Packs()}


@place
def stream_mixture_weights():
    """A stream changes the weights of a mixture by what it has given."""

    class Mixes(Stream):
        def __init__(self):
            self.given = np.ones(3)

        def __iter__(self):
            for number in shares():
                source = int(np.argmin(self.given * [1.0, 1.7, 2.3]))
                self.given[source] += 1
                yield sample(number, source / 3)

    return {"dataset": Mixes()}
