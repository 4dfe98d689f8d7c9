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
"""The RNG states of the worker processes of a dataloader: how they are reported, and how workers start from them."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from .trainer_pipeline_state import PipelineState
from .trainer_rng_state import (
    HOST_STATE_SIZE,
    get_rng_state,
    pack_rng_state,
    report_inexact,
    set_rng_state,
    unpack_rng_state,
)
from .trainer_storable_state import pack_state, unpack_state


# Room for the state that a worker's dataset and collator keep, in bytes, besides twice what they keep at the beginning
PIPELINE_SIZE = 2**15
MAX_PIPELINE_SIZE = 2**22


def is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


def fetch(dataset: Any, collate_fn: Callable, indices: Any, is_batch: bool) -> Any:
    """Return the batch of `indices`, or the sample of an index that is not of a batch, as a dataloader makes it."""
    if not is_batch:
        return collate_fn(dataset[indices])
    if getattr(dataset, "__getitems__", None):
        return collate_fn(dataset.__getitems__(indices))
    return collate_fn([dataset[index] for index in indices])


class WorkerStates:
    """
    The RNG states of a dataloader's workers, in shared memory so that batches and queues stay as they are.

    The `W` workers take turns, and each keeps its state after each of its batches in a ring. The workers of a resumed
    epoch start from the states of those of the checkpoint. As it may be any worker's turn, but the first process is
    always the first to serve, the ids are rotated: no batch has to be fetched merely to bring them into position.

    Args:
        num_workers (`int`): `W`.
        num_slots (`int`): Length of a worker's ring; must exceed what a worker can be ahead of the training.
        pipeline_size (`int`): The number of bytes that a packed state of the pipeline's own may have.
        first_batch (`int`): The index in its epoch of the first batch that these workers serve.
        first_worker (`int`): The id of the worker that serves it.
        start (`dict`, *optional*): What to start from, as [`~WorkerStates.read`] returned it.
        mode (`str`): The value of `TrainingArguments.exact_resume`.
    """

    def __init__(
        self,
        num_workers: int,
        num_slots: int,
        pipeline_size: int,
        first_batch: int,
        first_worker: int,
        start: dict | None,
        mode: str,
    ):
        self.num_workers = num_workers
        self.mode = mode
        self.collate_fn = None  # the dataloader's
        self.fault = None  # what could not be stored, as a sentence
        self.is_batched = True  # whether its sampler draws batches
        self.start = start
        self.first_batch = first_batch
        self.first_worker = first_worker
        self.ring = torch.zeros(num_workers, num_slots, HOST_STATE_SIZE, dtype=torch.uint8).share_memory_()
        self.pipelines = torch.zeros(num_workers, num_slots, pipeline_size, dtype=torch.uint8).share_memory_()
        self.pipeline_sizes = torch.zeros(num_workers, num_slots, dtype=torch.int64).share_memory_()
        self.tags = torch.full((num_workers, num_slots), -1).share_memory_()
        self.seeds = torch.zeros(num_workers, dtype=torch.int64).share_memory_()
        self.served_before = [0] * num_workers  # in earlier epochs, by worker
        self.is_recorded = False  # whether a worker that starts now belongs to the training
        # Of the process that holds this copy, if it is a worker
        self.pipeline = None
        self.worker_id = None
        self.num_served = 0

    def _share(self, worker_id: int, num_batches: int) -> int:
        """How many of the first `num_batches` batches of the epoch are this worker's."""
        turn = (worker_id - self.first_worker) % self.num_workers
        return len(range(turn, num_batches - self.first_batch, self.num_workers))

    def _position(self, worker_id: int, num_batches: int) -> int:
        return self.served_before[worker_id] + self._share(worker_id, num_batches)

    def _next_worker(self, num_batches: int) -> int:
        return (self.first_worker + num_batches - self.first_batch) % self.num_workers

    def next_epoch(self, num_drawn: int) -> None:
        """Persistent workers go on: they have served, or still will serve, every batch drawn in the past epoch."""
        for worker_id in range(self.num_workers):
            self.served_before[worker_id] += self._share(worker_id, num_drawn)
        self.first_batch = self.first_worker = 0

    def read(self, num_batches: int, timeout: float = 60.0) -> dict[str, Any] | None:
        """
        Return the `seeds` (`(W,)`) of the workers, their `states` (`(W, HOST_STATE_SIZE)`) after the first `num_batches`
        batches of the epoch, and the `next_worker` (`int`); or `None` if a state is not to be had.

        A worker that has not served a batch yet may still be starting, which is waited for, at most `timeout` seconds.
        """
        states, pipelines, deadline = [], [], time.monotonic() + timeout
        for worker_id in range(self.num_workers):
            served = self._position(worker_id, num_batches)
            slot = served % self.ring.shape[1]
            while self.tags[worker_id, slot] != served:
                if self.tags[worker_id, slot] > served or time.monotonic() > deadline:
                    return None
                time.sleep(0.001)
            states.append(self.ring[worker_id, slot].clone())
            size = self.pipeline_sizes[worker_id, slot]
            if size > self.pipelines.shape[2]:
                self.fault = f"the states that a worker's pipeline keeps have {size} bytes, and there is room for"
                self.fault += f" {self.pipelines.shape[2]}"
                size = 0
            pipelines.append(self.pipelines[worker_id, slot, :size].clone())
        return {
            "seeds": self.seeds.clone(),
            "states": torch.stack(states),
            "pipelines": pipelines,
            "next_worker": self._next_worker(num_batches),
        }

    def start_worker(self, process_id: int, worker_init_fn: Callable | None) -> None:
        """Runs in a worker process when it starts."""
        self.worker_id = (process_id + self.first_worker) % self.num_workers
        info = get_worker_info()
        if self.start is not None:
            seed = self.start["seeds"][self.worker_id].item()
            # The class is frozen for its readers' sake; this is the worker that it describes from now on.
            object.__setattr__(info, "id", self.worker_id)
            object.__setattr__(info, "seed", seed)
            random.seed(seed)
            torch.manual_seed(seed)
        if isinstance(info.dataset, WorkerDataset):
            object.__setattr__(info, "dataset", info.dataset.dataset)
        if worker_init_fn is not None:
            worker_init_fn(self.worker_id)
        roots = {"dataset": info.dataset, "collate_fn": self.collate_fn, "worker_init_fn": worker_init_fn}
        self.pipeline = PipelineState(lambda: roots)
        if self.start is not None:
            self._restore(self.start)
            indices = self.start.get("last_indices")
            if indices is not None:
                self.rehearse(lambda: fetch(info.dataset, self.collate_fn, indices.tolist(), self.is_batched))
        self.seeds[self.worker_id] = info.seed
        if not isinstance(self, IterableWorkerStates):
            self.report()

    def _restore(self, start: dict[str, Any]) -> None:
        set_rng_state(unpack_rng_state(start["states"][self.worker_id]))
        self.pipeline.load_state_dict(unpack_state(start["pipelines"][self.worker_id].numpy().tobytes()))

    def rehearse(self, use_pipeline: Callable[[], Any]) -> None:
        """Runs in a worker process, and does what `RNGStateRecorder.rehearse` does in the main process."""
        if not self.pipeline.missing:
            return
        missing, state = self.pipeline.missing, get_rng_state(torch.device("cpu"))
        pipeline = self.pipeline.state_dict()
        with contextlib.suppress(Exception):  # which the batch itself meets, too
            use_pipeline()
        self.pipeline.refresh()
        set_rng_state(state)
        self.pipeline.load_state_dict({**pipeline, **missing})

    def _report_missing(self) -> None:
        if self.start is not None:
            self.start = None
            if faults := self.pipeline.find_faults():
                report_inexact(
                    self.mode, f"Resuming is not bit-exact: in worker {self.worker_id}, {'; '.join(faults)}."
                )
            self.pipeline.missing = {}

    def after_batch(self) -> None:
        """Runs in a worker process after each batch."""
        self._report_missing()
        self.report()

    def report(self) -> None:
        """Runs in a worker process, whose state is that of the moment."""
        if is_power_of_two(self.num_served):
            self.pipeline.refresh()
        slot = self.num_served % self.ring.shape[1]
        # Writing to a tensor takes longer than to an array, and this runs for every batch.
        self.ring.numpy()[self.worker_id, slot] = pack_rng_state(get_rng_state(torch.device("cpu"))).numpy()
        packed = pack_state(self.pipeline.state_dict())
        self.pipeline_sizes.numpy()[self.worker_id, slot] = len(packed)
        if 0 < len(packed) <= self.pipelines.shape[2]:
            self.pipelines.numpy()[self.worker_id, slot, : len(packed)] = np.frombuffer(packed, dtype=np.uint8)
        self.tags.numpy()[self.worker_id, slot] = self.num_served
        self.num_served += 1


