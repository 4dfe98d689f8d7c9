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
Bit-exact resume: the RNG states that a [`Trainer`] has to record, and the moments at which it has to restore them.

A prepared dataloader fetches one batch ahead, so when update step `u` ends, its successor's first batch already exists.
It was fetched under an RNG state from *before* step `u` trained, which no state taken at the checkpoint can reproduce:

    main process     F(c) draw+fetch c | train step u | S  <- checkpoint: c batches consumed, c + 1 drawn
                                                      | draw+fetch c + 1 | train step u + 1 (on batch c) | ...

A resume therefore replays the moments in their order, with nothing drawn in between:

    E     before the epoch's index iterator is made    -> an eager sampler draws the same permutation
    F(0)  before the first index batch is drawn        -> a lazy sampler draws the same permutation; then skip to c
    F(j)  before each batch j drawn but not consumed   -> the look-ahead batches come out as they did
    S     before the first draw the checkpoint had not made, from where on the run is the uninterrupted one

Nothing here draws a random number, and no sample of a map-style dataset is fetched twice, but for one batch where a pipeline
makes its generators for its first one. An iterable dataset is read again up to c: what its `state_dict` tells may be less than
its position. Generators and other state that
the data pipeline owns belong to each of these states, see `trainer_pipeline_state.py`. Worker processes
(`dataloader_num_workers > 0`) have states of their own: each reports them through shared memory after every batch, and the
workers of a resumed run start from those that followed their last consumed batch, see `trainer_worker_states.py`.
"""

import contextlib
import functools
import itertools
import operator
import os
import sys
import types
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from packaging import version
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import BatchSampler, DataLoader, IterableDataset
from tqdm.auto import tqdm

from .trainer_checked_states import add_checksum, find_changes
from .trainer_checkpoint_files import INCOMPLETE_NAME
from .trainer_checkpoints import complete_part
from .trainer_pipeline_state import PipelineState, refer_to
from .trainer_rng_state import (
    ExactResumeError,
    after_on_save,
    get_rng_state,
    is_same_rng_state,
    load_rng_file,
    pack_rng_state,
    report_inexact,
    rng_file_name,
    set_rng_state,
    to_file,
    training_device,
    unpack_rng_state,
)
from .trainer_storable_state import pack_state
from .trainer_utils import has_length
from .trainer_worker_states import (
    MAX_PIPELINE_SIZE,
    PIPELINE_SIZE,
    IterableWorkerStates,
    WorkerCollate,
    WorkerDataset,
    WorkerInit,
    WorkerStates,
    fetch,
    is_power_of_two,
)
from .utils import is_accelerate_available, is_datasets_available, logging


if is_datasets_available():
    import datasets

if is_accelerate_available():
    from accelerate import skip_first_batches


logger = logging.get_logger(__name__)

# 1 had no checksum, and 2 no seeds.
FORMAT_VERSION = 3
OLDEST_FORMAT_VERSION = 2


def _nothing() -> None:
    """In place of a weak reference to what is not there yet."""


def _skip_hook() -> Callable:
    """The function `skip_first_batches` of the trainer's module, or what others have put in its place."""
    # Not at the top, as that module imports this one
    from .trainer import skip_first_batches

    return skip_first_batches


def _unhook(function: Callable | None) -> Callable | None:
    """The dataloader's own function."""
    hooks = (_SkippingCollate, WorkerCollate, WorkerInit)
    return _unhook(function.function) if isinstance(function, hooks) else function


def _guarded(method: Callable) -> Callable:
    """Bookkeeping that fails costs the record of it, and not the training."""

    @functools.wraps(method)
    def call(self, *args, **kwargs):
        try:
            return method(self, *args, **kwargs)
        except ExactResumeError:
            raise
        except Exception as error:  # whatever users' objects lead to
            self._give_up(f"`{method.__name__}` failed ({type(error).__name__}: {error})")

    return call


def _are_integers(indices: Any) -> bool:
    return indices is not None and all(
        type(index) is int for index in (indices if isinstance(indices, list) else [indices])
    )


def _can_skip_samples(dataset: Any) -> bool:
    """Whether `dataset.skip` leaves out samples, before they are decoded and formatted, and nothing else."""
    if not is_datasets_available() or not isinstance(dataset, datasets.IterableDataset):
        return False
    # Before 3.1, and after the first pass, it keeps shards from being shuffled. Among nodes, it skips before dividing. In 4.8,
    # it skips other rows of several shards of a table.
    release = version.parse(datasets.__version__)
    is_reliable = release >= version.parse("3.1.0") and release.release[:2] != (4, 8)
    return is_reliable and dataset.epoch == 0 and getattr(dataset, "_distributed", None) is None


def _advance(indices: Iterator, num_indices: int) -> None:
    """Skip `num_indices` indices: at once within a list, of which PyTorch's samplers yield."""
    num_indices -= sum(1 for _ in itertools.islice(indices, 1))  # the list does not exist before
    innermost = indices
    while isinstance(innermost, types.GeneratorType):
        innermost = innermost.gi_yieldfrom
    if isinstance(innermost, type(iter([]))) and 0 < num_indices <= operator.length_hint(innermost):
        _, _, position = innermost.__reduce__()
        innermost.__setstate__(position + num_indices)
    else:
        deque(itertools.islice(indices, num_indices), maxlen=0)


