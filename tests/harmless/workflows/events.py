"""Checkpoints that callbacks take, in every event, and what else callbacks do there."""

import random

import torch
from pieces import At, Samples, checkpoints, make
from registry import workflow
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.trainer_callback import ExportableState

WITHIN = "within a step, an exact resume needs the states of its beginning"
# Every event of a run of four steps an epoch, with two micro-batches each.
OPTIONS = {"gradient_accumulation_steps": 2, "num_train_epochs": 4, "eval_strategy": "steps", "eval_steps": 2}


def _options():
    return {**OPTIONS, "eval_dataset": Samples(2)}


@workflow(
    each=(
        "on_train_begin",
        "on_epoch_begin",
        "on_step_begin",
        "on_substep_end",
        "on_pre_optimizer_step",
        "on_step_end",
        "on_epoch_end",
        "on_prediction_step",
        "on_evaluate",
        "on_log",
        "on_save",
        "on_train_end",
    ),
    other_rng=WITHIN,
    may_say={
        "an evaluation was not over": "a resume cannot begin within an evaluation",
        "the training was over": "a resume cannot begin after the training",
    },
)
def callback_saves(run, event):
    """A callback takes a checkpoint of its own the second time that an event comes, and the run is resumed from it."""
    return _save_and_resume(run, event)


@workflow(
    other_rng=WITHIN,
    other_parameters="the weights have made a step that is made again, with other draws",
    must_say={
        "the parameters were changed already": "a resume cannot begin between the optimizer and the end of its step"
    },
)
def callback_saves_after_the_optimizer(run):
    """The same in `on_optimizer_step`, where the weights are those of the next step."""
    return _save_and_resume(run, "on_optimizer_step")


def _save_and_resume(run, event):
    saved = []
    trainer = make(run, save_strategy="steps" if event == "on_save" else "no", **_options())

    def save(args, state, control, **rest):
        saved.append(state.global_step)
        # Events of training that come once are counted from the first.
        if len(saved) == (1 if event.startswith("on_train") else 2):
            trainer._save_checkpoint(trainer.model, trial=None)
            run.called(f"save at {state.global_step}")

    trainer.add_callback(At(event, save))
    run.train(trainer)
    (name,) = [name for name in checkpoints(run.out) if event != "on_save" or name == f"checkpoint-{saved[1]}"]
    return [name, run.resume(make(run, out="resumed", save_strategy="no", **_options()), run.out / name)]


@workflow(
    each=("on_step_begin", "on_pre_optimizer_step", "on_optimizer_step", "on_step_end", "on_epoch_end", "on_evaluate"),
    other_rng=WITHIN,
)
def callback_asks_to_save(run, event):
    """A callback sets `control.should_save` in an event; the run is resumed from there."""

    def ask(args, state, control, **rest):
        control.should_save = True

    run.train(make(run, save_strategy="no", callbacks=[At(event, ask, step=2)], **_options()))
    (name,) = checkpoints(run.out)
    return [name, run.resume(make(run, out="resumed", **_options()), run.out / name)]


@workflow(each=("on_step_begin", "on_step_end", "on_log", "on_epoch_end", "on_evaluate", "on_save"))
def callback_draws(run, event):
    """A callback draws from every RNG in an event."""

    def draw(args, state, control, **rest):
        random.random()
        torch.rand(3)

    return run.train(make(run, callbacks=[At(event, draw)], **_options()))


@workflow(each=("on_epoch_begin", "on_step_end", "on_epoch_end", "on_save", "on_log"))
def callback_evaluates(run, event):
    """A callback evaluates and predicts in an event."""
    trainer = make(run, eval_dataset=Samples(3))
    busy = []

    def evaluate(args, state, control, **rest):
        if not busy:  # an evaluation logs
            busy.append(True)
            trainer.evaluate()
            trainer.predict(Samples(2))
            busy.clear()

    trainer.add_callback(At(event, evaluate))
    return run.train(trainer)


