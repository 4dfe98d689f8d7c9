"""Owners and moments, of which with the kinds of state combinations are made."""

from collections.abc import Callable
from typing import Any

import torch
from base import Mode, Model, Place, Samples, Stream, Transformed, loaded, noisy, sample, sampled, shares
from kinds import KINDS
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback

OWNERS: dict[str, Callable[["Holder"], dict[str, Any]]] = {}
# When the state is made: with its owner, when it is first used, in each worker, or in every epoch anew.
MOMENTS = ("init", "first_use", "worker", "epoch")


class Holder:
    """
    Has a function that draws, from a moment on.

    Args:
        make: makes the function.
        moment: one of `MOMENTS`.
    """

    def __init__(self, make: Callable[[], Callable[[], float]], moment: str):
        self.make = make
        if moment == "init":
            self.function = make()

    def renew(self) -> None:
        self.function = self.make()

    def draw(self) -> float:
        if not hasattr(self, "function"):
            self.renew()
        return self.function()


class Renews(TrainerCallback):
    """Makes the state anew when an epoch begins."""

    def __init__(self, holder: Holder):
        self.holder = holder

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.holder.renew()


def combination(name: str) -> Place:
    """The place of a name "OWNER-KIND-MOMENT"."""
    owner, kind, moment = name.split("-")

    def build(mode: Mode) -> dict[str, Any]:
        holder = Holder(KINDS[kind], moment)
        pieces = OWNERS[owner](holder)
        if moment == "epoch":
            pieces = {**pieces, "callbacks": [*pieces.get("callbacks", ()), Renews(holder)]}
        if moment == "worker" and "trainer_class" not in pieces:
            pieces |= loaded(worker_init_fn=lambda id: holder.renew()) if mode.num_workers else {}
        return pieces

    return Place(name, owner, f"{owner} has {KINDS[kind].__doc__}, from moment {moment}", build)


def owner(attach: Callable) -> Callable:
    """Register a kind of owner: a function that returns the arguments of `base.make`."""
    OWNERS[attach.__name__] = attach
    return attach


@owner
def dataset(holder):
    class Noisy(Samples):
        def __init__(self):
            self.holder = holder

        def draw(self):
            return self.holder.draw()

    return {"dataset": Noisy()}


@owner
def transform(holder):
    return {"dataset": Transformed(lambda value: value + holder.draw())}


@owner
def collator(holder):
    class Collates:
        def __init__(self):
            self.holder = holder

        def __call__(self, samples):
            return noisy(samples, self.holder.draw())

    return {"collator": Collates()}


@owner
def collate_function(holder):
    def collate(samples):
        return {"x": torch.stack([each["x"] + holder.draw() for each in samples])}

    return {"collator": collate}


@owner
def sampler(holder):
    class Draws(Sampler):
        def __init__(self, dataset):
            self.dataset, self.holder = dataset, holder

        def __len__(self):
            return len(self.dataset)

        def __iter__(self):
            for _ in range(len(self.dataset)):
                yield int(self.holder.draw() * len(self.dataset))

    return sampled(Draws)


@owner
def eager_sampler(holder):
    class Sorts(Sampler):
        def __init__(self, dataset):
            self.dataset, self.holder = dataset, holder

        def __len__(self):
            return len(self.dataset)

        def __iter__(self):
            keys = [(self.holder.draw() * 37 % 1, index) for index in range(len(self.dataset))]
            return iter([index for _, index in sorted(keys)])

    return sampled(Sorts)


@owner
def batch_sampler(holder):
    class Batches(Sampler):
        def __init__(self, dataset):
            self.dataset, self.holder = dataset, holder
            self.batch_size, self.drop_last = 2, False

        def __len__(self):
            return len(self.dataset) // 2

        def __iter__(self):
            for _ in range(len(self)):
                yield [int(self.holder.draw() * len(self.dataset)) for _ in range(2)]

    return loaded(batch_sampler=Batches)


@owner
def stream(holder):
    class Noisy(Stream):
        def __init__(self):
            self.holder = holder

        def draw(self):
            return self.holder.draw()

    return {"dataset": Noisy()}


@owner
def stream_pipeline(holder):
    class Chain(Stream):
        def __iter__(self):
            changed = map(lambda index: sample(index, holder.draw()), shares())
            return (each for each in changed if each["x"][2] < 0.95)

    return {"dataset": Chain()}


@owner
def model(holder):
    class Scaled(Model):
        def scale(self):
            return 1 + holder.draw() if self.training else 1.0

    return {"model": Scaled()}


@owner
def loss(holder):
    class Weighted(Trainer):
        def compute_loss(self, model, inputs, **kwargs):
            return model(**inputs)["loss"] * (1 + holder.draw())

    return {"trainer_class": Weighted}


@owner
def callback(holder):
    class Decays(TrainerCallback):
        def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
            optimizer.param_groups[0]["weight_decay"] = holder.draw()

    return {"callbacks": [Decays()]}


DATA_OWNERS = tuple(name for name in OWNERS if name not in ("model", "loss", "callback"))