class IterableWorkerStates(WorkerStates):
    """
    The same for an iterable dataset, whose workers take turns as long as they have data.

    Which worker has served what is not to be told, but workers that start an epoch in the same state serve the same
    batches again. So they report at the beginning and at the end of their data.
    """

    BEGIN, END = 0, 1

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.num_epochs = 0
        self.has_ended = False

    def next_epoch(self, num_drawn: int) -> None:
        self.num_epochs += 1

    def _position(self, worker_id: int, moment: int) -> int:
        return 2 * self.num_epochs + moment

    def _next_worker(self, moment: int) -> int:
        return 0

    def iterate(self, dataset: IterableDataset) -> Iterator:
        """Runs in a worker process, once an epoch."""
        self.num_served = 2 * self.num_epochs + self.BEGIN
        self.has_ended = False
        self.pipeline.refresh()
        self.report()
        yield from dataset
        self.report()
        self.has_ended = True
        self.num_epochs += 1

    def after_batch(self) -> None:
        # A last batch that is not full is collated after the end of the data.
        self._report_missing()
        if self.has_ended:
            self.num_served -= 1
            self.report()


class WorkerDataset(IterableDataset):
    """Stands in for the iterable dataset of persistent workers. Picklable, for `spawn` and `forkserver`."""

    def __init__(self, dataset: IterableDataset, states: IterableWorkerStates):
        vars(self).update(dataset=dataset, states=states)

    def __iter__(self):
        return iter(self.dataset) if self.states.worker_id is None else self.states.iterate(self.dataset)

    def __len__(self):
        return len(self.dataset)

    def __getattr__(self, name):
        if name == "dataset":  # not there yet while unpickling
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name, value):
        setattr(self.dataset, name, value)


class WorkerInit:
    """A dataloader's `worker_init_fn`, within [`WorkerStates`]. Picklable, for `spawn` and `forkserver`."""

    def __init__(self, function: Callable | None, states: WorkerStates):
        self.function = function
        self.states = states

    def __call__(self, worker_id: int) -> None:
        if self.states.is_recorded:
            self.states.start_worker(worker_id, self.function)
        elif self.function is not None:
            self.function(worker_id)


class WorkerCollate:
    """A dataloader's `collate_fn`, the last thing a worker runs for a batch, followed by its report."""

    def __init__(self, function: Callable, states: WorkerStates):
        self.function = function
        self.states = states

    def __call__(self, samples):
        if self.states.worker_id is not None and self.states.start is not None:
            self.states.rehearse(partial(self.function, samples))
        batch = self.function(samples)
        if self.states.worker_id is not None:  # not so in the main process
            self.states.after_batch()
        return batch
