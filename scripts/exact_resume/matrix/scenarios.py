"""The scenarios: each says what is trained, and which trees are expected to resume it exactly."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from exact_resume.matrix import pieces

ALL = ("torch", "numpy", "python")


class PlainLoaderTrainer(Trainer):
    """Brings a dataloader that Accelerate did not prepare, and that therefore does not look ahead."""

    def get_train_dataloader(self) -> DataLoader:
        return DataLoader(self.train_dataset, batch_size=self._train_batch_size, collate_fn=pieces.stack)


@dataclass(frozen=True)
class Scenario:
    """
    One way to train.

    Args:
        name: Identifier.
        title: What a table shows.
        group: Scenarios of a group stand together in tables and reports.
        fixed_by: The patch with which the scenario becomes exact; `None` for a guard, which stock passes already.
        dataset: Makes the training dataset.
        model: Makes the model.
        arguments: `TrainingArguments` that differ from `DEFAULTS`.
        collator: The data collator.
        callbacks: Callback classes.
        trainer_class: The class of the trainer.
        tier: "quick" is run by `verify` and the test suite, "suite" by the test suite, "long" only when it is named.
        device: "cpu" or "cuda".
    """

    name: str
    title: str
    group: str
    fixed_by: str | None
    dataset: Callable[[], Any] = partial(pieces.NoisyDataset, 22)
    model: Callable[[], torch.nn.Module] = pieces.TinyModel
    arguments: dict[str, Any] = field(default_factory=dict)
    collator: Callable = pieces.stack
    callbacks: tuple[type, ...] = ()
    trainer_class: type[Trainer] = Trainer
    tier: str = "quick"
    device: str = "cpu"

    def describe(self) -> dict[str, Any]:
        """What a table says of the scenario."""
        return {
            "name": self.name,
            "title": self.title,
            "group": self.group,
            "fixed_by": self.fixed_by,
            "guard": self.fixed_by is None,
            "tier": self.tier,
            "device": self.device,
        }

    def make_trainer(self, folder: Path, **overrides) -> Trainer:
        """
        Build the trainer of this scenario, as a script would that is started anew.

        Args:
            folder: Where its checkpoints go.
            overrides: `TrainingArguments` that a single run changes.
        """
        arguments = {**DEFAULTS, "use_cpu": self.device == "cpu", **self.arguments, **overrides}
        args = TrainingArguments(output_dir=str(folder), **arguments)
        set_seed(args.seed)
        trainer = self.trainer_class(
            model=self.model(),
            args=args,
            train_dataset=self.dataset(),
            data_collator=self.collator,
            callbacks=[callback() for callback in self.callbacks],
        )
        trainer.remove_callback(PrinterCallback)
        return trainer


# Three epochs of six update steps, of which the last has a ragged batch, and a checkpoint after every one.
DEFAULTS = {
    "num_train_epochs": 3,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-2,
    "save_strategy": "steps",
    "save_steps": 1,
    "logging_steps": 1,
    "seed": 42,
    "report_to": "none",
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
    "remove_unused_columns": False,
}


def _noise(*sources: str, size: int = 22, **kwargs) -> Callable:
    return partial(pieces.NoisyDataset, size, sources, **kwargs)


DROPOUT = partial(pieces.TinyModel, dropout=0.5)
RESTORE, PER_STEP, WORKERS = "restore-order", "per-step-rng-checkpoints", "worker-rng-states"


def _basic() -> list[Scenario]:
    noisy = {"dataset": _noise(*ALL), "model": DROPOUT}
    return [
        Scenario(
            "issue_39215",
            "the issue's own data and model",
            "issue",
            PER_STEP,
            dataset=partial(pieces.IssueDataset, 100),
            model=pieces.IssueModel,
            arguments={"num_train_epochs": 1, "per_device_train_batch_size": 10},
        ),
        Scenario("dropout", "dropout only", "model", None, model=DROPOUT),
        Scenario(
            "model_numpy_python",
            "numpy and python draws in forward",
            "model",
            None,
            model=partial(pieces.TinyModel, dropout=0.5, sources=("numpy", "python")),
        ),
        Scenario(
            "plain_loader_noise",
            "unprepared loader, all noise",
            "order",
            RESTORE,
            **noisy,
            trainer_class=PlainLoaderTrainer,
        ),
        Scenario(
            "plain_loader_accumulation",
            "unprepared loader, accumulation 2",
            "order",
            RESTORE,
            **noisy,
            trainer_class=PlainLoaderTrainer,
            arguments={"gradient_accumulation_steps": 2},
        ),
        Scenario(
            "epoch_begin_callback",
            "callback draws at epoch begin",
            "order",
            RESTORE,
            model=DROPOUT,
            callbacks=(pieces.RandomEpochBegin,),
        ),
        Scenario(
            "torch_noise", "torch noise in __getitem__", "noise", PER_STEP, dataset=_noise("torch"), model=DROPOUT
        ),
        Scenario(
            "numpy_noise", "numpy noise in __getitem__", "noise", PER_STEP, dataset=_noise("numpy"), model=DROPOUT
        ),
        Scenario(
            "python_noise", "python noise in __getitem__", "noise", PER_STEP, dataset=_noise("python"), model=DROPOUT
        ),
        Scenario("all_noise", "all noise in __getitem__", "noise", PER_STEP, **noisy),
        Scenario(
            "random_collator", "random collator", "noise", PER_STEP, model=DROPOUT, collator=pieces.noisy_collate
        ),
        Scenario(
            "datasets_transform",
            "datasets, random transform",
            "noise",
            PER_STEP,
            dataset=partial(pieces.datasets_with_transform, 22),
            model=DROPOUT,
        ),
        Scenario(
            "unseedable_sampler",
            "unseedable sampler",
            "noise",
            PER_STEP,
            model=DROPOUT,
            arguments={"accelerator_config": {"use_seedable_sampler": False}},
        ),
        Scenario(
            "accumulation_2",
            "accumulation 2",
            "batching",
            PER_STEP,
            **noisy,
            arguments={"gradient_accumulation_steps": 2},
        ),
        Scenario(
            "accumulation_2_ragged",
            "accumulation 2, ragged last step",
            "batching",
            PER_STEP,
            dataset=_noise(*ALL, size=18),
            model=DROPOUT,
            arguments={"gradient_accumulation_steps": 2},
        ),
        Scenario(
            "accumulation_3_ragged",
            "accumulation 3, ragged last step",
            "batching",
            PER_STEP,
            dataset=_noise(*ALL, size=26),
            model=DROPOUT,
            arguments={"gradient_accumulation_steps": 3},
        ),
        Scenario(
            "drop_last",
            "drop_last",
            "batching",
            PER_STEP,
            **noisy,
            arguments={"dataloader_drop_last": True},
        ),
        Scenario(
            "divisible",
            "batches divide the data",
            "batching",
            PER_STEP,
            dataset=_noise(*ALL, size=24),
            model=DROPOUT,
        ),
        Scenario(
            "single_samples",
            "batch size 1",
            "batching",
            PER_STEP,
            dataset=_noise(*ALL, size=5),
            model=DROPOUT,
            arguments={"per_device_train_batch_size": 1},
        ),
    ]


def _worker_arguments(num_workers: int, prefetch: int, persistent: bool, method: str) -> dict[str, Any]:
    return {
        "dataloader_num_workers": num_workers,
        "dataloader_prefetch_factor": prefetch,
        "dataloader_persistent_workers": persistent,
        "dataloader_multiprocessing_context": method,
    }


def _tier(num_workers: int, prefetch: int, persistent: bool, method: str) -> str:
    if method == "spawn":
        # Every worker imports torch anew, some seconds each; what differs from forkserver is only how it starts.
        return "suite" if (num_workers, prefetch, persistent) == (2, 2, True) else "long"
    return "quick" if (method, prefetch) == ("fork", 2) and num_workers > 1 else "suite"


def _worker_scenario(num_workers: int, prefetch: int, persistent: bool, method: str) -> Scenario:
    arguments = _worker_arguments(num_workers, prefetch, persistent, method)
    # Shorter epochs, and fewer, the longer it takes to start a worker.
    size, epochs = {"fork": (22, 3), "forkserver": (11, 3), "spawn": (11, 2)}[method]
    return Scenario(
        f"workers_{num_workers}_prefetch_{prefetch}_{'persistent_' if persistent else ''}{method}",
        f"{num_workers} {'persistent, ' if persistent else 'workers, '}prefetch {prefetch}, {method}",
        "workers",
        WORKERS,
        dataset=_noise(*ALL, size=size, uses_worker_info=True),
        model=DROPOUT,
        arguments={**arguments, "num_train_epochs": epochs},
        tier=_tier(num_workers, prefetch, persistent, method),
    )


def _workers() -> list[Scenario]:
    noisy = {"dataset": _noise(*ALL, uses_worker_info=True), "model": DROPOUT}
    scenarios = [
        _worker_scenario(num_workers, prefetch, persistent, method)
        for method in ("fork", "forkserver", "spawn")
        for num_workers in (1, 2, 3)
        for prefetch in (1, 2, 4)
        for persistent in (False, True)
    ]
    two = _worker_arguments(2, 2, False, "fork")
    return scenarios + [
        Scenario(
            "workers_dropout", "2 workers, dropout only", "workers", None, model=DROPOUT, arguments=two, tier="suite"
        ),
        Scenario(
            "workers_accumulation",
            "3 workers, accumulation 2, ragged",
            "workers",
            WORKERS,
            dataset=_noise(*ALL, size=18),
            model=DROPOUT,
            arguments={**_worker_arguments(3, 2, True, "fork"), "gradient_accumulation_steps": 2},
            tier="suite",
        ),
        Scenario(
            "workers_collator",
            "2 workers, random collator",
            "workers",
            WORKERS,
            model=DROPOUT,
            collator=pieces.noisy_collate,
            arguments=two,
            tier="suite",
        ),
        Scenario(
            "workers_getitems",
            "3 workers, __getitems__",
            "workers",
            WORKERS,
            dataset=partial(pieces.BatchedNoisyDataset, 22, ALL),
            model=DROPOUT,
            arguments=_worker_arguments(3, 2, False, "fork"),
            tier="suite",
        ),
        Scenario(
            "workers_datasets",
            "2 persistent, datasets transform",
            "workers",
            WORKERS,
            dataset=partial(pieces.datasets_with_transform, 22),
            model=DROPOUT,
            arguments=_worker_arguments(2, 2, True, "fork"),
            tier="suite",
        ),
        Scenario(
            "workers_unseedable",
            "2 workers, unseedable sampler",
            "workers",
            WORKERS,
            **noisy,
            arguments={**two, "accelerator_config": {"use_seedable_sampler": False}},
            tier="suite",
        ),
    ]


def _cuda() -> list[Scenario]:
    noisy = {"dataset": _noise(*ALL), "model": DROPOUT, "group": "cuda", "device": "cuda"}
    return [
        Scenario("cuda_dropout", "CUDA: dropout only", "cuda", None, model=DROPOUT, device="cuda"),
        Scenario("cuda_all_noise", "CUDA: all noise", fixed_by=PER_STEP, **noisy),
        Scenario(
            "cuda_workers",
            "CUDA: 2 persistent, pinned memory",
            fixed_by=WORKERS,
            **noisy,
            arguments={**_worker_arguments(2, 2, True, "fork"), "dataloader_pin_memory": True},
        ),
    ]


def _controls() -> list[Scenario]:
    return [
        Scenario(
            "not_deterministic",
            "control: no two runs are alike",
            "control",
            None,
            model=pieces.UnseededModel,
            tier="long",
        )
    ]


SCENARIOS = {scenario.name: scenario for scenario in [*_basic(), *_workers(), *_cuda(), *_controls()]}
