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
"""An RNG state into a checkpoint: what the RNG file of a process gets, and what follows the callbacks of `on_save`."""

import os
import uuid
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from . import obstacles, registered, stopping
from .callbacks import Caller
from .files import add_checksum, after_on_save, rng_file_name
from .generators import is_same_rng_state, to_file
from .position import Phase, Position
from .record import Record, Sums


@dataclass(frozen=True)
class Saved:
    """The last checkpoint: the path of its RNG file, and what is in it."""

    path: str
    save: str
    state: dict[str, Any]
    position: Position
    faults: list[str]


def add_record(session, trainer, rng_states: dict[str, Any], output_dir: str) -> dict[str, Any]:
    """
    Return the content of an RNG file.

    Args:
        session ([`ExactResume`]): What has been recorded.
        trainer ([`Trainer`]): The trainer.
        rng_states (`dict`): What the trainer has put together.
        output_dir (`str`): The folder of the checkpoint.
    """
    save = session.save_id or uuid.uuid4().hex  # not drawn from an RNG
    session.states.owned.refresh()
    caller, stored = Caller.find(), {}
    session.is_preempted |= caller.handles_sigterm
    state = _state(session)
    record = _make_record(session, trainer, save, caller)
    if record is not None:
        # What has appeared since the step or the event began
        record.faults.extend(session.states.owned.find_unknown(state.get("owned", {})))
        # When a step begins, its forward pass is still to come
        is_unchanged = session.progress.phase is not Phase.IN_STEP or caller.event == "on_step_begin"
        buffers = _buffers(session, is_unchanged, record)
        if is_unchanged and session.event_state is None:
            states, faults = registered.state_dicts(trainer)
        else:
            states, faults = session.registered or registered.unknown(trainer)
        record.faults.extend(faults)
        session.saved = Saved(
            os.path.join(output_dir, rng_file_name(session.args)), record.save, state, record.position, record.faults
        )
        stored = {"exact_resume": record.to_dict(), **({"buffers": buffers} if any(buffers.values()) else {})}
        stored.update({"registered": states} if states else {})
        if record.moments is not None:
            session.step_check.await_steps(session.saved.path, record.save, trainer.state, bool(record.batch_digests))
    return add_checksum({**rng_states, **to_file(state, session.args), **stored})


def save_after(session, trainer) -> None:
    """
    What callbacks drew in `on_save`, or in `on_train_begin` after it was taken, precedes what a resume from the
    checkpoint does.

    It goes into a file beside the others, as callbacks may have made copies of the checkpoint, and only if they drew.
    """
    saved, session.saved = session.saved, None
    if saved is None or not os.path.isfile(saved.path) or session.progress.phase is Phase.IN_STEP:
        return
    state = session.states.get()
    has_drawn = not is_same_rng_state(state, saved.state)
    if session.progress.phase is not Phase.TRAIN_BEGIN:
        session.has_drawn_on_save |= has_drawn
    if has_drawn or session.has_drawn_on_save or saved.position != session.position(trainer):
        record = _make_record(session, trainer, saved.save, Caller.find())
        record.faults.extend(fault for fault in saved.faults if fault not in record.faults)
        states = {**to_file(state, session.args), "exact_resume": record.to_dict()}
        torch.save(add_checksum(states), after_on_save(saved.path))


def _state(session) -> dict[str, Any]:
    """S."""
    if session.event_state is not None:
        # What callbacks have drawn so far is drawn again when they are called for a resume.
        return session.event_state
    if session.progress.phase is Phase.IN_STEP and session.recorder is not None:
        return session.recorder.step_state or session.states.get()
    return session.states.get()


def _buffers(session, is_unchanged: bool, record: Record) -> dict[str, Any]:
    buffers, faults = session.buffers.state_dict() if is_unchanged else session.buffers.step_state_dict()
    record.faults.extend(faults)
    return buffers


def _make_record(session, trainer, save: str, caller: Caller) -> Record | None:
    """What is stored besides RNG states; `None` if nothing is known of the run."""
    if session.shape is None:
        return None
    progress, recorder, start = session.progress, session.recorder, session.step_start
    is_inside = progress.phase is Phase.IN_STEP
    position, pending = session.position(trainer), {}
    if caller.is_before_rest and progress.phase is Phase.BETWEEN_STEPS:
        control = trainer.control
        if control.should_evaluate or control.should_save:
            position = replace(position, event=caller.event or "on_evaluate")
            pending = {"should_evaluate": control.should_evaluate, "should_save": control.should_save}
    num_logs = len(trainer.state.log_history)
    if session.event_state is not None:
        num_logs = session.num_logs
    record = Record(
        process=session.args.process_index,
        step=trainer.state.global_step,
        save=save,
        obstacle=obstacles.of_moment(session.args, progress, session.awaits_load, session.is_replaying)
        or obstacles.of_caller(session, trainer, caller)
        or session.obstacle
        or obstacles.of_draws(recorder, position),
        run=asdict(session.shape),
        position=position,
        sums=start.sums if is_inside else Sums.of(trainer, session.initial_loss_step, trainer._tr_loss.clone()),
        last_step=list(session.last_step),
        eval_dataloaders=sorted({*(start.eval_dataloaders if is_inside else session.eval_dataloaders)}),
        faults=session.find_faults(),
        has_drawn_on_save=session.has_drawn_on_save,
        # One that a callback takes for itself is followed by none
        is_drawn_after=session.has_drawn_on_save and trainer.control.should_save,
        num_logs=start.num_logs if is_inside else num_logs,
        stop=stopping.find_stop(session, trainer),
        pending=pending,
        sample_offset=progress.sample_offset if position.has_begun else 0,
        extra_steps=session.extra_steps,
        gradient_buckets=session.gradient_buckets.state_dict(is_inside),
    )
    if recorder is None or record.obstacle is not None:
        return record
    num_drawn = start.num_drawn if is_inside else recorder.moments.num_drawn
    if (moments := recorder.to_record(position, num_drawn)) is None:
        session.give_up(obstacles.WORKER_DID_NOT_REPORT)
        return replace(record, obstacle=session.obstacle)
    if recorder.workers is not None and recorder.workers.fault is not None:
        record.faults.append(recorder.workers.fault)
    num_draws = recorder.traits.num_draws
    indices = range(progress.num_pulled * num_draws, recorder.moments.num_drawn if position.is_within_epoch else 0)
    return replace(record, **moments, batch_digests=session.batch_check.digest_ahead(indices))
