"""Interrupt a run: after a step, as SIGTERM does, by a checkpoint of its handler, or in the middle of a save."""

import contextlib
from pathlib import Path

from transformers import Trainer, TrainerCallback

from exact_resume.matrix.scenarios import Scenario


class Interrupted(BaseException):
    """The end of a run, which nothing in a training handles."""


class RequestCheckpoint(TrainerCallback):
    """
    Requests a checkpoint as the handler of SIGTERM does, so late that the next event to see the request is `event`.

    Args:
        trainer: The trainer, which has the callback that takes the checkpoint.
        event: The event: "on_step_begin", "on_pre_optimizer_step", "on_step_end" or "on_epoch_end".
        step: The number of steps done when the checkpoint is taken.
    """

    def __init__(self, trainer: Trainer, event: str, step: int):
        from transformers.trainer_jit_checkpoint import JITCheckpointCallback  # which not every release has

        callbacks = trainer.callback_handler.callbacks
        self.manager = next(c for c in callbacks if isinstance(c, JITCheckpointCallback)).jit_manager
        self.event = event
        self.step = step
        self.has_begun = False

    def _request(self, event: str, is_time: bool) -> None:
        if self.event == event and is_time:
            self.manager.is_checkpoint_requested = True

    def on_epoch_begin(self, args, state, control, **kwargs):
        self._request("on_step_begin", state.global_step == self.step)
        # A run that was resumed from where it is interrupted again does not come by what precedes the event.
        is_again = not self.has_begun and state.global_step == self.step
        self._request(self.event, is_again and self.event in ("on_step_end", "on_epoch_end"))
        self.has_begun = True

    def on_step_begin(self, args, state, control, **kwargs):
        self._request("on_pre_optimizer_step", state.global_step == self.step)

    def on_optimizer_step(self, args, state, control, **kwargs):
        self._request("on_step_end", state.global_step == self.step - 1)

    def on_step_end(self, args, state, control, **kwargs):
        is_last = float(state.epoch).is_integer()
        self._request("on_epoch_end" if is_last else "on_step_begin", state.global_step == self.step)


def train_until_sigterm(scenario: Scenario, folder: Path, step: int, checkpoint: Path | None = None) -> Trainer:
    """Train, from `checkpoint` if given, until the callback takes one in `scenario.interrupt_event` of a step."""
    trainer = scenario.make_trainer(folder, save_strategy="no", enable_jit_checkpoint=True)
    trainer.add_callback(RequestCheckpoint(trainer, scenario.interrupt_event, step))
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return trainer


def train_until_save(scenario: Scenario, folder: Path, step: int, resumes: bool = False) -> Trainer:
    """Train until the save of the checkpoint that follows step `step` has written some of its files."""
    trainer = scenario.make_trainer(folder)
    save_rng_state = trainer._save_rng_state

    def interrupt(output_dir: str) -> None:
        if trainer.state.global_step > step:
            raise Interrupted
        save_rng_state(output_dir)

    trainer._save_rng_state = interrupt
    with contextlib.suppress(Interrupted):
        trainer.train(resume_from_checkpoint=resumes)
    return trainer


class SaveAt(TrainerCallback):
    """
    Takes checkpoints and stops with the last of them.

    Args:
        steps: Update steps after which to take one.
    """

    def __init__(self, *steps: int):
        self.steps = steps

    def on_step_end(self, args, state, control, **kwargs):
        control.should_save = state.global_step in self.steps
        control.should_training_stop |= state.global_step == max(self.steps)
