"""What models hide: state that a forward pass uses and a checkpoint of the weights has not."""

import collections
import itertools
import random

import numpy as np
import torch
from base import Model, place
from torch import nn


@place
def model_counter():
    """A model counts its forward passes in an attribute, which changes its loss."""

    class Counts(Model):
        calls = 0

        def scale(self):
            self.calls += 1
            return 1 + self.calls / 100

    return {"model": Counts()}


@place
def model_generator():
    """A model has a `torch.Generator` for its noise."""

    class Noisy(Model):
        def __init__(self):
            super().__init__()
            self.generator = torch.Generator().manual_seed(3)

        def scale(self):
            return 1 + torch.rand((), generator=self.generator)

    return {"model": Noisy()}


@place
def model_numpy_generator_of_layer():
    """A layer of a model has a NumPy generator (layer drop)."""

    class Drops(nn.Linear):
        def __init__(self, *sizes):
            super().__init__(*sizes)
            self.numbers = np.random.default_rng(4)

        def forward(self, x):
            return super().forward(x) * (0.0 if self.numbers.random() < 0.3 else 1.0)

    model = Model()
    model.linear = Drops(3, 4)
    return {"model": model}


@place
def model_hidden_buffer():
    """A model has a non-persistent buffer that its forward pass changes."""

    class Averages(Model):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(()), persistent=False)

        def scale(self):
            self.mean.mul_(0.9).add_(0.1 + self.head.bias.detach()[0].abs())
            return 1 + self.mean.clone()

    return {"model": Averages()}


@place
def model_tensor_attribute():
    """A model has a tensor that is no buffer, as a memory of the last batch."""

    class Remembers(Model):
        memory = torch.zeros(3)

        def forward(self, x, return_loss=True):
            outputs = super().forward(x + self.memory / 3, return_loss)
            self.memory = x.detach().mean(0)
            return outputs

    return {"model": Remembers()}


@place
def model_moving_average():
    """A model keeps a moving average of its weights in a dictionary, and is pulled towards it."""

    class Pulled(Model):
        def __init__(self):
            super().__init__()
            self.average = {"head": self.head.weight.detach().clone()}

        def scale(self):
            self.average["head"].mul_(0.9).add_(self.head.weight.detach() * 0.1)
            return 1 + (self.head.weight - self.average["head"]).pow(2).sum()

    return {"model": Pulled()}


@place
def model_teacher():
    """A model has a teacher in a list, of which no state is saved, which follows it."""

    class Distilled(Model):
        def __init__(self):
            super().__init__()
            self.teachers = [nn.Linear(4, 1)]

        def scale(self):
            with torch.no_grad():
                self.teachers[0].weight.lerp_(self.head.weight, 0.1)
            return 1 + self.teachers[0].weight.detach().abs().sum()

    return {"model": Distilled()}


@place
def model_queue():
    """A model keeps the last batches as negatives in a deque."""

    class Contrasts(Model):
        def __init__(self):
            super().__init__()
            self.negatives = collections.deque(maxlen=5)

        def forward(self, x, return_loss=True):
            outputs = super().forward(x, return_loss)
            for negative in self.negatives:
                outputs["loss"] = outputs["loss"] + self.head(self.linear(negative)).mean() / 10
            self.negatives.append(x.detach())
            return outputs

    return {"model": Contrasts()}


@place
def model_spectral_norm():
    """A model of old spectral norm, whose vector is a buffer, and a new one of its own in a closure."""
    state = {"direction": torch.ones(4) / 2}

    class Normed(Model):
        def scale(self):
            with torch.no_grad():
                direction = self.head.weight[0] * 0.2 + state["direction"]
                state["direction"] = direction / direction.norm()
            return 1 + (self.head.weight[0] * state["direction"]).sum().abs()

    return {"model": Normed()}


@place
def model_hook():
    """A forward hook of a layer has an `itertools.cycle` of scales."""
    model, scales = Model(), itertools.cycle([1.0, 0.5, 2.0, 0.7, 1.1])
    model.linear.register_forward_hook(lambda module, inputs, output: output * next(scales))
    return {"model": model}


@place
def model_gradient_hook():
    """A hook of a parameter's gradient draws noise from a `random.Random`."""
    model, generator = Model(), random.Random(5)
    model.head.weight.register_hook(lambda gradient: gradient * (0.5 + generator.random()))
    return {"model": model}


@place
def model_batch_norm():
    """A model has batch normalization that a callback of nobody saves: its buffers are in the weights."""

    class Normalized(Model):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3, track_running_stats=True)

        def forward(self, x, return_loss=True):
            outputs = super().forward(self.norm(x), return_loss)
            return {**outputs, "loss": outputs["loss"] + self.norm.running_mean.sum() / 10}

    return {"model": Normalized()}


@place
def model_gate_of_training():
    """A model freezes its first layer after ten passes, by a counter."""

    class Freezes(Model):
        passes = 0

        def scale(self):
            self.passes += 1
            self.linear.requires_grad_(self.passes % 10 < 5)
            return 1.0

    return {"model": Freezes()}
