"""Checkpoint folders: what is in them, beside them, and who else writes there."""

import os
import shutil

from pieces import At, Samples, WritesFirst, checkpoints, make
from registry import workflow
from transformers import Trainer
from transformers.trainer_utils import get_last_checkpoint

WEIGHTS = "model.safetensors"


def _strip(folder):
    """Leave nothing but the weights of a checkpoint."""
    for path in folder.iterdir():
        if path.name != WEIGHTS:
            path.unlink()


@workflow()
def stripped_checkpoints_below_the_limit(run):
    """Older checkpoints are stripped to weights as the run goes, far below `save_total_limit`."""

    def strip_older(args, state, control, **rest):
        for name in checkpoints(run.out):
            if name != f"checkpoint-{state.global_step}":
                _strip(run.out / name)

    run.train(make(run, save_total_limit=10, callbacks=[At("on_save", strip_older)]))
    return checkpoints(run.out)


@workflow()
def stripped_by_hand_between_two_runs(run):
    """All checkpoints of a run are stripped to weights; a longer run saves beside them."""
    run.train(make(run))
    for name in checkpoints(run.out):
        _strip(run.out / name)
    run.train(make(run, num_train_epochs=3, save_steps=5, save_total_limit=10))
    return checkpoints(run.out)


def _train_with_weights_between(run, trainer):
    def save_weights(args, state, control, **rest):
        if state.global_step % 2:
            trainer.save_model(str(run.out / f"checkpoint-{state.global_step}"))

    trainer.add_callback(At("on_step_end", save_weights))
    run.train(trainer)
    return checkpoints(run.out)


@workflow()
def weights_between_full_checkpoints(run):
    """A callback writes weights into `checkpoint-N` between the full checkpoints, with room for all."""
    trainer = make(run, save_total_limit=20)
    return _train_with_weights_between(run, trainer)


@workflow()
def weights_count_for_the_limit(run):
    """Folders of weights are rotated with the others, as many as stock keeps."""
    trainer = make(run, save_total_limit=3)
    return _train_with_weights_between(run, trainer)


@workflow()
def best_and_last_are_kept(run):
    """The limit is one, the best model is kept, and the last checkpoints are removed at the end."""
    losses = iter([1.0, 0.1, 0.5, 0.7])

    class Scored(Trainer):
        def evaluate(self, *arguments, **rest):
            metrics = {"eval_loss": next(losses)}
            self.log(metrics)
            return metrics

    options = {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True, "save_total_limit": 1}
    run.train(make(run, trainer_class=Scored, eval_dataset=Samples(), **options))
    return checkpoints(run.out)


@workflow(each=("weights", "empty", "no_state", "only_state"))
def last_checkpoint_of_any_folder(run, kind):
    """`get_last_checkpoint` names the folder of the highest step, whatever is in it."""
    run.train(make(run))
    newest = run.out / "checkpoint-20"
    shutil.copytree(run.out / "checkpoint-8", newest)
    kept = {"weights": WEIGHTS, "only_state": "trainer_state.json"}
    for path in newest.iterdir():
        is_state = path.name == "trainer_state.json"
        if is_state if kind == "no_state" else path.name != kept.get(kind):
            path.unlink()
    return get_last_checkpoint(str(run.out))


@workflow()
def last_checkpoint_among_odd_names(run):
    """Files, other names and a folder without any checkpoint are no checkpoints."""
    run.out.mkdir()
    before = get_last_checkpoint(str(run.out))
    (run.out / "checkpoint-9").write_text("a file")
    for name in (
        "checkpoint-old",
        "checkpoint-3-backup",
        "_replaced-checkpoint-12",
        "my-checkpoint-15",
        "checkpoint-",
    ):
        (run.out / name).mkdir()
    between = get_last_checkpoint(str(run.out))
    (run.out / "checkpoint-0").mkdir()
    return [before, between, get_last_checkpoint(str(run.out))]


@workflow()
def folders_of_the_users_beside_checkpoints(run):
    """What the user has put beside the checkpoints stays, whatever it is called, with a limit of one."""
    for name in (
        "_replaced-checkpoint-2",
        "checkpoint-2.bak",
        "checkpoint-best",
        "best-checkpoint-4",
        "tmp-checkpoint-6",
    ):
        (run.out / name).mkdir(parents=True)
        (run.out / name / "notes.txt").write_text(name)
    run.train(make(run, save_total_limit=1))
    return sorted(os.listdir(run.out))


@workflow()
def subclass_writes_before_the_trainer(run):
    """A subclass's file is in every checkpoint."""
    return run.train(make(run, trainer_class=WritesFirst))