class _IndexSampler:
    """
    Stands in for the (batch) sampler of a dataloader and reports every draw to the recorder before it happens.

    The index batch of a batch is the last thing drawn before its samples are fetched, whatever the dataset, the collator
    or the look-ahead of the dataloader, and drawing one is cheap: skipping by index never touches a sample.
    """

    def __init__(self, index_sampler, recorder: "RNGStateRecorder"):
        vars(self).update(index_sampler=index_sampler, recorder=recorder)

    def __iter__(self):
        if not self.recorder.is_fetching:  # a callback, for example, looks at the data
            return iter(self.index_sampler)
        self.recorder.before_iter()
        # Not in the generator: some samplers draw their permutation as soon as they are asked for an iterator.
        return self._draw(iter(self.index_sampler))

    def _draw(self, iterator: Iterator):
        num_skipped = self.recorder.num_draws_skipped
        if num_skipped > 0:
            self.recorder.before_draw(0)  # at which a lazy sampler draws its permutation
            iterator = self._skip(iterator, num_skipped)
        for index in itertools.count(self.recorder.first_draw + num_skipped):
            self.recorder.before_draw(index)
            try:
                indices = next(iterator)
            except StopIteration:
                return
            yield self.recorder.after_draw(index, indices)

    def _skip(self, iterator: Iterator, num_batches: int) -> Iterator:
        if type(self.index_sampler) is not BatchSampler:
            _advance(iterator, num_batches)
            return iterator
        # It makes batches of consecutive indices, which need not be made to be skipped.
        batch_size, indices = self.index_sampler.batch_size, iter(self.index_sampler.sampler)
        _advance(indices, num_batches * batch_size)
        return iter(BatchSampler(indices, batch_size, self.index_sampler.drop_last))

    def __len__(self):
        return len(self.index_sampler)

    def __getattr__(self, name):
        if name == "index_sampler":  # not there yet while unpickling
            raise AttributeError(name)
        return getattr(self.index_sampler, name)

    def __setattr__(self, name, value):
        setattr(self.index_sampler, name, value)

    @property
    def __class__(self):
        # Accelerate and callbacks ask what kind of sampler a dataloader has.
        return self.index_sampler.__class__


class _SkippingCollate:
    """The `collate_fn` of an iterable dataset in the main process: it does not collate what a resume throws away."""

    def __init__(self, function: Callable, recorder: "RNGStateRecorder"):
        self.function = function
        self.recorder = recorder

    def __call__(self, samples):
        if self.recorder.is_skipping:
            return torch.empty(len(samples) if isinstance(samples, list) else 1)
        self.recorder.rehearse(partial(self.function, samples))
        return self.function(samples)


