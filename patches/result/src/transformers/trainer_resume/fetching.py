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
"""A batch through the training step: how the training loop gets it, with the moments before and after."""

import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any

from torch.utils.data import DataLoader

from . import loader_hooks, resuming
from .worker_process import fetch


_END = object()


def begin_epoch(session, dataloader: Any, epoch: int, num_skipped: int) -> Any:
    """As [`ExactResume.begin_epoch`]."""
    session.progress.begin_epoch(epoch, num_skipped)
    session.batch_check.begin_epoch(epoch)
    if session.replayer is not None and session.replayer.is_epoch_done:
        # The checkpoint was taken when no batch was left to train on, but what ends an epoch is still to come.
        session.replayer.restore_step_state()
        return ()
    loader = getattr(dataloader, "base_dataloader", dataloader)
    if not isinstance(loader, DataLoader):  # what others have put in the place of what skips may return anything
        session.obstacle = session.obstacle or f"the batches came from a `{type(loader).__name__}`"
        session.recorder = None
    if session.recorder is not None:
        session.driver.begin_epoch(loader, session.loader() is loader, num_skipped)
        session.loader, session.dataloader = weakref.ref(loader), weakref.ref(dataloader)
        session.gate.is_open = True  # for the iterator that is made next
    return dataloader


def iterate(session, iterator: Iterator) -> Iterator:
    """As [`ExactResume.iterate`]."""
    session.gate.is_open = False
    if session.recorder is None:
        return _count(session, iterator)
    if session.replayer is not None:
        session.replayer.read_again(iterator, session.loader())
    return _follow(session, iterator)


def _count(session, iterator: Iterator) -> Iterator:
    for batch in iterator:
        session.progress.num_pulled += 1
        yield batch


def _follow(session, iterator: Iterator) -> Iterator:
    check, num_draws = session.batch_check, session.recorder.traits.num_draws
    while True:
        session.driver.before_pull()
        session.gate.is_open = True
        try:
            batch = next(iterator, _END)
        finally:
            session.gate.is_open = False
        if session.replayer is not None:
            session.replayer.after_pull()
        if batch is _END:
            return
        if session.is_unreported:
            resuming.report_missing(session)
        first = session.progress.num_pulled * num_draws
        if check.expected:
            resuming.report_difference(session)
        if session.step_check.awaits_batch:
            session.step_check.add_batch(check.epoch, first, check.digest(first))
        for index in range(first, first + num_draws):
            check.batches.pop(index, None)
        session.progress.num_pulled += 1
        yield batch


def rehearse(session, indices: Any) -> None:
    """As [`ExactResume.rehearse_batch`]."""
    loader, traits = session.loader(), session.recorder.traits
    if traits.draws_in_process and not traits.is_iterable:  # whose collate function has the samples
        is_batch = loader.batch_sampler is not None
        collate_fn = loader_hooks.original(loader.collate_fn)
        session.states.rehearse(partial(fetch, loader.dataset, collate_fn, indices, is_batch))
