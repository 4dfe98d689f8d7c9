"""Names that others import and replace, and objects that they copy."""

import copy
import functools
import importlib
import inspect
import io
import pickle

import torch
from pieces import Samples, Stream, make, stack
from registry import workflow
from transformers import Trainer, TrainingArguments


@workflow(
    each=(
        "transformers",
        "transformers.trainer",
        "transformers.trainer_utils",
        "transformers.trainer_callback",
        "transformers.trainer_jit_checkpoint",
        "transformers.trainer_pt_utils",
        "transformers.trainer_seq2seq",
        "transformers.training_args",
        "transformers.core_model_loading",
    )
)
def importable_names(run, module):
    """Every name of a module can be imported, also those that begin with an underscore."""
    imported = importlib.import_module(module)
    # Modules of the package are attributes of it only when something has imported them.
    names = vars(imported)
    run.offers |= {name for name in names if module != "transformers" or not inspect.ismodule(names[name])}


@workflow()
def methods_and_their_arguments(run):
    """Every method of the trainer, the callbacks and the arguments takes what it took."""
    from transformers import trainer_callback, trainer_jit_checkpoint, trainer_utils

    classes = [Trainer, TrainingArguments, *vars(trainer_callback).values(), *vars(trainer_jit_checkpoint).values()]
    functions = [value for value in vars(trainer_utils).values() if inspect.isfunction(value)]
    for owner in classes:
        if inspect.isclass(owner) and owner.__module__.startswith("transformers."):
            functions += [value for value in vars(owner).values() if inspect.isfunction(value)]
    for function in functions:
        if function.__qualname__ != "TrainingArguments.__init__":
            # Without annotations, and so that another argument may follow.
            for number, parameter in enumerate(inspect.signature(function).parameters.values()):
                default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
                run.offers.add(f"{function.__qualname__}, argument {number}: {parameter.name}{default}")


@workflow()
def attributes_of_a_trainer(run):
    """Every attribute that a trainer has before, during and after a run."""
    trainer = make(run)
    run.offers |= {f"before {name}" for name in vars(trainer)}
    run.train(trainer)
    run.offers |= {f"after {name}" for name in vars(trainer)}


REPLACED = {
    "skip_first_batches` was replaced": "what others skip in their own way is used, and nobody can tell what it does"
}


@workflow(each=("wraps", "returns all", "own loader", "restored"), may_say=REPLACED)
def skip_first_batches_is_replaced(run, kind):
    """A project replaces `transformers.trainer.skip_first_batches` around `train()`."""
    import transformers.trainer as module

    original = module.skip_first_batches

    def skip(dataloader, num_batches=0):
        run.called(f"skip {num_batches}")
        if kind == "returns all":
            return dataloader
        if kind == "own loader":
            return list(dataloader)[num_batches:]
        return original(dataloader, num_batches)

    run.train(make(run))
    trainer = make(run, out="resumed")
    module.skip_first_batches = skip
    if kind == "restored":
        module.skip_first_batches = original
    return run.resume(trainer, run.out / "checkpoint-2")


@workflow(must_say=REPLACED)
def skip_first_batches_is_replaced_in_a_subclass(run):
    """A subclass replaces it within `_inner_training_loop` only, and makes the dataloader itself."""
    from unittest import mock

    class Skips(Trainer):
        def skip(self, dataloader, num_batches=0):
            run.called(f"skip {num_batches}")
            return self.accelerator.skip_first_batches(dataloader, num_batches)

        def _inner_training_loop(self, *arguments, **options):
            with mock.patch("transformers.trainer.skip_first_batches", self.skip):
                return super()._inner_training_loop(*arguments, **options)

    run.train(make(run, trainer_class=Skips))
    return run.resume(make(run, out="resumed", trainer_class=Skips), run.out / "checkpoint-2")


@workflow(must_say=REPLACED)
def skip_first_batches_of_a_stream_is_replaced(run):
    """The same for a stream, which a project fast-forwards itself."""
    import transformers.trainer as module

    length = {"max_steps": 8, "num_train_epochs": 1}
    run.train(make(run, dataset=Stream(), **length))
    original = module.skip_first_batches

    def skip(dataloader, num_batches=0):
        run.called(f"skip {num_batches}")
        return original(dataloader, num_batches)

    module.skip_first_batches = skip
    return run.resume(make(run, out="resumed", dataset=Stream(), **length), run.out / "checkpoint-2")


