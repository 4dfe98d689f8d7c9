"""What subclasses of `Trainer`, and what is given to it, hide."""

import random

import numpy as np
import torch
from base import place
from transformers import Trainer


@place
def trainer_counter():
    """A trainer counts its training steps in an attribute, and scales the loss by the number."""

    class Counts(Trainer):
        calls = 0

        def compute_loss(self, model, inputs, **kwargs):
            self.calls += 1
            return model(**inputs)["loss"] * (1 + self.calls / 100)

    return {"trainer_class": Counts}


@place
def trainer_generator():
    """A trainer has a `torch.Generator` for noise on the inputs."""

    class Noisy(Trainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.noise = torch.Generator().manual_seed(4)

        def _prepare_inputs(self, inputs):
            return {"x": inputs["x"] + torch.rand(inputs["x"].shape, generator=self.noise)}

    return {"trainer_class": Noisy}


@place
def trainer_replay():
    """A trainer keeps batches and trains now and then on an old one."""

    class Replays(Trainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.memory, self.numbers = [], random.Random(5)

        def training_step(self, model, inputs, *args, **kwargs):
            self.memory.append(inputs)
            return super().training_step(model, self.numbers.choice(self.memory), *args, **kwargs)

    return {"trainer_class": Replays}


@place
def trainer_reference_model():
    """A trainer has a reference model that it updates every third step and saves nowhere."""

    class Refers(Trainer):
        reference, calls = None, 0

        def compute_loss(self, model, inputs, **kwargs):
            if self.calls % 3 == 0:
                self.reference = model.head.weight.detach().clone()
            self.calls += 1
            return model(**inputs)["loss"] + (model.head.weight - self.reference).abs().sum()

    return {"trainer_class": Refers}


@place
def trainer_running_reward():
    """A trainer subtracts the running mean of its losses, a baseline, to weigh a batch."""

    class Baseline(Trainer):
        baseline = 0.0

        def compute_loss(self, model, inputs, **kwargs):
            loss = model(**inputs)["loss"]
            self.baseline = 0.9 * self.baseline + 0.1 * loss.item()
            return loss * (1 + self.baseline)

    return {"trainer_class": Baseline}


@place
def trainer_prepares_inputs():
    """A trainer rolls the features of a batch further each time."""

    class Rolls(Trainer):
        shift = 0

        def _prepare_inputs(self, inputs):
            self.shift += 1
            return {"x": inputs["x"].roll(self.shift % 3, dims=1)}

    return {"trainer_class": Rolls}


@place
def trainer_gradient_noise():
    """A trainer adds noise to gradients from a NumPy generator in a closure."""
    numbers = np.random.default_rng(6)

    class Noisy(Trainer):
        def training_step(self, model, inputs, *args, **kwargs):
            loss = super().training_step(model, inputs, *args, **kwargs)
            model.head.bias.grad.add_(numbers.random())
            return loss

    return {"trainer_class": Noisy}


@place
def trainer_optimizer_counts():
    """An optimizer counts its steps in an attribute that its `state_dict` has not."""

    class Counts(torch.optim.SGD):
        calls = 0

        def step(self, closure=None):
            self.calls += 1
            for group in self.param_groups:
                group["weight_decay"] = self.calls / 50
            return super().step(closure)

    class Makes(Trainer):
        def create_optimizer(self, model=None):
            self.optimizer = Counts(self.model.parameters(), lr=0.05)
            return self.optimizer

    return {"trainer_class": Makes}


@place
def trainer_scheduler_counts():
    """A schedule's function counts its calls in a closure."""
    calls = [0]

    def factor(step):
        calls[0] += 1
        return 1 / (1 + calls[0] / 10)

    class Makes(Trainer):
        def create_scheduler(self, num_training_steps, optimizer=None):
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
            return self.lr_scheduler

    return {"trainer_class": Makes}
