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
"""A run begins: what can be told of it at once, and the stand-ins in its dataloader."""

import weakref
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader

from ..trainer_utils import SaveStrategy
from . import loader_hooks, obstacles, owned
from .batch_digest import unchecked_fields
from .errors import report_inexact
from .generators import RNGStates
from .gradient_buckets import GradientBuckets
from .model_buffers import Buffers
from .pipeline import PipelineState, refer_to
from .record import RunShape
from .recorder import LoaderTraits, Recorder


def attach(session, trainer, dataloader: Any, model: torch.nn.Module) -> None:
    """As [`ExactResume.attach`]."""
    session.gradient_buckets = GradientBuckets(session.args, model)
    loader = getattr(dataloader, "base_dataloader", dataloader)
    session.eval_dataloaders = list(getattr(trainer, "_eval_dataloaders", ()))
    session.shape = RunShape.of(trainer, dataloader, loader)
    session.trainer = weakref.ref(trainer)
    session.states = _make_states(session, PipelineState())
    # The file with the weights has the buffers of the process that writes it
    session.buffers = Buffers(partial(_find_model, session.trainer), with_persistent=not session.args.should_save)
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):  # whose parameters come and go
        trainable = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
        session.parameter = weakref.ref(trainable[-1]) if trainable else session.parameter
    session.obstacle = obstacles.of_dataloader(loader)
    if session.obstacle is None:
        _follow_draws(session, trainer, dataloader, loader)
    # Only a resume suffers, so only a resume warns; but who is strict wants to know before the training.
    if session.args.exact_resume == "strict":
        session.states.get()  # which finds what cannot be stored
        for obstacle in filter(None, [session.obstacle, *session.find_faults()]):
            report_inexact("strict", f"A resume of this run cannot be bit-exact: {obstacle}.")
        if (doubt := session.states.unsearched) is not None:
            report_inexact("strict", f"Whether a resume of this run is bit-exact cannot be told: {doubt}.")


def _follow_draws(session, trainer, dataloader: Any, loader: DataLoader) -> None:
    session.fault = obstacles.of_batches(session.args, dataloader, loader)
    has_digests = session.awaits_load or _may_save(session, trainer)
    traits = LoaderTraits.of(session.args, dataloader, loader, has_digests)
    loader_hooks.follow_draws(loader, session, session.gate)
    if traits.draws_in_process:
        loader_hooks.follow_batches(loader, session)
    session.batch_check.unchecked = unchecked_fields(map(loader_hooks.original, (loader.dataset, loader.collate_fn)))
    session.attached, session.eval_dataset = weakref.ref(loader), refer_to(trainer.eval_dataset)
    session.states = _make_states(session, PipelineState(partial(_find_roots, session)))
    session.recorder = session.driver = Recorder(traits, session.states, session.gate, session.args.exact_resume)
    session.batch_check.read_workers = session.recorder.read_digest


def _make_states(session, pipeline: PipelineState) -> RNGStates:
    return RNGStates(pipeline, session.args, owned.OwnedState(partial(owned.find_roots, session.trainer), pipeline))


def _find_model(trainer: weakref.ref) -> torch.nn.Module | None:
    return None if (trainer := trainer()) is None else trainer.model


def _may_save(session, trainer) -> bool:
    """Whether a checkpoint may be written, as far as can be told: callbacks of users may ask for one."""
    has_callbacks = any(
        not type(callback).__module__.startswith("transformers.") for callback in trainer.callback_handler.callbacks
    )
    return has_callbacks or trainer.args.save_strategy != SaveStrategy.NO or session.handles_sigterm


def _find_roots(session) -> dict[str, Any]:
    """The objects of the data pipeline, as they are now."""
    if (loader := session.attached()) is None:
        return {}
    roots = loader_hooks.find_roots(loader)
    if session.replayer is not None and session.replayer.whole_dataset is not None:
        roots["dataset"] = session.replayer.whole_dataset
    return {**roots, "eval_dataset": session.eval_dataset()}
