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


class BufferedInputs:
    """Inputs that serve several steps, as generated ones do, and the number of steps that they have served."""

    def __init__(self):
        self.num_steps, self.inputs = 0, None

    def state_dict(self) -> dict:
        """A copy is made of it."""
        return {"num_steps": self.num_steps, "inputs": self.inputs}

    def load_state_dict(self, state: dict) -> None:
        """Go on with what `state_dict` returned."""
        self.num_steps, self.inputs = state["num_steps"], state["inputs"]


class BufferingTrainer(Trainer):
    """Trains three times on the same inputs, and registers them for checkpoints as Accelerate has it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.buffered = BufferedInputs()
        self.accelerator.register_for_checkpointing(self.buffered)

    def training_step(self, model, inputs, *args, **kwargs):
        if self.buffered.num_steps % 3 == 0:
            self.buffered.inputs = dict(inputs)
        self.buffered.num_steps += 1
        return super().training_step(model, dict(self.buffered.inputs), *args, **kwargs)
