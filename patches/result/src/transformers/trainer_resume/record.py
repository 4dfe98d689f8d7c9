# Copyright 2026 The HuggingFace Team. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""
What a checkpoint holds besides RNG states, under `"exact_resume"` in the RNG file of each process. Its format is
decided here alone, by `to_dict` and `from_dict`.
"""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from ..trainer_utils import has_length
from .generators import pack_rng_state, unpack_rng_state
from .position import Position


# 1 had no checksum, and 2 no seeds.
FORMAT_VERSION = 3
OLDEST_FORMAT_VERSION = 2


@dataclass(frozen=True)
class RunShape:
    """What a resume must have in common with the run that it continues."""

    dataloader: str
    dataset_length: int | None
    gradient_accumulation_steps: int
    num_workers: int
    persistent_workers: bool
    train_batch_size: int
    world_size: int
    seed: int
    data_seed: int | None

    @classmethod
    def of(cls, trainer, dataloader: Any, loader: DataLoader) -> "RunShape":
        return cls(
            dataloader=type(dataloader).__name__,
            dataset_length=len(loader.dataset) if has_length(getattr(loader, "dataset", None)) else None,
            gradient_accumulation_steps=trainer.args.gradient_accumulation_steps,
            num_workers=getattr(loader, "num_workers", 0),
            persistent_workers=getattr(loader, "persistent_workers", False),
            train_batch_size=trainer._train_batch_size,
            world_size=trainer.args.world_size,
            seed=trainer.args.seed,
            data_seed=trainer.args.data_seed,
        )

    def find_differences(self, stored: dict[str, Any]) -> list[str]:
        """How this run differs from a stored shape, which an earlier version may have written, in words."""
        return [
            f"{name} was {stored[name]} and is {value}"
            for name, value in asdict(self).items()
            if name in stored and stored[name] != value
        ]


class Sums(NamedTuple):
    """What the trainer sums up over steps, some of it for this process only, to log it later."""

    tr_loss: torch.Tensor
    total_loss_scalar: float
    globalstep_last_logged: int
    initial_loss_step: int  # after which `train_loss` is summed up, by the runs that are continued, too
    current_flos: float
    total_flos: float
    num_input_tokens_seen: int

    @classmethod
    def of(cls, trainer, initial_loss_step: int, tr_loss: torch.Tensor) -> "Sums":
        """The sums of the moment, with a copy of `tr_loss`, which is summed up in place."""
        state = trainer.state
        return cls(
            tr_loss,
            trainer._total_loss_scalar,
            trainer._globalstep_last_logged,
            initial_loss_step,
            trainer.current_flos,
            state.total_flos,
            state.num_input_tokens_seen,
        )

    def give_back(self, trainer) -> None:
        trainer._tr_loss.copy_(self.tr_loss)
        trainer._total_loss_scalar = self.total_loss_scalar
        trainer._globalstep_last_logged = self.globalstep_last_logged
        trainer.current_flos = self.current_flos
        trainer.state.total_flos = self.total_flos
        trainer.state.num_input_tokens_seen = self.num_input_tokens_seen


class NextSteps(NamedTuple):
    """
    What followed a checkpoint, as a file has it.

    Args:
        save (`str`): The identifier of the save.
        step (`int`): The global step of the checkpoint.
        max_steps (`int`): The number of update steps of the run, on which learning rates depend.
        results (`dict[int, dict]`): Digests of what some update steps came to, by the global step at their end.
        batches (`dict`): The digest of the first batch, by epoch and index, if none was fetched ahead.
    """

    save: str
    step: int
    max_steps: int
    results: dict[int, dict[str, list]]
    batches: dict[tuple[int, int], dict[str, list]]


class StepStart:
    """What was so when the last update step began, for a checkpoint that is taken within it."""

    num_logs = 0  # of the entries of `log_history`
    parameter_version: int | None = None  # of a parameter, which the optimizer counts up

    def __init__(self):
        self.num_pulled = 0
        self.num_drawn = 0
        self.sums: Sums | None = None
        self.eval_dataloaders: list[str] = []
        self._tr_loss = None  # the memory of a copy

    def take(self, trainer, session) -> None:
        self.num_pulled = session.progress.num_pulled
        self.num_drawn = 0 if session.recorder is None else session.recorder.moments.num_drawn
        if self._tr_loss is None:
            self._tr_loss = trainer._tr_loss.clone()
        self.sums = Sums.of(trainer, session.initial_loss_step, self._tr_loss.copy_(trainer._tr_loss))
        self.eval_dataloaders = session.eval_dataloaders
        self.num_logs = len(trainer.state.log_history)
        parameter = session.parameter()
        self.parameter_version = None if parameter is None else parameter._version


@dataclass
class Moments:
    """
    What repeats the batches of an epoch that were drawn, but not trained on.

    Args:
        num_drawn (`int`): The number of index batches that were drawn.
        epoch_start (`dict`, *optional*): E, the state with which the sampler makes its iterator.
        fetch_states (`dict[int, dict]`): F, the states with which batches are drawn and fetched, by index: of batch 0,
            and of those that were not trained on.
        index_batches (`dict[int, Any]`): What the sampler drew for these, by index.
        last_indices (`Any`, *optional*): What it drew last, of this epoch or the one before.
        draws_base_seed (`bool`): Whether worker processes were started with the epoch, which draws their seed.
        index_digests (`dict[int, int]`): Digests of all that was drawn up to these indices, of -1 if nothing was.
    """

    num_drawn: int = 0
    epoch_start: dict[str, Any] | None = None
    fetch_states: dict[int, dict[str, Any]] = field(default_factory=dict)
    index_batches: dict[int, Any] = field(default_factory=dict)
    last_indices: Any = None
    draws_base_seed: bool = False
    index_digests: dict[int, int | None] = field(default_factory=lambda: {-1: 0})

    def to_dict(self, first: int, num_drawn: int, is_within_epoch: bool) -> dict[str, Any]:
        """
        As a file has it.

        Args:
            first (`int`): The index of the first batch that was not trained on.
            num_drawn (`int`): The number of index batches that were drawn at the position of the checkpoint.
            is_within_epoch (`bool`): Whether a resume continues the epoch.
        """
        states = {
            index: state for index, state in self.fetch_states.items() if index == 0 or first <= index < num_drawn
        }
        indices = {index: batch for index, batch in self.index_batches.items() if first <= index < num_drawn}
        return {
            "num_batches_drawn": num_drawn,
            "index_batches": {
                index: torch.tensor(batch)
                for index, batch in indices.items()
                if is_within_epoch and _are_integers(batch)
            },
            "last_indices": torch.tensor(self.last_indices) if _are_integers(self.last_indices) else None,
            "draws_base_seed": self.draws_base_seed,
            "index_digest": self.index_digests.get(first - 1) if is_within_epoch else None,
            "epoch_start": pack_rng_state(self.epoch_start) if is_within_epoch else None,
            "fetch_states": {index: pack_rng_state(state) for index, state in states.items() if is_within_epoch},
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any], first: int, is_within_epoch: bool) -> "Moments":
        last_indices = stored.get("last_indices")
        last_indices = None if last_indices is None else last_indices.tolist()
        if not is_within_epoch:
            return cls(last_indices=last_indices)
        return cls(
            num_drawn=stored["num_batches_drawn"],
            epoch_start=unpack_rng_state(stored["epoch_start"]),
            fetch_states={index: unpack_rng_state(state) for index, state in stored["fetch_states"].items()},
            index_batches={index: indices.tolist() for index, indices in stored["index_batches"].items()},
            last_indices=last_indices,
            draws_base_seed=stored["draws_base_seed"],
            index_digests={first - 1: stored.get("index_digest")},
        )


@dataclass(frozen=True)
class Record:
    """
    All that the RNG file of a process has besides RNG states.

    Args:
        process (`int`): The index of the process.
        step (`int`): The global step.
        save (`str`): An identifier of the save.
        obstacle (`str`, *optional*): Why a resume cannot be exact; if there is one, there are no `moments`.
        run (`dict`): The [`RunShape`].
        position ([`Position`]): Where a resume begins.
        sums ([`Sums`]): The sums at that position.
        last_step (`list`): The gradient norm and the learning rate of the last step, which the end of an epoch may
            have to log.
        eval_dataloaders (`list[str]`): Names of the evaluation dataloaders whose workers were started.
        faults (`list[str]`): What is wrong with states of the data pipeline.
        has_drawn_on_save (`bool`): Whether callbacks have drawn in `on_save`.
        is_drawn_after (`bool`): Whether they draw after this save, too, and a file with what follows belongs to it.
        moments (`dict`, *optional*): As [`Moments.to_dict`] has it.
        workers (`dict`, *optional*): What worker processes start from, as [`WorkerReports.read`] returns it.
        workers_if_stopped (`dict`, *optional*): The same, if the epoch is stopped by what ends the step of the
            checkpoint.
        num_logs (`int`, *optional*): The number of entries that `log_history` had at the position, which may be less
            than it has in the checkpoint.
        stop (`str`, *optional*): What had stopped the training, "early_stopping" or "callback".
        pending (`dict[str, bool]`): If some of the end of a step is left to do, the switches of the
            [`TrainerControl`].
        batch_digests (`dict[int, dict]`): The digests of batches that were fetched but not trained on, by index.
        sample_offset (`int`): The number of samples that precede the batches of the epoch.
        extra_steps (`int`): The number of update steps that the run has more than its arguments tell, as it began with
            another number of processes or another batch size.
        gradient_buckets (`dict`, *optional*): As [`GradientBuckets.state_dict`] returns it.
    """

    process: int
    step: int
    save: str | None
    obstacle: str | None
    run: dict[str, Any]
    position: Position
    sums: Sums
    last_step: list[float | None]
    eval_dataloaders: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    has_drawn_on_save: bool = False
    is_drawn_after: bool = False
    moments: dict[str, Any] | None = None
    workers: dict[str, Any] | None = None
    workers_if_stopped: dict[str, Any] | None = None
    num_logs: int | None = None
    stop: str | None = None
    pending: dict[str, bool] = field(default_factory=dict)
    batch_digests: dict[int, dict[str, list]] = field(default_factory=dict)
    sample_offset: int = 0
    extra_steps: int = 0
    gradient_buckets: dict[str, Any] | None = None
    version: int = FORMAT_VERSION

    def to_dict(self) -> dict[str, Any]:
        stored = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "moments"}
        stored["position"] = asdict(self.position)
        stored["sums"] = {**self.sums._asdict(), "tr_loss": self.sums.tr_loss.cpu()}
        stored["last_step"] = [value.item() if isinstance(value, torch.Tensor) else value for value in self.last_step]
        return {**stored, **(self.moments or {})}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Record":
        """What [`~Record.to_dict`] or an earlier version has made; raises an error for anything else."""
        names = {entry.name for entry in fields(cls)} - {"moments"}
        known = {name: stored[name] for name in names if name in stored}
        if stored["version"] not in range(OLDEST_FORMAT_VERSION, FORMAT_VERSION + 1):
            known = {**dict.fromkeys(names), "version": stored["version"]}  # of which nothing else is known
            return cls(**known)
        known["position"] = Position(**stored["position"])
        known["sums"] = Sums(**stored["sums"])
        return cls(**known, moments=stored if "num_batches_drawn" in stored else None)


def _are_integers(indices: Any) -> bool:
    return indices is not None and all(
        type(index) is int for index in (indices if isinstance(indices, list) else [indices])
    )
