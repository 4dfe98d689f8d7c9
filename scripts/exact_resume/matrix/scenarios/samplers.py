"""Samplers: those of PyTorch and transformers, users' own, and users' own dataloaders."""

from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, RandomSampler, SubsetRandomSampler, WeightedRandomSampler
from transformers import Trainer

from exact_resume.matrix import pieces, stateful_pieces
from exact_resume.matrix.scenarios.base import (
    ALL,
    DROPOUT,
    PARTIAL,
    PER_STEP,
    PIPELINE,
    WORKERS,
    Scenario,
    noise,
    sampling_arguments,
    worker_arguments,
)

SIZE = 22


class SamplerTrainer(Trainer):
    """A trainer whose sampler is made by `make_sampler`."""

    make_sampler: Any = None

    def _get_train_sampler(self, train_dataset=None):
        return type(self).make_sampler()


def with_sampler(make_sampler) -> type[Trainer]:
    """Makes the class of a trainer that samples with what `make_sampler` returns."""
    return type("SamplerTrainer", (SamplerTrainer,), {"make_sampler": staticmethod(make_sampler)})


class BatchSamplerTrainer(Trainer):
    """Brings a batch sampler of its own."""

    def get_train_dataloader(self) -> DataLoader:
        sampler = stateful_pieces.EpochBatchSampler(SIZE, 4)
        return self.accelerator.prepare(DataLoader(self.train_dataset, batch_sampler=sampler, collate_fn=pieces.stack))


class EagerBatchSampler:
    """Draws the order as soon as it is asked for an iterator, which a loader with workers does twice."""

    def __init__(self, size: int, generator: torch.Generator | None = None):
        self.size, self.generator = size, generator

    def __iter__(self):
        order = torch.randperm(self.size, generator=self.generator).tolist()
        return iter([order[first : first + 4] for first in range(0, self.size, 4)])

    def __len__(self) -> int:
        return -(-self.size // 4)


class EagerTrainer(Trainer):
    """Samples with an `EagerBatchSampler`, in a loader that Accelerate prepares."""

    owns_generator = False

    def get_train_dataloader(self) -> DataLoader:
        generator = torch.Generator().manual_seed(19) if self.owns_generator else None
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=EagerBatchSampler(len(self.train_dataset), generator),
            collate_fn=pieces.stack,
            num_workers=self.args.dataloader_num_workers,
        )
        return self.accelerator.prepare(loader)


class OwningEagerTrainer(EagerTrainer):
    """The same with a generator of the sampler's own."""

    owns_generator = True


class StatefulLoaderTrainer(Trainer):
    """Brings a dataloader of torchdata, which keeps a position of its own that nobody asks for."""

    def get_train_dataloader(self) -> DataLoader:
        from torchdata.stateful_dataloader import StatefulDataLoader

        return StatefulDataLoader(self.train_dataset, batch_size=4, shuffle=True, collate_fn=pieces.noisy_collate)


def draw_once(worker_id: int) -> None:
    """A `worker_init_fn` that draws."""
    pieces.draw(ALL, 1)


class OwnLoaderTrainer(Trainer):
    """Brings a plain, shuffled dataloader with functions of its own, which Accelerate never sees."""

    num_workers = 0

    def get_train_dataloader(self) -> DataLoader:
        return DataLoader(
            self.train_dataset,
            batch_size=4,
            shuffle=True,
            collate_fn=pieces.noisy_collate,
            worker_init_fn=draw_once,
            num_workers=self.num_workers,
            generator=self.make_generator(),
        )

    def make_generator(self) -> torch.Generator | None:
        """That of the dataloader."""
        return None


class OwnLoaderWorkersTrainer(OwnLoaderTrainer):
    """The same with workers."""

    num_workers = 2


class OwnGeneratorLoaderTrainer(OwnLoaderWorkersTrainer):
    """The same with a generator of the dataloader's own."""

    def make_generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(13)


def _scenario(name: str, title: str, fixed_by: str | None, **fields) -> Scenario:
    return Scenario(name, title, "samplers", fixed_by, **{"model": DROPOUT, "tier": "suite", **fields})


