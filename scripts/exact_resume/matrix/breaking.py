"""Damage one state of a checkpoint, to see that the comparison notices a restore that is not right."""

from pathlib import Path
from typing import Any

import torch
from transformers.trainer_pt_utils import safe_globals

# Any byte would do but those of a position, which the generators check.
OFFSET = 100


def _step_state(states: dict[str, Any]) -> torch.Tensor:
    return states["cpu"]


def _first_draw(states: dict[str, Any]) -> torch.Tensor:
    return states["exact_resume"]["fetch_states"][0]["host"][-torch.get_rng_state().numel() :]


def _fetch_state(states: dict[str, Any]) -> torch.Tensor:
    fetch_states = states["exact_resume"]["fetch_states"]
    return fetch_states[max(fetch_states)]["host"]


def _worker_state(states: dict[str, Any]) -> torch.Tensor:
    return states["exact_resume"]["workers"]["states"][0]


KINDS = {"step": _step_state, "first_draw": _first_draw, "fetch": _fetch_state, "worker": _worker_state}


def flip_a_byte(folder: Path, kind: str) -> None:
    """
    Flip a byte of one state in every checkpoint of a run.

    Args:
        folder: The run's output folder.
        kind: A key of `KINDS`.
    """
    for path in folder.glob("checkpoint-*/rng_state.pth"):
        with safe_globals():
            states = torch.load(path, weights_only=True)
        KINDS[kind](states)[OFFSET] ^= 1
        torch.save(states, path)