class RNGStateRecorder:
    """
    Records the RNG states that a bit-exact resume needs, and restores them at the moments that the module describes.

    Args:
        args ([`TrainingArguments`]): The arguments of the run.
    """

    def __init__(self, args):
        self.args = args
        self._devices = training_device(args)  # which takes longer than a snapshot
        self.obstacle = None  # why a resume of this run cannot be exact
        self.run_id = uuid.uuid4().hex  # which a resumed run keeps; not drawn from the RNGs of the training
        self.files_before_save = {}  # that a checkpoint had when its save began
        self.is_fetching = False  # whether the training loop is waiting for a batch
        self.epoch = -1
        self.num_pulled = 0  # batches of this epoch that the training loop was handed
        self.num_drawn = 0  # index batches of this epoch that were drawn
        self.last_step = (None, None)  # gradient norm and learning rate that an epoch's end may have to log
        self.initial_loss_step = 0  # after which `train_loss` is summed up, by the runs that are continued, too
        self._steps_in_epoch = 0
        self.is_skipping = False  # whether the next batch of an iterable dataset is one that a resume skips
        self._is_iterable = False
        self._dispatches = False  # whether one process reads for all
        self._num_draws = 1  # index batches that make a batch of this process
        self._attached = _nothing
        self._eval_dataset = _nothing
        self._awaits_load = False  # whether a checkpoint is to be loaded first
        self._num_skipped = 0  # batches of an iterable dataset that have to be read again
        self._whole_dataset = None  # while the dataloader has one that begins later
        self.first_draw = 0  # where the numbering of an epoch's draws begins
        self.num_draws_skipped = 0  # index batches that a resume skips
        self._num_first = 0  # index batches of which the first batch is made, if it is needed again
        self._last_indices = None  # that were drawn
        self._index_batches = {}  # that were drawn but not consumed, by index
        self._is_recording = False
        self._pipeline = PipelineState()
        self._is_epoch_done = False  # whether its last batch was trained on, or its rest is not wanted
        self._is_step_unfinished = False  # whether `on_step_end` has to be called for the step of the checkpoint
        self._is_epoch_over = True  # whether `on_epoch_end` was called for it, too, or none has begun
        self._event = None  # the event whose callbacks are running, and S of its beginning
        self._event_state = None
        self.save_id = None  # the same for all that is written in a save
        self._has_drawn_on_save = False  # whether callbacks have, in this run or one that it continues
        self._saved = None  # path, RNG states and position of the last checkpoint
        self._started_eval_dataloaders = []  # whose workers this run, or one that it continues, has started
        self._resumed_from, self._known_faults = None, []  # the file, and what was said of it already
        self._is_restored = False  # whether a resume has just restored S
        self._run = None  # what a resume must have in common with this run
        self._restore = None
        self._loader = self._dataloader = _nothing
        self._workers = None
        self._worker_start = None
        self._worker_start_if_stopped = None  # if the epoch is stopped by what ends the step of the checkpoint
        self._epoch_start = None  # E
        self._repeats_epoch_start = False  # whether E is to be restored rather than recorded
        self._draws_base_seed = False  # whether worker processes were started, in the run without interruption
        self._fetch_states = {}  # F by batch index: of batch 0, and of the batches that were drawn but not consumed
        self._current_state = None  # taken just before the training loop asks for a batch
        self._step = None  # global step, batches pulled and batches drawn when the update step began
        self._step_state = None  # S of that moment
        self._step_sums = None  # sums of that moment
        self._step_eval_dataloaders = []  # the same of that moment
        self._resumed_at = None  # epoch and batches pulled, where an unfinished step is
        self._num_drawn_at_checkpoint = None  # while resuming: when to restore S

    def __reduce__(self):
        # What follows a run does not outlive its process, and a trainer can be pickled.
        return type(self), (self.args,)

    @property
    def is_resuming(self) -> bool:
        """Whether the states of a checkpoint are being restored, up to and with S."""
        return self._num_drawn_at_checkpoint is not None or self._is_epoch_done

    @_guarded
    def attach(
        self, trainer, dataloader, steps_in_epoch: int, model: torch.nn.Module, checkpoint: str | None = None
    ) -> None:
        """
        Follow the draws of `dataloader`, which is what [`Trainer.get_train_dataloader`] returned.

        Args:
            trainer ([`Trainer`]): The trainer.
            dataloader: The dataloader.
            steps_in_epoch (`int`): The number of batches of an epoch.
            model (`torch.nn.Module`): The model, wrapped for training.
            checkpoint (`str`, *optional*): The checkpoint that is loaded next.

        Raises:
            ExactResumeError: If a resume of the run could not be exact and `exact_resume` is `"strict"`.
        """
        if self.args.exact_resume == "off":
            return
        loader = getattr(dataloader, "base_dataloader", dataloader)
        self._steps_in_epoch, self._awaits_load = steps_in_epoch, checkpoint is not None
        self._started_eval_dataloaders = list(getattr(trainer, "_eval_dataloaders", ()))
        self._run = {
            "dataloader": type(dataloader).__name__,
            "dataset_length": len(loader.dataset) if has_length(getattr(loader, "dataset", None)) else None,
            "gradient_accumulation_steps": self.args.gradient_accumulation_steps,
            "num_workers": getattr(loader, "num_workers", 0),
            "persistent_workers": getattr(loader, "persistent_workers", False),
            "train_batch_size": trainer._train_batch_size,
            "world_size": self.args.world_size,
            "seed": self.args.seed,
            "data_seed": self.args.data_seed,
        }
        self._dispatches = type(dataloader).__name__ == "DataLoaderDispatcher" and self.args.world_size > 1
        self.obstacle = self._find_obstacle(dataloader, loader, model)
        if self.obstacle is None:
            self._attach(dataloader, loader, trainer.eval_dataset)
        # Only a resume suffers, so only a resume warns; but who is strict wants to know before the training.
        if self.args.exact_resume == "strict":
            self._pipeline.state_dict()  # which finds what cannot be stored
            for obstacle in filter(None, [self.obstacle, *self._pipeline.find_faults()]):
                report_inexact("strict", f"A resume of this run cannot be bit-exact: {obstacle}.")
            if (doubt := self._pipeline.unsearched) is not None:
                report_inexact("strict", f"Whether a resume of this run is bit-exact cannot be told: {doubt}.")

    def _attach(self, dataloader, loader: DataLoader, eval_dataset) -> None:
        self._is_recording = True
        self._attached = weakref.ref(loader)
        if self._dispatches and not dataloader.split_batches:
            # The first process draws for all.
            self._num_draws = self.args.world_size if self.args.process_index == 0 else 0
        name = "sampler" if loader.batch_sampler is None else "batch_sampler"
        sampler = getattr(loader, name)
        if type(sampler) is _IndexSampler:  # of an earlier call to `train`
            sampler = sampler.index_sampler
        # The guard on these attributes keeps them consistent with each other, which they are with a stand-in.
        vars(loader)[name] = _IndexSampler(sampler, self)
        self._attach_iterable(dataloader, loader)
        self._eval_dataset = refer_to(eval_dataset)
        self._pipeline = PipelineState(self._find_roots)

    def _find_roots(self) -> dict[str, Any]:
        """The objects of the data pipeline, as they are now."""
        if (loader := self._attached()) is None:
            return {}
        name = "sampler" if loader.batch_sampler is None else "batch_sampler"
        sampler = getattr(loader, name)
        sampler = sampler.index_sampler if type(sampler) is _IndexSampler else sampler
        dataset = self._whole_dataset or loader.dataset
        roots = {name: sampler, "generator": loader.generator}
        roots["dataset"] = dataset.dataset if type(dataset) is WorkerDataset else dataset
        for name in ("collate_fn", "worker_init_fn"):
            roots[name] = _unhook(getattr(loader, name))
        return {**roots, "eval_dataset": self._eval_dataset()}

    def _attach_iterable(self, dataloader, loader) -> None:
        self._is_iterable = isinstance(loader.dataset, IterableDataset)
        if not self._is_iterable:
            return
        if loader.num_workers == 0:
            loader.collate_fn = _SkippingCollate(_unhook(loader.collate_fn), self)
        # Where one process reads for all, all of them have to skip in the same way.
        if self._dispatches and not dataloader._drop_last:
            self._num_first = self._num_draws  # the first batch completes the last one

    def _find_obstacle(self, dataloader, loader, model) -> str | None:
        if not isinstance(loader, DataLoader) or type(loader).__iter__ is not DataLoader.__iter__:
            return f"the batches come from a `{type(loader).__name__}`, not from a `torch.utils.data.DataLoader`"
        if (
            self.args.world_size > 2
            and isinstance(model, DistributedDataParallel)
            and not model.find_unused_parameters
        ):
            return (
                "`DistributedDataParallel` arranges the gradients anew after the first step of every process, which"
                " changes the order in which they are summed up (see `ddp_find_unused_parameters`)"
            )
        if self._dispatches and not dataloader._drop_last and has_length(loader.dataset):
            if not isinstance(loader.dataset, IterableDataset) and len(loader.dataset) % self.args.world_size:
                return (
                    "the first batch completes the last one, and is not read again (`dispatch_batches=True`; see"
                    " `dataloader_drop_last`)"
                )
        if loader.num_workers > 0 and not getattr(loader, "in_order", True):
            return "the workers deliver their batches in any order (`dataloader_in_order=False`)"
        if loader.persistent_workers and isinstance(loader.worker_init_fn, WorkerInit):
            return "the dataloader's persistent workers were started by an earlier call to `train`"
        if np.random.get_state(legacy=False)["bit_generator"] != "MT19937":
            return "the global bit generator of NumPy was replaced"
        return None

    def skip(self, dataloader, num_batches: int, epoch: int):
        """Return a dataloader that begins after `num_batches` batches, or begins there if [`~RNGStateRecorder.iterate`]d."""
        if self.is_resuming and (self._is_iterable or self._is_epoch_done):
            return dataloader
        if self.is_resuming:
            if hasattr(dataloader, "set_epoch"):
                dataloader.set_epoch(epoch)  # what skips does not tell every sampler
            self.num_draws_skipped, num_batches = num_batches * self._num_draws, 0
        # A dataloader of its own, as its persistent workers have to start from the states of the checkpoint.
        return _skip_hook()(dataloader, num_batches)

    def iterate(self, dataloader, epoch: int, num_skipped: int) -> Iterator:
        """
        Return an iterator over an epoch.

        Args:
            dataloader: The attached dataloader, or what [`~RNGStateRecorder.skip`] made of it.
            epoch (`int`): The epoch.
            num_skipped (`int`): The number of batches that `dataloader` skips.
        """
        self.epoch, self.num_pulled = epoch, num_skipped
        self._is_epoch_over = False
        if self._is_epoch_done:
            # The checkpoint was taken when no batch was left to train on, but what ends an epoch is still to come.
            self._is_epoch_done = False
            self._restore_step_state()
            return iter(())
        if self._run is None:
            return iter(dataloader)
        loader = getattr(dataloader, "base_dataloader", dataloader)
        if not isinstance(loader, DataLoader):  # what others have put in the place of what skips may return anything
            self.obstacle = self.obstacle or f"the batches came from a `{type(loader).__name__}`"
            self._is_recording = False
        if not self._is_recording:
            return self._count(iter(dataloader))
        self._repeats_epoch_start = self.is_resuming
        if not self.is_resuming:
            self._draws_base_seed = not (loader.persistent_workers and self._loader() is loader)
        if loader.num_workers > 0 and (loader.persistent_workers or not self._is_iterable):
            self._continue_workers(loader, num_skipped * self._num_draws)
        self._num_skipped = num_skipped if self.is_resuming and self._is_iterable else 0
        self._skip_samples(loader)
        if not self.is_resuming:
            self.num_drawn = self.first_draw = self.num_draws_skipped = 0
            self._epoch_start, self._fetch_states, self._index_batches = None, {}, {}
        # Not held by the recorder, which would keep workers alive after the epoch.
        self._loader, self._dataloader = weakref.ref(loader), weakref.ref(dataloader)
        with self._fetching():
            iterator = iter(dataloader)
        return self._follow(iterator)

    def _count(self, iterator: Iterator) -> Iterator:
        for batch in iterator:
            self.num_pulled += 1
            yield batch

    @contextlib.contextmanager
    def event(self, name: str, trainer, last_step: tuple | None = None) -> Iterator[None]:
        """
        Surrounds the callbacks of an event in which a checkpoint may be taken, or which follows the taking of one.

        Args:
            name (`str`): "on_train_begin", "on_epoch_begin", "on_step_end", "on_epoch_end" or "on_save".
            trainer ([`Trainer`]): The trainer that calls them.
            last_step (`tuple`, *optional*): The gradient norm and the learning rate of a step that ends.
        """
        self.last_step = last_step or self.last_step
        if self._run is not None and (name != "on_step_end" or getattr(self.args, "enable_jit_checkpoint", False)):
            self._begin_event(name)
        yield
        self._event = self._event_state = None
        if name == "on_epoch_end":
            self._is_epoch_over = True
        if name == "on_save":
            self._save_after(trainer)

    @_guarded
    def _begin_event(self, name: str) -> None:
        if name == "on_epoch_end" and self._workers is not None and self._loader() is not self._attached():
            # The epoch in which the run was resumed had a dataloader of its own, whose workers the next ones continue.
            if self._run["persistent_workers"]:
                self._worker_start = self._read_workers(is_within_epoch=False)
        if name != "on_save":  # whose callbacks are not called again
            self._event = name
            self._event_state = None if name == "on_train_begin" else self._get_rng_state()

    @_guarded
    def continue_eval_workers(self, name: str, dataloader) -> None:
        """
        Keep an evaluation from drawing the seed of persistent workers that were running at the checkpoint already.

        Args:
            name (`str`): The name under which the trainer keeps the dataloader.
            dataloader: The dataloader.
        """
        # One that is not prepared yet makes way for another at every evaluation, and so do its workers.
        loader = getattr(dataloader, "base_dataloader", None)
        if loader is not None and name in self._started_eval_dataloaders:
            loader.generator = torch.Generator()
        # A new list, as the old one may be that of a step's beginning
        self._started_eval_dataloaders = [*self._started_eval_dataloaders, name]

    @contextlib.contextmanager
    def _fetching(self) -> Iterator[None]:
        self._set_fetching(True)
        try:
            yield
        finally:
            self._set_fetching(False)

    def _set_fetching(self, is_fetching: bool) -> None:
        self.is_fetching = is_fetching
        if self._workers is not None:
            self._workers.is_recorded = is_fetching

    def _continue_workers(self, loader: DataLoader, num_skipped: int) -> None:
        if loader.persistent_workers and self._loader() is loader:
            self._workers.next_epoch(self.num_drawn)
            return
        start, self._worker_start, self._worker_start_if_stopped = self._worker_start, None, None
        # As far as a worker gets ahead: what it prefetches, plus its share of an update step and the look-ahead.
        num_ahead = (self.args.gradient_accumulation_steps + 1) * max(self._num_draws, 1)
        num_slots = loader.prefetch_factor + -(-num_ahead // loader.num_workers) + 2
        # An epoch begins with the first worker; only within one may it be the turn of another.
        first_worker = start["next_worker"] if self.is_resuming and start is not None else 0
        pipeline_size = PIPELINE_SIZE + 2 * len(pack_state(self._pipeline.state_dict()))
        pipeline_size = min(pipeline_size, MAX_PIPELINE_SIZE)
        self._workers = (IterableWorkerStates if self._is_iterable else WorkerStates)(
            loader.num_workers, num_slots, pipeline_size, num_skipped, first_worker, start, self.args.exact_resume
        )
        self._workers.collate_fn = _unhook(loader.collate_fn)
        self._workers.is_batched = loader.batch_sampler is not None
        loader.worker_init_fn = WorkerInit(_unhook(loader.worker_init_fn), self._workers)
        if self._is_iterable:
            dataset = loader.dataset.dataset if type(loader.dataset) is WorkerDataset else loader.dataset
            vars(loader)["dataset"] = WorkerDataset(dataset, self._workers)
        loader.collate_fn = WorkerCollate(self._workers.collate_fn, self._workers)
        # Workers that continue others are started without the draw of a base seed in the uninterrupted run.
        if start is not None and not self.is_resuming:
            self._repeats_epoch_start, self._draws_base_seed = True, False

    def _read_workers(self, is_within_epoch: bool, num_pulled: int = 0) -> dict[str, Any] | None:
        if self._is_iterable:
            moment = IterableWorkerStates.BEGIN if is_within_epoch else IterableWorkerStates.END
            states = self._workers.read(moment, timeout=60 if is_within_epoch else 5)
        else:
            # Persistent workers go on after all that they were asked for.
            num_served = min(num_pulled * self._num_draws, self.num_drawn)
            states = self._workers.read(num_served if is_within_epoch else self.num_drawn)
        if states is None:
            self._give_up(
                "a worker process did not report its RNG state, as it keeps too much or an epoch ended before its data"
            )
        return states

    def _give_up(self, obstacle: str) -> None:
        self.obstacle = obstacle
        report_inexact(
            self.args.exact_resume, f"Checkpoints written from now on cannot be resumed exactly: {obstacle}."
        )

    def begin_step(self, trainer) -> None:
        """Note that the batches of an update step are asked for next."""
        if self._run is None:
            return
        self._step, self._step_state = (trainer.state.global_step, self.num_pulled, self.num_drawn), None
        self._step_sums = self._get_sums(trainer)
        self._step_eval_dataloaders = self._started_eval_dataloaders
        first = self.num_pulled * self._num_draws
        for index in [index for index in self._fetch_states if 0 < index < first]:
            del self._fetch_states[index]
        for index in [index for index in self._index_batches if index < first]:
            del self._index_batches[index]

    def _skip_samples(self, loader: DataLoader) -> None:
        """Begin an iterable dataset with the last batch that is to be skipped, which is then read as it was."""
        if self._num_skipped < 2 or loader.num_workers > 0 or self.args.world_size > 1:
            return
        if not _can_skip_samples(loader.dataset):
            return
        self.first_draw = self._num_skipped - 1
        dataset = loader.dataset.skip(self.first_draw * (loader.batch_size or 1))
        self._whole_dataset, vars(loader)["dataset"] = loader.dataset, dataset

    def _skip(self, iterator: Iterator) -> None:
        progress_bar = tqdm(
            range(self.first_draw, self._num_skipped),
            desc="Skipping the batches that were trained on",
            disable=self.args.disable_tqdm or self.args.process_index != 0,
        )
        for _ in progress_bar:
            with self._fetching():
                next(iterator, None)
        if self._whole_dataset is not None:
            vars(self._loader())["dataset"], self._whole_dataset = self._whole_dataset, None
        if self._run["num_workers"] > 0:
            # Reading draws nothing in this process, and how far the workers get ahead is not to be told.
            self._restore_step_state()

    def _follow(self, iterator: Iterator) -> Iterator:
        if self._num_skipped > 0:
            self._skip(iterator)
        while True:
            if not self.is_resuming and (self._workers is None or self._step_state is None):
                self._current_state = self._get_rng_state()
                self._step_state = self._step_state or self._current_state
            try:
                with self._fetching():
                    batch = next(iterator)
            except StopIteration:
                if self.is_resuming:
                    self._restore_step_state()
                return
            if self.is_resuming:  # the dataloader draws less far ahead than that of the checkpoint
                self._restore_step_state()
            if self._is_restored:
                self._report_missing()
            self.num_pulled += 1
            yield batch

    def _get_rng_state(self) -> dict[str, Any]:
        state = get_rng_state(*self._devices)
        if pipeline := self._pipeline.state_dict():
            state["pipeline"] = pipeline
        return state

    def _set_rng_state(self, state: dict[str, Any]) -> None:
        set_rng_state({name: value for name, value in state.items() if name != "pipeline"})
        self._pipeline.load_state_dict(state.get("pipeline", {}))

    def _restore_step_state(self) -> None:
        self._num_drawn_at_checkpoint = None
        restore, self._restore = self._restore, None
        restore()
        self._is_restored = True
        self._step_state = self._get_rng_state()

    def rehearse(self, use_pipeline: Callable[[], Any]) -> None:
        """
        Use the pipeline once if it lacks states that it had at the checkpoint, and then set them.

        Some make what they need for their first batch, such as a generator. What exists has a state that can be set.

        Args:
            use_pipeline (`Callable[[], Any]`): Uses it for the batch for which it will be used next.
        """
        if not self._pipeline.missing:
            return
        missing, state = self._pipeline.missing, self._get_rng_state()
        with contextlib.suppress(Exception):  # which the batch itself meets, too
            use_pipeline()
        self._pipeline.refresh()
        self._set_rng_state({**state, "pipeline": {**state.get("pipeline", {}), **missing}})

    def _report_missing(self) -> None:
        """Name the states of the pipeline that could not be restored."""
        self._is_restored = False
        faults = [fault for fault in self._pipeline.find_faults() if fault not in self._known_faults]
        self._pipeline.missing = {}
        if faults:
            cause = f"according to {self._resumed_from}, {'; '.join(faults)}"
            report_inexact(self.args.exact_resume, f"The resume is not bit-exact: {cause}.")

    def finish_step(self, trainer, log_save_evaluate: Callable[[], None]) -> None:
        """
        If the checkpoint was taken by a callback for the end of a step, do what followed it.

        Args:
            trainer ([`Trainer`]): The trainer.
            log_save_evaluate (`Callable[[], None]`): Does what is due after the callbacks.
        """
        if not self._is_step_unfinished:
            return
        self._is_step_unfinished = False
        # The iterator of the epoch is not made yet, and a checkpoint may be taken before
        (self.epoch, self.num_pulled), self._is_epoch_over = self._resumed_at, False
        self._restore()
        with self.event("on_step_end", trainer):
            trainer.control = trainer.callback_handler.on_step_end(trainer.args, trainer.state, trainer.control)
        log_save_evaluate()
        self._restore = partial(self._set_rng_state, self._get_rng_state())
        is_stopped = trainer.control.should_epoch_stop or trainer.control.should_training_stop
        if is_stopped and self._is_iterable and self._run["persistent_workers"]:
            report_inexact(
                self.args.exact_resume,
                f"The resume is not bit-exact: {self._resumed_from} was written before the epoch was stopped, and how far"
                " persistent workers had read an iterable dataset is not known.",
            )
        self._is_epoch_done |= is_stopped
        if self._is_epoch_done and (self._worker_start_if_stopped or not self._run["persistent_workers"]):
            self._worker_start = self._worker_start_if_stopped

    @_guarded
    def before_iter(self) -> None:
        """Called by [`_IndexSampler`] before the sampler makes an iterator."""
        self._pipeline.refresh()
        if self._epoch_start is None:
            self._epoch_start = self._get_rng_state()
        elif self._repeats_epoch_start:
            self._set_rng_state(self._epoch_start)
            # Where workers are started, the iterator is made twice, with the draw of their base seed in between.
            self._repeats_epoch_start = not self._draws_base_seed

    def before_draw(self, index: int) -> None:
        """Called by [`_IndexSampler`] before the sampler draws the indices of a batch."""
        is_first = self.is_resuming and index in (self.num_draws_skipped, self._num_skipped * self._num_draws)
        if is_first or (is_power_of_two(index) and index > 0):
            self._pipeline.refresh()
        self.is_skipping = self._num_first <= index < self._num_skipped * self._num_draws
        if self.is_resuming:
            if index in self._fetch_states:
                self._set_rng_state(self._fetch_states[index])
            if index < self._num_drawn_at_checkpoint or (self._is_iterable and self._run["num_workers"] > 0):
                return
            self._restore_step_state()
        if index == 0 or self._run["num_workers"] == 0:
            # Making the iterator drew a base seed, so what was current before is so no more.
            is_current = index > 0 and self._current_state is not None
            self._fetch_states[index] = self._current_state if is_current else self._get_rng_state()
        self._current_state = None

    def after_draw(self, index: int, indices: Any) -> Any:
        """Called by [`_IndexSampler`] when the sampler has drawn the indices of a batch; returns those to use."""
        self.num_drawn = max(self.num_drawn, index + 1)
        if self._pipeline.missing and not self._is_iterable and self._run["num_workers"] == 0:
            loader = self._loader()
            self.rehearse(partial(fetch, loader.dataset, loader.collate_fn, indices, loader.batch_sampler is not None))
        if self.is_resuming and index in self._index_batches:
            stored = self._index_batches[index]
            # Ahead of workers, a sampler draws from the RNG of this process in between what the training draws.
            if indices != stored and self._run["num_workers"] == 0:
                report_inexact(
                    self.args.exact_resume,
                    "The resume is not bit-exact: the sampler did not repeat the indices that were drawn before the"
                    " checkpoint, as if it kept some for later; let it have a `state_dict` and a `load_state_dict`.",
                )
            return stored
        if not self._is_iterable:
            self._index_batches[index] = self._last_indices = indices
        return indices

    # Checkpoints

    def state_dict(self, trainer, rng_states: dict[str, Any], output_dir: str) -> dict[str, Any]:
        """
        Return what the RNG file of a checkpoint has to hold.

        Args:
            trainer ([`Trainer`]): The trainer.
            rng_states (`dict`): The RNG states of this process.
            output_dir (`str`): The folder of the checkpoint.
        """
        self._saved = None
        if self.args.exact_resume == "off":
            return rng_states
        return self._add_record(trainer, rng_states, output_dir) or rng_states

    @_guarded
    def _add_record(self, trainer, rng_states: dict[str, Any], output_dir: str) -> dict[str, Any]:
        # If callbacks are running, what they have drawn so far is drawn again when they are called for a resume.
        state = self._event_state or (self._step_state if self._is_inside(trainer) else None) or self._get_rng_state()
        record = self._get_record(trainer)
        if record:
            self._saved = (
                os.path.join(output_dir, rng_file_name(self.args)),
                state,
                record["exact_resume"]["position"],
            )
        return add_checksum({**rng_states, **to_file(state, self.args), **record})

    @_guarded
    def _save_after(self, trainer) -> None:
        """
        What callbacks drew in `on_save` precedes what a resume from the checkpoint does.

        It goes into a file beside the others, as callbacks may have made copies of the checkpoint, and only if they drew.
        """
        (path, saved, position), self._saved = self._saved or (None, None, None), None
        if path is None or not os.path.isfile(path) or self._is_inside(trainer):
            return
        state = self._get_rng_state()
        self._has_drawn_on_save |= not is_same_rng_state(state, saved)
        if self._has_drawn_on_save or position != self._get_position(trainer):
            states = {**to_file(state, self.args), **self._get_record(trainer)}
            torch.save(add_checksum(states), after_on_save(path))

    def _is_inside(self, trainer) -> bool:
        """Whether an update step has begun and is not done."""
        return self._step is not None and self._step[0] == trainer.state.global_step and not self._is_epoch_over

    def _get_position(self, trainer) -> dict[str, Any]:
        """Where a resume has to begin; `"event"` says that this event's callbacks were running."""
        if self._is_epoch_over:
            return {
                "epoch": self.epoch + 1,
                "num_batches_consumed": 0,
                "has_begun": False,
                "is_done": False,
                "event": self._event,
            }
        is_inside = self._is_inside(trainer) and self._event is None
        num_pulled = self._step[1] if is_inside else self.num_pulled
        is_done = self._event == "on_epoch_end" or num_pulled >= self._steps_in_epoch
        if not is_inside and self._event is None:
            is_done |= trainer.control.should_epoch_stop
            # Without a length, only a prepared dataloader knows, as it looks ahead.
            is_done |= getattr(self._dataloader(), "end_of_dataloader", False)
        return {
            "epoch": self.epoch,
            "num_batches_consumed": num_pulled,
            "has_begun": True,
            "is_done": is_done,
            "event": self._event,
        }

    def _get_sums(self, trainer) -> dict[str, Any]:
        """What the trainer sums up over steps, some of it for this process only, to log it later."""
        return {
            "tr_loss": trainer._tr_loss.clone(),  # which is summed up in place
            "total_loss_scalar": trainer._total_loss_scalar,
            "globalstep_last_logged": trainer._globalstep_last_logged,
            "initial_loss_step": self.initial_loss_step,
            "current_flos": trainer.current_flos,
            "total_flos": trainer.state.total_flos,
            "num_input_tokens_seen": trainer.state.num_input_tokens_seen,
        }

    def _set_sums(self, trainer, sums: dict[str, Any]) -> None:
        trainer._tr_loss.copy_(sums["tr_loss"])
        trainer._total_loss_scalar = sums["total_loss_scalar"]
        trainer._globalstep_last_logged = sums["globalstep_last_logged"]
        self.initial_loss_step = sums["initial_loss_step"]
        trainer.current_flos = sums["current_flos"]
        trainer.state.total_flos = sums["total_flos"]
        trainer.state.num_input_tokens_seen = sums["num_input_tokens_seen"]

    def _get_record(self, trainer) -> dict[str, Any]:
        """Return `{"exact_resume"}`: all that the file has besides RNG states; empty if there is nothing to record."""
        if self._run is None:
            return {}
        position = self._get_position(trainer)
        is_inside = self._is_inside(trainer) and self._event is None
        sums = self._step_sums if is_inside else self._get_sums(trainer)
        header = {
            "version": FORMAT_VERSION,
            "run_id": self.run_id,
            "save": self.save_id,
            "process": self.args.process_index,
            "step": trainer.state.global_step,
            "obstacle": self.obstacle,
            "run": self._run,
            "position": position,
            "sums": {**sums, "tr_loss": sums["tr_loss"].cpu()},
            "last_step": [value.item() if isinstance(value, torch.Tensor) else value for value in self.last_step],
            "eval_dataloaders": sorted(
                {*(self._step_eval_dataloaders if is_inside else self._started_eval_dataloaders)}
            ),
            "faults": self._pipeline.find_faults(),
            "has_drawn_on_save": self._has_drawn_on_save,
            # One that a callback takes for itself is followed by none
            "is_drawn_after": self._has_drawn_on_save and trainer.control.should_save,
        }
        if self._awaits_load or (self._event == "on_epoch_begin" and self.is_resuming):
            header["obstacle"] = f"`{self._event}` had not been followed by what the run resumes with"
        num_left_over = self.num_pulled % self.args.gradient_accumulation_steps
        if self._is_epoch_over and num_left_over > 0 and self.num_pulled < self._steps_in_epoch:
            header["obstacle"] = (
                f"{num_left_over} batches were left over for the next update step, and their gradients"
            )
            header["obstacle"] += " are not kept"
        if not self._is_recording or header["obstacle"] is not None:
            return {"exact_resume": header}
        num_pulled, num_drawn = self._step[1:] if is_inside else (self.num_pulled, self.num_drawn)
        is_within_epoch = position["has_begun"] and not position["is_done"]
        workers = self._worker_start  # of a resumed run that has not started its own yet
        if position["is_done"] and self._worker_start_if_stopped is not None:
            workers = self._worker_start_if_stopped
        if self._workers is not None:
            workers = self._read_workers(is_within_epoch, num_pulled)
            if workers is None:
                return {"exact_resume": {**header, "obstacle": self.obstacle}}
            if self._workers.fault is not None:
                header["faults"].append(self._workers.fault)
        workers_if_stopped = self._worker_start_if_stopped
        if position["event"] == "on_step_end" and self._workers is not None and self._run["persistent_workers"]:
            # If the epoch is stopped, they have served what was drawn ahead, too; a stream is not read to its end.
            workers_if_stopped = None if self._is_iterable else self._read_workers(is_within_epoch=False)
        first = num_pulled * self._num_draws
        fetch_states = {
            index: self._pack(state)
            for index, state in self._fetch_states.items()
            if is_within_epoch and (index == 0 or first <= index < num_drawn)
        }
        return {
            "exact_resume": {
                **header,
                "num_batches_drawn": num_drawn,
                "index_batches": {
                    index: torch.tensor(indices)
                    for index, indices in self._index_batches.items()
                    if is_within_epoch and first <= index < num_drawn and _are_integers(indices)
                },
                "last_indices": torch.tensor(self._last_indices) if _are_integers(self._last_indices) else None,
                "draws_base_seed": self._draws_base_seed,
                "epoch_start": self._pack(self._epoch_start) if is_within_epoch else None,
                "fetch_states": fetch_states,
                "workers": workers,
                "workers_if_stopped": workers_if_stopped,
            },
        }

    def load(self, trainer, checkpoint: str, epoch: int, num_batches: int) -> tuple[int, int]:
        """
        Prepare to resume exactly from `checkpoint`, or say why that is not possible.

        Args:
            trainer ([`Trainer`]): The trainer.
            checkpoint (`str`): The folder of the checkpoint.
            epoch (`int`): The epoch that the global step points to.
            num_batches (`int`): The number of its batches that the global step points to.

        Returns:
            `tuple[int, int]`: The epoch in which training resumes, and the number of its batches that are skipped.

        Raises:
            ExactResumeError: If the resume cannot be exact and `exact_resume` is `"strict"`.
        """
        self.initial_loss_step = trainer.state.global_step
        mode, position = self.args.exact_resume, (epoch, num_batches)
        if mode == "off":
            return position
        path = os.path.join(checkpoint, rng_file_name(self.args))
        rng_states = load_rng_file(path, mode) if os.path.isfile(path) else {}
        if rng_states is None:
            return position
        restore, changes, doubt = partial(trainer._load_rng_state, checkpoint), [], None
        try:
            obstacle = self._find_difference(path, rng_states)
            obstacle = obstacle or self._find_stranger(trainer, checkpoint, path, rng_states["exact_resume"])
            if obstacle is None:
                stored = rng_states["exact_resume"]
                # No reason to do without the states that are right
                changes, doubt = find_changes(checkpoint, stored["save"])
                changes += stored.get("faults", [])
                self._resumed_from, self._known_faults = path, stored.get("faults", [])
                doubt = doubt or self._pipeline.unsearched
                self._has_drawn_on_save = stored.get("has_drawn_on_save", False)
                if stored.get("is_drawn_after", False) and not os.path.isfile(after_on_save(path)):
                    changes.append(f"{after_on_save(path)}, with what the callbacks of `on_save` drew, is missing")
                if stored["position"]["event"] == "on_train_begin" and self.args.eval_on_start:
                    changes.append(f"{path} was written before the evaluation on start")
                self.run_id = stored.get("run_id", self.run_id)
                position = self._resume_at(stored["position"], position, trainer, restore)
                self._set_sums(trainer, stored["sums"])
                self.last_step = stored["last_step"]
                self._started_eval_dataloaders = [*self._started_eval_dataloaders, *stored["eval_dataloaders"]]
                obstacle = self._find_obstacle_to_resume(path, stored, position)
            if obstacle is None:
                self._prepare_resume(stored, rng_states.get("pipeline", {}), restore)
        except Exception as error:  # whatever a damaged file leads to
            obstacle = f"{path} cannot be used ({type(error).__name__}: {error})"
        self._awaits_load, self.epoch = False, position[0] - 1
        trainer.control.should_save = False  # which a callback may have restored, from within the save
        if obstacle is not None or changes:
            report_inexact(mode, f"Resuming from {checkpoint} is not bit-exact: {obstacle or '; '.join(changes)}.")
        elif doubt is not None:
            logger.warning_once(f"Whether resuming from {checkpoint} is bit-exact cannot be told: {doubt}.")
        return position

    def _find_difference(self, path: str, rng_states: dict) -> str | None:
        if self._run is None:
            return self.obstacle
        if not rng_states:
            return f"{path} does not exist, as if it had been trained with another number of processes"
        stored = rng_states.get("exact_resume")
        if stored is None:
            return (
                f"{path} has no record of the data pipeline, as if `exact_resume='off'` or an earlier version wrote it"
            )
        if not OLDEST_FORMAT_VERSION <= stored["version"] <= FORMAT_VERSION:
            return f"{path} has format version {stored['version']}, and this is version {FORMAT_VERSION}"
        differences = [
            f"{name} was {stored['run'][name]} and is {value}"
            for name, value in self._run.items()
            if name in stored["run"] and stored["run"][name] != value
        ]
        return f"according to {path}, {', '.join(differences)}" if differences else None

    def _find_stranger(self, trainer, checkpoint: str, path: str, stored: dict[str, Any]) -> str | None:
        """Why the RNG states of this process are not those of the checkpoint."""
        if stored["process"] != self.args.process_index:
            return f"{path} was written by process {stored['process']}, and this is process {self.args.process_index}"
        if stored["step"] != trainer.state.global_step:
            return f"{path} was written at step {stored['step']}, and not at step {trainer.state.global_step}"
        if complete_part(checkpoint) is None:
            return f"{checkpoint} is marked as one that is still being written ({INCOMPLETE_NAME})"
        return None

    def _find_obstacle_to_resume(self, path: str, stored: dict[str, Any], position: tuple[int, int]) -> str | None:
        if _skip_hook() is not skip_first_batches:
            return "`transformers.trainer.skip_first_batches` was replaced, and skips in its own way"
        if self.obstacle is not None:
            return self.obstacle
        if stored["obstacle"] is not None:
            return f"when {path} was written, {stored['obstacle']}"
        consumed = stored["position"]["num_batches_consumed"]
        if consumed > 0 and position[1] == 0:
            return (
                f"{path} was written after {consumed} batches of epoch {stored['position']['epoch']}, which are not"
                " skipped (`ignore_data_skip`)"
            )
        return None

    def _resume_at(
        self, stored: dict, derived: tuple[int, int], trainer, restore: Callable[[], None]
    ) -> tuple[int, int]:
        """Which position to resume at: the stored one, unless the user wants the consumed batches again."""
        is_done = stored["is_done"] or trainer.state.global_step >= trainer.state.max_steps
        if self.args.ignore_data_skip and stored["num_batches_consumed"] > 0 and not is_done:
            return derived
        if trainer.state.global_step >= trainer.state.max_steps:
            trainer.control.should_training_stop = True
            if not stored["has_begun"]:
                restore()
                return sys.maxsize, 0  # no epoch is left
        self._resumed_at = (stored["epoch"], stored["num_batches_consumed"])
        if stored["num_batches_consumed"] > 0:
            self._is_epoch_done = is_done
            self._is_step_unfinished = stored["event"] == "on_step_end"
            self._restore = restore
        return stored["epoch"], stored["num_batches_consumed"]

    def _prepare_resume(self, stored: dict[str, Any], pipeline: dict[str, Any], restore: Callable[[], None]) -> None:
        def restore_all():
            restore()
            self._pipeline.load_state_dict(pipeline)

        # Where nothing is left to do within the epoch, a checkpoint may still be taken there
        was_within_epoch = stored["position"]["has_begun"] and not stored["position"]["is_done"]
        is_within_epoch = was_within_epoch and not self._is_epoch_done
        self._is_restored = True
        last_indices = stored.get("last_indices")
        self._last_indices = None if last_indices is None else last_indices.tolist()
        if stored["workers"] is not None and (was_within_epoch or self._run["persistent_workers"]):
            self._worker_start = {**stored["workers"], "last_indices": last_indices}
            for state in stored["workers"]["states"]:
                unpack_rng_state(state)  # better here than in a worker
        self._worker_start_if_stopped = stored.get("workers_if_stopped")
        if not is_within_epoch or self._is_step_unfinished:
            self._pipeline.load_state_dict(pipeline)
        if was_within_epoch:
            self._epoch_start = self._unpack(stored["epoch_start"])
            self._draws_base_seed = stored["draws_base_seed"]
            self._fetch_states = {index: self._unpack(state) for index, state in stored["fetch_states"].items()}
            self.num_drawn = stored["num_batches_drawn"]
            self._index_batches = {index: indices.tolist() for index, indices in stored["index_batches"].items()}
        if is_within_epoch:
            self._num_drawn_at_checkpoint = self.num_drawn
            self._restore = restore_all
            # The first step of an epoch begins before its iterator is made, which draws: there, F(0) is what follows.
            if self.num_drawn == 0 and 0 in self._fetch_states:
                self._restore = partial(self._set_rng_state, self._fetch_states[0])

    @staticmethod
    def _pack(state: dict[str, Any]) -> dict[str, Any]:
        host = ("python", "numpy", "cpu")
        return {"host": pack_rng_state(state), **{name: value for name, value in state.items() if name not in host}}

    @staticmethod
    def _unpack(packed: dict[str, Any]) -> dict[str, Any]:
        return {
            **unpack_rng_state(packed["host"]),
            **{name: value for name, value in packed.items() if name != "host"},
        }
