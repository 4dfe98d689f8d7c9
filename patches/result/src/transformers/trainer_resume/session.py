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
"""What [`Trainer`] calls: one [`ExactResume`] for each call of `train`."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from . import attaching, events, fetching, loader_hooks, resuming, saving, step_check
from .batch_check import BatchCheck
from .errors import guarded, report_inexact
from .files import load_rng_file
from .generators import RNGStates
from .gradient_buckets import GradientBuckets
from .loader_hooks import Gate
from .model_buffers import Buffers
from .pipeline import PipelineState
from .position import Phase, Position, Progress
from .record import RunShape, StepStart
from .recorder import Recorder
from .replayer import Replayer
from .worker_process import is_power_of_two


def _nothing() -> None:
    """In place of a weak reference to what is not there yet."""


class ExactResume:
    """
    Records what a bit-exact resume needs while a [`Trainer`] trains, and restores it at the right moments.

    Args:
        args ([`TrainingArguments`]): The arguments of the run.
    """

    def __init__(self, args):
        self.args = args
        self.is_on = args.exact_resume != "off"
        self.handles_sigterm = getattr(args, "enable_jit_checkpoint", False)
        self.obstacle = None  # why a resume of this run cannot be exact
        self.fault = None  # what of it is not recorded, though the rest is
        self.progress = Progress()
        self.gate = Gate()
        self.states = RNGStates(PipelineState(), args) if self.is_on else None
        self.shape: RunShape | None = None
        self.recorder: Recorder | None = None  # unless there is an obstacle
        self.driver: Recorder | Replayer | None = None  # the recorder, and while resuming a replayer
        self.last_step = (None, None)  # gradient norm and learning rate that an epoch's end may have to log
        self.initial_loss_step = 0  # after which `train_loss` is summed up, by the runs that are continued, too
        self.replayer: Replayer | None = None
        self.awaits_load = False  # whether a checkpoint is to be loaded first
        self.checkpoint_to_begin = None  # the one with which an epoch begins
        self.rng_file = None  # path and content of the file that was read last, until it is used
        self.is_unreported = False  # whether states that nothing has taken are yet to be named
        self.resumed_from, self.known_faults = None, []  # the file, and what was said of it already
        self.batch_check = BatchCheck()
        self.step_check = step_check.StepCheck()
        self.extra_steps = 0  # that the run has more than its arguments tell
        self.step_start = StepStart()
        self.keeps_step_end = self.keeps_buffers = False  # whether callbacks may take a checkpoint then
        self.event_state = None  # S of the beginning of an event
        self.registered = None  # what was registered for checkpoints, as it was there, or when the step began
        self.num_logs = 0  # what `log_history` had then
        self.num_logs_to_repeat = self.num_logs_told = 0  # of them, from S on: what was told before the checkpoint
        self.pending = {}  # the switches for what is left to do of the end of a step
        self.buffers = Buffers(_nothing)
        self.gradient_buckets = GradientBuckets(args)
        self.num_steps = 0  # of this run
        self.is_preempted = self.has_ended = False  # by a signal, or as the training is over
        self.has_evaluated = None  # on start; not known if this run continues none
        self.has_drawn_on_save = False  # whether callbacks have, in this run or one that it continues
        self.saved = None  # what the last checkpoint has
        self.save_id = None  # on which the processes have agreed for the next
        self.eval_dataloaders = []  # whose workers this run, or one that it continues, has started
        # Not held, which would keep workers alive
        self.attached = self.loader = self.dataloader = self.eval_dataset = self.trainer = self.parameter = _nothing

    def __reduce__(self):
        # What follows a run does not outlive its process, and a trainer can be pickled.
        return type(self), (self.args,)

    @property
    def is_replaying(self) -> bool:
        """Whether S is still to be restored."""
        replayer = self.replayer
        return replayer is not None and (replayer.recorder is not None or replayer.is_epoch_done)

    # From the beginning of the training to its end

    @classmethod
    def attach(
        cls, trainer, dataloader: Any, steps_in_epoch: int, model: torch.nn.Module, checkpoint: str | None = None
    ) -> "ExactResume":
        """
        Follow the draws of `dataloader`, which is what [`Trainer.get_train_dataloader`] returned.

        Args:
            trainer ([`Trainer`]): The trainer.
            dataloader: The dataloader.
            steps_in_epoch (`int`): The number of batches of an epoch.
            model (`torch.nn.Module`): The model, wrapped for training.
            checkpoint (`str`, *optional*): The checkpoint that is loaded next.

        Raises:
            ExactResumeError: If a resume of the run could not be exact and `exact_resume` is `"strict"`.
        """
        session = cls(trainer.args)
        if session.is_on:
            session.progress.steps_in_epoch = steps_in_epoch
            session.awaits_load = checkpoint is not None
            session._attach(trainer, dataloader, model)
        return session

    _attach = guarded(attaching.attach)

    @guarded
    def attach_eval(self, name: str, dataloader: Any) -> None:
        """
        Keep an evaluation from drawing the seed of persistent workers that were running at the checkpoint already.

        Args:
            name (`str`): The name under which the trainer keeps the dataloader.
            dataloader: The dataloader.
        """
        # One that is not prepared yet makes way for another at every evaluation, and so do its workers.
        loader = getattr(dataloader, "base_dataloader", None)
        if loader is not None and name in self.eval_dataloaders:
            loader_hooks.draw_no_seed(loader)
        # A new list, as the old one may be that of a step's beginning
        self.eval_dataloaders = [*self.eval_dataloaders, name]

    def detach(self) -> None:
        """Leave the dataloader as it was, and the model."""
        self.gradient_buckets.detach()
        for loader in (self.attached(), self.loader()):
            if loader is not None:
                loader_hooks.take_off(loader)

    def find_faults(self) -> list[str]:
        """What of the run is not recorded, or not stored, as sentences."""
        return [*filter(None, [self.fault, self.gradient_buckets.find_fault()]), *self.states.find_faults()]

    def give_up(self, obstacle: str) -> None:
        self.obstacle = obstacle
        report_inexact(
            self.args.exact_resume, f"Checkpoints written from now on cannot be resumed exactly: {obstacle}."
        )

    # Training

    event = events.call
    _begin_event = guarded(events.begin)

    def skip(self, dataloader: Any, num_batches: int, epoch: int) -> Any:
        """Return a dataloader that begins after `num_batches` batches, or does so while it is replayed."""
        if not self.is_replaying:
            return resuming.skip_hook()(dataloader, num_batches)
        return self.replayer.skip(dataloader, num_batches, epoch, resuming.skip_hook())

    def begin_epoch(self, dataloader: Any, epoch: int, num_skipped: int) -> Any:
        """
        Return what the training loop makes an iterator of, next.

        Args:
            dataloader: The attached dataloader, or what [`~ExactResume.skip`] made of it.
            epoch (`int`): The epoch.
            num_skipped (`int`): The number of batches that `dataloader` skips.
        """
        return fetching.begin_epoch(self, dataloader, epoch, num_skipped) if self.is_on else dataloader

    def iterate(self, iterator: Iterator) -> Iterator:
        """An iterator over the same batches, with the moments before and after each."""
        return fetching.iterate(self, iterator) if self.is_on else iterator

    def begin_step(self, trainer) -> None:
        """Note that the batches of an update step are asked for next."""
        if self.is_on:
            progress = self.progress
            progress.phase = Phase.IN_STEP
            self.step_start.take(trainer, self)
            if self.recorder is not None:
                self.recorder.begin_step(progress.num_pulled)
            self.num_steps += 1
            if self.keeps_buffers or self.num_steps == 3 or is_power_of_two(self.num_steps):
                self._look_into_model()

    _look_into_model = guarded(events.look_into_model)

    # Resuming

    def load(self, trainer, checkpoint: str | None, epoch: int, num_batches: int) -> tuple[int, int]:
        """
        Prepare to resume exactly from `checkpoint`, if there is one, or say why that is not possible.

        Args:
            trainer ([`Trainer`]): The trainer.
            checkpoint (`str`, *optional*): The folder of the checkpoint.
            epoch (`int`): The epoch that the global step points to.
            num_batches (`int`): The number of its batches that the global step points to.

        Returns:
            `tuple[int, int]`: The epoch in which training resumes, and the number of its batches that are skipped.

        Raises:
            ExactResumeError: If the resume cannot be exact and `exact_resume` is `"strict"`.
        """
        if not self.is_on or checkpoint is None:
            return epoch, num_batches
        with self.gradient_buckets.restoring(self):
            return resuming.begin(self, trainer, checkpoint, epoch, num_batches)

    def load_rng_file(self, path: str) -> dict[str, Any] | None:
        """As [`files.load_rng_file`], once without reading the file again that [`~ExactResume.load`] has read."""
        read_path, states = self.rng_file or (None, None)
        if read_path != path:
            return load_rng_file(path, self.args.exact_resume)
        self.rng_file = None
        return states

    def finish_step(self, trainer, log_save_evaluate: Callable[[], None]) -> None:
        """
        If the checkpoint was taken by a callback for the end of a step, do what followed it.

        Args:
            trainer ([`Trainer`]): The trainer.
            log_save_evaluate (`Callable`): Does what is due after the callbacks.
        """
        if self.replayer is not None and self.replayer.position.is_at_step_end:
            resuming.finish_step(self, trainer, log_save_evaluate)

    def end_replay(self) -> None:
        """S is restored: from here on, the run is the uninterrupted one."""
        if self.replayer.has_differed:
            self.end_checks()
        self.replayer, self.driver = None, self.recorder
        self.is_unreported = True
        self.repeat_logs()

    def repeat_logs(self) -> None:
        """From here on, what is logged first was told before."""
        self.num_logs_told += self.num_logs_to_repeat
        self.num_logs_to_repeat = 0

    @guarded
    def before_iter(self) -> None:
        """Called before the sampler of the dataloader makes an iterator."""
        self.driver.before_iter()

    def end_checks(self) -> None:
        """A difference was named, and others follow from it."""
        self.batch_check.expected, self.step_check.expected = {}, {}

    _check_step = guarded(step_check.end_step)

    def rehearse_batch(self, indices: Any) -> None:
        """Let the pipeline make what it makes for its first batch, that of `indices`, see [`RNGStates.rehearse`]."""
        fetching.rehearse(self, indices)

    # Checkpoints

    def train_loss(self, trainer, train_loss: float) -> float:
        """The mean loss of the run, with the steps of the runs that it continues; `train_loss` if that is off."""
        self.has_ended = True
        num_steps = trainer.state.global_step - self.initial_loss_step
        return trainer._total_loss_scalar / max(num_steps, 0.001) if self.is_on else train_loss

    def save(self, trainer, rng_states: dict[str, Any], output_dir: str) -> dict[str, Any]:
        """
        Return what the RNG file of a checkpoint has to hold.

        Args:
            trainer ([`Trainer`]): The trainer.
            rng_states (`dict`): The RNG states of this process.
            output_dir (`str`): The folder of the checkpoint.
        """
        self.saved = None
        return (self._add_record(trainer, rng_states, output_dir) if self.is_on else None) or rng_states

    _add_record = guarded(saving.add_record)
    _save_after = guarded(saving.save_after)

    def position(self, trainer) -> Position:
        """Where a resume from a checkpoint of this moment begins."""
        # Without a length, only a prepared dataloader knows whether a batch follows, as it looks ahead.
        is_exhausted = getattr(self.dataloader(), "end_of_dataloader", False)
        return self.progress.position(trainer.control, self.step_start.num_pulled, is_exhausted)
