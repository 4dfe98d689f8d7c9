"""What a scenario is, and what most of them share."""

import importlib.util
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from exact_resume.matrix import pieces

ALL = ("torch", "numpy", "python")
DROPOUT = partial(pieces.TinyModel, dropout=0.5)
RESTORE, PER_STEP, POSITION = "restore-order", "per-step-rng-checkpoints", "stored-position"
WORKERS, PIPELINE, DEVICES = "worker-rng-states", "pipeline-states", "device-rng-states"
ORDINARY, KEPT, PARTIAL, BUCKETS = "ordinary-code", "run-state", "partial-records", "gradient-buckets"
REGISTERED = "registered-state"
# With these, what is not exact is named; they make nothing exact.
NAMING = ("resume-check", "rescaling")
CONVERSIONS, COMPLETE = "weight-conversions", "complete-checkpoints"

# The names of the training arguments that the release has.
ARGUMENTS = {argument.name for argument in fields(TrainingArguments)}

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


def noise(*sources: str, size: int = 22, **kwargs) -> Callable[[], pieces.NoisyDataset]:
    """Makes a `pieces.NoisyDataset`."""
    return partial(pieces.NoisyDataset, size, sources, **kwargs)


def worker_arguments(
    num_workers: int, prefetch: int = 2, persistent: bool = False, method: str = "fork"
) -> dict[str, Any]:
    """`TrainingArguments` for worker processes."""
    context = {"dataloader_multiprocessing_context": method}
    # A release without this argument starts workers as Python does by default.
    if not context.keys() <= ARGUMENTS and method == multiprocessing.get_all_start_methods()[0]:
        context = {}
    return {
        "dataloader_num_workers": num_workers,
        "dataloader_prefetch_factor": prefetch,
        "dataloader_persistent_workers": persistent,
        **context,
    }


def sampling_arguments(strategy: str) -> dict[str, Any]:
    """`TrainingArguments` for a sampling strategy."""
    if strategy == "group_by_length" and strategy in ARGUMENTS:  # as some releases call it
        return {"group_by_length": True}
    return {"train_sampling_strategy": strategy}


def plain_collator() -> Callable:
    """Makes the collator that draws nothing."""
    return pieces.stack


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
        make_collator: Makes the data collator, anew for each run, as it may keep state.
        callbacks: Callback classes, or what else makes callbacks.
        trainer_class: The class of the trainer.
        trainer_options: Makes further arguments of the trainer, such as an evaluation dataset.
        seed_before_training: Whether a resuming process seeds differently between building the trainer and `train`.
        interrupts: The steps after which the run is interrupted; every step if `None`.
        controls: The steps after which a run on a tree without the scenario's patch is interrupted, to see it fail;
            the first and the last of `interrupts` by default, or one in the first epoch and one in the second.
        compares_summary: Whether `train_loss` and other values that sum up a whole run are compared.
        saves_when_resumed: Whether a resumed run must write checkpoints, as `load_best_model_at_end` does.
        interrupt_event: The event, such as "on_step_begin", at which the handler of SIGTERM takes the checkpoints, one
            in each interrupted run; `None` if the golden run saves them itself.
        interrupts_again: Whether it takes those of resumed runs of a chain, too; else they save them themselves.
        interrupts_save: Whether the run ends in the middle of the save that follows the interrupt, and is resumed from
            the newest checkpoint, whichever that is.
        num_processes: Number of ranks.
        requires: Packages without which the scenario is skipped.
        lacks: What this release lacks to run the scenario, which is then skipped; `None` if nothing.
        tier: One of `matrix.TIERS`.
        device: "cpu" or "cuda".
    """

    name: str
    title: str
    group: str
    fixed_by: str | None
    dataset: Callable[[], Any] = partial(pieces.NoisyDataset, 22)
    model: Callable[[], torch.nn.Module] = pieces.TinyModel
    arguments: dict[str, Any] = field(default_factory=dict)
    make_collator: Callable[[], Callable] = plain_collator
    callbacks: tuple[Callable[[], TrainerCallback], ...] = ()
    trainer_class: type[Trainer] = Trainer
    trainer_options: Callable[[], dict[str, Any]] = dict
    seed_before_training: bool = False
    interrupts: tuple[int, ...] | None = None
    controls: tuple[int, ...] | None = None
    compares_summary: bool = False
    saves_when_resumed: bool = False
    interrupt_event: str | None = None
    interrupts_again: bool = False
    interrupts_save: bool = False
    num_processes: int = 1
    requires: tuple[str, ...] = ()
    lacks: str | None = None
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
            "control_chains": self.control_chains(),
        }

    def control_chains(self) -> list[list[int]]:
        """The interrupts at which trees without the scenario's patch are seen to fail."""
        steps = self.controls or ((self.interrupts[0], self.interrupts[-1]) if self.interrupts else (2, 7))
        return [[step] for step in steps]

    def reason_to_skip(self) -> str | None:
        """Why the scenario cannot run here, or `None`."""
        if self.device == "cuda" and not torch.cuda.is_available():
            return "no CUDA device on this machine"
        missing = [name for name in self.requires if importlib.util.find_spec(name) is None]
        if missing:
            return f"not installed: {', '.join(missing)}"
        if self.lacks is not None:
            return f"in this release: {self.lacks}"
        needed = self.arguments.keys() | ({"enable_jit_checkpoint"} if self.interrupt_event else set())
        lacking = sorted(needed - ARGUMENTS)
        return f"in this release: no TrainingArguments({lacking[0]}=...)" if lacking else None

    def make_trainer(self, folder: Path, **overrides) -> Trainer:
        """
        Build the trainer of this scenario, as a script would that is started anew.

        Args:
            folder: Where its checkpoints go.
            overrides: `TrainingArguments` that a single run changes.
        """
        arguments = {**DEFAULTS, "use_cpu": self.device == "cpu", **self.arguments, **overrides}
        options = self.trainer_options()
        args = options.pop("args_class", TrainingArguments)(output_dir=str(folder), **arguments)
        set_seed(args.seed)
        trainer = self.trainer_class(
            model=self.model(),
            args=args,
            train_dataset=self.dataset(),
            data_collator=self.make_collator(),
            callbacks=[callback() for callback in self.callbacks],
            **options,
        )
        trainer.remove_callback(PrinterCallback)
        return trainer