@workflow()
def get_last_checkpoint_is_replaced(run):
    """A project has its own idea of the last checkpoint, and replaces the function in the trainer's module."""
    import transformers.trainer as module

    run.train(make(run))

    def get_last_checkpoint(folder):
        run.called("get_last_checkpoint")
        return f"{folder}/checkpoint-4"

    module.get_last_checkpoint = get_last_checkpoint
    return run.resume(make(run))


@workflow()
def safe_globals_is_replaced(run):
    """A project allows more types in the RNG file, by replacing `safe_globals` in the trainer's module."""
    import decimal

    import transformers.trainer as module

    class Adds(Trainer):
        def _save_rng_state(self, output_dir):
            super()._save_rng_state(output_dir)
            path = f"{output_dir}/rng_state.pth"
            torch.save({**torch.load(path, weights_only=False), "rate": decimal.Decimal(1)}, path)

    original = module.safe_globals

    def safe_globals():
        torch.serialization.add_safe_globals([decimal.Decimal])
        return original()

    module.safe_globals = safe_globals
    run.train(make(run, trainer_class=Adds))
    return run.resume(make(run, out="resumed", trainer_class=Adds), run.out / "checkpoint-2")


@workflow(each=("rotate_checkpoints", "sort_checkpoints"))
def rotation_is_replaced(run, name):
    """A project replaces how checkpoints are rotated."""
    import transformers.trainer as module

    original = getattr(module, name)

    @functools.wraps(original)
    def replaced(*arguments, **options):
        run.called(name)
        return original(*arguments, **options)

    setattr(module, name, replaced)
    return run.train(make(run, save_total_limit=1))


@workflow(each=("pickle", "deepcopy", "copy", "torch.save"))
def trainer_is_copied(run, way):
    """A trainer is copied before it trains, as those that send it to another process do."""
    trainer = make(run)
    if way == "pickle":
        trainer = pickle.loads(pickle.dumps(trainer))
    elif way == "torch.save":
        buffer = io.BytesIO()
        torch.save(trainer, buffer)
        buffer.seek(0)
        trainer = torch.load(buffer, weights_only=False)
    else:
        trainer = (copy.deepcopy if way == "deepcopy" else copy.copy)(trainer)
    return run.train(trainer)


@workflow()
def trainer_is_copied_after_a_run(run):
    """A copy of a trainer that has trained evaluates."""
    trainer = make(run, eval_dataset=Samples(3))
    run.train(trainer)
    return copy.deepcopy(trainer).evaluate()["eval_loss"]


def _counted(run, name):
    original = getattr(Trainer, name)

    def counted(self, *arguments, **options):
        run.called(name)
        return original(self, *arguments, **options)

    return counted


# RNG states have to be set more than once for a resume to be exact, and this is how a subclass has a part in it.
@workflow(at_most={"_load_rng_state": 4})
def methods_are_replaced(run):
    """Methods of the trainer are replaced in the class, as libraries do that make it faster."""
    names = (
        "_save_checkpoint",
        "_save_rng_state",
        "_load_rng_state",
        "_run_epoch",
        "get_batch_samples",
        "training_step",
    )
    for name in (*names, "_inner_training_loop", "_maybe_log_save_evaluate", "_load_optimizer_and_scheduler"):
        setattr(Trainer, name, _counted(run, name))
    run.train(make(run))
    return run.resume(make(run, out="resumed"), run.out / "checkpoint-2")


@workflow()
def trainer_without_its_constructor(run):
    """A test makes a trainer without calling `__init__`, and asks it for this and that."""
    trainer = object.__new__(Trainer)
    source = make(run, eval_dataset=Samples(3))
    for name in ("args", "model", "data_collator", "eval_dataset", "accelerator", "train_dataset", "callback_handler"):
        setattr(trainer, name, getattr(source, name))
    vars(trainer).update(_train_batch_size=2, processing_class=None, _signature_columns=["x"], label_names=[])
    trainer._save_rng_state(str(run.out))
    loaders = [trainer.get_train_dataloader(), trainer.get_eval_dataloader()]
    return [len(list(loader)) for loader in loaders]


@workflow()
def model_of_a_function(run):
    """`model_init` makes the model anew for each training."""

    def model_init():
        from pieces import Model

        run.called("model_init")
        return Model()

    trainer = Trainer(args=make(run).args, model_init=model_init, data_collator=stack, train_dataset=Samples())
    run.train(trainer)
    return run.train(trainer)
