# Copyright 2026 The HuggingFace Team. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""
The stand-ins in a dataloader, by which its draws and its worker processes are followed. All that touches a dataloader
is here, and [`take_off`] undoes it.
"""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    get_worker_info,
)

from ..trainer_pt_utils import DistributedLengthGroupedSampler, LengthGroupedSampler
from ..utils import is_accelerate_available
from .samplers import find_batch_sampler, find_sampler, leave_out
from .worker_process import IterableWorker, Worker


if is_accelerate_available():
    from accelerate.data_loader import DataLoaderDispatcher, SeedableRandomSampler
else:
    SeedableRandomSampler = None  # of which nothing is


class Gate:
    """Open while the training loop waits for a batch: what else uses the dataloader is not followed."""

    def __init__(self):
        self.is_open = False

    def __enter__(self):
        self.is_open = True

    def __exit__(self, *error):
        self.is_open = False


class Proxy:
    """Stands in for an object, and has its class, attributes and length, for who asks. Can be pickled."""

    def __init__(self, original: Any, **own: Any):
        vars(self).update(original=original, **own)

    def __reduce__(self):
        return _make_proxy, (type(self), vars(self))

    def __len__(self):
        return len(self.original)

    def __bool__(self):
        return bool(self.original)

    def __getattr__(self, name):
        if name == "original":  # not there yet while unpickling
            raise AttributeError(name)
        return getattr(self.original, name)

    def __setattr__(self, name, value):
        setattr(self.original, name, value)

    @property
    def __class__(self):
        # Accelerate and callbacks ask what kind of sampler a dataloader has.
        return self.original.__class__


def _make_proxy(cls: type[Proxy], attributes: dict[str, Any]) -> Proxy:
    return cls(**attributes)


class IndexSampler(Proxy):
    """
    Stands in for the (batch) sampler of a dataloader and reports every draw before it happens.

    The index batch of a batch is the last thing drawn before its samples are fetched, whatever the dataset, the
    collator or the look-ahead of the dataloader, and drawing one is cheap: skipping by index never touches a sample.
    """

    def __iter__(self):
        if not self.gate.is_open:  # a callback, for example, looks at the data
            return iter(self.original)
        self.session.before_iter()
        # Not in the generator: some samplers draw their permutation as soon as they are asked for an iterator.
        iterator = iter(self.original)
        if self.session.progress.sample_offset > 0:
            iterator = leave_out(iterator, find_batch_sampler(self.original), self.session.progress.sample_offset)
        return self._draw(iterator)

    def _draw(self, iterator: Iterator):
        driver = self.session.driver
        if driver.num_draws_skipped > 0:
            driver.before_draw(0)  # at which a lazy sampler draws its permutation
            iterator = self._skip(iterator, driver.num_draws_skipped)
        for index in itertools.count(driver.first_draw + driver.num_draws_skipped):
            self.session.driver.before_draw(index)
            try:
                indices = next(iterator)
            except StopIteration:
                return
            if self.session.states.pipeline.missing:
                self.session.rehearse_batch(indices)
            self.session.batch_check.index = index
            yield self.session.driver.after_draw(index, indices)

    def _skip(self, iterator: Iterator, num_batches: int) -> Iterator:
        sampler, driver = self.original, self.session.driver
        if type(sampler) is not BatchSampler:
            driver.skip_draws(itertools.islice(iterator, num_batches))
            return iterator
        # It makes batches of consecutive indices, which need not be made to be skipped.
        indices = itertools.islice(sampler.sampler, self.session.progress.sample_offset, None)
        driver.skip_draws(itertools.islice(indices, num_batches * sampler.batch_size))
        return iter(BatchSampler(indices, sampler.batch_size, sampler.drop_last))


# These draw their permutation, or the seed of a generator of their own, before their first index.
_DRAWING_AT_ONCE = {RandomSampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler, DistributedSampler}
_DRAWING_AT_ONCE |= {SeedableRandomSampler, LengthGroupedSampler, DistributedLengthGroupedSampler}


def draws_at_once(loader: DataLoader) -> bool:
    """Whether all random numbers for the indices of an epoch are known to be drawn before the first of them."""
    return type(find_sampler(original(getattr(loader, sampler_name(loader))))) in _DRAWING_AT_ONCE


class Collate(Proxy):
    """
    Stands in for the `collate_fn` of a dataloader without workers: it keeps each batch until the training loop has it,
    and of an iterable dataset does not collate what a resume throws away.
    """

    def __call__(self, samples):
        original, session = self.original, self.session
        if not session.gate.is_open:
            return original(samples)
        if session.driver.is_skipping:
            return torch.empty(len(samples) if isinstance(samples, list) else 1)
        if session.recorder.traits.is_iterable:  # else it was there before the samples
            session.states.rehearse(partial(original, samples))
        batch = original(samples)
        session.batch_check.keep(batch)
        return batch


class WorkerInit:
    """A dataloader's `worker_init_fn`, within [`Worker.begin`]. Picklable, for `spawn` and `forkserver`."""

    def __init__(self, original: Callable | None, worker: Worker):
        self.original = original
        self.worker = worker

    def __call__(self, worker_id: int) -> None:
        if self.worker.gate.is_open:
            self.worker.begin(worker_id, self.original, original(get_worker_info().dataset))
        elif self.original is not None:
            self.original(worker_id)


