"""Damage one state of a checkpoint, to see that the comparison notices a restore that is not right."""

import struct
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_pt_utils import safe_globals

TORCH_STATE_SIZE = torch.get_rng_state().numel()


def _step_state(states: dict[str, Any]) -> torch.Tensor:
    return states["cpu"]


def _first_draw(states: dict[str, Any]) -> torch.Tensor:
    return states["exact_resume"]["fetch_states"][0]["host"]


def _fetch_state(states: dict[str, Any]) -> torch.Tensor:
    fetch_states = states["exact_resume"]["fetch_states"]
    return fetch_states[max(fetch_states)]["host"]


def _worker_state(states: dict[str, Any]) -> torch.Tensor:
    return states["exact_resume"]["workers"]["states"][0]


KINDS = {"step": _step_state, "first_draw": _first_draw, "fetch": _fetch_state, "worker": _worker_state}


def flip_a_byte(folder: Path, kind: str) -> None:
    """
    Flip a byte of one state in every checkpoint of a run: of a word that PyTorch's generator draws next.

    Args:
        folder: The run's output folder.
        kind: A key of `KINDS`.
    """
    for path in folder.glob("checkpoint-*/rng_state.pth"):
        with safe_globals():
            states = torch.load(path, weights_only=True)
        # A packed state ends with PyTorch's: the seed, how many words are left, the next one, 624 words of 8 bytes.
        state = KINDS[kind](states)[-TORCH_STATE_SIZE:]
        _, left, _, position = struct.unpack_from("<QiiQ", state.numpy().tobytes())
        # The second word, as a seed for a permutation is the lower half of two. When none is left, all words
        # are made anew, and word 398 goes into the second of them.
        word = position + 1 if left > 2 else 398
        # Of the 8 bytes, the highest of the 4 that are used.
        state[struct.calcsize("<QiiQ") + 8 * word + 3] ^= 0xFF
        torch.save(states, path)
