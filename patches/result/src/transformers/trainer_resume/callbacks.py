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
"""What the callbacks of a run do, as far as a checkpoint that one of them takes depends on it."""

import sys
from dataclasses import dataclass, field
from typing import Any

from ..trainer_callback import CallbackHandler


try:
    from ..trainer_jit_checkpoint import JITCheckpointCallback
except ImportError:  # a release before it
    JITCheckpointCallback = ()  # of which nothing is an instance


# Where the forward pass of a step may have run already
IN_STEP_EVENTS = ("on_substep_end", "on_pre_optimizer_step", "on_optimizer_step")


def handles(callback: Any, *events: str) -> bool:
    """Whether a callback that is not one of transformers does something in one of `events`."""
    try:
        if not set(events).isdisjoint(object.__getattribute__(callback, "__dict__")):
            return True
    except AttributeError:  # it has slots
        pass
    for event in events:
        base = next((base for base in type(callback).__mro__ if event in vars(base)), None)
        if base is not None and not base.__module__.startswith("transformers."):
            return True
    return False


@dataclass(frozen=True)
class Caller:
    """
    From where a checkpoint is taken.

    Args:
        event (`str`, *optional*): The event whose callbacks are running.
        following (`list`): The callbacks of it that are yet to be called.
        is_evaluating (`bool`): Whether it is an event of an evaluation that belongs to the training.
        handles_sigterm (`bool`): Whether the callback is the one that handles a signal.
    """

    event: str | None = None
    following: list[Any] = field(default_factory=list)
    is_evaluating: bool = False
    handles_sigterm: bool = False

    @property
    def is_before_rest(self) -> bool:
        """Whether something of the end of a step or an epoch may follow."""
        return self.is_evaluating or self.event in ("on_log", "on_evaluate")

    @classmethod
    def find(cls) -> "Caller":
        """Look at the call stack, which costs the other steps nothing and no callback is added for."""
        from ..trainer import Trainer  # not at the top, as that module imports this one

        event, following, handles_sigterm, frame = None, [], False, sys._getframe(1)
        while frame is not None:
            if event is None and frame.f_code is CallbackHandler.call_event.__code__:
                variables = frame.f_locals
                event, callback = variables["event"], variables.get("callback")
                callbacks = variables["self"].callbacks
                places = [place for place, other in enumerate(callbacks) if other is callback]
                following = callbacks[places[0] + 1 :] if places else []
                handles_sigterm = isinstance(callback, JITCheckpointCallback)
            if frame.f_code is Trainer._evaluate.__code__:
                return cls(event, following, True, handles_sigterm)
            frame = frame.f_back
        return cls(event, following, False, handles_sigterm)
