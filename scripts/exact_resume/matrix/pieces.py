"""
Tiny datasets, collators, models and callbacks that draw random numbers in the places where training code does.

All live at module level, so that workers started by `spawn` can import them, and none keeps state between runs.
"""

import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback

NUM_FEATURES = 4


def draw(sources: tuple[str, ...], count: int) -> torch.Tensor:
    """`count` rounds of noise, shape `(NUM_FEATURES,)`, each round from every global RNG named in `sources`."""
    noise = torch.zeros(NUM_FEATURES)
    for _ in range(count):
        if "torch" in sources:
            noise += torch.randn(NUM_FEATURES)
        if "numpy" in sources:
            # An odd number of Gaussians, so that NumPy's cached one is part of the state.
            noise += torch.tensor(np.random.randn(3).sum(), dtype=torch.float32)
        if "python" in sources:
            noise += random.gauss(0, 1) + random.random()
    return noise


class NoisyDataset(Dataset):
    """
    `size` fixed samples, to which `__getitem__` adds noise.

    Args:
        size: Number of samples.
        sources: The global RNGs drawn from, any of "torch", "numpy" and "python".
        varying: Whether the number of draws differs between samples.
        uses_worker_info: Whether the worker's id and seed are added, as datasets do that shard or seed themselves.
    """

    def __init__(self, size: int, sources: tuple[str, ...] = (), varying: bool = True, uses_worker_info: bool = False):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(size, NUM_FEATURES, generator=generator)
        self.labels = self.x.sum(dim=1, keepdim=True)
        self.sources = sources
        self.varying = varying
        self.uses_worker_info = uses_worker_info

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        x = self.x[index] + draw(self.sources, 1 + index % 3 if self.varying else 1)
        worker = torch.utils.data.get_worker_info()
        if self.uses_worker_info and worker is not None:
            x = x + worker.id + (worker.seed % 1000) / 1000
        return {"x": x, "labels": self.labels[index], "index": torch.tensor(index)}


class BatchedNoisyDataset(NoisyDataset):
    """The same through `__getitems__`, which must never be called without indices."""

    def __getitems__(self, indices: list[int]) -> list[dict[str, torch.Tensor]]:
        if not indices:
            raise AssertionError("__getitems__ was called without indices")
        return [self[index] for index in indices]


def noisy_collate(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stack the samples and mask random features, as masking collators do."""
    batch = stack(samples)
    batch["x"] = batch["x"] * (torch.rand_like(batch["x"]) > 0.2) + float(np.random.rand()) + random.random()
    return batch


def stack(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stack the samples."""
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def device_collate(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stack the samples on the GPU and add noise that is drawn there."""
    batch = {name: value.cuda() for name, value in stack(samples).items()}
    return {**batch, "x": batch["x"] + torch.randn_like(batch["x"])}


def datasets_with_transform(size: int):
    """A `datasets.Dataset` whose transform, set by `set_transform`, adds noise from all three RNGs."""
    import datasets

    fixed = NoisyDataset(size)
    columns = {"x": fixed.x.tolist(), "labels": fixed.labels.tolist(), "index": list(range(size))}
    return datasets.Dataset.from_dict(columns).with_transform(noisy_transform)


def noisy_transform(rows: dict[str, list]) -> dict[str, list]:
    """The transform of `datasets_with_transform`."""
    if not rows["index"]:
        raise AssertionError("the transform was called on nothing")
    rows["x"] = [torch.tensor(x) + draw(("torch", "numpy", "python"), 1) for x in rows["x"]]
    rows["labels"] = [torch.tensor(label) for label in rows["labels"]]
    rows["index"] = [torch.tensor(index) for index in rows["index"]]
    return rows


class TinyModel(nn.Module):
    """
    Regression with one hidden layer.

    Args:
        dropout: Dropout probability.
        sources: Global RNGs that `forward` draws noise from ("numpy", "python"), as SpecAugment and LayerDrop do.
    """

    def __init__(self, dropout: float = 0.0, sources: tuple[str, ...] = ()):
        super().__init__()
        self.hidden = nn.Linear(NUM_FEATURES, 8)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, 1)
        self.sources = sources

    def forward(self, x: torch.Tensor, labels: torch.Tensor, index: torch.Tensor | None = None):
        """Return `{"loss", "logits"}` for `x` `(batch, NUM_FEATURES)` and `labels` `(batch, 1)`; `index` is unused."""
        if self.training:
            x = x + draw(self.sources, 1).to(x.device)
        logits = self.head(self.dropout(torch.relu(self.hidden(x))))
        return {"loss": nn.functional.mse_loss(logits, labels), "logits": logits}


class UnseededModel(TinyModel):
    """Draws from the operating system: no two runs are alike."""

    def forward(self, x: torch.Tensor, labels: torch.Tensor, index: torch.Tensor | None = None):
        """As `TinyModel.forward`, with noise that no seed controls."""
        return super().forward(x + random.SystemRandom().random(), labels, index)


class IssueDataset(Dataset):
    """The data of upstream issue 39215: ten features, ten targets, and a little uniform noise in every sample."""

    def __init__(self, size: int):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(size, 10, generator=generator)
        self.labels = torch.randn(size, 10, generator=generator)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        noise = torch.rand(self.x[index].shape) * 0.001
        return {"x": self.x[index] + noise, "labels": self.labels[index], "index": torch.tensor(index)}


class IssueModel(nn.Module):
    """The model of upstream issue 39215: a linear layer, then dropout."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(10, 10)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None, index: torch.Tensor | None = None):
        """Return `{"loss", "logits"}` for `x` and `labels`, both `(batch, 10)`; `index` is unused."""
        logits = self.dropout(self.linear(x))
        return {"loss": None if labels is None else nn.functional.mse_loss(logits, labels), "logits": logits}


class RandomEpochBegin(TrainerCallback):
    """Draws at the beginning of every epoch, as callbacks do that resample or reweight data."""

    def on_epoch_begin(self, args, state, control, **kwargs):
        draw(("torch", "numpy", "python"), 1)


class RandomAt(TrainerCallback):
    """
    Draws from all three RNGs at events, as callbacks do that log samples or resample data.

    Args:
        events: Names of events, such as "on_save".
    """

    def __init__(self, *events: str):
        for event in events:
            setattr(self, event, self._draw)

    def _draw(self, args, state, control, **kwargs):
        draw(("torch", "numpy", "python"), 1)


class StopEpochAfter(TrainerCallback):
    """Ends every epoch after `num_steps` update steps."""

    def __init__(self, num_steps: int):
        self.num_steps = num_steps

    def on_step_end(self, args, state, control, **kwargs):
        # An epoch that was ended early counts as a whole one for the next.
        if round((state.epoch % 1) * state.max_steps / args.num_train_epochs) == self.num_steps:
            control.should_epoch_stop = True


class OutOfMemoryTrainer(Trainer):
    """Runs out of memory with more than two samples in a batch, as `auto_find_batch_size` expects it to."""

    def training_step(self, model, inputs, *args, **kwargs):
        """As that of `Trainer`."""
        if len(inputs["labels"]) > 2:
            raise RuntimeError("CUDA out of memory.")
        return super().training_step(model, inputs, *args, **kwargs)


class TokenDataset(NoisyDataset):
    """Samples with `input_ids` of different lengths, by which samplers group them."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {**super().__getitem__(index), "input_ids": list(range(1 + index * 7 % 11))}


def pad(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stack the samples without their `input_ids`, which the model does not take."""
    return stack([{name: value for name, value in sample.items() if name != "input_ids"} for sample in samples])
