"""What callbacks hide."""

import random

import numpy as np
from base import Samples, place
from transformers import TrainerCallback


def _group(optimizer):
    return getattr(optimizer, "optimizer", optimizer).param_groups[0]


@place
def callback_counter():
    """A callback counts steps, and sets the weight decay by the number."""

    class Counts(TrainerCallback):
        calls = 0

        def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
            self.calls += 1
            _group(optimizer)["weight_decay"] = self.calls / 20

    return {"callbacks": [Counts()]}


@place
def callback_generator():
    """A callback has a generator, and draws the weight decay of each step."""

    class Draws(TrainerCallback):
        def __init__(self):
            self.generator = random.Random(3)

        def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
            _group(optimizer)["weight_decay"] = self.generator.random()

    return {"callbacks": [Draws()]}


@place
def callback_closure_generator():
    """A callback's method draws from a NumPy generator in a closure."""
    generator = np.random.default_rng(3)

    class Draws(TrainerCallback):
        def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
            _group(optimizer)["weight_decay"] = generator.random()

    return {"callbacks": [Draws()]}


@place
def callback_changes_dataset():
    """A callback makes the dataset harder after each step, by an attribute of the dataset."""

    class Harder(Samples):
        level = 0.0

        def draw(self):
            return self.level

    dataset = Harder()

    class Raises(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            dataset.level += 0.05

    return {"dataset": dataset, "callbacks": [Raises()]}


@place
def callback_changes_dataset_by_epoch():
    """A callback makes the dataset harder after each epoch."""

    class Harder(Samples):
        level = 0.1

        def draw(self):
            return self.level

    dataset = Harder()

    class Raises(TrainerCallback):
        def on_epoch_end(self, args, state, control, **kwargs):
            dataset.level *= 3

    return {"dataset": dataset, "callbacks": [Raises()]}


@place
def callback_smoothed_loss():
    """A callback smooths the logged losses, and sets the weight decay by it."""

    class Smooths(TrainerCallback):
        mean = 0.0

        def on_log(self, args, state, control, logs=None, **kwargs):
            self.mean = 0.9 * self.mean + (logs or {}).get("loss", 0.0)

        def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
            _group(optimizer)["weight_decay"] = self.mean / 10

    return {"callbacks": [Smooths()]}


@place
def callback_logs_counter():
    """A callback adds a count of its own to what is logged."""

    class Adds(TrainerCallback):
        calls = 0

        def on_step_end(self, args, state, control, **kwargs):
            self.calls += 1
            state.log_history.append({"calls": self.calls, "step": state.global_step})

    return {"callbacks": [Adds()]}


@place
def callback_weight_average():
    """A callback averages the weights, and puts the average in place every third step."""

    class Averages(TrainerCallback):
        average, calls = None, 0

        def on_step_end(self, args, state, control, model=None, **kwargs):
            weight, self.calls = model.head.weight.data, self.calls + 1
            self.average = weight.clone() if self.average is None else self.average.lerp(weight, 0.3)
            if self.calls % 3 == 0:
                weight.copy_(self.average)

    return {"callbacks": [Averages()]}
