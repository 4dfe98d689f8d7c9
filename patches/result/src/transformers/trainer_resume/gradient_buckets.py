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
The order in which `DistributedDataParallel` (DDP) sums up the gradients of more than two processes.

It puts the parameters into buckets in the reverse of the order in which the model has them, and anew, after its first
backward pass, in the order in which their gradients became ready; with a static graph after its second one. Where a
gradient stands in a bucket decides in which order those of three or more processes are summed up, and so the sum. A
process that resumes would begin with the first arrangement again. So that order is kept in checkpoints, and a resume
lets gradients of zero become ready in the same order before its first step, without calling the model.
"""

import contextlib
import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from .errors import report_inexact


UNKNOWN = -1


class ReadyOrder:
    """
    In which order the gradients of a DDP model became ready in the passes after which its buckets may change.

    Args:
        ddp (`DistributedDataParallel`): The model.
    """

    def __init__(self, ddp: DistributedDataParallel):
        self.num_needed = 2 if ddp.static_graph else 1
        self.num_passes = 0
        self.parameters = list(_parameters(ddp))  # their names, in the order in which the model has them
        self.names: list[str] = []  # in that in which they became ready, in the last of these passes
        self.has_repeats = False  # whether a gradient became ready more than once in one of these
        self._current: list[str] = []  # the same of the pass that goes on
        self._handles = []

    def follow(self, ddp: DistributedDataParallel) -> None:
        """Note what becomes ready from now on, if passes are yet to come."""
        if self.num_passes < self.num_needed and not self._handles:
            for name, parameter in _parameters(ddp).items():
                note = partial(_note, weakref.ref(ddp), self._current, name)
                self._handles.append(parameter.register_post_accumulate_grad_hook(note))

    def leave(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def end_pass(self) -> None:
        """Take what has become ready since the last call for a pass."""
        if self._current and self.num_passes < self.num_needed:
            self.names = list(dict.fromkeys(self._current))  # of a second pass in the same step, nothing is needed
            self.has_repeats |= len(self.names) < len(self._current)
            self.num_passes += 1
        self._current.clear()
        if self.num_passes == self.num_needed:
            self.leave()

    def to_dict(self) -> dict[str, Any]:
        return {"num_passes": self.num_passes, "parameters": self.parameters, "names": self.names}

    def repeat(self, ddp: DistributedDataParallel, names: list[str], num_passes: int) -> None:
        """Let gradients of zero become ready in the order of `names`, in each of `num_passes` passes."""
        module, parameters = ddp.module, _parameters(ddp)
        gradients = {name: parameter.grad for name, parameter in parameters.items()}
        try:
            ddp.module = _Zeros([parameters[name] for name in names])
            for _ in range(num_passes):
                ddp.require_forward_param_sync = False  # or the first process would send its buffers
                with torch.enable_grad():
                    DistributedDataParallel.forward(ddp).backward()  # without the hooks of users
                self.end_pass()
        finally:
            ddp.module = module
            for name, parameter in parameters.items():
                parameter.grad = gradients[name]


# By model, as one that the same trainer trains again has the buckets that it had.
_orders: "weakref.WeakKeyDictionary[DistributedDataParallel, ReadyOrder]" = weakref.WeakKeyDictionary()


class GradientBuckets:
    """
    Keeps the arrangement of the buckets of a DDP model, and restores it.

    Args:
        args ([`TrainingArguments`]): The arguments of the run.
        model (`torch.nn.Module`, *optional*): The model, wrapped for training.
    """

    def __init__(self, args, model: torch.nn.Module | None = None):
        self._was_arranged = False  # before the order could be noted
        self._stored, self._is_known = None, False  # what the checkpoint has that is resumed from
        self._start = None  # what a checkpoint within the update step has
        self._ddp: weakref.ref | None = None
        self._order: ReadyOrder | None = None  # if the arrangement changes
        ddp = getattr(model, "_orig_mod", model)  # in what `torch.compile` has made
        if not isinstance(ddp, DistributedDataParallel):
            return
        self._ddp = weakref.ref(ddp)
        # A sum of two does not depend on the order, and buckets that allow for unused parameters do not change.
        if args.world_size > 2 and (ddp.static_graph or not ddp.find_unused_parameters):
            if ddp not in _orders:
                self._was_arranged = getattr(ddp, "_has_rebuilt_buckets", False)
                _orders[ddp] = ReadyOrder(ddp)
            self._order = _orders[ddp]
            self._order.follow(ddp)
            self._start = self._order.to_dict()

    def begin_step(self) -> None:
        """Called when one of the first update steps begins, and later ones."""
        if self._order is not None:
            self._order.end_pass()
            self._start = self._order.to_dict()

    def detach(self) -> None:
        if self._order is not None:
            self._order.leave()

    def find_fault(self) -> str | None:
        """Why a resume would not sum up gradients as this run does, as a sentence."""
        ddp = None if self._ddp is None else self._ddp()
        if any(_is_state(state) for _, state in getattr(ddp, "_comm_hooks", ())):
            return "a communication hook of `DistributedDataParallel` keeps a state, which no checkpoint has"
        if self._order is None:
            return None
        if self._was_arranged:
            return "`DistributedDataParallel` arranged its buckets before the training began"
        if self._order.has_repeats and ddp.static_graph:
            return "gradients of a static graph became ready more than once, which cannot be repeated"
        if hooked := [name for name, parameter in _parameters(ddp).items() if _has_hooks(parameter)]:
            return f"the hook of the parameter `{hooked[0]}` would be called when the order of gradients is repeated"
        return None

    def state_dict(self, is_within_step: bool) -> dict[str, Any] | None:
        """What a checkpoint has of the arrangement; `None` if it does not change."""
        if self._order is None:
            return None
        if not is_within_step:
            self._order.end_pass()
        return self._start if is_within_step else self._order.to_dict()

    def expect(self, stored: dict[str, Any] | None) -> None:
        """Take what [`~GradientBuckets.state_dict`] returned for the checkpoint that is resumed from."""
        self._stored, self._is_known = stored, True

    @contextlib.contextmanager
    def restoring(self, session) -> Iterator[None]:
        """
        Restore the arrangement after the context, in which the checkpoint tells what to expect.

        All processes take part, whatever each of them has found in its file.
        """
        try:
            yield
        except Exception:
            self._agree_on_passes(UNKNOWN)
            raise
        if not self._is_known:
            self._agree_on_passes(UNKNOWN)
        elif (fault := self._restore(self._stored)) is not None:
            session.end_checks()
            if fault not in session.known_faults:
                cause = f"according to {session.resumed_from}, {fault}"
                report_inexact(session.args.exact_resume, f"The resume is not bit-exact: {cause}.")

    def _restore(self, stored: dict[str, Any] | None) -> str | None:
        order, fault, num_passes = self._order, None, UNKNOWN
        if (stored is None) != (order is None):
            fault = "`ddp_find_unused_parameters` or `ddp_static_graph` was another one"
        elif order is None:
            return None
        elif stored["parameters"] != order.parameters:
            fault = "other parameters were trained, or their order was another one"
        elif order.num_passes > 0 and order.to_dict() != stored:
            fault = "`DistributedDataParallel` has arranged its buckets since, and in another order"
        elif (fault := self.find_fault()) is None:
            num_passes = stored["num_passes"] - order.num_passes
        agreed = self._agree_on_passes(num_passes)
        if agreed == UNKNOWN:
            return fault or "another process does not know in which order gradients became ready"
        order.repeat(self._ddp(), stored["names"], agreed)
        self._start = order.to_dict()
        if order.names != stored["names"]:
            return "gradients did not become ready in the order that they had"
        return None

    def _agree_on_passes(self, num_passes: int) -> int:
        """The number of passes to repeat, or `UNKNOWN` where the processes would not repeat the same."""
        if self._order is None:
            return UNKNOWN
        ddp = self._ddp()
        bounds = torch.tensor([num_passes, -num_passes], device=next(ddp.parameters()).device)
        torch.distributed.all_reduce(bounds, torch.distributed.ReduceOp.MIN, group=ddp.process_group)
        least, minus_most = bounds.tolist()
        return least if least == -minus_most else UNKNOWN


def _parameters(ddp: DistributedDataParallel) -> dict[str, torch.nn.Parameter]:
    """Those whose gradients are summed up over the processes."""
    return {
        name: parameter
        for name, parameter in ddp.module.named_parameters()
        if parameter.requires_grad and name not in ddp.parameters_to_ignore
    }


def _note(ddp: weakref.ref, names: list[str], name: str, parameter: torch.nn.Parameter) -> None:
    if ddp().require_backward_grad_sync:  # else the gradient waits for those of further micro-batches
        names.append(name)


def _has_hooks(parameter: torch.nn.Parameter) -> bool:
    """Whether others than those of this module are called when the gradient is ready."""
    hooks = [*(parameter._backward_hooks or {}).values(), *(parameter._post_accumulate_grad_hooks or {}).values()]
    return any(getattr(hook, "func", None) is not _note for hook in hooks)


def _is_state(value: Any) -> bool:
    """Whether a communication hook was given more than the processes that it is for."""
    return value is not None and not isinstance(value, torch.distributed.ProcessGroup)


class _Zeros(torch.nn.Module):
    """Its output has gradients of zero for some parameters, which become ready in their order."""

    def __init__(self, parameters: list[torch.nn.Parameter]):
        super().__init__()
        vars(self)["of"] = parameters  # not its own

    def forward(self) -> torch.Tensor:
        # On their device, as each has a thread that goes on while that of another makes ready
        total = torch.zeros((), device=vars(self)["of"][0].device)
        for parameter in reversed(vars(self)["of"]):  # what is added last is gone back through first
            total = _Zero.apply(total, parameter)
        return total


class _Zero(torch.autograd.Function):
    @staticmethod
    def forward(ctx, total, parameter):
        ctx.save_for_backward(parameter)
        return total.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient, torch.zeros_like(*ctx.saved_tensors)
