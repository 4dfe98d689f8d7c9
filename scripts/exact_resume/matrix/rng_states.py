"""The states of the random number generators: read without a draw, and how far one is from another."""

import array
import hashlib
import random
import struct
from typing import Any

import numpy as np
import torch

STREAMS = ("python", "numpy", "torch", "device")
# Words that are tried to get from one state to another, which takes two milliseconds.
MOST_WORDS = 2**18
WORDS_OF_KEY = 624
# PyTorch's generator on the CPU: the seed, how many words are left, whether it is seeded, the next word, 624 words of
# 8 bytes each of which 4 are used, and cached Gaussians.
TORCH_STATE_SIZE, TORCH_HEAD = 5056, struct.Struct("<QiiQ")
# The last key of each stream, as text. It changes with every 624th word, so most states share theirs.
_keys: dict[str, tuple[bytes, str]] = {}


def rng_states() -> dict[str, dict[str, Any]]:
    """As `host_states`, with the states of all CUDA devices as "device"."""
    states = host_states()
    if torch.cuda.is_available():
        states["device"] = _devices(torch.cuda.get_rng_state_all())
    return states


def host_states() -> dict[str, dict[str, Any]]:
    """
    Read the states of the global RNGs of this process that are on the CPU.

    Returns:
        By stream, a state that JSON keeps and that is equal only for the same state: its `kind`, and what it is made
        of. Of a Mersenne Twister these are `key`, the 624 words as hex digits, and `position`, how many of them are
        drawn.
    """
    return {"python": _python(), "numpy": _numpy(), "torch": _torch()}


def words_between(start: dict[str, Any], end: dict[str, Any]) -> int | None:
    """How many 32-bit words have to be drawn to get from one state to another; `None` if more than `MOST_WORDS`."""
    if start["kind"] != "mt19937" or end["kind"] != "mt19937":
        return None
    # Python's generator is the same one: set to a key and position 0, it tells the words of the key.
    twister = random.Random(0)
    twister.setstate((3, (*_words(end["key"]), 0), None))
    goal = twister.getrandbits(32 * WORDS_OF_KEY)
    twister.setstate((3, (*_words(start["key"]), 0), None))
    for drawn in range(-start["position"], MOST_WORDS + 1, WORDS_OF_KEY):
        words = drawn + end["position"]
        if twister.getrandbits(32 * WORDS_OF_KEY) == goal and 0 <= words <= MOST_WORDS:
            return words
    return None


def _python() -> dict[str, Any]:
    _, words, gaussian = random.getstate()
    cached = None if gaussian is None else gaussian.hex()
    return _twister("python", array.array("I", words[:-1]).tobytes(), words[-1], {"cached Gaussian": cached})


def _numpy() -> dict[str, Any]:
    state = np.random.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        return {"kind": state["bit_generator"], "state": repr(state)}
    cached = float(state["gauss"]).hex() if state["has_gauss"] else None
    return _twister("numpy", state["state"]["key"].tobytes(), state["state"]["pos"], {"cached Gaussian": cached})


def _torch() -> dict[str, Any]:
    state = torch.get_rng_state().numpy()
    if len(state) != TORCH_STATE_SIZE:
        return _opaque(state)
    seed, left, seeded, following = TORCH_HEAD.unpack_from(state)
    end = TORCH_HEAD.size + 8 * WORDS_OF_KEY
    key = state[TORCH_HEAD.size : end].view(np.uint64).astype(np.uint32).tobytes()
    rest = {"initial seed": seed, "seeded": seeded, "next": following, "cached Gaussian": state[end:].tobytes().hex()}
    # It counts `left` down to 1, and is at 1 before the first draw, too.
    return _twister("torch", key, WORDS_OF_KEY + 1 - left, rest)


def _twister(stream: str, key: bytes, position: int, rest: dict[str, Any]) -> dict[str, Any]:
    if _keys.get(stream, (None,))[0] != key:
        _keys[stream] = key, key.hex()
    return {"kind": "mt19937", "key": _keys[stream][1], "position": int(position), **rest}


def _words(key: str) -> tuple[int, ...]:
    return tuple(array.array("I", bytes.fromhex(key)))


def _devices(states: list[torch.Tensor]) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": "devices"}
    for index, state in enumerate(states):
        # CUDA's generator is a counter: a seed, and how far it was counted.
        names, values = ("seed", "offset"), struct.unpack("<Qq", state.numpy()) if state.numel() == 16 else None
        found |= {f"cuda:{index} {name}": value for name, value in zip(names, values or (), strict=False)}
        if values is None:
            found[f"cuda:{index}"] = _opaque(state.numpy())["state"]
    return found


def _opaque(state: np.ndarray) -> dict[str, Any]:
    return {"kind": "unknown", "state": hashlib.blake2b(state.tobytes(), digest_size=12).hexdigest()}
