"""Damage one state of a checkpoint, to see that the comparison notices a restore that is not right."""

import struct
from pathlib import Path
from typing import Any

import torch

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


def _pipeline_state(states: dict[str, Any]) -> torch.Tensor:
    return next(value[1] for kind, value in states["pipeline"].values() if kind == "torch.Generator")


def _device_state(states: dict[str, Any]) -> torch.Tensor:
    return states["mps"]


def _flip_word(state: torch.Tensor) -> None:
    """Flip a byte of a word that PyTorch's generator, whose state ends a packed one, draws next."""
    # It is: the seed, how many words are left, the next one, 624 words of 8 bytes.
    state = state[-TORCH_STATE_SIZE:]
    _, left, _, position = struct.unpack_from("<QiiQ", state.numpy().tobytes())
    # The second word, as a seed for a permutation is the lower half of two. When none is left, all words
    # are made anew, and word 398 goes into the second of them.
    word = position + 1 if left > 2 else 398
    # Of the 8 bytes, the highest of the 4 that are used.
    state[struct.calcsize("<QiiQ") + 8 * word + 3] ^= 0xFF


def _flip_sum(states: dict[str, Any]) -> None:
    states["exact_resume"]["sums"]["tr_loss"].reshape(1).view(torch.uint8)[2] ^= 0xFF


def _flip_index(states: dict[str, Any]) -> None:
    index_batches = states["exact_resume"]["index_batches"]
    index_batches[min(index_batches)][0] ^= 1


WORDS = {
    "step": _step_state,
    "first_draw": _first_draw,
    "fetch": _fetch_state,
    "worker": _worker_state,
    "pipeline": _pipeline_state,
    "device": _device_state,
}
OTHERS = {"sums": _flip_sum, "indices": _flip_index}


def flip_a_byte(folder: Path, kind: str) -> None:
    """
    Flip a byte of one state in every checkpoint of a run that has it.

    Args:
        folder: The run's output folder.
        kind: A key of `WORDS` or `OTHERS`.
    """
    from transformers.trainer_resume.files import add_checksum  # which stock does not have

    for path in folder.glob("checkpoint-*/rng_state.pth"):
        states = torch.load(path, weights_only=False)
        position = states["exact_resume"]["position"]
        # At the end of an epoch, nothing is kept of its data.
        if kind == "step" or (position["num_batches_consumed"] > 0 and not position["is_done"]):
            OTHERS[kind](states) if kind in OTHERS else _flip_word(WORDS[kind](states))
        # With the checksum of what it is now, or it would not be restored.
        torch.save(add_checksum(states), path)
