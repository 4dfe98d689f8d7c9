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
"""What keeps a resume from being bit-exact. Each function returns a sentence, or `None` if there is nothing to say."""

import inspect
import os

import numpy as np
from torch.utils.data import DataLoader, IterableDataset

from ..trainer_utils import has_length
from . import loader_hooks
from .callbacks import Caller, handles
from .position import Phase, Position, Progress
from .record import FORMAT_VERSION, OLDEST_FORMAT_VERSION, Record, RunShape


WORKER_DID_NOT_REPORT = (
    "a worker process did not report its RNG state, as it keeps too much or an epoch ended before its data"
)


def of_dataloader(loader) -> str | None:
    """Why a run with this dataloader cannot be recorded."""
    if not _iterates_as_known(loader):
        return f"the batches come from a `{type(loader).__name__}`, not from a `torch.utils.data.DataLoader`"
    if loader.persistent_workers and loader._iterator is not None:
        return "the dataloader's persistent workers were started before, as by an earlier call to `train`"
    if loader._iterator is not None:
        return f"an iterator of the `{type(loader).__name__}` was made before the training"
    if np.random.get_state(legacy=False)["bit_generator"] != "MT19937":
        return "the global bit generator of NumPy was replaced"
    return None


def _iterates_as_known(loader) -> bool:
    if not isinstance(loader, DataLoader):
        return False
    method = type(loader).__iter__
    # That of torchdata draws as this one does where it has no workers
    is_stateful = getattr(method, "__module__", None) == "torchdata.stateful_dataloader.stateful_dataloader"
    return method is DataLoader.__iter__ or (is_stateful and loader.num_workers == 0)


def of_batches(args, dataloader, loader: DataLoader) -> str | None:
    """
    Why some batches of a resume may be other ones, though what is recorded is restored.

    Args:
        args ([`TrainingArguments`]): The arguments of the run.
        dataloader: What [`Trainer.get_train_dataloader`] returned.
        loader (`torch.utils.data.DataLoader`): The dataloader in it.
    """
    if loader_hooks.is_dispatched(args, dataloader) and not dataloader._drop_last and has_length(loader.dataset):
        if not isinstance(loader.dataset, IterableDataset) and len(loader.dataset) % args.world_size:
            return (
                "the first batch of an epoch completes its last one, and is not read again (`dispatch_batches=True`;"
                " see `dataloader_drop_last`)"
            )
    if loader.num_workers > 0 and not getattr(loader, "in_order", True):
        return "the workers deliver their batches in any order (`dataloader_in_order=False`)"
    return None


def of_moment(args, progress: Progress, awaits_load: bool, is_replaying: bool) -> str | None:
    """
    Why a checkpoint of this moment cannot be resumed exactly.

    Args:
        args ([`TrainingArguments`]): The arguments of the run.
        progress ([`Progress`]): Where the run is.
        awaits_load (`bool`): Whether the run is to be resumed, and its checkpoint is not loaded yet.
        is_replaying (`bool`): Whether its S is still to be restored.
    """
    if awaits_load or (progress.phase is Phase.EPOCH_BEGIN and is_replaying):
        return "the run that wrote it was about to be resumed itself, and its state was not restored yet"
    num_left_over = progress.num_pulled % args.gradient_accumulation_steps
    if progress.phase.is_outside_of_epochs and num_left_over > 0 and progress.num_pulled < progress.steps_in_epoch:
        return f"{num_left_over} batches were left over for the next update step, and their gradients are not kept"
    return None


def of_draws(recorder, position: Position) -> str | None:
    """Why what is left of an epoch cannot be drawn again, as when a run was resumed within it, but not exactly."""
    if recorder is not None and position.is_within_epoch and recorder.moments.epoch_start is None:
        return "the beginning of its epoch was not followed, as a resume that was not exact has skipped it"
    return None


def of_caller(session, trainer, caller: Caller) -> str | None:
    """
    Why what follows where a callback takes a checkpoint cannot be done by a resume.

    Args:
        session ([`ExactResume`]): What has been recorded.
        trainer ([`Trainer`]): The trainer.
        caller ([`Caller`]): The callback.
    """
    phase, control, event = session.progress.phase, trainer.control, caller.event
    if session.has_ended:
        return "the training was over, and what follows it was partly done"
    if phase is Phase.IN_STEP:
        parameter, version = session.parameter(), session.step_start.parameter_version
        if event == "on_optimizer_step" or (parameter is not None and parameter._version != version):
            return "the parameters were changed already since the update step began, which was not over"
    if phase.event is not None or phase is Phase.IN_STEP:
        return None  # all of it is done again
    if caller.is_evaluating:
        # Of an evaluation that is over, what follows may depend on its metrics.
        if event not in (None, "on_evaluate") or control.should_evaluate or _needs_metrics(trainer):
            return "an evaluation was not over"
    elif event in (None, "on_save"):
        return None
    elif event != "on_log":
        return f"callbacks were not expected to take one in `{event}`"
    if event is not None and any(handles(callback, event) for callback in caller.following):
        return f"further callbacks of `{event}` were yet to be called"
    if phase is Phase.BETWEEN_EPOCHS and (control.should_evaluate or control.should_save):
        return f"what follows `{event or 'on_evaluate'}` at the end of an epoch was yet to be done"
    return None


def _needs_metrics(trainer) -> bool:
    if trainer.args.metric_for_best_model is not None or trainer.hp_search_backend is not None:
        return True
    return "metrics" in inspect.signature(trainer.lr_scheduler.step).parameters


def of_file(path: str, stored: Record | None, shape: RunShape, process: int, step: int) -> str | None:
    """
    Why the record of a checkpoint is not one that this process can resume with.

    Args:
        path (`str`): The RNG file of this process.
        stored ([`Record`], *optional*): What it holds.
        shape ([`RunShape`]): The shape of this run.
        process (`int`): The index of this process.
        step (`int`): The step of the checkpoint.
    """
    if stored is None and not os.path.isfile(path):
        return f"{path} does not exist, as if it had been trained with another number of processes"
    if stored is None:
        return f"{path} has no record of the data pipeline, as if `exact_resume='off'` or an earlier version wrote it"
    if not OLDEST_FORMAT_VERSION <= stored.version <= FORMAT_VERSION:
        return f"{path} has format version {stored.version}, and this is version {FORMAT_VERSION}"
    if differences := shape.find_differences(stored.run):
        return f"according to {path}, {', '.join(differences)}"
    if stored.process != process:
        return f"{path} was written by process {stored.process}, and this is process {process}"
    if stored.step != step:
        return f"{path} was written at step {stored.step}, and not at step {step}"
    return None


def of_position(path: str, stored: Position, num_batches: int) -> str | None:
    """Why a resume does not begin at the position that is stored in `path`, but after `num_batches` batches."""
    if stored.num_batches_consumed > 0 and num_batches == 0:
        return (
            f"{path} was written after {stored.num_batches_consumed} batches of epoch {stored.epoch}, which are not"
            " skipped (`ignore_data_skip`)"
        )
    return None
