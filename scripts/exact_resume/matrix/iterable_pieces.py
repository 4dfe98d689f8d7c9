"""Iterable datasets, with and without length, with what they draw and keep."""

import random

import torch
from torch.utils.data import IterableDataset, get_worker_info

from exact_resume.matrix import pieces


class Stream(IterableDataset):
    """
    A `pieces.NoisyDataset` as a stream, divided among workers.

    Args:
        size: Number of samples.
        sources: The global RNGs drawn from.
        ragged: Whether the first worker has most of the samples.
        buffer_size: Size of a shuffle buffer, with a generator made anew for each pass; 0 for none.
    """

    def __init__(self, size: int, sources: tuple[str, ...] = (), ragged: bool = False, buffer_size: int = 0):
        self.samples = pieces.NoisyDataset(size, sources)
        self.ragged = ragged
        self.buffer_size = buffer_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Shuffle differently in each pass."""
        self.epoch = epoch

    def _indices(self):
        size, worker = len(self.samples), get_worker_info()
        if worker is None:
            return range(size)
        if self.ragged:
            first = size - 3 * (worker.num_workers - 1)
            return range(first) if worker.id == 0 else range(first + 3 * (worker.id - 1), first + 3 * worker.id)
        return range(worker.id, size, worker.num_workers)

    def __iter__(self):
        generator, buffer = random.Random(self.epoch), []
        for index in self._indices():
            buffer.append(index)
            if len(buffer) > self.buffer_size:
                yield self.samples[buffer.pop(generator.randrange(len(buffer)))]
        generator.shuffle(buffer)
        yield from map(self.samples.__getitem__, buffer)


class SizedStream(Stream):
    """The same with a length."""

    def __len__(self) -> int:
        return len(self.samples)


class PositionedStream(SizedStream):
    """The same with a position that can be asked for and set; it counts what it reads, for a test."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.position = 0
        self.num_read = 0

    def state_dict(self) -> dict[str, int]:
        """The number of samples that were handed out."""
        return {"position": self.position}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue after that number of samples."""
        self.position = state_dict["position"]

    def __iter__(self):
        while self.position < len(self.samples):
            self.num_read += 1
            self.position += 1
            yield self.samples[self.position - 1]
        self.position = 0


def _rows(shards: list[int]):
    samples = pieces.NoisyDataset(24)
    for shard in shards:
        for index in range(4 * shard, 4 * shard + 4):
            yield {"x": samples.x[index].tolist(), "labels": samples.labels[index].tolist(), "index": index}


def _noisy(row: dict) -> dict:
    row["x"] = (torch.tensor(row["x"]) + pieces.draw(("torch", "numpy", "python"), 1)).tolist()
    return row


def streaming(shuffled: bool = False, interleaved: bool = False, noisy: bool = True):
    """
    A `datasets.IterableDataset` of 24 rows in 6 shards.

    Args:
        shuffled: Whether it has a shuffle buffer.
        interleaved: Whether it is two of them, interleaved at random.
        noisy: Whether rows are mapped with noise from all global RNGs.
    """
    import datasets

    dataset = datasets.IterableDataset.from_generator(_rows, gen_kwargs={"shards": list(range(6))})
    if interleaved:
        dataset = datasets.interleave_datasets([dataset, dataset], probabilities=[0.7, 0.3], seed=5)
    if shuffled:
        dataset = dataset.shuffle(seed=3, buffer_size=7)
    return (dataset.map(_noisy) if noisy else dataset).with_format("torch")
