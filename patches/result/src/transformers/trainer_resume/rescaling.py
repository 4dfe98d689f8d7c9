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
A resume with another number of processes, or another batch size.

It cannot be bit-exact. But where the order of the samples depends on a seed and nothing else, it goes on after the same
samples, as long as its epoch lasts: they are counted, and not the batches, of which there are more or fewer now.
"""

import math
import os
from typing import Any

from torch.utils.data import SequentialSampler

from ..utils import is_accelerate_available
from . import loader_hooks
from .files import load_rng_file
from .record import Record
from .samplers import find_sampler


if is_accelerate_available():
    from accelerate.data_loader import SeedableRandomSampler
else:
    SeedableRandomSampler = SequentialSampler


# What the samples and their order depend on
_FIXED = ("dataloader", "dataset_length", "seed", "data_seed")


def begin(
    session, trainer, checkpoint: str, stored: Record | None, derived: tuple[int, int], obstacle: str
) -> tuple[tuple[int, int], str]:
    """
    Go on after the samples that the checkpoint had consumed of its epoch, if that is possible.

    Args:
        session ([`ExactResume`]): The session of the run.
        trainer ([`Trainer`]): The trainer.
        checkpoint (`str`): The folder of the checkpoint.
        stored ([`Record`], *optional*): The record of this process, if there is one.
        derived (`tuple[int, int]`): The epoch and the number of its batches that the global step points to.
        obstacle (`str`): Why the resume is not exact.

    Returns:
        `tuple`: The epoch and the number of its batches that are skipped, and `obstacle` with what was possible.
    """
    begin = _count(session, trainer, stored or _find_record(checkpoint))
    if begin is None:
        return derived, obstacle
    epoch, num_batches, num_samples = begin
    where = f"after the same {num_samples} samples of" if num_samples > 0 else "with"
    return (epoch, num_batches), f"{obstacle}; it goes on {where} epoch {epoch}"


def _count(session, trainer, stored: Record | None) -> tuple[int, int, int] | None:
    """The epoch, the number of its batches that are skipped, and that of its samples that were consumed."""
    run, shape, loader = getattr(stored, "run", None), session.shape, session.attached()
    if run is None or loader is None or shape.dataset_length is None or trainer.args.ignore_data_skip:
        return None
    # An earlier version stored less
    is_same = all(name in run and run[name] == getattr(shape, name) for name in _FIXED)
    if not is_same or stored.step != trainer.state.global_step:
        return None
    sampler = find_sampler(loader_hooks.find_roots(loader)[loader_hooks.sampler_name(loader)])
    if type(sampler) not in (SeedableRandomSampler, SequentialSampler):
        return None
    is_split = getattr(session.args.accelerator_config, "split_batches", False)
    old_batch = run["train_batch_size"] * (1 if is_split else run["world_size"])
    batch = shape.train_batch_size * (1 if is_split else shape.world_size)
    position = stored.position
    num_samples = stored.sample_offset + position.num_batches_consumed * old_batch
    epoch = position.epoch
    if position.is_done or num_samples >= shape.dataset_length:
        epoch, num_samples = position.epoch + 1, 0
    num_batches, offset = divmod(num_samples, batch)
    session.progress.shift(epoch, offset)
    _extend(session, trainer, epoch, num_batches, offset, batch)
    return epoch, num_batches, num_samples


def _find_record(checkpoint: str) -> Record | None:
    """That of the first process, of however many."""
    for name in ("rng_state.pth", "rng_state_0.pth"):
        path = os.path.join(checkpoint, name)
        states: dict[str, Any] = (os.path.isfile(path) and load_rng_file(path, "warn")) or {}
        if "exact_resume" in states:
            return Record.from_dict(states["exact_resume"])
    return None


def restore(session, trainer, stored: Record) -> None:
    """Go on as the run of the checkpoint did, after one with another number of processes or another batch size."""
    session.progress.shift(stored.position.epoch, stored.sample_offset)
    session.extra_steps = stored.extra_steps
    trainer.state.max_steps += stored.extra_steps


def _extend(session, trainer, epoch: int, num_batches: int, offset: int, batch: int) -> None:
    """Count the update steps anew, or the last epoch would end early where there are more of them."""
    args, steps_in_epoch = trainer.args, session.progress.steps_in_epoch
    if args.max_steps > 0 or args.num_train_epochs != int(args.num_train_epochs):
        return
    divide = math.floor if args.dataloader_drop_last else math.ceil
    num_left = divide((session.shape.dataset_length - offset) / batch) if offset > 0 else steps_in_epoch
    of_epoch = math.ceil((num_left - num_batches) / args.gradient_accumulation_steps)
    of_others = max(math.ceil(steps_in_epoch / args.gradient_accumulation_steps), 1)
    num_others = max(int(args.num_train_epochs) - epoch - 1, 0)
    max_steps = trainer.state.global_step + of_epoch + num_others * of_others
    session.extra_steps, trainer.state.max_steps = max_steps - trainer.state.max_steps, max_steps
