"""Samplers, dataloaders and datasets of the user's own."""

import itertools
import random

import torch
from pieces import BATCH_SIZE, LAST_STEP, Samples, make, sample, stack, train_and_resume
from registry import workflow
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Sampler, WeightedRandomSampler
from transformers import Trainer


def _sampled(make_sampler):
    """A trainer class with this sampler."""

    class Sampled(Trainer):
        def _get_train_sampler(self, dataset=None):
            return make_sampler(dataset if dataset is not None else self.train_dataset)

    return Sampled


def _loaded(make_loader):
    """A trainer class with this dataloader, which accelerate prepares."""

    class Loaded(Trainer):
        def get_train_dataloader(self):
            return self.accelerator.prepare(make_loader(self.train_dataset))

    return Loaded


class Plain(Sampler):
    """Yields what a function returns; its base class's constructor is not called."""

    def __init__(self, data):
        self.data = data

    def __iter__(self):
        return iter(range(len(self.data)))

    def __len__(self):
        return len(self.data)


class Generates(Plain):
    """Yields one index after the other from a generator, of a fixed seed."""

    def __iter__(self):
        rng = random.Random(3)
        for _ in range(len(self.data)):
            yield rng.randrange(len(self.data))


class Stateful(Plain):
    """Keeps its position, and has the methods for it."""

    position = 0

    def __iter__(self):
        start, self.position = self.position, 0
        for index in range(start, len(self.data)):
            self.position = index + 1
            yield index
        self.position = 0

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]


class WithEpoch(Plain):
    """Shuffles by the epoch that it is told."""

    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        return iter(torch.randperm(len(self.data), generator=torch.Generator().manual_seed(self.epoch)).tolist())


class Numbers(Plain):
    """Yields tensors instead of integers."""

    def __iter__(self):
        return iter(torch.arange(len(self.data)))


SAMPLERS = {
    "plain": Plain,
    "generates": Generates,
    "stateful": Stateful,
    "with epoch": WithEpoch,
    "tensors": Numbers,
    "list": lambda data: list(range(len(data))),
    "range": lambda data: range(len(data)),
    "weighted": lambda data: WeightedRandomSampler([1.0] * len(data), len(data)),
    "replacement": lambda data: RandomSampler(data, replacement=True, num_samples=len(data)),
    "own generator": lambda data: RandomSampler(data, generator=torch.Generator().manual_seed(3)),
}


@workflow(
    each=(
        "plain",
        "generates",
        "stateful",
        "with epoch",
        "tensors",
        "list",
        "range",
        "weighted",
        "replacement",
        "own generator",
    )
)
def sampler(run, kind):
    """A sampler that a subclass returns, in a run and in a resumed one."""
    return train_and_resume(run, trainer_class=_sampled(SAMPLERS[kind]))


@workflow(each=("plain", "generates", "with epoch", "own generator"))
def sampler_with_workers(run, kind):
    """The same with two workers."""
    return train_and_resume(run, trainer_class=_sampled(SAMPLERS[kind]), dataloader_num_workers=2)


class Batches(BatchSampler):
    """Batches of similar samples, of which it knows the number only roughly."""

    def __init__(self, data):
        self.data = data
        self.batch_size = BATCH_SIZE
        self.drop_last = False

    def __iter__(self):
        run = sorted(range(len(self.data)), key=lambda index: index % 3)
        for start in range(0, len(run), BATCH_SIZE):
            yield run[start : start + BATCH_SIZE]

    def __len__(self):
        return len(self.data) // BATCH_SIZE


LOADERS = {
    "batch sampler": lambda data: DataLoader(data, batch_sampler=Batches(data), collate_fn=stack),
    "list of batches": lambda data: DataLoader(
        data, batch_sampler=[[index, index + 1] for index in range(0, 8, 2)], collate_fn=stack
    ),
    "random": lambda data: DataLoader(data, batch_size=2, shuffle=True, collate_fn=stack),
    "drop last": lambda data: DataLoader(data, batch_size=3, drop_last=True, collate_fn=stack),
    "generator": lambda data: DataLoader(
        data, batch_size=2, shuffle=True, collate_fn=stack, generator=torch.Generator().manual_seed(3)
    ),
}


