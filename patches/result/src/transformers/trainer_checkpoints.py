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
Complete checkpoints: how a checkpoint is marked while it is written, and which one a run resumes from.

    begin      a mark is on disk before anything else
    ...        every process writes its part
    complete   every process is done and all is on disk before the manifest is written and the mark is removed

The manifest names the files that were written between the two, and these alone are ours. A step that is written anew
first gets links to the files of its manifest in a folder within, `_replaced`, which is a checkpoint of its own until
the new one is complete. All other files of the folder stay where they are.

A folder without a mark may be anything, and is never called incomplete. The mark is a file and not the name of the
folder, as renaming a folder that several processes write to is not safe on every file system, and so that a checkpoint
has its final path for what subclasses and callbacks do with it. It is the file with which the handler of SIGTERM marks
its checkpoints. With `exact_resume="off"` nothing of this is done.
"""

import contextlib
import json
import os
import re
import shutil
import uuid

from .trainer_checkpoint_files import (
    INCOMPLETE_NAME,
    REPLACED_NAME,
    STATE_NAME,
    bring_to_disk,
    files_of,
    has_all_files,
    is_abandoned,
    keep_replaced,
    put_back,
    read_manifest,
    read_mark,
    write_manifest,
    write_mark,
)
from .utils import logging


logger = logging.get_logger(__name__)

# The prefix is that of `trainer_utils`, which imports this module.
_CHECKPOINT = re.compile(r"^checkpoint-(\d+)$")


class _Run:
    """What is known of the saves of a [`Trainer`]."""

    def __init__(self):
        self.id = uuid.uuid4().hex  # which a resumed run keeps; not drawn from the RNGs of the training
        self.files_before_save = {}  # that a checkpoint had when its save began


def run_of(trainer) -> _Run:
    return vars(trainer).setdefault("_checkpoint_run", _Run())


def complete_part(folder: str) -> str | None:
    """
    The complete checkpoint at `folder`: itself, or while it is written anew the one that it replaces, or `None`.

    A folder without a mark is complete, as far as anybody can tell.
    """
    if not os.path.lexists(os.path.join(folder, INCOMPLETE_NAME)) or has_all_files(folder):
        return folder
    replaced = os.path.join(folder, REPLACED_NAME)
    return replaced if has_all_files(replaced) else None


def newest_complete(folders: list[str]) -> str | None:
    """The complete part of the newest of `folders`, oldest first, that has one. Newer ones are named in a warning."""
    for position in range(len(folders) - 1, -1, -1):
        if (complete := complete_part(folders[position])) is not None:
            break
    else:
        position, complete = -1, None
    for folder in folders[position + 1 :]:
        logger.warning(f"Passing over {folder}: it is marked as one that is still being written ({INCOMPLETE_NAME}).")
    return complete


def agree_on_checkpoint(trainer, last: str | None) -> str | None:
    """
    Return the newest checkpoint of the output folder that every process can resume from.

    Args:
        trainer ([`Trainer`]): The trainer.
        last (`str`, *optional*): What `get_last_checkpoint` found for this process.

    Returns:
        `str` or `None`: `last`, unless it lacks the trainer state, without which nothing resumes, or another process
        does not have it, and there is an older one.
    """
    # Not at the top, as `trainer_utils` is imported without torch too
    import torch.distributed as dist

    if trainer.args.exact_resume == "off":
        return last
    folder = trainer.args.output_dir
    # Others may have replaced the function, and find one elsewhere
    parts = _resumable_parts(folder, _step_of(last)) if last is not None and _is_in(folder, last) else {}
    steps = set(parts)
    if dist.is_available() and dist.is_initialized():
        steps_by_process = [None] * dist.get_world_size()
        dist.all_gather_object(steps_by_process, steps)
        steps = steps.intersection(*steps_by_process)
        if not steps and any(steps_by_process):
            return None
    if not steps:
        return last
    chosen = parts[max(steps)]
    if trainer.args.should_log:
        for step in sorted(step for step in parts if step > max(steps)):
            logger.warning(f"Passing over {parts[step]}: not every process has it.")
        if max(parts) < _step_of(last):
            logger.warning(f"Passing over {last}: it has no whole {STATE_NAME}.")
    return chosen


def recover_checkpoint(trainer, checkpoint: str) -> str:
    """
    Return where the files of `checkpoint` are. What a step was about to replace, when a run was killed, is put back,
    there and in the checkpoints beside it.

    Args:
        trainer ([`Trainer`]): The trainer.
        checkpoint (`str`): The checkpoint to resume from.
    """
    if trainer.args.exact_resume == "off":
        return checkpoint
    folder = os.path.dirname(checkpoint) if os.path.basename(checkpoint) == REPLACED_NAME else checkpoint
    if trainer.args.should_save:
        with contextlib.suppress(OSError):  # where nothing can be written, it is read from where it is
            names = filter(_CHECKPOINT.match, os.listdir(trainer.args.output_dir))
            # Of those beside it, another run may be writing one
            others = filter(is_abandoned, (os.path.join(trainer.args.output_dir, name) for name in names))
            for path in (folder, *others):
                if complete_part(path) == os.path.join(path, REPLACED_NAME):
                    put_back(path)
    trainer.accelerator.wait_for_everyone()
    part = complete_part(folder) or checkpoint
    if manifest := read_manifest(part):
        run_of(trainer).id = manifest["run"]
    return part


def begin_checkpoint(trainer, folder: str) -> None:
    """
    Make `folder`, marked as not complete. Every process calls it, before it writes its part of the checkpoint.

    Args:
        trainer ([`Trainer`]): The trainer.
        folder (`str`): The folder of the checkpoint. If it is a complete one, that is kept until the new one is
            complete.
    """
    if trainer.args.exact_resume == "off":
        return
    if trainer.args.should_save:
        try:
            _begin(folder, run_of(trainer))
        except OSError as error:  # which is one of the save only if that meets it, too
            logger.warning(
                f"{folder} is not marked while it is written ({error}): if interrupted, it may look complete."
            )
    trainer._exact_resume.save_id = _agree_on_save_id(trainer)


def _begin(folder: str, run: _Run) -> None:
    run.files_before_save = {}
    os.makedirs(folder, exist_ok=True)
    known = keep_replaced(folder)
    write_mark(folder, run.id)
    for name in known:  # the manifest first, which says that the others are there
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(folder, name))
    run.files_before_save = dict(files_of(folder))


def complete_checkpoint(trainer, folder: str) -> None:
    """
    Bring the checkpoint in `folder` to disk and remove its mark, when all processes have written their parts.

    Args:
        trainer ([`Trainer`]): The trainer.
        folder (`str`): The folder that [`begin_checkpoint`] was called with.
    """
    if trainer.args.exact_resume == "off" or not _is_common(trainer, folder):
        return
    if trainer.args.should_save:
        run = run_of(trainer)
        before = run.files_before_save
        written = {name: stat for name, stat in files_of(folder) if before.get(name) != stat}
        for path in {os.path.join(folder, name) for name in written}:
            bring_to_disk(path)
        for parent in sorted({os.path.dirname(os.path.join(folder, name)) for name in written}, key=len, reverse=True):
            bring_to_disk(parent)
        try:
            sizes = {name: size for name, (size, _) in written.items()}
            write_manifest(folder, sizes, run.id, trainer._exact_resume.save_id)
            with contextlib.suppress(FileNotFoundError):  # a wrapper that marks checkpoints in the same way was faster
                os.remove(os.path.join(folder, INCOMPLETE_NAME))
            bring_to_disk(folder)
            bring_to_disk(os.path.dirname(folder))
        except OSError as error:
            logger.warning(f"{folder} is complete, but cannot be marked as such ({error}).")
        shutil.rmtree(os.path.join(folder, REPLACED_NAME), ignore_errors=True)
    # With a folder on each node, none may remove an older checkpoint before this one is complete on all.
    trainer.accelerator.wait_for_everyone()
    if trainer.args.should_save and (trainer.args.save_total_limit or 0) > 0:
        _remove_interrupted(folder, run_of(trainer).id)


def _agree_on_save_id(trainer) -> str | None:
    """
    Wait for every process, and return an identifier that all of them get; or `None`, if there is no way to tell it.
    """
    import torch.distributed as dist

    save_ids = [uuid.uuid4().hex]  # which does not draw from the RNGs of the training
    if dist.is_available() and dist.is_initialized():
        dist.broadcast_object_list(save_ids)
    elif trainer.args.world_size > 1:
        save_ids = [None]
    trainer.accelerator.wait_for_everyone()
    return save_ids[0]


def _is_common(trainer, folder: str) -> bool:
    """Wait for every process, and say whether all of them have written to a checkpoint of this name."""
    import torch.distributed as dist

    name = os.path.basename(folder)
    if not (dist.is_available() and dist.is_initialized()):
        trainer.accelerator.wait_for_everyone()
        return True
    names = [None] * dist.get_world_size()
    dist.all_gather_object(names, name)
    if trainer.args.should_save and set(names) != {name}:
        logger.warning(f"{folder} remains incomplete: the processes were saving {', '.join(sorted(set(names)))}.")
    return set(names) == {name}


def _is_in(folder: str, checkpoint: str) -> bool:
    path = os.path.dirname(checkpoint) if os.path.basename(checkpoint) == REPLACED_NAME else checkpoint
    return os.path.dirname(os.path.abspath(path)) == os.path.abspath(folder) and _step_of(checkpoint) is not None


def _step_of(checkpoint: str) -> int | None:
    path = os.path.dirname(checkpoint) if os.path.basename(checkpoint) == REPLACED_NAME else checkpoint
    match = _CHECKPOINT.match(os.path.basename(path))
    return None if match is None else int(match[1])


def _resumable_parts(folder: str, newest: int) -> dict[int, str]:
    """By step, the complete checkpoints in `folder`, up to step `newest`, that have a whole trainer state."""
    parts = {}
    for name in filter(_CHECKPOINT.match, os.listdir(folder)):
        part = complete_part(os.path.join(folder, name))
        if part is not None and _step_of(part) <= newest:
            with contextlib.suppress(OSError, ValueError), open(os.path.join(part, STATE_NAME), "rb") as file:
                json.load(file)
                parts[_step_of(part)] = part
    return parts


def _remove_interrupted(folder: str, run_id: str) -> None:
    """Remove the older checkpoints that this very run was interrupted in, so that they do not count as checkpoints."""
    parent, newest = os.path.split(folder)
    for name in filter(_CHECKPOINT.match, os.listdir(parent)):
        path = os.path.join(parent, name)
        with contextlib.suppress(OSError, ValueError):
            if (
                f"run: {run_id}" in read_mark(path)
                and _step_of(name) < _step_of(newest)
                and complete_part(path) is None
            ):
                shutil.rmtree(path, ignore_errors=True)
