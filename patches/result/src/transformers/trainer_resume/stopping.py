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
"""Whether the run that wrote a checkpoint was stopped there, so that a resume has nothing left to train on."""

from ..trainer_callback import EarlyStoppingCallback
from .position import Phase


EARLY_STOPPING = "early_stopping"
CALLBACK = "callback"


def find_stop(session, trainer) -> str | None:
    """What has stopped the training, unless a resume meets it again."""
    if not trainer.control.should_training_stop or trainer.state.global_step >= trainer.state.max_steps:
        return None
    if any(map(_is_out_of_patience, _early_stopping(trainer))):
        return EARLY_STOPPING
    if session.is_preempted or session.event_state is not None or session.progress.phase is Phase.IN_STEP:
        return None
    return CALLBACK


def restore_patience(trainer) -> None:
    """
    Let early stopping go on with the evaluations that it had counted: of a callback, the trainer restores what it
    counts only with `restore_callback_states_from_checkpoint`.
    """
    by_name = {}
    for callback in _early_stopping(trainer):
        by_name.setdefault(type(callback).__name__, []).append(callback)
    for name, callbacks in by_name.items():
        stored = trainer.state.stateful_callbacks.get(name) or []
        stored = stored if isinstance(stored, list) else [stored]
        # The last ones, as a list of states gets longer with every checkpoint
        for callback, state in zip(callbacks, stored[-len(callbacks) :]):
            counter = state.get("attributes", {}).get("early_stopping_patience_counter")
            if counter is not None:
                callback.early_stopping_patience_counter = counter


def is_stopped(trainer, stop: str | None) -> bool:
    """Whether what had stopped the training stops this run, too."""
    return stop == EARLY_STOPPING and any(map(_is_out_of_patience, _early_stopping(trainer)))


def find_difference(trainer, stop: str | None) -> str | None:
    """Why a resume goes on where the run did not, as a sentence."""
    if stop == EARLY_STOPPING and not is_stopped(trainer, stop):
        return "early stopping had ended the run, and lets this one go on"
    return None


def find_doubt(stop: str | None) -> str | None:
    """Why it cannot be told whether the run went on, as a sentence."""
    if stop == CALLBACK:
        return "a callback had stopped the training when it was written, and this run goes on"
    return None


def _early_stopping(trainer) -> list[EarlyStoppingCallback]:
    return [each for each in trainer.callback_handler.callbacks if isinstance(each, EarlyStoppingCallback)]


def _is_out_of_patience(callback: EarlyStoppingCallback) -> bool:
    return callback.early_stopping_patience_counter >= callback.early_stopping_patience