@workflow(each=("batch sampler", "list of batches", "random", "drop last", "generator"))
def loader(run, kind):
    """A subclass makes and prepares its own dataloader."""
    options = {"num_train_epochs": 3} if kind == "drop last" else {}
    return train_and_resume(run, trainer_class=_loaded(LOADERS[kind]), **options)


@workflow(each=("list", "loader", "wrapper", "generator"))
def loader_that_is_not_prepared(run, kind):
    """A subclass returns what accelerate has not prepared, and what is no dataloader at all."""

    class Wrapper:
        """Has what the trainer looks at."""

        def __init__(self, loader):
            self.loader = loader
            self.batch_size = loader.batch_size

        def __iter__(self):
            return iter(self.loader)

        def __len__(self):
            return len(self.loader)

    class Endless:
        def __iter__(self):
            return (stack([sample(index % 8)]) for index in itertools.count())

    class Loaded(Trainer):
        def get_train_dataloader(self):
            plain = DataLoader(self.train_dataset, batch_size=2, collate_fn=stack)
            return {"list": list(plain), "loader": plain, "wrapper": Wrapper(plain), "generator": Endless()}[kind]

    return run.train(make(run, trainer_class=Loaded, max_steps=LAST_STEP))


@workflow(may_say={"Resuming from": "a dataloader with an iteration of its own is named, as the README says"})
def stateful_loader(run):
    """A `StatefulDataLoader` of torchdata."""
    from torchdata.stateful_dataloader import StatefulDataLoader

    def make_loader(data):
        return StatefulDataLoader(data, batch_size=2, collate_fn=stack)

    class Loaded(Trainer):
        def get_train_dataloader(self):
            return make_loader(self.train_dataset)

    return train_and_resume(run, trainer_class=Loaded)


@workflow(each=(0, 2))
def loader_calls_are_those_of_stock(run, num_workers):
    """In an uninterrupted run, samplers are iterated and told the epoch as often as on stock."""

    class Counts(WithEpoch):
        def set_epoch(self, epoch):
            run.called(f"set_epoch {epoch}")
            super().set_epoch(epoch)

        def __iter__(self):
            run.called("iter")
            for index in super().__iter__():
                run.called("next")
                yield index

    return run.train(make(run, trainer_class=_sampled(Counts), dataloader_num_workers=num_workers))


@workflow(each=("in order", "drop last", "pinned", "ahead", "persistent", "context"))
def loader_arguments(run, kind):
    """Arguments for the dataloader."""
    options = {
        "in order": {"train_sampling_strategy": "sequential"},
        "drop last": {"dataloader_drop_last": True, "per_device_train_batch_size": 3},
        "pinned": {"dataloader_pin_memory": True},
        "ahead": {"dataloader_num_workers": 1, "dataloader_prefetch_factor": 3},
        "persistent": {"dataloader_num_workers": 1, "dataloader_persistent_workers": True},
        "context": {"dataloader_num_workers": 1, "dataloader_multiprocessing_context": "fork"},
    }[kind]
    return train_and_resume(run, **options)


@workflow(each=(0, 2))
def dataset_fetches_batches(run, num_workers):
    """A dataset has `__getitems__`, and is indexed by other things than integers."""

    class Fetches(Samples):
        def __getitems__(self, indices):
            return [sample(int(index)) for index in indices]

    return train_and_resume(run, dataset=Fetches(), dataloader_num_workers=num_workers)


@workflow()
def dataset_changes_its_length(run):
    """A callback lets a dataset grow between epochs."""
    dataset = Samples(6)

    class Grows(Trainer):
        def _save_checkpoint(self, model, trial):
            super()._save_checkpoint(model, trial)
            dataset.size = 8

    return run.train(make(run, dataset=dataset, trainer_class=Grows, max_steps=LAST_STEP))


@workflow()
def column_that_no_tensor_is(run):
    """A collator returns strings and objects beside tensors, which a subclass takes out."""

    def collate(samples):
        return {**stack(samples), "text": ["a"] * len(samples), "meta": object()}

    class Takes(Trainer):
        def compute_loss(self, model, inputs, **rest):
            inputs = {"x": inputs["x"], **({} if inputs["text"] else {"meta": inputs["meta"]})}
            return super().compute_loss(model, inputs, **rest)

    return train_and_resume(run, collator=collate, trainer_class=Takes)
