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
The RNG states of the worker processes of a dataloader: what runs in a worker. It reports its states after each batch,
and starts from those of a checkpoint.
"""

import dataclasses
import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset
from torch.utils.data._utils import worker as torch_worker

from .batch_digest import Digest, digest_batch, unchecked_fields
from .errors import report_inexact
from .generators import HOST_STATE_SIZE, RNGStates, pack_host_state_into, unpack_host_state
from .pipeline import PipelineState
from .storable import pack_state, unpack_state


_DIGEST_SIZE = 2**12


def is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


def _with(info, **changes):
    """`info`, which tells a worker who it is, with some changes. It is set where torchdata sets it, too."""
    if dataclasses.is_dataclass(info):
        return dataclasses.replace(info, **changes)
    return type(info)(num_workers=info.num_workers, **changes)  # before PyTorch made it a dataclass


def fetch(dataset: Any, collate_fn: Callable, indices: Any, is_batch: bool) -> Any:
    """Return the batch of `indices`, or the sample of an index that is not of a batch, as a dataloader makes it."""
    if not is_batch:
        return collate_fn(dataset[indices])
    if getattr(dataset, "__getitems__", None):
        return collate_fn(dataset.__getitems__(indices))
    return collate_fn([dataset[index] for index in indices])


class WorkerRing:
    """
    The latest states of each worker, in shared memory so that batches and queues stay as they are.

    Args:
        num_workers (`int`): The number of workers, `W`.
        num_slots (`int`): The number of states that are kept of a worker; must exceed what it can be ahead of the
            training.
        pipeline_size (`int`): The number of bytes that a packed state of the pipeline's own may have.
    """

    def __init__(self, num_workers: int, num_slots: int, pipeline_size: int):
        self.states = torch.zeros(num_workers, num_slots, HOST_STATE_SIZE, dtype=torch.uint8).share_memory_()
        self.pipelines = torch.zeros(num_workers, num_slots, pipeline_size, dtype=torch.uint8).share_memory_()
        self.pipeline_sizes = torch.zeros(num_workers, num_slots, dtype=torch.int64).share_memory_()
        self.tags = torch.full((num_workers, num_slots), -1).share_memory_()  # how many batches preceded a state
        self.seeds = torch.zeros(num_workers, dtype=torch.int64).share_memory_()
        self.digests = torch.zeros(num_workers, num_slots, _DIGEST_SIZE, dtype=torch.uint8).share_memory_()
        self.digest_tags = torch.full((num_workers, num_slots), -1).share_memory_()  # which batch it is of

    @property
    def pipeline_size(self) -> int:
        return self.pipelines.shape[2]

    def slot(self, num_served: int) -> int:
        return num_served % self.states.shape[1]

    def write(self, worker_id: int, num_served: int, state: dict[str, Any]) -> None:
        slot = worker_id, self.slot(num_served)
        # Writing to a tensor takes longer than to an array, and this runs for every batch.
        pack_host_state_into(self.states[slot].numpy(), state)
        pipeline = pack_state(state.get("pipeline"))
        self.pipeline_sizes.numpy()[slot] = len(pipeline)
        if 0 < len(pipeline) <= self.pipeline_size:
            self.pipelines.numpy()[(*slot, slice(len(pipeline)))] = np.frombuffer(pipeline, dtype=np.uint8)
        self.tags.numpy()[slot] = num_served

    def write_digest(self, worker_id: int, number: int, digest: Digest) -> None:
        """Keep the digest of a batch, as JSON; one that is too long becomes that of all of its fields together."""
        slot = worker_id, self.slot(number)
        data = json.dumps(digest).encode()
        if len(data) > _DIGEST_SIZE:
            data = json.dumps(digest_batch({f"all of {len(digest)} fields": data})).encode()
        self.digests.numpy()[slot] = np.frombuffer(data.ljust(_DIGEST_SIZE), dtype=np.uint8)
        self.digest_tags.numpy()[slot] = number

    def read_digest(self, worker_id: int, number: int) -> Digest | None:
        """The digest of a batch, if it has been served, and not too long ago."""
        slot = worker_id, self.slot(number)
        return json.loads(self.digests[slot].numpy().tobytes()) if self.digest_tags[slot] == number else None


class Worker:
    """
    A worker process. Made in the main process, and copied or pickled into each of the workers.

    Args:
        ring ([`WorkerRing`]): Where it reports to.
        gate ([`Gate`]): Whether a worker that starts belongs to the training.
        first_worker (`int`): The id of the worker that serves the first batch.
        start (`dict`, *optional*): What the workers start from, as [`WorkerReports.read`] returned it.
        last_indices (`Any`, *optional*): What the sampler drew before that, last.
        mode (`str`): The value of `TrainingArguments.exact_resume`.
        collate_fn (`Callable`): The dataloader's.
        is_batched (`bool`): Whether its sampler draws batches.
        has_digests (`bool`): Whether it reports digests of its batches, too.
    """

    def __init__(
        self,
        ring: WorkerRing,
        gate,
        first_worker: int,
        start: dict | None,
        last_indices: Any,
        mode: str,
        collate_fn: Callable,
        is_batched: bool,
        has_digests: bool,
    ):
        self.ring = ring
        self.gate = gate
        self.first_worker = first_worker
        self.start = start
        self.last_indices = last_indices
        self.mode = mode
        self.collate_fn = collate_fn
        self.is_batched = is_batched
        self.has_digests = has_digests
        self.unchecked: frozenset[str] = frozenset()
        self.id = None  # in the main process
        self.states = None
        self.num_served = 0

    def begin(self, process_id: int, worker_init_fn: Callable | None, dataset: Any) -> None:
        """
        Runs when the process starts, in place of `worker_init_fn`. `dataset` is what the worker reads.

        As it may be any worker's turn, but the first process is always the first to serve, the ids are rotated: no
        batch has to be fetched merely to bring the workers into position.
        """
        self.id = (process_id + self.first_worker) % self.ring.seeds.numel()
        info = torch_worker._worker_info
        seed = info.seed if self.start is None else self.start["seeds"][self.id].item()
        if self.start is not None:
            random.seed(seed)
            torch.manual_seed(seed)
        torch_worker._worker_info = _with(info, id=self.id, seed=seed, dataset=dataset)
        if worker_init_fn is not None:
            worker_init_fn(self.id)
        self.unchecked = unchecked_fields([dataset, self.collate_fn])
        roots = {"dataset": dataset, "collate_fn": self.collate_fn, "worker_init_fn": worker_init_fn}
        self.states = RNGStates(PipelineState(lambda: roots))
        self.ring.seeds[self.id] = seed
        self._restore(dataset)

    def _restore(self, dataset: Any) -> None:
        if self.start is not None:
            pipeline = unpack_state(self.start["pipelines"][self.id].numpy().tobytes())
            self.states.set({**unpack_host_state(self.start["states"][self.id]), "pipeline": pipeline})
            if self.last_indices is not None:
                self.states.rehearse(lambda: fetch(dataset, self.collate_fn, self.last_indices, self.is_batched))
        self.begin_data()

    def begin_data(self) -> None:
        self.report()

    def before_batch(self, samples: Any) -> None:
        """Runs when the samples of a batch are there."""
        if self.start is not None:
            self.states.rehearse(partial(self.collate_fn, samples))

    def after_batch(self, batch: Any) -> None:
        """Runs after each batch."""
        if self.start is not None:
            self._end_start()
        if self.has_digests:
            self.ring.write_digest(self.id, self.num_served - 1, digest_batch(batch, self.unchecked))
        self.report()

    def _end_start(self) -> None:
        """Name the states of the checkpoint that nothing here has taken."""
        self.start = None
        if faults := self.states.pipeline.find_faults():
            report_inexact(self.mode, f"Resuming is not bit-exact: in worker {self.id}, {'; '.join(faults)}.")
        self.states.pipeline.missing, self.states.pipeline.faults = {}, {}

    def report(self) -> None:
        """Keep the states of the moment."""
        if is_power_of_two(self.num_served):
            self.states.pipeline.refresh()
        self.ring.write(self.id, self.num_served, self.states.get())
        self.num_served += 1


class IterableWorker(Worker):
    """
    The same for an iterable dataset, whose workers take turns as long as they have data.

    Which worker has served what is not to be told, but workers that start an epoch in the same state serve the same
    batches again. So they report at the beginning and at the end of their data, and count these.
    """

    BEGIN, END = 0, 1

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.num_epochs = 0
        self.has_ended = False
        # An epoch may end before its data
        self.num_iterators = self.num_batches = 0

    def begin_data(self) -> None:
        pass

    @staticmethod
    def number(epoch: int, index: int) -> int:
        """The number of a batch, from its epoch since the worker started, and its index among the worker's own."""
        return (epoch << 32) + index

    def iterate(self, dataset: IterableDataset) -> Iterator:
        """Runs once an epoch."""
        self.num_served = 2 * self.num_epochs + self.BEGIN
        self.has_ended = False
        self.num_iterators, self.num_batches = self.num_iterators + 1, 0
        self.states.pipeline.refresh()
        self.report()
        yield from dataset
        self.report()
        self.has_ended = True
        self.num_epochs += 1

    def after_batch(self, batch: Any) -> None:
        if self.start is not None:
            self._end_start()
        if self.has_digests:
            number = self.number(self.num_iterators - 1, self.num_batches)
            self.ring.write_digest(self.id, number, digest_batch(batch, self.unchecked))
            self.num_batches += 1
        # A last batch that is not full is collated after the end of the data.
        if self.has_ended:
            self.num_served -= 1
            self.report()
