"""The data pipelines, trainers and callbacks that a `scenarios.configurations.Configuration` is made of."""

import random
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, SubsetRandomSampler, WeightedRandomSampler
from transformers import Trainer, TrainerCallback

from exact_resume.matrix import pieces

if TYPE_CHECKING:
    from exact_resume.matrix.scenarios.configurations import Configuration

ALL = ("torch", "numpy", "python")
# Columns that only a length-grouped sampler looks at, and of which no batch can be made.
LENGTH_COLUMNS = ("input_ids", "length")


class OwnGenerators:
    """Generator objects of its own, as attributes, for an object that draws."""

    def __init__(self, kinds: tuple[str, ...]):
        self.torch_generator = torch.Generator().manual_seed(7) if "torch" in kinds else None
        self.numpy_generator = np.random.default_rng(7) if "numpy" in kinds else None
        self.python_generator = random.Random(7) if "python" in kinds else None

    def draw(self) -> float:
        """A draw from each."""
        noise = 0.0
        if self.torch_generator is not None:
            noise += torch.randn((), generator=self.torch_generator).item()
        if self.numpy_generator is not None:
            noise += self.numpy_generator.standard_normal()
        if self.python_generator is not None:
            noise += self.python_generator.gauss(0, 1)
        return noise


class Samples(OwnGenerators, Dataset):
    """`pieces.NoisyDataset` with generators of its own, and with lengths where the sampler needs them."""

    def __init__(self, configuration: "Configuration"):
        super().__init__(configuration.owned)
        self.samples = pieces.NoisyDataset(
            configuration.size, configuration.noise, uses_worker_info=configuration.worker_info
        )
        self.has_lengths = configuration.sampler == "length_grouped"

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = self.samples[index]
        sample["x"] = sample["x"] + self.draw()
        return {**sample, "input_ids": [0] * (1 + 5 * index % 7)} if self.has_lengths else sample


class BatchedSamples(Samples):
    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        if not indices:
            raise AssertionError("__getitems__ was called without indices")
        return [self[index] for index in indices]


class Stream(IterableDataset):
    """The samples in their order, shared out among the workers."""

    def __init__(self, configuration: "Configuration"):
        self.samples = Samples(configuration)

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for index in range(first, len(self.samples), stride):
            yield self.samples[index]


class SizedStream(Stream):
    def __len__(self) -> int:
        return len(self.samples)


def datasets_with_lengths(size: int, sources: tuple[str, ...]):
    """As `pieces.datasets_with_transform`, with chosen RNGs and a column of lengths."""
    import datasets

    fixed = pieces.NoisyDataset(size)
    columns = {"x": fixed.x.tolist(), "labels": fixed.labels.tolist(), "index": list(range(size))}
    columns["length"] = [1 + 5 * index % 7 for index in range(size)]
    return datasets.Dataset.from_dict(columns).with_transform(partial(_transform, sources))


def _transform(sources: tuple[str, ...], rows: dict[str, list]) -> dict[str, list]:
    noisy = [torch.tensor(x) + pieces.draw(sources, 1) for x in rows["x"]]
    return {
        **rows,
        "x": noisy,
        **{name: [torch.tensor(value) for value in rows[name]] for name in ("labels", "index")},
    }


class Collator(OwnGenerators):
    def __init__(self, kind: str):
        super().__init__(ALL if kind == "owned" else ())
        self.collate = pieces.noisy_collate if kind == "noisy" else pieces.stack

    def __call__(self, samples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        kept = [{name: value for name, value in sample.items() if name not in LENGTH_COLUMNS} for sample in samples]
        batch = self.collate(kept)
        batch["x"] = batch["x"] + self.draw()
        return batch


class LazySampler(Sampler):
    """Draws each index when it is asked for, from global RNGs."""

    def __init__(self, size: int):
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __iter__(self):
        for _ in range(self.size):
            yield (int(torch.randint(self.size, ())) + random.randrange(self.size)) % self.size


class OwnPipelineTrainer(Trainer):
    """Overrides what users override to bring a sampler or a dataloader of their own."""

    configuration: "Configuration"

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        configuration = self.configuration
        weights = range(1, configuration.size + 1)
        own = {
            "weighted": lambda: WeightedRandomSampler(weights, configuration.size),
            "owned": lambda: WeightedRandomSampler(weights, configuration.size, generator=_seeded()),
            "subset": lambda: SubsetRandomSampler(configuration.subset()),
            "lazy": lambda: LazySampler(configuration.size),
        }
        return own.get(configuration.sampler, partial(super()._get_train_sampler, train_dataset))()

    def get_train_dataloader(self) -> DataLoader:
        if self.configuration.sampler not in ("unprepared", "owned_loader"):
            return super().get_train_dataloader()
        arguments: dict[str, Any] = {
            "batch_size": self._train_batch_size,
            "shuffle": True,
            "collate_fn": self.data_collator,
            "drop_last": self.args.dataloader_drop_last,
            "num_workers": self.args.dataloader_num_workers,
        }
        if self.args.dataloader_num_workers:
            arguments["persistent_workers"] = self.args.dataloader_persistent_workers
            arguments["prefetch_factor"] = self.args.dataloader_prefetch_factor
        if self.configuration.sampler == "unprepared":
            return DataLoader(self.train_dataset, **arguments)
        return self.accelerator.prepare(DataLoader(self.train_dataset, generator=_seeded(), **arguments))


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(11)


def drawing_callback(event: str) -> type[TrainerCallback]:
    def draw(self, args, state, control, **kwargs):
        pieces.draw(ALL, 1)

    return type("DrawingCallback", (TrainerCallback,), {event: draw})
