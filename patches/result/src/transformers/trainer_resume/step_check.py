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
The check of the update steps after a checkpoint: what the first, second, fourth, ... of them come to is added to the
checkpoint when they end, until there is another, and a resume compares its own steps with these.

So it shows whatever a model, a loss function, an optimizer or a callback keeps and no checkpoint has, once it makes a
difference, and what else is not the same, such as a kernel that is not deterministic.
"""

import os
import sys

import torch

from ..trainer_callback import TrainerState
from .batch_digest import Digest, digest_batch, find_difference
from .errors import report_inexact
from .files import save_next_steps
from .record import NextSteps
from .worker_process import is_power_of_two


# Parameters that are looked at, evenly spread
NUM_PARAMETERS = 32


class StepCheck:
    """Knows what update steps are expected to come to, and which checkpoint waits for what they come to."""

    def __init__(self):
        self.due = sys.maxsize  # the next step at whose end there is anything to do
        self.awaits_batch = False  # whether the batch that follows is to be added, as none was fetched ahead
        self.expected: dict[int, Digest] = {}  # by global step
        self.following: NextSteps | None = None  # what is to be added to the last checkpoint
        self._path = None  # its RNG file

    def expect(self, results: dict[int, Digest]) -> None:
        """Compare what these steps come to, by global step."""
        self.expected = results
        self.due = min([self.due, *results])

    def await_steps(self, path: str, save: str, state: TrainerState, has_batches: bool) -> None:
        """
        Add what follows to a checkpoint.

        Args:
            path (`str`): Its RNG file.
            save (`str`): The identifier of the save.
            state ([`TrainerState`]): Where the run is.
            has_batches (`bool`): Whether it has the digests of batches that were fetched ahead.
        """
        self._path, self.following = path, NextSteps(save, state.global_step, state.max_steps, {}, {})
        self.due, self.awaits_batch = state.global_step + 1, not has_batches

    def add_batch(self, epoch: int, index: int, digest: Digest | None) -> None:
        """Add the batch that follows, if it can be looked at."""
        self.awaits_batch = False
        if digest is not None:
            self.following.batches[epoch, index] = digest

    def add_results(self, step: int, results: Digest) -> None:
        """Add what a step came to, if it is one of those after the checkpoint that are added."""
        following = self.following
        if following is not None and step > following.step and is_power_of_two(step - following.step):
            following.results[step] = results
            if os.path.isfile(self._path):
                save_next_steps(self._path, following._asdict())

    def plan(self, step: int) -> None:
        """Find out after which step there is something to do, after this one."""
        steps = [later for later in self.expected if later > step]
        if self.following is not None:
            steps.append(self.following.step + 2 ** max(0, step - self.following.step).bit_length())
        self.due = min(steps, default=sys.maxsize)


def end_step(session, trainer) -> None:
    """An update step has ended, and its callbacks have not been called."""
    check, step, results = session.step_check, trainer.state.global_step, digest_step(session, trainer)
    check.add_results(step, results)
    expected = check.expected.pop(step, None)
    check.plan(step)
    if expected is not None and (difference := find_difference(expected, results)) is not None:
        session.end_checks()
        _report(session, step, difference)


def digest_step(session, trainer) -> Digest:
    """The digest of what a step has come to: its loss, the gradient norm, the parameters, and the RNG states."""
    grad_norm, learning_rate = map(_local, session.last_step)
    states = session.states.get()
    # The cause before what follows from it
    results = {f"RNG state {name}": states[name] for name in states if name not in ("pipeline", "owned")}
    results.update({"loss": trainer._tr_loss, "gradient norm": grad_norm, "learning rate": learning_rate})
    results["next learning rates"] = [group["lr"] for group in getattr(trainer.optimizer, "param_groups", ())]
    parameters = [entry for entry in trainer.model.named_parameters() if entry[1].requires_grad]
    for name, parameter in parameters[:: 1 + len(parameters) // NUM_PARAMETERS]:
        results[f"parameter {name}"] = _local(parameter)
    return digest_batch(results)


def _local(value):
    """Of a tensor that is distributed, what this process has."""
    return getattr(value, "_local_tensor", value)


def _report(session, step: int, difference: str) -> None:
    report_inexact(
        session.args.exact_resume,
        f"The resume is not bit-exact: update step {step} does not come to what it came to after"
        f" {session.resumed_from} was written. Of its results, {difference}. Unless an argument, the hardware or a"
        " library is another, or kernels are not deterministic (see `full_determinism`), a model, a loss function, an"
        f" optimizer or a callback keeps what the checkpoint does not have. PyTorch is {torch.__version__}.",
    )
