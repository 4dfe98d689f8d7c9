"""Batches of ordinary and odd contents."""

import enum

import numpy as np
import torch
from base import NUM_SAMPLES, Model, Samples, ordinary, stack


class Meta:
    """An object that says nothing of what it has."""

    def __init__(self, names):
        self.names = names


class Color(enum.Enum):
    RED = 1


class Takes(Model):
    """Takes whatever else is in a batch."""

    def forward(self, x, return_loss=True, **others):
        return super().forward(x, return_loss)


def with_more(more):
    """A trainer whose batches have what a function returns of the samples."""
    return {"model": Takes(), "collator": lambda samples: {**stack(samples), **more(samples)}}


def indices(samples):
    return [int(10 * sample["x"][0].item()) for sample in samples]


@ordinary
def batch_nested():
    """Dictionaries, tuples and lists in each other."""
    return with_more(
        lambda samples: {"more": {"a": (torch.ones(2), [torch.zeros(1)]), "b": {"c": [indices(samples)]}}}
    )


@ordinary
def batch_strings():
    """Strings and bytes."""
    return with_more(lambda samples: {"names": [f"sample {index}" for index in indices(samples)], "raw": b"\0\xff"})


@ordinary
def batch_objects():
    """Members of an enumeration, sets, `None`, and plain objects."""

    return with_more(
        lambda samples: {"meta": [Meta(indices(samples))], "color": Color.RED, "set": {1, 2}, "none": None}
    )


@ordinary
def batch_not_a_number():
    """Tensors and numbers that are not a number, and infinite ones."""
    return with_more(
        lambda samples: {"nan": torch.full((2,), float("nan")), "number": float("nan"), "inf": -float("inf")}
    )


@ordinary
def batch_empty():
    """Empty lists, dictionaries and tensors without elements."""
    return with_more(lambda samples: {"list": [], "dict": {}, "tensor": torch.zeros(0, 3), "array": np.zeros((2, 0))})


@ordinary
def batch_dtypes():
    """Tensors of many types, views, and one without dimensions."""

    def more(samples):
        base = torch.arange(12.0).reshape(3, 4)
        types = (torch.bfloat16, torch.float16, torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn)
        return {**{str(type): base.to(type) for type in types}, "view": base.T[1:, ::2], "scalar": torch.tensor(3)}

    return with_more(more)


@ordinary
def batch_sparse():
    """Sparse tensors."""
    return with_more(lambda samples: {"coo": torch.eye(3).to_sparse(), "batch": stack(samples)["x"].to_sparse()})


@ordinary
def batch_numpy():
    """Arrays, scalars, strings and objects of NumPy."""

    def more(samples):
        objects = np.array([None, "a", indices(samples)], dtype=object)
        fields = np.zeros(2, dtype=[("a", "i4"), ("b", "f8")])
        return {
            "array": np.arange(4),
            "scalar": np.float32(0.5),
            "text": np.array(["a", "bc"]),
            "o": objects,
            "f": fields,
        }

    return with_more(more)


@ordinary
def batch_large():
    """A tensor of 1 MiB, drawn at random."""
    return with_more(lambda samples: {"pixels": torch.rand(512, 512)})


@ordinary
def batch_expanded():
    """A tensor that is expanded, and one that is there twice."""
    return with_more(lambda samples: {"expanded": torch.ones(1, 3).expand(1000, 3), "tied": [torch.ones(2)] * 2})


@ordinary
def batch_padded():
    """A collator pads sequences to the longest of the batch, whose lengths differ."""

    def pad(samples):
        rows = [torch.ones(1 + index % 4) for index in indices(samples)]
        return {"ids": torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), "lengths": [len(row) for row in rows]}

    return with_more(pad)


@ordinary
def batch_uneven():
    """The last batch of an epoch has one sample."""

    class Odd(Samples):
        def __len__(self):
            return NUM_SAMPLES - 1

    return {"dataset": Odd()}


@ordinary
def batch_drop_last():
    """The last batch of an epoch would have one sample, and is left out."""

    class Odd(Samples):
        def __len__(self):
            return NUM_SAMPLES + 1

    return {"dataset": Odd(), "dataloader_drop_last": True}
