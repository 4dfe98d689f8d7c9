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
"""The file of a checkpoint that has the RNG states of a process: its name, its checksum, and how it is read."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ..utils import check_torch_load_is_safe
from .errors import logger, report_inexact
from .generators import check_rng_state


CHECKSUM = "checksum"


def rng_file_name(args) -> str:
    """Name, in a checkpoint, of the file with the RNG states of this process."""
    return "rng_state.pth" if args.world_size <= 1 else f"rng_state_{args.process_index}.pth"


def after_on_save(path: str) -> str:
    """
    The file in which a checkpoint has the RNG states that followed the callbacks of `on_save`, if these have drawn.
    """
    return path.removesuffix(".pth") + "_after_on_save.pth"


def next_steps_file(path: str) -> str:
    """The file in which a checkpoint has digests of the update steps that followed."""
    return path.removesuffix(".pth") + "_next_steps.pth"


def save_next_steps(path: str, stored: dict[str, Any]) -> None:
    """Write that file, at once or, if that fails, not at all."""
    temporary = f"{next_steps_file(path)}.tmp"
    try:
        torch.save(add_checksum(stored), temporary)
        os.replace(temporary, next_steps_file(path))
    except (OSError, RuntimeError):  # the folder may be on its way out
        with contextlib.suppress(OSError):
            os.remove(temporary)


def load_next_steps(path: str) -> dict[str, Any] | None:
    """What is in that file; `None` if there is none, or if it is damaged, after a warning."""
    if not os.path.isfile(path := next_steps_file(path)):
        return None
    try:
        stored = check_checksum(_load(path))
    except Exception:  # whatever unpickling a damaged file leads to
        logger.warning_once(f"{path} is damaged, and the steps after the checkpoint are not compared with it.")
        return None
    return {name: value for name, value in stored.items() if name != CHECKSUM}


def load_rng_file(path: str, mode: str) -> dict[str, Any] | None:
    """
    Read the RNG states of a process, in a file that this or an earlier version of the [`Trainer`] wrote.

    Args:
        path (`str`): The file. If callbacks have drawn in `on_save`, the one with what followed is read instead.
        mode (`str`): The value of `TrainingArguments.exact_resume`; decides what happens when the file is damaged.

    Returns:
        `dict` or `None`: The RNG states, or `None` for a damaged file, after a warning.

    Raises:
        ExactResumeError: If the file is damaged and `mode` is `"strict"`.
    """
    if mode == "off":
        return _load(path)
    states = _load_checked(path, mode)
    if states is None or not os.path.isfile(after_on_save(path)):
        return states
    following = _load_checked(after_on_save(path), mode)
    if following is None:
        return states
    # Of another save, it is from before the step was written anew
    saves = [(content.get("exact_resume") or {}).get("save") for content in (states, following)]
    return {**states, **following} if saves[0] == saves[1] else states


def _load(path: str) -> dict[str, Any]:
    # The name in that module is what others replace; not at the top, as that module imports this one
    from ..trainer import safe_globals

    with safe_globals():
        check_torch_load_is_safe()
        return torch.load(path, weights_only=True)


def _load_checked(path: str, mode: str) -> dict[str, Any] | None:
    try:
        return check_rng_state(check_checksum(_load(path)))
    except Exception as error:  # whatever unpickling a damaged file leads to
        # Without the advice to load such a file in a way that is not safe
        cause = f"{type(error).__name__}: {error}".partition("\n")[0].partition(". ")[0]
    report_inexact(mode, f"{path} is damaged, and no RNG state is restored from it ({cause}).")
    return None


def add_checksum(states: dict[str, Any]) -> dict[str, Any]:
    """Return `states` with a checksum of them."""
    states = {name: value for name, value in states.items() if name != CHECKSUM}
    return {**states, CHECKSUM: {"names": list(states), "digest": _checksum(states)}}


def check_checksum(states: dict[str, Any]) -> dict[str, Any]:
    """
    Return `states`, to which others may have added something, or which an earlier version may have written.

    Raises:
        ValueError: If the checksum is that of other states, or missing.
    """
    record = states.get("exact_resume")
    if CHECKSUM in states or (record is not None and record["version"] > 1):
        checksum = states.get(CHECKSUM)
        if not isinstance(checksum, dict):  # of format version 2
            checksum = {"names": [name for name in states if name != CHECKSUM], "digest": checksum}
        known = {name: states[name] for name in checksum["names"]}
        if checksum["digest"] != _checksum(known):
            raise ValueError("its checksum is not that of its content")
    return states


def _checksum(value: Any) -> str:
    pieces = (piece for part in _parts(value) for piece in (len(part).to_bytes(8, "little"), part))
    return hashlib.blake2b(b"".join(pieces), digest_size=16).hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    """The bytes of nested containers, with their types, sizes and order."""
    if isinstance(value, torch.Tensor):
        yield f"tensor {value.dtype} {list(value.shape)}".encode()
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, np.ndarray):
        yield f"array {value.dtype} {value.shape}".encode()
        yield value.tobytes()
    elif isinstance(value, dict):
        yield f"dict {len(value)}".encode()
        for key, entry in value.items():
            yield from _parts(key)
            yield from _parts(entry)
    elif isinstance(value, (list, tuple)) and set(map(type, value)) - {int}:
        yield f"{type(value).__name__} {len(value)}".encode()
        for entry in value:
            yield from _parts(entry)
    else:
        yield f"{type(value).__name__} {value!r}".encode()
