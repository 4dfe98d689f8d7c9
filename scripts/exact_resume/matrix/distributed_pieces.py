"""Models for several ranks: what decides in which order DDP sums up gradients."""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from exact_resume.matrix.pieces import NUM_FEATURES


class OrderedModel(nn.Module):
    """
    Layers that are registered in another order than the one in which they are used, with dropout.

    Args:
        width: Of each layer.
        num_layers: Hidden layers.
        frozen: Whether only every other layer is trained.
        has_spare: Whether there is a layer that no forward pass uses.
        is_checkpointed: Whether the activations of hidden layers are computed again in the backward pass.
    """

    def __init__(
        self,
        width: int = 8,
        num_layers: int = 4,
        frozen: bool = False,
        has_spare: bool = False,
        is_checkpointed: bool = False,
    ):
        super().__init__()
        self.head = nn.Linear(width, 1)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(num_layers))
        self.first = nn.Linear(NUM_FEATURES, width)
        if has_spare:
            self.spare = nn.Linear(width, width)
        for number, layer in enumerate(self.hidden):
            layer.requires_grad_(not frozen or number % 2 == 0)
        self.is_checkpointed = is_checkpointed

    def _layers(self) -> list[nn.Module]:
        return [self.hidden[index] for index in sorted(range(len(self.hidden)), key=lambda index: (index % 2, index))]

    def layers_from(self, first: int) -> list[nn.Module]:
        """The hidden layers in turn, beginning with one."""
        return [self.hidden[(first + number) % len(self.hidden)] for number in range(len(self.hidden))]

    def forward(self, x: torch.Tensor, labels: torch.Tensor, index: torch.Tensor | None = None):
        """As `pieces.TinyModel.forward`."""
        x = self.first(x)
        for layer in self._layers():
            if self.is_checkpointed and self.training:
                x = x + checkpoint(self.transform, layer, x, use_reentrant=False)
            else:
                x = x + self.transform(layer, x)
        logits = self.head(x)
        return {"loss": nn.functional.mse_loss(logits, labels), "logits": logits}

    def transform(self, layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(torch.tanh(layer(x)), 0.5, self.training)


class OrderByRank(OrderedModel):
    """Uses its layers in an order that depends on the rank, as where experts are chosen by it. DDP takes rank 0's."""

    def _layers(self) -> list[nn.Module]:
        return self.layers_from(torch.distributed.get_rank())


class OrderByData(OrderedModel):
    """Uses its layers in an order that depends on the batch, so that micro-batches of a step differ in it."""

    def forward(self, x: torch.Tensor, labels: torch.Tensor, index: torch.Tensor | None = None):
        """As `pieces.TinyModel.forward`."""
        self.place = int(index[0])
        return super().forward(x, labels, index)

    def _layers(self) -> list[nn.Module]:
        return self.layers_from(self.place)


class AdaptedModel(OrderedModel):
    """A model that is not trained, with low-rank adapters that are, as LoRA makes them."""

    def __init__(self, width: int = 8, num_layers: int = 4, rank: int = 2):
        super().__init__(width, num_layers)
        self.requires_grad_(False)
        self.down = nn.ModuleList(nn.Linear(width, rank, bias=False) for _ in range(num_layers))
        self.up = nn.ModuleList(nn.Linear(rank, width, bias=False) for _ in range(num_layers))

    def transform(self, layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
        number = next(number for number, hidden in enumerate(self.hidden) if hidden is layer)
        adapted = layer(x) + self.up[number](nn.functional.dropout(self.down[number](x), 0.3, self.training))
        return torch.tanh(adapted)
