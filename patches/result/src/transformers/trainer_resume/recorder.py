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
"""What a run records while it trains: all that a resume from here would need of the data pipeline."""

from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from . import loader_hooks
from .batch_digest import Digest, digest_indices
from .generators import RNGStates
from .loader_hooks import Gate
from .position import Position
from .record import Moments
from .storable import pack_state
from .worker_process import IterableWorker, Worker, is_power_of_two
from .worker_reports import IterableWorkerReports, WorkerReports


@dataclass(frozen=True)
class LoaderTraits:
    """
    What the mechanism has to know of the dataloader of a run.

    Args:
        is_iterable (`bool`): Whether it reads an iterable dataset.
        num_workers (`int`): The number of its worker processes.
        has_persistent_workers (`bool`): Whether these serve several epochs.
        follows_workers (`bool`): Whether their states can be recorded.
        num_draws (`int`): The number of index batches that make a batch of this process.
        num_first (`int`): The number of batches that are kept to complete the last one.
        max_ahead (`int`): The number of index batches that the training may have pulled and not reported.
        draws_late (`bool`): Whether its sampler may draw random numbers between the batches of an epoch.
        has_digests (`bool`): Whether its workers have to report digests of their batches.
    """

    is_iterable: bool
    num_workers: int
    has_persistent_workers: bool
    follows_workers: bool
    num_draws: int
    num_first: int
    max_ahead: int
    draws_late: bool
    has_digests: bool

    @classmethod
    def of(cls, args, dataloader: Any, loader: DataLoader, has_digests: bool) -> "LoaderTraits":
        is_iterable = isinstance(loader.dataset, IterableDataset)
        is_dispatched = loader_hooks.is_dispatched(args, dataloader)
        num_draws = 1
        if is_dispatched and not dataloader.split_batches:
            # The first process draws for all.
            num_draws = args.world_size if args.process_index == 0 else 0
        return cls(
            is_iterable=is_iterable,
            num_workers=loader.num_workers,
            has_persistent_workers=loader.persistent_workers,
            follows_workers=loader.num_workers > 0 and getattr(loader, "in_order", True),
            num_draws=num_draws,
            # Where one process reads for all, all of them have to skip in the same way.
            num_first=num_draws if is_iterable and is_dispatched and not dataloader._drop_last else 0,
            # A worker's share of an update step and of the look-ahead adds to what it prefetches.
            max_ahead=(args.gradient_accumulation_steps + 1) * max(num_draws, 1),
            draws_late=not is_iterable and not loader_hooks.draws_at_once(loader),
            has_digests=has_digests,
        )

    @property
    def draws_in_process(self) -> bool:
        """Whether the main process fetches the batches."""
        return self.num_workers == 0

    @property
    def has_states(self) -> bool:
        """Whether the states of its workers are needed, which may read an iterable dataset again from its start."""
        return not self.is_iterable or self.has_persistent_workers


