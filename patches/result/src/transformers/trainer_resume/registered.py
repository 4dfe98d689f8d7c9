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
What a subclass of [`Trainer`] or a callback keeps over update steps, and has registered for checkpoints.

Accelerate's convention is `accelerator.register_for_checkpointing(*objects)`, of objects with a `state_dict` and a
`load_state_dict`, which are told apart by their order. Each process keeps its own.
"""

from typing import Any

from .storable import from_storable, to_storable


def state_dicts(trainer) -> tuple[list[Any], list[str]]:
    """The states of what is registered, and what is missing there, as sentences."""
    states, faults = [], []
    for place, registered in enumerate(_find(trainer)):
        try:
            states.append(to_storable(registered.state_dict(), max_size=None))
        except Exception as error:  # whatever users' objects lead to
            states.append(None)
            cause = f"{type(error).__name__}: {error}"
            faults.append(f"the state of {_name(place, registered)} cannot be stored ({cause})")
    return states, faults


def unknown(trainer) -> tuple[list[Any], list[str]]:
    """The same where what they were is not known."""
    cause = "is not known as it was when the step began"
    faults = [f"the state of {_name(place, registered)} {cause}" for place, registered in enumerate(_find(trainer))]
    return [None] * len(faults), faults


def load_state_dicts(trainer, states: list[Any]) -> list[str]:
    """Give them back; returns what that is not possible for, as sentences."""
    objects = _find(trainer)
    if len(states) != len(objects):
        return [f"{len(states)} objects were registered for checkpoints, and {len(objects)} are now"]
    faults = []
    for place, (registered, state) in enumerate(zip(objects, states)):
        if state is None:  # as the checkpoint says
            continue
        try:
            registered.load_state_dict(from_storable(state))
        except Exception as error:
            faults.append(f"{_name(place, registered)} does not take its state ({type(error).__name__}: {error})")
    return faults


def _find(trainer) -> list[Any]:
    return getattr(trainer.accelerator, "_custom_objects", [])


def _name(place: int, registered: Any) -> str:
    return f"the `{type(registered).__name__}` that was registered for checkpoints as number {place}"