class WorkerCollate:
    """A dataloader's `collate_fn`, the last thing a worker runs for a batch, followed by its report."""

    def __init__(self, original: Callable, worker: Worker):
        self.original = original
        self.worker = worker

    def __call__(self, samples):
        if self.worker.id is None:  # in the main process, or in a worker that is not followed
            return self.original(samples)
        self.worker.before_batch(samples)
        batch = self.original(samples)
        self.worker.after_batch(batch)
        return batch


class WorkerDataset(Proxy):
    """Stands in for an iterable dataset that workers read."""

    def __iter__(self):
        return iter(self.original) if self.worker.id is None else self.worker.iterate(self.original)


_STAND_INS = {IndexSampler, Collate, WorkerInit, WorkerCollate, WorkerDataset}
_HOOKED = ("sampler", "batch_sampler", "dataset", "collate_fn", "worker_init_fn")


def original(value: Any) -> Any:
    """What `value` stands in for, or `value` itself."""
    while type(value) in _STAND_INS:
        value = vars(value)["original"]
    return value


def replace(loader: DataLoader, name: str, value: Any) -> None:
    """
    Set an attribute of `loader`, which guards some to keep them consistent with each other, as they are with a
    stand-in.
    """
    vars(loader)[name] = value


def take_off(loader: DataLoader) -> None:
    """Take all stand-ins out of `loader`."""
    for name in _HOOKED:
        if name in vars(loader):
            replace(loader, name, original(vars(loader)[name]))


def sampler_name(loader: DataLoader) -> str:
    """Which of its samplers draws what `loader` fetches."""
    return "sampler" if loader.batch_sampler is None else "batch_sampler"


def take_skip_off(loader: DataLoader) -> None:
    """
    Take off what Accelerate puts around a batch sampler to skip batches, where it skips none: it would ask the sampler
    for an iterator later, and only once where workers are started, which ask twice.
    """
    if getattr(loader.batch_sampler, "skip_batches", None) == 0:
        replace(loader, "batch_sampler", loader.batch_sampler.batch_sampler)


def find_roots(loader: DataLoader) -> dict[str, Any]:
    """The objects of the data pipeline in `loader`, by name."""
    names = (sampler_name(loader), "generator", "dataset", "collate_fn", "worker_init_fn")
    return {name: original(getattr(loader, name)) for name in names}


def follow_draws(loader: DataLoader, session, gate: Gate) -> None:
    """Report what the sampler of `loader` draws to `session`, by [`IndexSampler`]."""
    take_off(loader)
    name = sampler_name(loader)
    replace(loader, name, IndexSampler(getattr(loader, name), session=session, gate=gate))


def follow_batches(loader: DataLoader, session) -> None:
    """Show the batches that `loader` makes in this process to `session`, by [`Collate`]."""
    replace(loader, "collate_fn", Collate(original(loader.collate_fn), session=session))


def follow_workers(loader: DataLoader, worker: Worker) -> None:
    """Let the worker processes of `loader` report their states, and start from others."""
    replace(loader, "worker_init_fn", WorkerInit(original(loader.worker_init_fn), worker))
    replace(loader, "collate_fn", WorkerCollate(original(loader.collate_fn), worker))
    if isinstance(worker, IterableWorker):
        replace(loader, "dataset", WorkerDataset(original(loader.dataset), worker=worker))


def draw_no_seed(loader: DataLoader) -> None:
    """Let `loader` draw the seed of its workers from a generator of its own, and not from the global one."""
    loader.generator = torch.Generator()


def is_dispatched(args, dataloader) -> bool:
    """Whether one process reads for all."""
    return is_accelerate_available() and isinstance(dataloader, DataLoaderDispatcher) and args.world_size > 1
