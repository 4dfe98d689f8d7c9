"""The register of places, and the small data, models and trainers that they are made of."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

BATCH_SIZE = 2
# Batches of an epoch; a run has two epochs.
NUM_BATCHES = 8
NUM_SAMPLES = NUM_BATCHES * BATCH_SIZE


@dataclass(frozen=True)
class Place:
    """
    Something that a training keeps in a place of its own.

    Args:
        name: what it is called.
        owner: what kind of object keeps it: the `OWNER` of its module, or the name of that.
        title: in one line, what is kept where.
        build: returns the arguments of `make`, given the `Mode` if it has a parameter.
    """

    name: str
    owner: str
    title: str
    build: Callable[..., dict[str, Any]]

    def pieces(self, mode: "Mode") -> dict[str, Any]:
        return self.build(mode) if inspect.signature(self.build).parameters else self.build()


@dataclass(frozen=True)
class Mode:
    """
    How batches are loaded.

    Args:
        name: "0", "2" or "2p" for the workers, "p" for persistent ones, and "+acc" for an accumulation of two batches.
    """

    name: str

    @property
    def accumulation(self) -> int:
        return 2 if self.name.endswith("+acc") else 1

    @property
    def num_workers(self) -> int:
        return int(self.name[0])

    @property
    def is_persistent(self) -> bool:
        return self.name[1:2] == "p"

    @property
    def checkpoints(self) -> dict[str, int]:
        """The steps of the checkpoints that are resumed from, by what they are called."""
        half = NUM_BATCHES // self.accumulation // 2
        return {"first": half, "end": 2 * half, "second": 3 * half}


PLACES: dict[str, Place] = {}
ORDINARY: dict[str, Place] = {}


def _register(register: dict[str, Place], build: Callable, owner: str | None) -> Callable:
    name, owner = build.__name__, owner or build.__globals__.get("OWNER") or build.__module__.rpartition(".")[2]
    if name in register:
        raise ValueError(f"two places are called {name}")
    register[name] = Place(name, owner, " ".join((build.__doc__ or "").split()), build)
    return build


def place(build: Callable) -> Callable:
    """Register a place, which returns the arguments of `make`. Its docstring says what is hidden where."""
    return _register(PLACES, build, None)


def ordinary(build: Callable) -> Callable:
    """Register a pipeline that keeps nothing that is not in a checkpoint."""
    return _register(ORDINARY, build, "ordinary")


def sample(index: int, noise: float = 0.0) -> dict[str, torch.Tensor]:
    return {"x": torch.tensor([index % 16, index % 3, 10 * float(noise)]) / 10}


class Samples(Dataset):
    """Samples whose third feature is what `draw` returns, a method of subclasses or an attribute."""

    def __len__(self):
        return NUM_SAMPLES

    def __getitem__(self, index):
        return sample(index, self.draw())

    def draw(self):
        return 0.0


class Stream(IterableDataset):
    """The same as a stream, shared out among workers by `shares`."""

    def __iter__(self):
        for index in shares():
            yield sample(index, self.draw())

    def draw(self):
        return 0.0


def shares(size: int = NUM_SAMPLES) -> range:
    """The indices of this worker, or all of them."""
    info = torch.utils.data.get_worker_info()
    return range(size) if info is None else range(info.id, size, info.num_workers)


class Transformed(Samples):
    """Fixed samples, changed by a transform of one float."""

    def __init__(self, transform):
        self.transform = transform

    def __getitem__(self, index):
        return sample(index, self.transform(index / 10))


def stack(samples):
    return {"x": torch.stack([sample["x"] for sample in samples])}


def noisy(samples, noise):
    """Stack samples with noise on all of them."""
    batch = stack(samples)
    return {"x": batch["x"] + noise}


class Model(nn.Module):
    """Draws for its dropout, so that RNG states matter."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.head = nn.Linear(4, 1)

    def forward(self, x, return_loss=True):
        outputs = self.head(nn.functional.dropout(self.linear(x), 0.2, self.training))
        return {"loss": self.scale() * outputs.pow(2).mean(), "logits": outputs}

    def scale(self):
        return 1.0


def sampled(make_sampler: Callable) -> dict[str, Any]:
    """A trainer whose sampler is made by a function of the dataset."""

    class Sampled(Trainer):
        def _get_train_sampler(self, train_dataset=None):
            return make_sampler(self.train_dataset)

    return {"trainer_class": Sampled}


def loaded(**options: Any) -> dict[str, Any]:
    """A trainer whose dataloader has more options; those that are callable are called with the dataset."""

    class Loaded(Trainer):
        def get_train_dataloader(self):
            given = {"num_workers": self.args.dataloader_num_workers, "collate_fn": self.data_collator}
            given["persistent_workers"] = self.args.dataloader_persistent_workers
            made = {name: value(self.train_dataset) for name, value in options.items() if name.endswith("sampler")}
            kept = {name: value for name, value in options.items() if not name.endswith("sampler")}
            if "batch_sampler" not in made:
                given["batch_size"] = BATCH_SIZE
            return self.accelerator.prepare(DataLoader(self.train_dataset, **{**given, **kept, **made}))

    return {"trainer_class": Loaded}


def make(
    mode: Mode,
    folder: str,
    exact_resume: str | None,
    *,
    dataset=None,
    collator=stack,
    model=None,
    trainer_class=Trainer,
    callbacks=(),
    **arguments,
) -> Trainer:
    """
    A trainer of two epochs with checkpoints in the middle and at the end of each.

    Args:
        mode: how batches are loaded.
        folder: where checkpoints are written.
        exact_resume: the argument of that name; `None` where there is none.
        dataset, collator, model, trainer_class, callbacks: what the trainer is made of.
        arguments: more for `TrainingArguments`.
    """
    given: dict[str, Any] = {
        "output_dir": folder,
        "num_train_epochs": 2,
        "per_device_train_batch_size": BATCH_SIZE,
        "gradient_accumulation_steps": mode.accumulation,
        "dataloader_num_workers": mode.num_workers,
        "dataloader_persistent_workers": mode.is_persistent,
        "remove_unused_columns": False,
        "save_steps": mode.checkpoints["first"],
        "logging_steps": 2,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
    }
    dataset = Samples() if dataset is None else dataset
    if isinstance(dataset, IterableDataset):
        given["max_steps"] = 2 * NUM_BATCHES // mode.accumulation
    if exact_resume is not None:
        given["exact_resume"] = exact_resume
    # The model and what the trainer draws are the same whatever a place has drawn.
    set_seed(7)
    args = TrainingArguments(**{**given, **arguments})
    trainer = trainer_class(
        Model() if model is None else model,
        args,
        data_collator=collator,
        train_dataset=dataset,
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer
