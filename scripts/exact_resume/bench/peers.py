"""What is measured against each other: the Trainer of a tree, and the dataloaders that users take instead."""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import Trainer, TrainerCallback

from exact_resume.bench.groups import IN_BAND, OFF, STATEFUL
from exact_resume.matrix import pieces
from exact_resume.matrix.scenarios import Scenario

LOADER_FILE = "dataloader.pt"


class _LoaderTrainer(Trainer):
    """Takes its batches from a dataloader of the user's own, which accelerate does not prepare."""

    def make_loader(self, **options) -> DataLoader:
        raise NotImplementedError

    def get_train_dataloader(self):
        return self.make_loader(
            dataset=self.train_dataset,
            batch_size=self.args.train_batch_size,
            shuffle=not isinstance(self.train_dataset, IterableDataset),
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
        )


class StatefulLoaderTrainer(_LoaderTrainer):
    """Trains with torchdata's `StatefulDataLoader`, whose state of every step it keeps in each checkpoint."""

    def make_loader(self, **options) -> DataLoader:
        from torchdata.stateful_dataloader import StatefulDataLoader

        loader = StatefulDataLoader(**options, snapshot_every_n_steps=1)
        if self.args.resume_from_checkpoint:
            state = Path(self.args.resume_from_checkpoint) / LOADER_FILE
            loader.load_state_dict(torch.load(state, weights_only=True))
        return loader

    def train(self, resume_from_checkpoint: str | None = None, **kwargs):
        """As that of `Trainer`; the dataloader skips for itself."""
        self.args.resume_from_checkpoint = resume_from_checkpoint
        self.args.ignore_data_skip = resume_from_checkpoint is not None
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)


class _SaveLoader(TrainerCallback):
    """Writes the state of a `StatefulDataLoader` into the checkpoint."""

    def on_save(self, args, state, control, train_dataloader=None, **kwargs):
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        torch.save(train_dataloader.state_dict(), checkpoint / LOADER_FILE)


class _InBandCollate:
    """Sends the RNG states of the process that made a batch along with it. Picklable, for `spawn`."""

    def __init__(self, function: Callable):
        self.function = function

    def __call__(self, samples):
        return self.function(samples), host_states()


class _InBandLoader(DataLoader):
    """Keeps the states that came with the last batch and hands on the batch."""

    def __iter__(self):
        for batch, self.rng_states in super().__iter__():
            yield batch


class InBandTrainer(_LoaderTrainer):
    """Captures the RNG states of every batch in band, in the style of Lightning."""

    def make_loader(self, collate_fn: Callable, **options) -> DataLoader:
        return _InBandLoader(**options, collate_fn=_InBandCollate(collate_fn))


def host_states() -> dict[str, Any]:
    """The states of the three global RNGs, by their public functions."""
    return {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}


TRAINERS = {STATEFUL: StatefulLoaderTrainer, IN_BAND: InBandTrainer}
CALLBACKS = {STATEFUL: (_SaveLoader,)}


def make_trainer(
    variant: str,
    folder: Path,
    dataset: Any,
    model: Callable[[], torch.nn.Module] = pieces.TinyModel,
    collator: Callable = pieces.stack,
    callbacks: tuple[TrainerCallback, ...] = (),
    **arguments,
) -> Trainer:
    """
    Build the trainer of a variant, one epoch long.

    Args:
        variant: One of `groups.VARIANTS`, on whose tree this process is.
        folder: Where checkpoints go.
        dataset: The training data.
        model: Makes the model.
        collator: The data collator.
        callbacks: Callbacks.
        arguments: `TrainingArguments`.
    """
    made = [*CALLBACKS.get(variant, ()), *(partial(_itself, callback) for callback in callbacks)]
    scenario = Scenario(
        name="bench",
        title="",
        group="",
        fixed_by=None,
        dataset=lambda: dataset,
        model=model,
        make_collator=lambda: collator,
        callbacks=tuple(made),
        trainer_class=TRAINERS.get(variant, Trainer),
    )
    mode = {"exact_resume": "off"} if variant == OFF else {}
    defaults = {"num_train_epochs": 1, "save_strategy": "no", "logging_strategy": "no"}
    return scenario.make_trainer(folder, **{**defaults, **mode, **arguments})


def _itself(callback: TrainerCallback) -> TrainerCallback:
    return callback