class Recorder:
    """
    Keeps E, F and S, what was drawn, and what worker processes report. Used only while training.

    Args:
        traits ([`LoaderTraits`]): What has to be known of the dataloader.
        states ([`RNGStates`]): The RNG states of this process.
        gate ([`Gate`]): Open while the training loop waits for a batch.
        mode (`str`): The value of `TrainingArguments.exact_resume`.
    """

    # Of the batches that a resume skips, of which there are none
    first_draw = num_draws_skipped = 0
    is_skipping = False

    def __init__(self, traits: LoaderTraits, states: RNGStates, gate: Gate, mode: str):
        self.traits = traits
        self.states = states
        self.gate = gate
        self.mode = mode
        self.moments = Moments()
        self.step_state = None  # S of the update step that has begun
        self.workers: WorkerReports | None = None
        # What workers start from that continue others, at once, and if what ends the step of the checkpoint stops the
        # epoch
        self.worker_start: dict[str, Any] | None = None
        self.worker_start_if_stopped: dict[str, Any] | None = None
        self._state = None  # of when the training loop asked for a batch
        self._first_kept = 0  # the index of the first batch of which anything is kept, but for F(0)
        self._undoes_base_seed = False

    def begin_epoch(self, loader: DataLoader, is_same_loader: bool, num_skipped: int) -> None:
        """
        Begin an epoch of which `num_skipped` batches are skipped. `is_same_loader` says whether the last one had the
        same dataloader.
        """
        continues_workers = is_same_loader and self.traits.has_persistent_workers
        # Workers that continue others are started without the draw of a base seed in the uninterrupted run.
        self._undoes_base_seed = self.follow_workers(loader, is_same_loader, num_skipped)
        self.moments = Moments(
            last_indices=self.moments.last_indices,
            draws_base_seed=not continues_workers and not self._undoes_base_seed,
        )
        self.skip(num_skipped)

    def skip(self, num_batches: int) -> None:
        """Keep nothing of the first batches of the epoch, which are skipped."""
        self._first_kept = num_batches * self.traits.num_draws

    def follow_workers(
        self, loader: DataLoader, is_same_loader: bool, num_skipped: int, next_worker: bool = False
    ) -> bool:
        """
        Read the reports of the workers of `loader`, from the batch on that follows `num_skipped` ones.

        Args:
            next_worker (`bool`): Whether it may be the turn of any of them, as it is only within an epoch.

        Returns:
            `bool`: Whether these start from the states of others.
        """
        traits = self.traits
        if not traits.follows_workers or not (traits.has_states or traits.has_digests):
            return False
        if traits.has_persistent_workers and is_same_loader:
            self.workers.next_epoch(self.moments.num_drawn)
            return False
        start, self.worker_start, self.worker_start_if_stopped = self.worker_start, None, None
        first_worker = start["next_worker"] if next_worker and start is not None else 0
        num_ahead = loader.prefetch_factor + -(-traits.max_ahead // traits.num_workers)
        self.workers = (IterableWorkerReports if traits.is_iterable else WorkerReports)(
            traits.num_workers,
            num_ahead,
            len(pack_state(self.states.pipeline.state_dict())),
            num_skipped * traits.num_draws,
            first_worker,
        )
        worker = (IterableWorker if traits.is_iterable else Worker)(
            self.workers.ring,
            self.gate,
            first_worker,
            start,
            self.moments.last_indices,
            self.mode,
            loader_hooks.original(loader.collate_fn),
            loader.batch_sampler is not None,
            traits.has_digests,
        )
        loader_hooks.follow_workers(loader, worker)
        return start is not None

    def begin_step(self, num_pulled: int) -> None:
        """Note that the batches of an update step are asked for next, after `num_pulled` ones of the epoch."""
        self.step_state = None
        first = num_pulled * self.traits.num_draws
        for index in range(self._first_kept, first):
            self.moments.index_batches.pop(index, None)
            self.moments.index_digests.pop(index - 1, None)
            if index > 0:
                self.moments.fetch_states.pop(index, None)
        self._first_kept = first

    # The moments, each of which the replayer has, too

    def before_iter(self) -> None:
        """Called before the sampler makes an iterator."""
        self.states.pipeline.refresh()
        if self.moments.epoch_start is None:
            self.moments.epoch_start = self.states.get()
        elif self._undoes_base_seed:
            # Where workers are started, the iterator is made twice, with the draw of their base seed in between.
            self.states.set(self.moments.epoch_start)

    def before_pull(self) -> None:
        """Called before the training loop waits for a batch."""
        if self.workers is None or self.step_state is None:
            self._state = self.states.get()
            self.step_state = self.step_state or self._state

    def before_draw(self, index: int) -> None:
        """Called before the sampler draws the indices of a batch."""
        if index > 0 and is_power_of_two(index):
            self.states.pipeline.refresh()
        is_kept = index >= self._first_kept and (self.traits.num_workers == 0 or self.traits.draws_late)
        if index == 0 or is_kept:
            # Making the iterator drew a base seed, so what was current before is so no more.
            is_current = index > 0 and self._state is not None
            self.moments.fetch_states[index] = self._state if is_current else self.states.get()
        self._state = None

    def after_draw(self, index: int, indices: Any) -> Any:
        """Called when the sampler has drawn the indices of a batch; returns those to use."""
        self.moments.num_drawn = max(self.moments.num_drawn, index + 1)
        if not self.traits.is_iterable:
            digests = self.moments.index_digests
            digests[index] = digest_indices(indices, digests.get(index - 1))
            self.moments.last_indices = indices
            if index >= self._first_kept:
                self.moments.index_batches[index] = indices
        return indices

    # Checkpoints

    def read_digest(self, index: int) -> Digest | None:
        """The digest of a batch, if a worker has reported it."""
        return None if self.workers is None else self.workers.read_digest(index)

    def read_workers(self, num_batches: int | None = None) -> dict[str, Any] | None:
        """What workers start from that continue those of this epoch: after `num_batches` batches, or at its end."""
        moments = self.moments
        if num_batches is None:
            # Persistent workers go on after all that they were asked for.
            return self.workers.read(moments.num_drawn, is_within_epoch=False)
        num_served = min(num_batches * self.traits.num_draws, moments.num_drawn)
        return self.workers.read(num_served, is_within_epoch=True)

    def to_record(self, position: Position, num_drawn: int) -> dict[str, Any] | None:
        """
        The `moments`, `workers` and `workers_if_stopped` of a [`Record`]; `None` if a worker has not reported.

        Args:
            position ([`Position`]): Where the checkpoint is taken.
            num_drawn (`int`): The number of index batches that were drawn there.
        """
        workers = self.worker_start  # of a resumed run that has not started its own yet
        if position.is_done and self.worker_start_if_stopped is not None:
            workers = self.worker_start_if_stopped
        workers_if_stopped = self.worker_start_if_stopped
        if self.workers is not None and self.traits.has_states:
            workers = self.read_workers(position.num_batches_consumed if position.is_within_epoch else None)
            if workers is None:
                return None
            if position.is_at_step_end and self.traits.has_persistent_workers:
                # If the epoch is stopped, they have served what was drawn ahead, too; a stream is not read to its end.
                workers_if_stopped = None if self.traits.is_iterable else self.read_workers()
        first = position.num_batches_consumed * self.traits.num_draws
        return {
            "moments": self.moments.to_dict(first, num_drawn, position.is_within_epoch),
            "workers": workers,
            "workers_if_stopped": workers_if_stopped,
        }

    def end_epoch(self) -> bool:
        """
        Keep what the workers of the next epoch continue, after one in which the dataloader was another. Returns
        whether all of them have reported.
        """
        if self.workers is None or not self.traits.has_persistent_workers:
            return True
        self.worker_start = self.read_workers()
        return self.worker_start is not None
