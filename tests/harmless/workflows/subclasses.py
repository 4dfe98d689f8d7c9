"""What public projects override in Trainer, and how they call it."""

import os
import threading

import torch
from pieces import LAST_STEP, At, Samples, checkpoints, make, train_and_resume
from registry import workflow
from transformers import Trainer


class TakesBatches(Trainer):
    """Takes batches by itself, without the trainer's method."""

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        batches = []
        for _ in range(num_batches):
            try:
                batches.append(next(epoch_iterator))
            except StopIteration:
                break
        return batches, None


class TakesOneBatchMore(Trainer):
    """Keeps a batch back, and mixes it with the next."""

    kept = None

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        batches, count = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.kept, kept = batches, self.kept
        return kept or batches, count


class DrawsInSteps(Trainer):
    """Draws in every step, and logs more."""

    def compute_loss(self, model, inputs, return_outputs=False, **rest):
        inputs = {"x": inputs["x"] + torch.rand_like(inputs["x"])}
        return super().compute_loss(model, inputs, return_outputs=return_outputs, **rest)

    def log(self, logs, *arguments, **rest):
        super().log({**logs, "more": 1.0}, *arguments, **rest)


class SavesItself(Trainer):
    """Saves and loads weights in its own way."""

    def _save(self, output_dir=None, state_dict=None):
        os.makedirs(output_dir or self.args.output_dir, exist_ok=True)
        torch.save(self.model.state_dict(), os.path.join(output_dir or self.args.output_dir, "pytorch_model.bin"))

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        self.model.load_state_dict(torch.load(os.path.join(resume_from_checkpoint, "pytorch_model.bin")))


class OwnOptimizer(Trainer):
    """Makes its own optimizer and scheduler, and keeps their states in a file of its own."""

    def create_optimizer(self, *arguments, **rest):
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        return self.optimizer

    def _save_optimizer_and_scheduler(self, output_dir):
        super()._save_optimizer_and_scheduler(output_dir)
        os.rename(os.path.join(output_dir, "optimizer.pt"), os.path.join(output_dir, "momentum.pt"))

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.optimizer.load_state_dict(torch.load(os.path.join(checkpoint, "momentum.pt")))


class OwnLoop(Trainer):
    """Wraps the loop, and the methods called in it."""

    def train(self, *arguments, **rest):
        self.before = torch.get_rng_state()
        return super().train(*arguments, **rest)

    def _inner_training_loop(self, *arguments, **rest):
        self.model.train()
        return super()._inner_training_loop(*arguments, **rest)

    def _maybe_log_save_evaluate(self, *arguments, **rest):
        super()._maybe_log_save_evaluate(*arguments, **rest)

    def _save_checkpoint(self, model, trial, **rest):
        return super()._save_checkpoint(model, trial)


class WrapsBatches(Trainer):
    """Prepares a dataloader, and wraps it in a generator that changes its batches."""

    class Wrapped:
        def __init__(self, loader):
            self.loader = loader

        def __iter__(self):
            for batch in self.loader:
                yield {"x": batch["x"] * 2}

        def __len__(self):
            return len(self.loader)

        def __getattr__(self, name):
            return getattr(self.loader, name)

    def get_train_dataloader(self):
        return self.Wrapped(super().get_train_dataloader())


class Moves(Trainer):
    """Names its batch size and its number of steps by properties."""

    @property
    def _train_batch_size(self):
        return 2

    @_train_batch_size.setter
    def _train_batch_size(self, value):
        pass


class Delegates(Trainer):
    """Asks its model for every name that it does not have."""

    def __getattr__(self, name):
        if name == "model":
            raise AttributeError(name)
        return getattr(self.model, name)


KINDS = {
    kind.__name__: kind
    for kind in (
        TakesBatches,
        TakesOneBatchMore,
        DrawsInSteps,
        SavesItself,
        OwnOptimizer,
        OwnLoop,
        WrapsBatches,
        Moves,
        Delegates,
    )
}


@workflow(
    each=(
        "TakesBatches",
        "TakesOneBatchMore",
        "DrawsInSteps",
        "SavesItself",
        "OwnOptimizer",
        "OwnLoop",
        "Moves",
        "Delegates",
    ),
    may_say={
        "field `loss`": "the batch that one of them keeps back is in no checkpoint",
        "field `learning rate`": "without the optimizer's file, no state of the scheduler is loaded, on stock as well",
    },
)
def subclass(run, kind):
    """A subclass, in a run and in a resumed one."""
    return train_and_resume(run, trainer_class=KINDS[kind])


