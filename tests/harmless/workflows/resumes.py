"""Resumes: from copies, from folders that were moved, by other arguments, and from files of subclasses."""

import os
import random
import shutil

import numpy as np
import torch
from observing import digest
from pieces import At, Samples, checkpoints, make
from registry import workflow
from torch import nn
from transformers import Trainer


def _snapshot(folder):
    """Names, bytes and times of all that is in a folder."""
    entries = {}
    for parent, _, names in os.walk(folder):
        for path in (parent, *(os.path.join(parent, name) for name in names)):
            stat = os.stat(path)
            data = None if os.path.isdir(path) else open(path, "rb").read()
            entries[os.path.relpath(path, folder)] = (stat.st_mtime_ns, stat.st_ino, data)
    return entries


def _draws(args, state, control, **rest):
    random.random()
    torch.rand(2)


@workflow(each=("plain", "callback draws"), strict=True)
def copy_made_in_on_save(run, kind):
    """A callback copies each checkpoint in `on_save`; the originals are lost, and the copy is resumed elsewhere."""

    def mirror(args, state, control, **rest):
        run.called("on_save")
        shutil.copytree(run.out / f"checkpoint-{state.global_step}", run.folder / "mirror" / str(state.global_step))
        if kind == "callback draws":
            _draws(args, state, control)

    run.train(make(run, callbacks=[At("on_save", mirror)]))
    shutil.rmtree(run.out)
    step = run.resume(make(run, out="elsewhere"), run.folder / "mirror" / "4")
    return [step, sorted(os.listdir(run.folder / "mirror"))]


@workflow(strict=True)
def copy_made_in_on_save_is_resumed_with_the_callback(run):
    """The same with the callback in the resumed run, which copies to the same place."""

    def mirror(args, state, control, **rest):
        run.called(f"on_save at {state.global_step}")
        folder = run.folder / "mirror" / str(state.global_step)
        source = os.path.join(args.output_dir, f"checkpoint-{state.global_step}")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)

    run.train(make(run, callbacks=[At("on_save", mirror)]))
    return run.resume(make(run, out="elsewhere", callbacks=[At("on_save", mirror)]), run.folder / "mirror" / "4")


@workflow(each=("plain", "callback draws", "in on_step_end", "at the end of an epoch"), strict=True)
def resume_reads_only(run, kind):
    """Nothing in the checkpoint that is resumed from changes, and no time of its files."""
    trainer = make(run, callbacks=[At("on_save", _draws)] if kind == "callback draws" else None)
    if kind == "in on_step_end":

        def save(args, state, control, **rest):
            trainer._save_checkpoint(trainer.model, trial=None)

        trainer.add_callback(At("on_step_end", save, step=3))
    run.train(trainer)
    name = {"in on_step_end": "checkpoint-3", "at the end of an epoch": "checkpoint-4"}.get(kind, "checkpoint-2")
    before = _snapshot(run.out / name)
    callbacks = [At("on_save", _draws)] if kind == "callback draws" else None
    step = run.resume(make(run, out="resumed", callbacks=callbacks), run.out / name)
    after = _snapshot(run.out / name)
    return [step, [path for path in before if before[path] != after.get(path)], sorted(after.keys() - before.keys())]


@workflow(strict=True)
def output_folder_moved_and_renamed(run):
    """The output folder is moved, and the checkpoint renamed to something without a number."""
    run.train(make(run))
    shutil.move(run.out, run.folder / "moved")
    (run.folder / "moved" / "checkpoint-4").rename(run.folder / "moved" / "best")
    return run.resume(make(run, out="resumed"), run.folder / "moved" / "best")


