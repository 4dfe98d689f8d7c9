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

from . import loader_hooks, obstacles
from .errors import report_inexact
from .generators import RNGStates
from .pipeline import PipelineState, refer_to
from .record import RunShape
from .recorder import LoaderTraits, Recorder


def attach(session, trainer, dataloader: Any, model: torch.nn.Module) -> None:
    """As [`ExactResume.attach`]."""
    loader = getattr(dataloader, "base_dataloader", dataloader)
    session.eval_dataloaders = list(getattr(trainer, "_eval_dataloaders", ()))
    session.shape = RunShape.of(trainer, dataloader, loader)
    session.obstacle = obstacles.of_dataloader(session.args, dataloader, loader, model)
    if session.obstacle is None:
        _follow_draws(session, trainer, dataloader, loader)
    # Only a resume suffers, so only a resume warns; but who is strict wants to know before the training.
    if session.args.exact_resume == "strict":
        pipeline = session.states.pipeline
        pipeline.state_dict()  # which finds what cannot be stored
        for obstacle in filter(None, [session.obstacle, *pipeline.find_faults()]):
            report_inexact("strict", f"A resume of this run cannot be bit-exact: {obstacle}.")
        if (doubt := pipeline.unsearched) is not None:
            report_inexact("strict", f"Whether a resume of this run is bit-exact cannot be told: {doubt}.")


def _follow_draws(session, trainer, dataloader: Any, loader: DataLoader) -> None:
    traits = LoaderTraits.of(session.args, dataloader, loader)
    loader_hooks.follow_draws(loader, session, session.gate)
    if traits.is_iterable and traits.draws_in_process:
        loader_hooks.follow_skipping(loader, session)
    session.attached, session.eval_dataset = weakref.ref(loader), refer_to(trainer.eval_dataset)
    session.states = RNGStates(PipelineState(partial(_find_roots, session)), session.args)
    session.recorder = session.driver = Recorder(traits, session.states, session.gate, session.args.exact_resume)


def _find_roots(session) -> dict[str, Any]:
    """The objects of the data pipeline, as they are now."""
    if (loader := session.attached()) is None:
        return {}
    roots = loader_hooks.find_roots(loader)
    if session.replayer is not None and session.replayer.whole_dataset is not None:
        roots["dataset"] = session.replayer.whole_dataset
    return {**roots, "eval_dataset": session.eval_dataset()}
