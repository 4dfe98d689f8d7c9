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
The check of a resume: a checkpoint has digests of the batches that were fetched but not trained on, and a resume
compares them with the batches that it fetches again.

No search finds all that a data pipeline keeps, but what a resume does not restore shows in these batches, whatever
it is. Where none was fetched ahead, as at the end of an epoch, the digest of the next one is added to the checkpoint
later.
"""

from collections.abc import Callable, Iterable
from typing import Any

from .batch_digest import Digest, digest_batch, find_difference


class BatchCheck:
    """Knows the batches that are fetched ahead of the training, and what they were before a resume."""

    def __init__(self):
        self.unchecked: frozenset[str] = frozenset()
        self.read_workers: Callable[[int], Digest | None] | None = None  # the digest of what a worker has fetched
        self.index = -1  # of the batch that was drawn last
        self.epoch = -1
        self.expected: dict[tuple[int, int], Digest] = {}  # what a checkpoint has, by epoch and index
        self.known_states: list[str] = []  # where a checkpoint has states of the pipeline
        self.batches: dict[int, Any] = {}  # that this process has fetched ahead of the training loop, by index

    def begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.batches.clear()

    def keep(self, batch: Any) -> None:
        """Keep the batch that was drawn last, fetched in this process, until the training loop has it."""
        self.batches[self.index] = batch

    def digest(self, index: int) -> Digest | None:
        """The digest of a batch, if it has been fetched and not been trained on."""
        if index in self.batches:
            return digest_batch(self.batches[index], self.unchecked)
        return None if self.read_workers is None else self.read_workers(index)

    def digest_ahead(self, indices: Iterable[int]) -> dict[int, Digest]:
        """The digests of those of these batches that have been fetched."""
        digests = {index: self.digest(index) for index in indices}
        return {index: digest for index, digest in digests.items() if digest is not None}

    def find_difference(self) -> tuple[int, str] | None:
        """The index of a batch that is not what it was, and the difference in words, once for each batch."""
        for epoch, index in list(self.expected):
            if epoch < self.epoch:
                del self.expected[epoch, index]
            elif epoch == self.epoch and (digest := self.digest(index)) is not None:
                if (difference := find_difference(self.expected.pop((epoch, index)), digest)) is not None:
                    return index, difference
        return None
