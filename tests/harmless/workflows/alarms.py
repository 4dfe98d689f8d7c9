"""Changes of a checkpoint after which a resume is still exact, so that there is nothing to say."""

import json
import os
import shutil

import torch
from pieces import At, Stream, make
from registry import workflow
from transformers import Trainer


def _resume(run, **options):
    return run.resume(make(run, out="resumed", **options), run.out / "checkpoint-4")


@workflow(strict=True)
def weights_removed_in_on_save(run):
    """A callback keeps only an adapter of the weights in the checkpoint, and the subclass loads that."""

    class Adapters(Trainer):
        def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
            self.model.load_state_dict(torch.load(os.path.join(resume_from_checkpoint, "adapter.bin")))

    def keep_adapter(args, state, control, model=None, **rest):
        folder = os.path.join(args.output_dir, f"checkpoint-{state.global_step}")
        os.remove(os.path.join(folder, "model.safetensors"))
        torch.save(model.state_dict(), os.path.join(folder, "adapter.bin"))

    callbacks = [At("on_save", keep_adapter)]
    run.train(make(run, trainer_class=Adapters, callbacks=callbacks))
    return _resume(run, trainer_class=Adapters)


@workflow(each=("compact", "crlf", "more keys", "sorted"), strict=True)
def trainer_state_formatted_anew(run, kind):
    """A tool writes `trainer_state.json` in another format, with the same values."""
    run.train(make(run))
    path = run.out / "checkpoint-4" / "trainer_state.json"
    state = json.loads(path.read_text())
    if kind == "crlf":
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    elif kind == "more keys":
        state["log_history"][0]["comment"] = "begun on a Monday"
        path.write_text(json.dumps(state, indent=2))
    else:
        path.write_text(json.dumps(state, sort_keys=kind == "sorted", indent=4 if kind == "sorted" else None))
    return _resume(run)


@workflow(each=("training_args.bin", "checkpoint_manifest.json"), strict=True)
def file_removed_that_no_resume_reads(run, name):
    """A file that a resume does not need was not uploaded."""
    run.train(make(run))
    (run.out / "checkpoint-4" / name).unlink(missing_ok=True)
    return _resume(run)


CHANGED = {"cannot be told": "an optimizer file of another size may hold another state, and stops no strict run"}


@workflow(strict=True, must_say=CHANGED)
def optimizer_rewritten_by_a_subclass(run):
    """A subclass writes the optimizer's state anew after the trainer has, with an entry more."""

    class Rewrites(Trainer):
        def _save_checkpoint(self, model, trial):
            super()._save_checkpoint(model, trial)
            path = os.path.join(self.args.output_dir, f"checkpoint-{self.state.global_step}", "optimizer.pt")
            torch.save({**torch.load(path), "written_by": "a" * 200}, path)

    run.train(make(run, trainer_class=Rewrites))
    return _resume(run, trainer_class=Rewrites)


@workflow(strict=True, must_say=CHANGED)
def optimizer_rewritten_in_on_save(run):
    """A callback writes the optimizer's state anew."""

    def rewrite(args, state, control, optimizer=None, **rest):
        path = os.path.join(args.output_dir, f"checkpoint-{state.global_step}", "optimizer.pt")
        torch.save({**torch.load(path), "written_by": "a" * 200}, path)

    run.train(make(run, callbacks=[At("on_save", rewrite)]))
    return _resume(run)


@workflow(strict=True)
def checkpoint_of_on_train_begin(run):
    """A callback saves `checkpoint-0` before the first step, and the run is resumed from it."""
    trainer = make(run)

    def save(args, state, control, **rest):
        trainer._save_checkpoint(trainer.model, trial=None)

    trainer.add_callback(At("on_train_begin", save))
    run.train(trainer)
    return run.resume(make(run, out="resumed"), run.out / "checkpoint-0")


@workflow(strict=True)
def files_added_to_a_checkpoint(run):
    """A tokenizer, a model card, a folder and a file of git are added."""
    run.train(make(run))
    folder = run.out / "checkpoint-4"
    for name in ("tokenizer.json", "README.md", ".gitattributes", "checkpoint-4.txt", "rng_state_1.txt"):
        (folder / name).write_text(name)
    (folder / "runs").mkdir()
    return _resume(run)


@workflow(each=("times", "copy", "linked", "weights in shards"), strict=True)
def checkpoint_copied_by_a_tool(run, kind):
    """A checkpoint is copied without its times, has other times, or consists of links, as a cache's does."""
    run.train(make(run))
    folder, copy = run.out / "checkpoint-4", run.folder / "copy"
    if kind == "times":
        for path in folder.iterdir():
            os.utime(path, (1, 1))
        return _resume(run)
    copy.mkdir()
    for path in folder.iterdir():
        if kind == "linked":
            (copy / path.name).symlink_to(path)
        else:
            shutil.copyfile(path, copy / path.name)
    if kind == "weights in shards":
        _split(copy)
    return run.resume(make(run, out="resumed"), copy)


def _split(folder):
    """Put the weights into two files with an index."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    parts = [dict(list(weights.items())[number::2]) for number in (0, 1)]
    for name, part in zip(names, parts, strict=True):
        save_file(part, folder / name, metadata={"format": "pt"})
    weight_map = {key: name for name, part in zip(names, parts, strict=True) for key in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


@workflow(strict=True)
def weights_saved_as_a_pickle(run):
    """The weights were converted to `pytorch_model.bin`."""
    from safetensors.torch import load_file

    run.train(make(run))
    folder = run.out / "checkpoint-4"
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return _resume(run)


@workflow(strict=True)
def log_history_cut(run):
    """The history in the trainer state is cut, to make it smaller."""
    run.train(make(run))
    path = run.out / "checkpoint-4" / "trainer_state.json"
    state = json.loads(path.read_text())
    state["log_history"] = state["log_history"][-1:]
    path.write_text(json.dumps(state))
    return _resume(run)


@workflow(strict=True)
def plain_training_is_silent(run):
    """Nothing is said of an ordinary run, and of a resume of it."""
    run.train(make(run))
    return _resume(run)


@workflow(strict=True)
def training_that_is_never_resumed(run):
    """Nothing is said of data that could not be resumed exactly, as nobody resumes."""

    class States(Stream):
        def state_dict(self):
            return {"size": self.size}

        def load_state_dict(self, state):
            self.size = state["size"]

    return run.train(make(run, dataset=States(), max_steps=8, save_strategy="no"))
