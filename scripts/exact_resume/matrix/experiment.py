"""
The experiment of upstream issue 39215 on a bare training loop: which order of restoring and fetching is right?

A plain DataLoader fetches a batch when it is asked for it, so there the issue's Hypothesis A, restore and then fetch,
is right. The Trainer's dataloader fetches one batch ahead, and there neither order is: see the scenario matrix.
"""

import random
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from exact_resume.matrix.pieces import IssueDataset, IssueModel
from exact_resume.matrix.recording import exact

SEED, INTERRUPT = 42, 3
HYPOTHESES = {"A": "restore the RNG state, then fetch the batch", "B": "fetch the batch, then restore the RNG state"}


def _start() -> tuple[IssueModel, Any]:
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    model = IssueModel().train()
    return model, iter(DataLoader(IssueDataset(100), batch_size=10, shuffle=True))


def _state() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _restore(state: tuple[Any, ...]) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.set_rng_state(state[2])


def run_experiment() -> list[dict[str, Any]]:
    """
    Run both hypotheses against the uninterrupted loop.

    Returns:
        A row for each hypothesis: `hypothesis`, `order`, the sums `golden` and `output` of the outputs of the first
        step after the interrupt, and whether the outputs are equal bit for bit, `matches`.
    """
    model, batches = _start()
    for _ in range(INTERRUPT):
        model(next(batches)["x"])
    checkpoint = _state()
    golden = model(next(batches)["x"])["logits"]
    rows = []
    for hypothesis, order in HYPOTHESES.items():
        model, batches = _start()
        for _ in range(INTERRUPT):
            next(batches)
        if hypothesis == "A":
            _restore(checkpoint)
            batch = next(batches)
        else:
            batch = next(batches)
            _restore(checkpoint)
        output = model(batch["x"])["logits"]
        rows.append(
            {
                "hypothesis": hypothesis,
                "order": order,
                "golden": golden.sum().item(),
                "output": output.sum().item(),
                "matches": exact(output) == exact(golden),
            }
        )
    return rows
