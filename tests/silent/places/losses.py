"""What loss functions hide."""

import functools
import random

import torch
from base import place
from torch import nn
from transformers import Trainer


def with_loss(function):
    """A trainer whose loss is a function of the model's outputs."""

    class Computes(Trainer):
        def compute_loss(self, model, inputs, **kwargs):
            return function(model(**inputs)["logits"])

    return {"trainer_class": Computes}


@place
def loss_counter_in_closure():
    """A loss function anneals a weight by a count in its closure."""
    calls = [0]

    def loss(outputs):
        calls[0] += 1
        return outputs.pow(2).mean() + outputs.abs().mean() / calls[0]

    return with_loss(loss)


@place
def loss_module_with_center():
    """A loss is an `nn.Module` with a buffer, which belongs to no model (center loss)."""

    class Centers(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("center", torch.zeros(1))

        def forward(self, outputs):
            self.center.lerp_(outputs.detach().mean(0), 0.2)
            return (outputs - self.center.clone()).pow(2).mean() + self.center.abs().sum()

    return with_loss(Centers())


@place
def loss_parameter_of_its_own():
    """A loss has a parameter that it changes itself."""

    class Learns(nn.Module):
        def __init__(self):
            super().__init__()
            self.temperature = nn.Parameter(torch.ones(()))

        def forward(self, outputs):
            self.temperature.data.mul_(0.98)
            return (outputs / self.temperature.detach()).pow(2).mean()

    return with_loss(Learns())


@place
def loss_generator_in_partial():
    """A loss is a partial with a `random.Random` that weighs batches."""

    def loss(outputs, generator):
        return outputs.pow(2).mean() * (0.5 + generator.random())

    return with_loss(functools.partial(loss, generator=random.Random(4)))


@place
def loss_torch_generator():
    """A loss draws which samples count from a `torch.Generator` in a closure."""
    generator = torch.Generator().manual_seed(8)
    return with_loss(lambda outputs: (outputs.pow(2) * torch.rand(outputs.shape, generator=generator)).mean())


@place
def loss_dynamic_weights():
    """A loss weighs its two parts by their last values, which are kept in a list."""
    last = [1.0, 1.0]

    def loss(outputs):
        parts = [outputs.pow(2).mean(), outputs.abs().mean()]
        total = sum(part / (0.1 + value) for part, value in zip(parts, last, strict=True))
        last[:] = [part.item() for part in parts]
        return total

    return with_loss(loss)