@workflow(each=("on_epoch_begin", "on_step_end", "on_epoch_end"))
def callback_reads_the_data(run, event):
    """A callback iterates a training dataloader in an event, and looks at that of the run."""
    trainer = make(run)

    def read(args, state, control, train_dataloader=None, **rest):
        run.called(f"{len(train_dataloader)} batches of {train_dataloader.batch_size}")
        for batch in trainer.get_train_dataloader():
            run.called(f"shape {tuple(batch['x'].shape)}")
            break
        run.called(f"length {len(train_dataloader.dataset)}")

    trainer.add_callback(At(event, read))
    return run.train(trainer)


@workflow(
    each=("on_step_end", "on_epoch_begin", "on_evaluate"),
    may_say={"a callback had stopped the training": "the run had ended there, and the resume goes on"},
)
def callback_stops_the_training(run, event):
    """A callback stops the training in an event; then the run is resumed."""

    def stop(args, state, control, **rest):
        control.should_training_stop = True

    run.train(make(run, callbacks=[At(event, stop, step=2)], **_options()))
    return run.resume(make(run, **_options()))


@workflow()
def callback_stops_epochs(run):
    """A callback ends each epoch after three steps, and the run is resumed in the middle."""

    def stop(args, state, control, **rest):
        control.should_epoch_stop = state.global_step % 3 == 0

    callbacks = [At("on_step_end", stop)]
    run.train(make(run, callbacks=callbacks))
    return run.resume(make(run, out="resumed", callbacks=callbacks), run.out / "checkpoint-4")


@workflow()
def early_stopping_is_restored(run):
    """Early stopping is kept in the checkpoint and restored."""
    options = {
        **_options(),
        "metric_for_best_model": "loss",
        "load_best_model_at_end": True,
        "greater_is_better": True,
    }
    options |= {"restore_callback_states_from_checkpoint": True, "save_steps": 2}
    run.train(make(run, callbacks=[EarlyStoppingCallback(2)], **options))
    return run.resume(
        make(run, out="resumed", callbacks=[EarlyStoppingCallback(9)], **options), run.out / "checkpoint-2"
    )


@workflow()
def callback_with_a_state(run):
    """A callback keeps the position of a stream of its own in the trainer state."""

    class Counts(TrainerCallback, ExportableState):
        def __init__(self, count=0):
            self.count = count

        def state(self):
            run.called("state")
            return {"args": {"count": self.count}, "attributes": {}}

        def on_step_end(self, args, state, control, **rest):
            self.count += 1

    first, second = Counts(), Counts()
    run.train(make(run, callbacks=[first], restore_callback_states_from_checkpoint=True))
    run.resume(
        make(run, out="resumed", callbacks=[second], restore_callback_states_from_checkpoint=True),
        run.out / "checkpoint-4",
    )
    return first.count


@workflow()
def callback_counts_events(run):
    """Every event comes as often as on stock, in a run and in one that is resumed within an epoch."""

    events = [name for name in dir(TrainerCallback) if name.startswith("on_")]

    def count(prefix):
        return [At(event, lambda *rest, event=event, **more: run.called(f"{prefix} {event}")) for event in events]

    run.train(make(run, callbacks=count("first"), save_steps=3, **_options()))
    return run.resume(make(run, out="resumed", callbacks=count("resumed"), **_options()), run.out / "checkpoint-3")


@workflow()
def callback_changes_the_control(run):
    """A callback returns a control of its own, as those of frameworks do."""

    def replace(args, state, control, **rest):
        fresh = type(control)()
        fresh.should_log = True
        fresh.should_save = state.global_step == 3
        return fresh

    return [run.train(make(run, callbacks=[At("on_step_end", replace)])), checkpoints(run.out)]


@workflow(each=("on_save", "on_step_end", "on_train_begin"))
def callback_raises(run, event):
    """A callback raises; the error is that of stock, and the run is resumed from what there is."""

    def fail(args, state, control, **rest):
        raise ValueError("stop here")

    step = 0 if event == "on_train_begin" else 4
    try:
        make(run, callbacks=[At(event, fail, step)]).train()
    except ValueError as error:
        said = str(error)
    if event == "on_train_begin":
        return [said, run.train(make(run))]
    return [said, run.resume(make(run))]
