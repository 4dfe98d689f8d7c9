"""Checkpoints of the handler of SIGTERM."""

from pieces import At, WritesFirst, checkpoints, make
from registry import workflow


@workflow(
    each=("on_pre_optimizer_step", "on_step_begin", "on_step_end", "on_epoch_end"),
    other_rng="within a step, an exact resume needs the states of its beginning",
)
def handler_of_sigterm(run, event):
    """The handler's checkpoint holds what a subclass wrote into it, and training stops."""
    return _stop(run, event, run.out)


@workflow()
def handler_of_sigterm_writes_a_step_anew(run):
    """The handler writes a checkpoint that an earlier run has written, with a user's file in it."""
    run.train(make(run, trainer_class=WritesFirst))
    (run.out / "checkpoint-4" / "README.md").write_text("a model card")
    return _stop(run, "on_step_end", run.out)


def _stop(run, event, out):
    trainer = make(run, out=out, trainer_class=WritesFirst, enable_jit_checkpoint=True)
    manager = next(
        manager
        for callback in trainer.callback_handler.callbacks
        if (manager := getattr(callback, "jit_manager", None)) is not None
    )

    def request(args, state, control, **rest):
        manager.is_checkpoint_requested = True

    # The callback of the handler comes before those of users, so that the event itself would be too late.
    earlier = {
        "on_pre_optimizer_step": "on_step_begin",
        "on_step_begin": "on_epoch_begin",
        "on_step_end": "on_optimizer_step",
        "on_epoch_end": "on_step_end",
    }
    step = {"on_step_begin": 0, "on_pre_optimizer_step": 2, "on_epoch_end": 4}.get(event, 3)
    trainer.add_callback(At(earlier[event], request, step))
    return [run.train(trainer), checkpoints(run.out)]
