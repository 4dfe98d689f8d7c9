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
"""What a resume does with a checkpoint: it restores the moments in their order, up to and with S."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from packaging import version
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ..utils import is_datasets_available
from . import loader_hooks
from .batch_digest import digest_indices
from .errors import report_inexact
from .generators import RNGStates, is_same_rng_state
from .position import Position
from .recorder import Recorder
from .worker_process import is_power_of_two


if is_datasets_available():
    import datasets


_MAX_DRAWN = 2**16  # of which a list is made at once


class Replayer:
    """
    Repeats what was drawn from where the epoch began, or from its first batch that was not trained on, up to where the
    checkpoint was taken. Used only while resuming within an epoch.

    Args:
        args ([`TrainingArguments`]): The arguments of the run.
        position ([`Position`]): Where the resume begins.
        recorder ([`Recorder`], *optional*): The one of the run, with the moments of the checkpoint; none where only
            the position is known, at which nothing is left to train on.
        states ([`RNGStates`]): The RNG states of this process.
        restore (`Callable`): Restores S.
        hand_over (`Callable`): Called when S is restored, exactly once.
    """

    def __init__(
        self,
        args,
        position: Position,
        recorder: Recorder | None,
        states: RNGStates,
        restore: Callable[[], None],
        hand_over: Callable[[], None],
    ):
        self.args = args
        self.position = position
        self.recorder = recorder
        self.states = states
        self.restore = restore
        self.hand_over = hand_over
        self.is_epoch_done = position.is_done
        self.first_draw = 0  # where the numbering of the draws begins
        self.num_draws_skipped = 0  # index batches that are skipped
        self.is_skipping = False  # whether the next batch of an iterable dataset is one to skip
        self._num_skipped = 0  # batches of an iterable dataset that have to be read again
        self.has_differed = False  # whether its sampler did not repeat what it drew
        self.whole_dataset = None  # while the dataloader has one that begins later
        self._repeats_epoch_start = True

    def skip(self, dataloader: Any, num_batches: int, epoch: int, skip_first_batches: Callable) -> Any:
        """Return a dataloader that begins after `num_batches` batches when this replays its draws."""
        if self.is_epoch_done:
            return dataloader
        if hasattr(dataloader, "set_epoch"):
            dataloader.set_epoch(epoch)  # what skips does not tell every sampler
        if self.recorder.traits.is_iterable:
            return dataloader
        self.num_draws_skipped = num_batches * self.recorder.traits.num_draws
        # A dataloader of its own, as its persistent workers have to start from the states of the checkpoint.
        dataloader = skip_first_batches(dataloader, 0)
        loader_hooks.take_skip_off(getattr(dataloader, "base_dataloader", dataloader))
        return dataloader

    def begin_epoch(self, loader: DataLoader, is_same_loader: bool, num_skipped: int) -> None:
        """As [`Recorder.begin_epoch`]."""
        self.recorder.skip(num_skipped)
        self.recorder.follow_workers(loader, is_same_loader, num_skipped, next_worker=True)
        if self.recorder.traits.is_iterable:
            self._num_skipped = num_skipped
            self._skip_samples(loader)

    def _skip_samples(self, loader: DataLoader) -> None:
        """Begin an iterable dataset with the last batch that is to be skipped, which is then read as it was."""
        if self._num_skipped < 2 or loader.num_workers > 0 or self.args.world_size > 1:
            return
        if can_skip_samples(loader.dataset):
            self.first_draw = self._num_skipped - 1
            self.whole_dataset = loader.dataset
            dataset = loader.dataset.skip(self.first_draw * (loader.batch_size or 1))
            loader_hooks.replace(loader, "dataset", dataset)

    def read_again(self, iterator: Iterator, loader: DataLoader) -> None:
        """Read the batches of an iterable dataset that were trained on."""
        progress_bar = tqdm(
            range(self.first_draw, self._num_skipped),
            desc="Skipping the batches that were trained on",
            disable=self.args.disable_tqdm or self.args.process_index != 0 or self._num_skipped == 0,
        )
        for _ in progress_bar:
            with self.recorder.gate:
                next(iterator, None)
        if self.whole_dataset is not None:
            loader_hooks.replace(loader, "dataset", self.whole_dataset)
            self.whole_dataset = None
        if self._num_skipped > 0 and not self.recorder.traits.draws_in_process:
            # Reading draws nothing in this process, and how far the workers get ahead is not to be told.
            self.restore_step_state()

    def restore_step_state(self) -> None:
        """Restore S, and be done."""
        self.restore()
        if self.recorder is not None:
            self.recorder.step_state = self.states.get()
        self.hand_over()

    # The moments, each of which the recorder has, too

    def before_iter(self) -> None:
        """Called before the sampler makes an iterator: restores E."""
        self.states.pipeline.refresh()
        if self._repeats_epoch_start:
            self.states.set(self.recorder.moments.epoch_start)
            # Where workers are started, the iterator is made twice, with the draw of their base seed in between.
            self._repeats_epoch_start = not self.recorder.moments.draws_base_seed

    def before_pull(self) -> None:
        """Called before the training loop waits for a batch."""

    def skip_draws(self, draws: Iterator) -> None:
        """Have the sampler draw what was trained on, indices or batches of them, and see whether it is the same."""
        digest = digest_indices(next(draws, ()), 0)
        state = self.states.get()
        while drawn := list(itertools.islice(draws, _MAX_DRAWN)):
            digest = digest_indices(drawn, digest)
        expected = self.recorder.moments.index_digests.get(self.num_draws_skipped - 1)
        # One that draws random numbers in between may draw others here, as long as it keeps none of them.
        if expected is not None and digest != expected and is_same_rng_state(state, self.states.get()):
            self._report_sampler()

    def _report_sampler(self) -> None:
        self.has_differed = True
        report_inexact(
            self.args.exact_resume,
            "The resume is not bit-exact: the sampler did not repeat the indices that were drawn before the"
            " checkpoint, as if it kept some for later, or counted the epochs; let it have a `state_dict` and a"
            " `load_state_dict`.",
        )

    def before_draw(self, index: int) -> None:
        """Called before the sampler draws the indices of a batch: restores F, or S and then is done."""
        moments, traits = self.recorder.moments, self.recorder.traits
        num_read = self._num_skipped * traits.num_draws
        if index in (self.num_draws_skipped, num_read) or (index > 0 and is_power_of_two(index)):
            self.states.pipeline.refresh()
        self.is_skipping = traits.num_first <= index < num_read
        if index in moments.fetch_states:
            self.states.set(moments.fetch_states[index])
        if index >= moments.num_drawn and not (traits.is_iterable and not traits.draws_in_process):
            self.restore_step_state()
            self.recorder.before_draw(index)

    def after_draw(self, index: int, indices: Any) -> Any:
        """Called when the sampler has drawn the indices of a batch; returns those to use."""
        stored = self.recorder.moments.index_batches.get(index)
        if stored is None:
            return self.recorder.after_draw(index, indices)
        # An earlier version kept no F of those that were drawn ahead of workers.
        has_state = index in self.recorder.moments.fetch_states or not self.recorder.traits.draws_late
        if indices != stored and has_state:
            self._report_sampler()
        return self.recorder.after_draw(index, stored)

    def after_pull(self) -> None:
        """
        Called when the training loop has got a batch, or there is none left: the dataloader looks less far ahead.
        """
        self.restore_step_state()


def can_skip_samples(dataset: Any) -> bool:
    """Whether `dataset.skip` leaves out samples, before they are decoded and formatted, and nothing else."""
    if not is_datasets_available() or not isinstance(dataset, datasets.IterableDataset):
        return False
    # Before 3.1, and after the first pass, it keeps shards from being shuffled. Among nodes, it skips before dividing.
    # In 4.8, it skips other rows of several shards of a table.
    release = version.parse(datasets.__version__)
    is_reliable = release >= version.parse("3.1.0") and release.release[:2] != (4, 8)
    return is_reliable and dataset.epoch == 0 and getattr(dataset, "_distributed", None) is None
