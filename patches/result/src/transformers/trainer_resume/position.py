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
"""Where a training run is: its phase, how far it is in an epoch, and the position at which a resume begins."""

from dataclasses import dataclass
from typing import Any

from ..utils import ExplicitEnum


class Phase(ExplicitEnum):
    """
    What the training loop is doing. It decides which RNG state is S, the one with which a resume goes on.

    Where callbacks are running that a resume calls again, S is the state with which they began; within an update step
    it is the one with which the step began, as a resume begins it anew; everywhere else it is the state of the moment.
    """

    TRAIN_BEGIN = "on_train_begin"
    BETWEEN_EPOCHS = "between_epochs"
    EPOCH_BEGIN = "on_epoch_begin"
    BETWEEN_STEPS = "between_steps"
    IN_STEP = "in_step"
    STEP_END = "on_step_end"
    EPOCH_END = "on_epoch_end"

    @property
    def event(self) -> str | None:
        """The event whose callbacks are running."""
        return self.value if self.value.startswith("on_") else None

    @property
    def is_outside_of_epochs(self) -> bool:
        return self in (Phase.TRAIN_BEGIN, Phase.BETWEEN_EPOCHS, Phase.EPOCH_BEGIN)

    @property
    def next(self) -> "Phase":
        """The phase that follows the callbacks of an event."""
        if self is Phase.STEP_END:
            return Phase.BETWEEN_STEPS
        return self if self.event is None else Phase.BETWEEN_EPOCHS


@dataclass(frozen=True)
class Position:
    """
    Where a resume begins, and what is left to do there.

    Args:
        epoch (`int`): The epoch that it continues or begins.
        num_batches_consumed (`int`): The number of its batches that were trained on.
        has_begun (`bool`): Whether it continues the epoch.
        is_done (`bool`): Whether nothing of it is left to train on, and only its end to come.
        event (`str`, *optional*): The event whose callbacks were running, and have to be called again, but for those
            of "on_log" and "on_evaluate", which only precede what is left to do of the end of a step.
    """

    epoch: int
    num_batches_consumed: int
    has_begun: bool
    is_done: bool
    event: str | None

    @property
    def is_within_epoch(self) -> bool:
        return self.has_begun and not self.is_done

    @property
    def is_at_step_end(self) -> bool:
        """Whether something of the end of a step is left to do."""
        return self.event in ("on_step_end", "on_log", "on_evaluate")


@dataclass
class Progress:
    """
    How far a run is: its epoch, `num_pulled` batches of it that the training loop was handed, after `sample_offset`
    samples that were none of these batches, and the phase.
    """

    epoch: int = -1
    num_pulled: int = 0
    sample_offset: int = 0
    _shifted_epoch: int = -1
    steps_in_epoch: int = 0
    phase: Phase = Phase.BETWEEN_EPOCHS

    def begin_epoch(self, epoch: int, num_pulled: int) -> None:
        self.epoch, self.num_pulled, self.phase = epoch, num_pulled, Phase.BETWEEN_STEPS
        if epoch != self._shifted_epoch:
            self.sample_offset = 0

    def shift(self, epoch: int, sample_offset: int) -> None:
        """Let the batches of `epoch` begin after some samples."""
        self._shifted_epoch, self.sample_offset = epoch, sample_offset

    def position(self, control: Any, num_pulled_before_step: int, is_exhausted: bool) -> Position:
        """
        Where a resume from a checkpoint of this moment begins.

        Args:
            control ([`TrainerControl`]): Whether the epoch is to stop here.
            num_pulled_before_step (`int`): The number of batches at the beginning of the update step.
            is_exhausted (`bool`): Whether the dataloader has told that no batch follows.
        """
        if self.phase.is_outside_of_epochs:
            return Position(self.epoch + 1, 0, has_begun=False, is_done=False, event=self.phase.event)
        num_pulled = num_pulled_before_step if self.phase is Phase.IN_STEP else self.num_pulled
        is_done = self.phase is Phase.EPOCH_END or num_pulled >= self.steps_in_epoch
        if self.phase is Phase.BETWEEN_STEPS:
            is_done |= control.should_epoch_stop or is_exhausted
        return Position(self.epoch, num_pulled, has_begun=True, is_done=is_done, event=self.phase.event)
