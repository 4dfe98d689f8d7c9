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
"""What a batch sampler is made of: another one that is divided among processes, and the sampler of its indices."""

import itertools
from collections.abc import Iterator
from typing import Any

from torch.utils.data import BatchSampler

from ..utils import is_accelerate_available


if is_accelerate_available():
    from accelerate.data_loader import BatchSamplerShard
else:
    BatchSamplerShard = None  # of which nothing is


def find_batch_sampler(sampler: Any) -> Any:
    """What makes the batches that `sampler` divides among processes."""
    while type(sampler) is BatchSamplerShard:
        sampler = sampler.batch_sampler
    return sampler


def find_sampler(sampler: Any) -> Any:
    """What draws the indices of single samples, or a sampler that is not known to be made of others."""
    sampler = find_batch_sampler(sampler)
    return sampler.sampler if type(sampler) is BatchSampler else sampler


def leave_out(batches: Iterator, batch_sampler: BatchSampler, num_samples: int) -> Iterator:
    """The batches without the first samples, of an iterator that has not asked the sampler yet."""
    sampler = batch_sampler.sampler
    try:
        batch_sampler.sampler = itertools.islice(sampler, num_samples, None)
        first = next(batches, None)
    finally:
        batch_sampler.sampler = sampler
    if first is not None:
        yield first
        yield from batches
