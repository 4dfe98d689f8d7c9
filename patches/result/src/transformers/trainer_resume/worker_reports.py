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
The RNG states of the worker processes of a dataloader: what the main process knows of them.

The workers take turns, and each keeps its states after each of its batches in a [`WorkerRing`]. The workers of a
resumed epoch start from the states of those of the checkpoint.
"""

import time
from typing import Any

import torch

from .batch_digest import Digest
from .worker_process import IterableWorker, WorkerRing


_MIN_PIPELINE_SIZE = 2**15
_MAX_PIPELINE_SIZE = 2**22


class WorkerReports:
    """
    Reads the states of the workers that serve an epoch, or of persistent ones that serve several.

    Args:
        num_workers (`int`): The number of workers, `W`.
        num_ahead (`int`): The number of batches that a worker can be ahead of the training.
        pipeline_size (`int`): The number of bytes that a packed state of the pipeline's own has in the main process.
        first_batch (`int`): The index in its epoch of the first batch that these workers serve.
        first_worker (`int`): The id of the worker that serves it.
    """

    def __init__(self, num_workers: int, num_ahead: int, pipeline_size: int, first_batch: int, first_worker: int):
        size = min(_MIN_PIPELINE_SIZE + 2 * pipeline_size, _MAX_PIPELINE_SIZE)
        self.ring = WorkerRing(num_workers, num_ahead + 2, size)
        self.num_workers = num_workers
        self.first_batch = first_batch
        self.first_worker = first_worker
        self.served_before = [0] * num_workers  # in earlier epochs, by worker
        self.fault = None  # what could not be stored, as a sentence

    def next_epoch(self, num_drawn: int) -> None:
        """Persistent workers go on: they have served, or still will serve, every batch drawn in the past epoch."""
        for worker_id in range(self.num_workers):
            self.served_before[worker_id] += self._share(worker_id, num_drawn)
        self.first_batch = self.first_worker = 0

    def _share(self, worker_id: int, num_batches: int) -> int:
        """How many of the first `num_batches` batches of the epoch are this worker's."""
        turn = (worker_id - self.first_worker) % self.num_workers
        return len(range(turn, num_batches - self.first_batch, self.num_workers))

    def read(self, num_batches: int, is_within_epoch: bool) -> dict[str, Any] | None:
        """
        Return what workers can start from.

        Args:
            num_batches (`int`): The number of batches that the epoch has served. All that were asked for, at its end.
            is_within_epoch (`bool`): Whether they continue the epoch, or begin another.

        Returns:
            `dict` or `None`: The `seeds` (`(W,)`) of the workers, their `states` (`(W, HOST_STATE_SIZE)`), their
            packed `pipelines`, and the `next_worker` (`int`); or `None` if a state is not to be had.
        """
        served = [
            self.served_before[worker_id] + self._share(worker_id, num_batches)
            for worker_id in range(self.num_workers)
        ]
        next_worker = (self.first_worker + num_batches - self.first_batch) % self.num_workers
        return self._read(served, next_worker, timeout=60)

    def _read(self, served: list[int], next_worker: int, timeout: float) -> dict[str, Any] | None:
        """
        A worker that has not served a batch yet may still be starting, which is waited for, at most `timeout` seconds.
        """
        ring, states, pipelines, deadline = self.ring, [], [], time.monotonic() + timeout
        for worker_id, num_served in enumerate(served):
            slot = worker_id, ring.slot(num_served)
            while ring.tags[slot] != num_served:
                if ring.tags[slot] > num_served or time.monotonic() > deadline:
                    return None
                time.sleep(0.001)
            states.append(ring.states[slot].clone())
            size = ring.pipeline_sizes[slot].item()
            if size > ring.pipeline_size:
                self.fault = f"the states that a worker's pipeline keeps have {size} bytes, and there is room for"
                self.fault += f" {ring.pipeline_size}"
                size = 0
            pipelines.append(ring.pipelines[slot][:size].clone())
        return {
            "seeds": ring.seeds.clone(),
            "states": torch.stack(states),
            "pipelines": pipelines,
            "next_worker": next_worker,
        }

    def read_digest(self, index: int) -> Digest | None:
        """The digest of a batch of the epoch, by its index, if a worker has reported it."""
        worker_id = (self.first_worker + index - self.first_batch) % self.num_workers
        number = self.served_before[worker_id] + self._share(worker_id, index)
        return self.ring.read_digest(worker_id, number) if index >= self.first_batch else None


class IterableWorkerReports(WorkerReports):
    """The same for workers of an iterable dataset, see [`IterableWorker`]."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.num_epochs = 0

    def next_epoch(self, num_drawn: int) -> None:
        self.num_epochs += 1

    def read_digest(self, index: int) -> Digest | None:
        # As long as none has come to the end of its data, they take turns. After that it is another batch of theirs,
        # as it was before the resume.
        number = IterableWorker.number(self.num_epochs, index // self.num_workers)
        return self.ring.read_digest(index % self.num_workers, number)

    def read(self, num_batches: int, is_within_epoch: bool) -> dict[str, Any] | None:
        moment = 2 * self.num_epochs + (IterableWorker.BEGIN if is_within_epoch else IterableWorker.END)
        # An epoch may end before its data, which then has no end
        return self._read([moment] * self.num_workers, next_worker=0, timeout=60 if is_within_epoch else 5)