@workflow()
def subclass_writes_before_the_trainer_twice(run):
    """The same again in the same output folder, so that every step is written anew."""
    run.train(make(run, trainer_class=WritesFirst))
    return run.train(make(run, trainer_class=WritesFirst))


@workflow()
def user_files_in_a_checkpoint_written_anew(run):
    """A model card and a folder with an adapter, put into a checkpoint by hand, outlast a second run."""
    run.train(make(run))
    for name in checkpoints(run.out):
        (run.out / name / "README.md").write_text("a model card")
        (run.out / name / "adapter_model").mkdir()
        (run.out / name / "adapter_model" / "weights.bin").write_bytes(b"weights")
    return run.train(make(run))


@workflow()
def adapter_written_in_on_save(run):
    """A callback adds a folder to the checkpoint in `on_save` and takes the weights away; then a second run."""

    def add_adapter(args, state, control, **rest):
        folder = run.out / f"checkpoint-{state.global_step}"
        (folder / "adapter_model").mkdir(exist_ok=True)
        (folder / WEIGHTS).rename(folder / "adapter_model" / WEIGHTS)

    run.train(make(run, callbacks=[At("on_save", add_adapter)]))
    return run.train(make(run, callbacks=[At("on_save", add_adapter)]))


@workflow(each=("checkpoint-2", "checkpoint-6"))
def save_dies_while_a_step_is_written_anew(run, name):
    """A second run ends within a save; a resume by path then goes to the end and leaves nothing behind."""

    class Ends(Trainer):
        def _save_rng_state(self, output_dir):
            if output_dir.endswith("checkpoint-4"):
                raise KeyboardInterrupt
            super()._save_rng_state(output_dir)

    run.train(make(run))
    try:
        run.train(make(run, trainer_class=Ends))
    except KeyboardInterrupt:
        pass
    step = run.resume(make(run), run.out / name)
    return [step, checkpoints(run.out)]


@workflow()
def two_output_folders_of_one_trainer(run):
    """The output folder is changed between two trainings of one trainer."""
    trainer = make(run)
    run.train(trainer)
    trainer.args.output_dir = str(run.folder / "other")
    return run.train(trainer)


@workflow()
def checkpoints_in_folders_of_runs(run):
    """A subclass has a folder of its own for each run below the output folder."""

    class Grouped(Trainer):
        def _get_output_dir(self, trial):
            return os.path.join(self.args.output_dir, f"run-{self.args.seed}")

    run.train(make(run, trainer_class=Grouped, save_total_limit=2))
    return run.resume(make(run, trainer_class=Grouped), run.out / "run-42" / "checkpoint-6")


@workflow()
def checkpoint_names_of_a_subclass(run):
    """A subclass renames a checkpoint when it is saved."""

    class Renames(Trainer):
        def _save_checkpoint(self, model, trial):
            super()._save_checkpoint(model, trial)
            folder = os.path.join(self.args.output_dir, f"checkpoint-{self.state.global_step}")
            os.rename(folder, folder.replace("checkpoint-", "epoch-"))

    run.train(make(run, trainer_class=Renames))
    return run.resume(make(run, out="resumed", trainer_class=Renames), run.out / "epoch-4")


@workflow()
def checkpoint_replaced_without_super(run):
    """A subclass saves what it wants, and does not call the trainer's own method."""

    class Own(Trainer):
        def _save_checkpoint(self, model, trial):
            step = self.state.global_step // 3 * 3
            self.save_model(os.path.join(self.args.output_dir, f"checkpoint-{step}"), _internal_call=True)

    return run.train(make(run, trainer_class=Own, save_total_limit=1))


@workflow()
def folder_removed_in_on_save(run):
    """A callback moves each checkpoint away in `on_save`, as one that uploads does."""

    def move(args, state, control, **rest):
        shutil.move(run.out / f"checkpoint-{state.global_step}", run.folder / "store" / str(state.global_step))

    run.train(make(run, save_total_limit=2, callbacks=[At("on_save", move)]))
    return sorted(os.listdir(run.folder / "store"))


@workflow(each=("out put", "ünïcode", "[1] * ?", "a/b/c"))
def odd_names_of_output_folders(run, name):
    """The output folder has an odd name; there is a limit, and a resume from it."""
    run.train(make(run, out=name, save_total_limit=2))
    return run.resume(make(run, out=name, num_train_epochs=3))


@workflow()
def relative_output_folder(run):
    """The output folder is given relative to the working directory."""
    run.train(make(run, output_dir="relative", save_total_limit=1))
    return run.resume(make(run, output_dir="relative", num_train_epochs=3))


@workflow()
def only_models_are_saved(run):
    """`save_only_model`, with a limit."""
    return [run.train(make(run, save_only_model=True, save_total_limit=2)), checkpoints(run.out)]