def scenarios() -> list[Scenario]:
    """How the order of the samples comes about."""
    noisy = {"dataset": noise(*ALL)}
    lazy = with_sampler(partial(stateful_pieces.OwnOrderSampler, SIZE))
    lengths = {"dataset": partial(pieces.TokenDataset, SIZE), "make_collator": lambda: pieces.pad}
    return [
        _scenario(
            "sampler_weighted",
            "WeightedRandomSampler",
            PER_STEP,
            trainer_class=with_sampler(lambda: WeightedRandomSampler([1 + i % 3 for i in range(SIZE)], SIZE)),
        ),
        _scenario(
            "sampler_subset",
            "SubsetRandomSampler",
            PER_STEP,
            trainer_class=with_sampler(lambda: SubsetRandomSampler(range(0, SIZE, 2))),
        ),
        _scenario(
            "sampler_replacement",
            "RandomSampler with replacement, not seedable",
            PER_STEP,
            dataset=noise(size=50),
            trainer_class=with_sampler(lambda: RandomSampler(range(50), replacement=True)),
            arguments={"num_train_epochs": 2, "accelerator_config": {"use_seedable_sampler": False}},
            interrupts=(1, 5, 8, 9, 12, 13, 17, 22),
        ),
        _scenario(
            "sampler_generator",
            "RandomSampler with a generator of its own, not seedable",
            PIPELINE,
            trainer_class=with_sampler(
                lambda: RandomSampler(range(SIZE), generator=torch.Generator().manual_seed(17))
            ),
            arguments={"accelerator_config": {"use_seedable_sampler": False}},
        ),
        _scenario(
            "sampler_length_grouped",
            "train_sampling_strategy group_by_length",
            PER_STEP,
            arguments=sampling_arguments("group_by_length"),
            **lengths,
        ),
        _scenario(
            "sampler_batch_rebalance",
            "train_sampling_strategy batch_rebalance",
            None,
            arguments=sampling_arguments("batch_rebalance"),
            **lengths,
        ),
        _scenario("sampler_lazy", "draws globally, one by one", PER_STEP, trainer_class=lazy, **noisy),
        *[
            _scenario(
                f"sampler_lazy_{'persistent_' if persistent else ''}workers",
                f"draws globally, one by one, 2 {'persistent ' if persistent else ''}workers",
                WORKERS,
                # Epochs longer than what the workers prefetch.
                dataset=noise(*ALL, size=42),
                trainer_class=with_sampler(partial(stateful_pieces.OwnOrderSampler, 42)),
                arguments={**worker_arguments(2, persistent=persistent), "num_train_epochs": 2},
                interrupts=(2, 4, 6, 8, 11, 13, 18),
                tier="suite" if persistent else "core",
            )
            for persistent in (False, True)
        ],
        *[
            _scenario(
                f"sampler_own_{kind}",
                f"draws one by one from its own {kind} generator, 2 workers",
                PIPELINE,
                trainer_class=with_sampler(partial(stateful_pieces.OwnOrderSampler, SIZE, kind)),
                arguments=worker_arguments(2),
            )
            for kind in ("torch", "numpy")
        ],
        _scenario(
            "sampler_set_epoch", "batch sampler with set_epoch", PER_STEP, trainer_class=BatchSamplerTrainer, **noisy
        ),
        *[
            _scenario(
                f"sampler_eager_{name}",
                f"batch sampler that draws at once{title}, 2 workers",
                fixed_by,
                # Epochs longer than what the workers prefetch.
                dataset=noise(*ALL, size=42),
                trainer_class=trainer_class,
                arguments={**worker_arguments(2), "num_train_epochs": 2},
                interrupts=(2, 5, 11, 13),
            )
            for name, title, fixed_by, trainer_class in (
                ("workers", "", WORKERS, EagerTrainer),
                ("own", " from its own generator", PIPELINE, OwningEagerTrainer),
            )
        ],
        _scenario(
            "own_loader_stateful",
            "StatefulDataLoader of the user's",
            PARTIAL,
            trainer_class=StatefulLoaderTrainer,
            requires=("torchdata",),
            **noisy,
        ),
        _scenario(
            "own_loader", "plain shuffled loader of the user's", PER_STEP, trainer_class=OwnLoaderTrainer, **noisy
        ),
        _scenario(
            "own_loader_workers",
            "plain shuffled loader of the user's, 2 workers",
            WORKERS,
            trainer_class=OwnLoaderWorkersTrainer,
            **noisy,
        ),
        _scenario(
            "own_loader_generator",
            "plain shuffled loader with a generator, 2 workers",
            PIPELINE,
            trainer_class=OwnGeneratorLoaderTrainer,
            **noisy,
        ),
    ]