class AddsKey(Trainer):
    """Adds a key to the RNG file."""

    def _save_rng_state(self, output_dir):
        super()._save_rng_state(output_dir)
        path = os.path.join(output_dir, "rng_state.pth")
        states = torch.load(path, weights_only=False)
        torch.save({**states, "dice": [1, 2, 3], "count": self.state.global_step}, path)

    def _load_rng_state(self, checkpoint):
        super()._load_rng_state(checkpoint)
        if checkpoint is not None:
            self.loaded = torch.load(os.path.join(checkpoint, "rng_state.pth"), weights_only=False)["count"]


@workflow(strict=True)
def subclass_adds_a_key_to_the_rng_file(run):
    """A subclass adds a key to the RNG file and reads it on a resume."""
    run.train(make(run, trainer_class=AddsKey))
    trainer = make(run, out="resumed", trainer_class=AddsKey)
    return [run.resume(trainer, run.out / "checkpoint-2"), trainer.loaded]


class OwnRngFile(Trainer):
    """Writes and reads RNG states by itself."""

    def _save_rng_state(self, output_dir):
        os.makedirs(output_dir, exist_ok=True)
        states = {"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.get_rng_state()}
        torch.save(states, os.path.join(output_dir, "rng_state.pth"))

    def _load_rng_state(self, checkpoint):
        if checkpoint is not None:
            states = torch.load(os.path.join(checkpoint, "rng_state.pth"), weights_only=False)
            random.setstate(states["python"])
            np.random.set_state(states["numpy"])
            torch.set_rng_state(states["cpu"])


@workflow(may_say={"Resuming from": "there is no record in such a file"})
def subclass_has_its_own_rng_file(run):
    """A subclass writes the RNG file by itself, without the trainer's method."""
    run.train(make(run, trainer_class=OwnRngFile))
    return run.resume(make(run, out="resumed", trainer_class=OwnRngFile), run.out / "checkpoint-2")


@workflow(may_say={"Resuming from": "without the file, RNG states cannot be restored"})
def no_rng_file(run):
    """The RNG file was not uploaded."""
    run.train(make(run))
    (run.out / "checkpoint-4" / "rng_state.pth").unlink()
    return run.resume(make(run, out="resumed"), run.out / "checkpoint-4")


@workflow(may_say={"state": "what is not safe to load is not stored, which may be named"})
def state_that_is_not_safe_to_load(run):
    """A collator's state holds an object and a function; the RNG states are restored all the same."""

    class Collator:
        def __call__(self, samples):
            return {"x": torch.stack([item["x"] for item in samples])}

        def state_dict(self):
            return {"owner": Samples(), "dtype": np.dtype("float32"), "path": run.out, "function": digest}

        def load_state_dict(self, state):
            pass

    run.train(make(run, collator=Collator()))
    return run.resume(make(run, out="resumed", collator=Collator()), run.out / "checkpoint-2")


@workflow(must_say={"seed": "another seed is not honoured, or the resume is not exact"})
def another_seed(run):
    """A run is resumed with another `seed`."""
    run.train(make(run))
    return run.resume(make(run, out="resumed", seed=7), run.out / "checkpoint-2")


@workflow(must_say={"data_seed": "another seed is not honoured, or the resume is not exact"})
def another_data_seed(run):
    """A run is resumed with another `data_seed`."""
    run.train(make(run, data_seed=1))
    return run.resume(make(run, out="resumed", data_seed=2), run.out / "checkpoint-2")


@workflow(
    each=("batch size", "accumulation", "workers", "data", "more epochs", "learning rate"),
    may_say={"Resuming from": "what such a run has in common with the first is not enough to be exact"},
)
def other_arguments(run, kind):
    """A run is resumed with other arguments, or other data."""
    options = {
        "batch size": {"per_device_train_batch_size": 4},
        "accumulation": {"gradient_accumulation_steps": 2},
        "workers": {"dataloader_num_workers": 1},
        "data": {"dataset": Samples(12)},
        "more epochs": {"num_train_epochs": 3},
        "learning rate": {"learning_rate": 0.1},
    }[kind]
    run.train(make(run))
    return run.resume(make(run, out="resumed", **options), run.out / "checkpoint-2")


@workflow(each=("nothing", "no such path", "no state", "no weights", "empty"))
def what_cannot_be_resumed(run, kind):
    """Errors of a resume are those of stock."""
    run.train(make(run))
    folder = run.out / "checkpoint-8"
    if kind == "no state":
        (folder / "trainer_state.json").unlink()
    if kind == "no weights":
        (folder / "model.safetensors").unlink()
    if kind == "empty":
        shutil.rmtree(folder)
        folder.mkdir()
    if kind == "nothing":
        return run.resume(make(run, out="other"))
    return run.resume(make(run, out="other"), run.folder / "gone" if kind == "no such path" else folder)


@workflow(strict=True)
def chain_of_resumes(run):
    """A resume of a resume of a resume."""
    run.train(make(run))
    steps = [run.resume(make(run, out="first"), run.out / "checkpoint-2")]
    steps.append(run.resume(make(run, out="second"), run.folder / "first" / "checkpoint-4"))
    return [*steps, run.resume(make(run, out="third"), run.folder / "second" / "checkpoint-6")]


@workflow(strict=True)
def same_trainer_is_resumed(run):
    """One trainer trains, and goes on for longer."""
    trainer = make(run)
    run.train(trainer)
    trainer.args.num_train_epochs = 3
    return run.resume(trainer)


EVALUATES = {"eval_strategy": "epoch", "dataloader_num_workers": 1, "dataloader_persistent_workers": True}


@workflow(strict=True)
def chain_with_evaluations(run):
    """A resume of a resume in the same epoch, with persistent workers and an evaluation in each epoch."""

    def build(**more):
        return make(run, eval_dataset=Samples(3), num_train_epochs=3, save_steps=1, **EVALUATES, **more)

    run.train(build())
    run.resume(build(out="first"), run.out / "checkpoint-5")
    return run.resume(build(out="second"), run.folder / "first" / "checkpoint-6")


@workflow(
    other_parameters="the evaluation before the resume draws, which the first run did not do",
    must_say={"field `RNG state cpu`": "its workers persist, and draw no base seed at the step at which they did"},
)
def evaluation_before_a_resume(run):
    """A trainer evaluates before it is resumed, and evaluates at every epoch with workers that persist."""
    run.train(make(run, eval_dataset=Samples(3), **EVALUATES))
    trainer = make(run, out="resumed", eval_dataset=Samples(3), **EVALUATES)
    trainer.evaluate()
    return run.resume(trainer, run.out / "checkpoint-4")


class TwoStreams(nn.Module):
    """Has a generator and a buffer that is not saved."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)
        self.generator = torch.Generator().manual_seed(3)
        self.register_buffer("count", torch.zeros(()), persistent=False)

    def forward(self, x, return_loss=True):
        self.count += 1
        return {"loss": (self.linear(x) + torch.rand((), generator=self.generator)).pow(2).mean()}


@workflow()
def model_with_a_generator(run):
    """A model owns a generator and a buffer that is not saved."""
    run.train(make(run, model=TwoStreams()))
    return run.resume(make(run, out="resumed", model=TwoStreams()), run.out / "checkpoint-2")


@workflow()
def adapters_of_peft(run):
    """A model of peft saves its adapter only, and is resumed."""
    import peft
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    def build(**options):
        set_seed(3)
        config = LlamaConfig(
            vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
        )
        model = peft.get_peft_model(
            LlamaForCausalLM(config), peft.LoraConfig(r=2, lora_dropout=0.1, target_modules=["q_proj"])
        )

        def collate(samples):
            tokens = torch.stack([(item["x"] * 10).long() for item in samples])
            return {"input_ids": tokens, "labels": tokens}

        return make(run, model=model, collator=collate, remove_unused_columns=False, **options)

    run.train(build())
    return [run.resume(build(out="resumed"), run.out / "checkpoint-2"), checkpoints(run.out)]
