"""Small data, models and trainers, of which workflows are made."""

import os

import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

NUM_SAMPLES = 8
BATCH_SIZE = 2
# Of an epoch; a run has two of them unless it is told otherwise.
NUM_STEPS = NUM_SAMPLES // BATCH_SIZE
LAST_STEP = 2 * NUM_STEPS


def sample(index):
    return {"x": torch.tensor([index, index % 3, index % 5]) / 10}


class Samples(Dataset):
    """Fixed samples of three features."""

    def __init__(self, size=NUM_SAMPLES):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return sample(index)


class Stream(IterableDataset):
    """The same samples, one after the other."""

    def __init__(self, size=NUM_SAMPLES):
        self.size = size

    def __iter__(self):
        for index in range(self.size):
            yield sample(index)


class Model(nn.Module):
    """Draws for its dropout, so that RNG states matter."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.head = nn.Linear(4, 1)

    def forward(self, x, return_loss=True):
        outputs = self.head(nn.functional.dropout(self.linear(x), 0.2, self.training))
        return {"loss": outputs.pow(2).mean(), "logits": outputs}


def stack(samples):
    return {"x": torch.stack([sample["x"] for sample in samples])}


def make(
    run,
    *,
    out=None,
    dataset=None,
    eval_dataset=None,
    collator=stack,
    trainer_class=Trainer,
    model=None,
    callbacks=None,
    **arguments,
):
    """
    A trainer of eight steps in two epochs, with a checkpoint after every second one.

    Args:
        run: the `Run`.
        out: the name of the output folder in the run's folder, or a path.
        dataset, eval_dataset, collator, trainer_class, model, callbacks: what the trainer is made of.
        arguments: for `TrainingArguments`, over those of the run.
    """
    set_seed(7)
    defaults = {
        "output_dir": str(run.out if out is None else run.folder / out),
        "num_train_epochs": 2,
        "per_device_train_batch_size": BATCH_SIZE,
        "save_steps": 2,
        "logging_steps": 1,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
    }
    args = TrainingArguments(**{**defaults, **run.arguments, **arguments})
    dataset = Samples() if dataset is None else dataset
    data = {"data_collator": collator, "train_dataset": dataset, "eval_dataset": eval_dataset}
    trainer = trainer_class(model or Model(), args, callbacks=callbacks or [], **data)
    trainer.remove_callback(PrinterCallback)
    return trainer


class WritesFirst(Trainer):
    """Puts a file into the folder before the trainer does."""

    def _save_checkpoint(self, model, trial):
        folder = os.path.join(self._get_output_dir(trial=trial), f"checkpoint-{self.state.global_step}")
        os.makedirs(os.path.join(folder, "extra"), exist_ok=True)
        for name in ("adapter_config.json", os.path.join("extra", "vocabulary.txt")):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(f"step {self.state.global_step}")
        super()._save_checkpoint(model, trial)


class At(TrainerCallback):
    """
    Calls a function in an event: with the arguments of the run, its state, the control, and by name the rest.

    Args:
        event: the name of the event.
        function: what is called.
        step: only when the run has made this many steps, and only once; always by default.
    """

    def __init__(self, event, function, step=None):
        self.step = step

        def call(args, state, control, **rest):
            if self.step is None or self.step == state.global_step:
                self.step = self.step if self.step is None else -1
                return function(args, state, control, **rest)

        setattr(self, event, call)


def train_and_resume(run, checkpoint="checkpoint-2", **options):
    """Train to the end, and in another output folder from a checkpoint of that run; return both last steps."""
    steps = run.train(make(run, **options))
    return [steps, run.resume(make(run, out="resumed", **options), run.out / checkpoint)]


def checkpoints(folder):
    """The names of the entries of an output folder that are called a checkpoint."""
    return sorted(path.name for path in folder.glob("*checkpoint-*"))