@workflow()
def subclass_wraps_the_loader(run):
    """A subclass wraps the dataloader; stock cannot skip in it and says so."""
    return run.train(make(run, trainer_class=WrapsBatches))


@workflow()
def trained_twice(run):
    """One trainer trains twice, without a resume."""
    trainer = make(run)
    run.train(trainer)
    return run.train(trainer)


@workflow()
def finished_run_is_resumed(run):
    """A run that is over is resumed, by `True`."""
    run.train(make(run))
    return run.resume(make(run))


@workflow()
def trained_in_a_thread(run):
    """A trainer trains in a thread."""
    trainer, steps = make(run), []
    thread = threading.Thread(target=lambda: steps.append(run.train(trainer)))
    thread.start()
    thread.join()
    return steps


@workflow()
def training_within_a_training(run):
    """A callback trains another model in the middle of a run."""

    def train(args, state, control, **rest):
        run.train(make(run, out="inner", num_train_epochs=1))

    return run.train(make(run, callbacks=[At("on_step_end", train, step=3)]))


@workflow()
def saved_by_hand(run):
    """`save_model`, `save_state` and `_save_checkpoint` are called before, between and after trainings."""
    trainer = make(run, save_strategy="no")
    trainer.save_model()
    trainer.save_state()
    trainer.create_optimizer_and_scheduler(LAST_STEP)
    trainer._save_checkpoint(trainer.model, trial=None)
    run.train(trainer)
    trainer.save_model(str(run.out / "final"))
    trainer._save_checkpoint(trainer.model, trial=None)
    return [checkpoints(run.out), trainer.evaluate(Samples(2)).keys() >= {"eval_loss"}]


@workflow()
def evaluated_only(run):
    """A trainer evaluates and predicts, and never trains."""
    trainer = make(run, eval_dataset=Samples(3))
    metrics = trainer.evaluate()
    return [metrics["eval_loss"], trainer.predict(Samples(2)).predictions.tolist(), run.out.exists()]


@workflow(each=("accumulation", "best", "batch size", "nan", "plateau", "max grad norm", "tokens", "delay"))
def arguments(run, kind):
    """Arguments that change what the loop does."""
    evaluates = {"eval_dataset": Samples(3), "eval_strategy": "steps", "eval_steps": 2}
    options = {
        "accumulation": {"gradient_accumulation_steps": 3},
        "best": {
            **evaluates,
            "load_best_model_at_end": True,
            "save_strategy": "best",
            "metric_for_best_model": "loss",
        },
        "batch size": {"auto_find_batch_size": True},
        "nan": {"logging_nan_inf_filter": False, "logging_steps": 3},
        "plateau": {**evaluates, "lr_scheduler_type": "reduce_lr_on_plateau", "metric_for_best_model": "loss"},
        "max grad norm": {"max_grad_norm": 0.0, "logging_first_step": True},
        "tokens": {"include_num_input_tokens_seen": "all"},
        "delay": {**evaluates, "eval_delay": 3, "eval_on_start": True},
    }[kind]
    return train_and_resume(run, **options)


@workflow()
def batch_size_is_found(run):
    """`auto_find_batch_size` halves the batch after an error that looks like no memory."""
    failed = []

    class Fails(Trainer):
        def training_step(self, model, inputs, *arguments, **rest):
            if len(inputs["x"]) > 2:
                failed.append(len(inputs["x"]))
                raise RuntimeError("CUDA out of memory.")
            return super().training_step(model, inputs, *arguments, **rest)

    trainer = make(run, trainer_class=Fails, auto_find_batch_size=True, per_device_train_batch_size=4)
    return [run.train(trainer), failed]


@workflow()
def step_raises_and_training_is_begun_again(run):
    """A step raises; the same trainer is resumed from its last checkpoint."""

    class Fails(Trainer):
        has_failed = False

        def training_step(self, *arguments, **rest):
            if self.state.global_step == 5 and not self.has_failed:
                self.has_failed = True
                raise FloatingPointError("a bad step")
            return super().training_step(*arguments, **rest)

    run.train(make(run, out="golden"))
    trainer = make(run, trainer_class=Fails)
    try:
        trainer.train()
    except FloatingPointError as error:
        said = str(error)
    return [said, run.resume(trainer)]
