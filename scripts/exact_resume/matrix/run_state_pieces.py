"""Models, trainers and callbacks that keep generators or buffers of their own."""

import torch
from torch import nn
from transformers import Trainer, TrainerCallback

from exact_resume.matrix import pieces
from exact_resume.matrix.stateful_pieces import KINDS, draw_from, make_generator


class OwnNoiseModel(pieces.TinyModel):
    """Has noise of its own, from a generator of every kind in a layer, and a buffer that no weights file has."""

    def __init__(self):
        super().__init__(dropout=0.5)
        self.hidden.generators = [make_generator(kind, seed) for seed, kind in enumerate(KINDS)]
        self.register_buffer("scale", torch.ones(()), persistent=False)

    def forward(self, x: torch.Tensor, labels: torch.Tensor, index: torch.Tensor | None = None):
        """As `TinyModel.forward`."""
        if self.training:
            self.scale.mul_(0.99)
            x = x * self.scale + sum(map(draw_from, self.hidden.generators))
        return super().forward(x, labels, index)


class NormalizedModel(pieces.TinyModel):
    """Has running statistics."""

    def __init__(self):
        super().__init__(dropout=0.5)
        self.hidden = nn.Sequential(self.hidden, nn.BatchNorm1d(8))


class OwnNoiseTrainer(Trainer):
    """Scales its losses by what it draws."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.noise = make_generator("numpy", 3)

    def compute_loss(self, *args, **kwargs):
        """As that of `Trainer`."""
        return super().compute_loss(*args, **kwargs) * (1 + self.noise.random())


class OwnNoiseCallback(TrainerCallback):
    """Adds noise to a parameter."""

    def __init__(self):
        self.noise = make_generator("torch", 5)

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        """Runs at the beginning of each step."""
        with torch.no_grad():
            model.head.bias += draw_from(self.noise) / 10
