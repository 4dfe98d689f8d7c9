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
The generators that the model, the trainer, its loss function and its callbacks own: beside those of the data pipeline,
they belong to every RNG state of the main process.
"""

import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

from . import search
from .pipeline import PipelineState, refer_to


class OwnedState(PipelineState):
    """
    The generators of what trains.

    Args:
        find_roots (`Callable[[], dict[str, Any]]`): Returns the objects, by name. They are not kept.
        pipeline ([`PipelineState`]): The generators that belong to the data pipeline, and not here.
    """

    def __init__(self, find_roots: Callable[[], dict[str, Any]], pipeline: PipelineState):
        self._pipeline = pipeline
        super().__init__(find_roots)

    def refresh(self) -> None:
        """As [`PipelineState.refresh`]."""
        states, _ = search.find_states(self._find_roots(), only_generators=True)
        others = {id(refer()) for _, refer in self._pipeline._entries.values()}
        self._entries = {
            path: (kind, refer_to(value)) for path, (kind, value) in states.items() if id(value) not in others
        }
        self.has_states = bool(self._entries)
        # No doubt of every large model: what was missed shows in what the steps of a resume come to.
        self.unsearched = None

    def find_unknown(self, stored: dict[str, Any]) -> list[str]:
        """The generators that are here and not in `stored`, which would be left as they are, as sentences."""
        return [
            f"the state that `{path}` had is not known, as if it was made later"
            for path, (_, refer) in self._entries.items()
            if path not in stored and refer() is not None
        ]

    def _find_mismatch(self, path: str, kind: str, state: Any) -> str | None:
        mismatch = super()._find_mismatch(path, kind, state)
        return mismatch and mismatch.replace("the data pipeline had", "the run had")


def find_roots(trainer: weakref.ref) -> dict[str, Any]:
    """What trains, by names that do not depend on the order of the callbacks."""
    if (trainer := trainer()) is None:
        return {}
    roots = {"model": trainer.model, "trainer": trainer, "compute_loss_func": vars(trainer).get("compute_loss_func")}
    counts = Counter()
    for callback in trainer.callback_handler.callbacks:
        if type(callback).__module__.startswith("transformers."):
            continue  # those that report to trackers know a lot, and draw nothing
        name = type(callback).__name__
        counts[name] += 1
        roots[name if counts[name] == 1 else f"{name} {counts[name]}"] = callback
    return roots
