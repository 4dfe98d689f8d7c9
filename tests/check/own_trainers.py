"""Trainers as a user would write them; most are not exact on stock, as their collator draws."""

import random

import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

NUM_SAMPLES = 16


class Samples(Dataset):
    """Fixed samples of three features, which `noise` may add to."""

    def __init__(self, size=NUM_SAMPLES, noise=None):
        self.size = size
        self.noise = noise

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        x = torch.tensor([index, index % 3, index % 5]) / 10
        return {"x": x if self.noise is None else x + self.noise.random()}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)
        self.num_calls = None

    def forward(self, x, return_loss=True):  # by its name the Trainer sees that evaluation has a loss
        outputs = self.linear(x)
        if self.num_calls is not None:
            self.num_calls += 1
            outputs = outputs * self.num_calls
        return {"loss": outputs.pow(2).mean(), "logits": outputs}


def stack(samples):
    return {"x": torch.stack([sample["x"] for sample in samples])}


def scale(samples):
    return {"x": stack(samples)["x"] * torch.rand(())}


def build(output_dir, dataset=None, collator=scale, trainer_class=Trainer, callbacks=None, **arguments):
    """A trainer of eight update steps in two epochs, with a checkpoint after every second one."""
    set_seed(7)
    defaults = {"num_train_epochs": 2, "per_device_train_batch_size": 4, "save_steps": 2, "use_cpu": True}
    args = TrainingArguments(output_dir, **{**defaults, "report_to": "none", "disable_tqdm": True, **arguments})
    dataset = dataset or Samples()
    trainer = trainer_class(Model(), args, collator, dataset, dataset, callbacks=callbacks)
    trainer.remove_callback(PrinterCallback)
    return trainer


def noisy(output_dir):
    return build(output_dir)


def plain(output_dir):
    return build(output_dir, collator=stack, save_steps=3)


def rotating(output_dir):
    return build(output_dir, save_steps=1, save_total_limit=1)


def best_of_epochs(output_dir):
    epochs = {"save_strategy": "epoch", "eval_strategy": "epoch", "num_train_epochs": 3}
    return build(output_dir, load_best_model_at_end=True, save_total_limit=1, **epochs)


def unseeded(output_dir):
    return build(output_dir, Samples(noise=random.Random()))


def with_a_model_that_counts(output_dir):
    """A plain attribute is no generator and no buffer: nothing knows that it is state."""
    trainer = build(output_dir)
    trainer.model.num_calls = 0
    return trainer


class CountingSamples(Samples):
    num_samples = 0

    def __getitem__(self, index):
        self.num_samples += 1
        return {"x": super().__getitem__(index)["x"] + self.num_samples}


def with_a_dataset_that_counts(output_dir):
    return build(output_dir, CountingSamples())


def never_saving(output_dir):
    return build(output_dir, save_strategy="no")


def saving_last(output_dir):
    return build(output_dir, save_steps=8)


def too_short(output_dir):
    return build(output_dir, max_steps=1)


class TupleTrainer(Trainer):
    def compute_loss(self, model, inputs, *args, **kwargs):
        (x,) = inputs
        return model(x)["loss"]


def with_tuples(output_dir):
    return build(output_dir, collator=lambda samples: (scale(samples)["x"],), trainer_class=TupleTrainer)


class Batch(dict):
    @property
    def features(self):
        return self["x"]


class BatchTrainer(Trainer):
    def training_step(self, model, inputs, *args, **kwargs):
        inputs.features.add_(0)
        return super().training_step(model, inputs, *args, **kwargs)


def with_batches_of_its_own(output_dir):
    return build(output_dir, collator=lambda samples: Batch(scale(samples)), trainer_class=BatchTrainer)


class NoResume(TrainerCallback):
    """Fails in a run that was resumed."""

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step > 0:
            raise RuntimeError("cannot go on\nfrom here")


def not_resumable(output_dir):
    return build(output_dir, callbacks=[NoResume()])


class FailingTrainer(Trainer):
    def training_step(self, *args, **kwargs):
        if self.state.global_step == 2:
            raise ValueError("a bad batch")
        return super().training_step(*args, **kwargs)


def failing(output_dir):
    return build(output_dir, trainer_class=FailingTrainer)


class StoppingTrainer(Trainer):
    def training_step(self, *args, **kwargs):
        self.control.should_training_stop = True
        return super().training_step(*args, **kwargs)


def stopping_at_once(output_dir):
    return build(output_dir, trainer_class=StoppingTrainer)


class Publishing(Trainer):
    """Would push each checkpoint."""

    def _push_from_checkpoint(self, folder):
        raise AssertionError(f"pushed {folder}")


def publishing(output_dir):
    trainer = build(output_dir, trainer_class=Publishing)
    trainer.args.push_to_hub = True
    return trainer


def without_parameters():
    return build("runs")
