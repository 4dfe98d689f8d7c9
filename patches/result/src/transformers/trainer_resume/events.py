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
"""The events in which a checkpoint may be taken, or which follow the taking of one."""

from typing import Any

from . import obstacles, registered
from .callbacks import IN_STEP_EVENTS, handles
from .position import Phase
from .worker_process import is_power_of_two


def call(session, name: str, trainer, last_step: tuple | None = None, logs: dict[str, Any] | None = None):
    """
    Call the callbacks of an event in which a checkpoint may be taken, or which follows the taking of one.

    Args:
        session ([`ExactResume`]): What is recorded and restored.
        name (`str`): "on_train_begin", "on_epoch_begin", "on_step_end", "on_epoch_end", "on_save" or "on_log".
        trainer ([`Trainer`]): The trainer.
        last_step (`tuple`, *optional*): The gradient norm and the learning rate of a step that ends.
        logs (`dict`, *optional*): What is logged.

    Returns:
        [`TrainerControl`]: What the callbacks return.
    """
    if name == "on_log":
        return _log(session, trainer, logs)
    if last_step is not None:
        session.last_step = last_step
        if trainer.state.global_step >= session.step_check.due:
            session._check_step(trainer)
    if session.checkpoint_to_begin is not None and name == "on_epoch_begin":
        trainer._load_rng_state(session.checkpoint_to_begin)
        session.checkpoint_to_begin = None
    # No checkpoint is taken in it, so that the step is over
    is_short = name == "on_step_end" and not session.keeps_step_end
    if is_short:
        session.progress.phase = Phase.BETWEEN_STEPS
    elif session.is_on and name != "on_save":  # whose callbacks are not called again by a resume
        session._begin_event(name, trainer)
    trainer.control = getattr(trainer.callback_handler, name)(trainer.args, trainer.state, trainer.control)
    if name not in ("on_save", "on_train_begin"):
        session.num_logs_told = 0  # which were told within the event, or the step that it ends
    if session.is_on and not is_short:
        session.event_state = session.registered = None
        if name in ("on_save", "on_train_begin"):
            session._save_after(trainer)
        session.progress.phase = session.progress.phase.next
    return trainer.control


def begin(session, name: str, trainer) -> None:
    """Keep what a checkpoint that is taken in an event needs of its beginning."""
    session.progress.phase = Phase(name)
    if name == "on_epoch_end" and session.recorder is not None and session.loader() is not session.attached():
        # The epoch in which the run was resumed had a dataloader of its own, whose workers the next ones continue.
        if not session.recorder.end_epoch():
            session.give_up(obstacles.WORKER_DID_NOT_REPORT)
    if name != "on_step_end":
        _look_around(session, trainer)
    session.num_logs = len(trainer.state.log_history)
    session.registered = registered.state_dicts(trainer)
    session.event_state = None if name == "on_train_begin" else session.states.get()


def look_into_model(session) -> None:
    """Keep what a checkpoint within the step that begins needs, and look for generators that have appeared."""
    session.gradient_buckets.begin_step()
    if session.keeps_buffers:
        session.buffers.keep()
        session.registered = registered.state_dicts(session.trainer())
    if is_power_of_two(session.num_steps):
        session.states.owned.refresh()


def _look_around(session, trainer) -> None:
    """What may have changed since the last epoch: the generators that there are, and what callbacks do."""
    session.states.owned.refresh()
    callbacks = trainer.callback_handler.callbacks
    # By a checkpoint in `on_step_end`, for example, which then needs the state that the event began with
    session.keeps_step_end = session.handles_sigterm or any(handles(callback, "on_step_end") for callback in callbacks)
    session.keeps_buffers = session.handles_sigterm or any(handles(each, *IN_STEP_EVENTS) for each in callbacks)
    if session.keeps_buffers:
        session.buffers.look()
    else:
        session.buffers.forget()


def _log(session, trainer, logs: dict[str, Any]):
    """
    Tell what is logged, unless it was told before a checkpoint that was taken in the midst of what is repeated.

    What a run tells after its last checkpoint, before it is killed or stops, is told again by the one that resumes.
    """
    if session.num_logs_told == 0:
        return trainer.callback_handler.on_log(trainer.args, trainer.state, trainer.control, logs)
    session.num_logs_told -= 1
    trainer.control.should_log = False
    return trainer.control
