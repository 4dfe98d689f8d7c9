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
Checked states: what tells a resume whether the files of a checkpoint are as they were written, and belong together.

The file with the RNG states of a process has a checksum of them, and says by which process, at which step and in which save it
was written. The manifest says the same of the save, and how large each file was; of the trainer state it has a checksum, too.
Weights and optimizer states have none, which would have to read them again.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from .trainer_checkpoint_files import MANIFEST_NAME, STATE_NAME, read_manifest


CHECKSUM = "checksum"
# A resume goes on without these, and from another state.
_OPTIONAL = ("optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".distcp")


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
        if not isinstance(checksum, dict):  # of an earlier version
            checksum = {"names": [name for name in states if name != CHECKSUM], "digest": checksum}
        known = {name: states[name] for name in checksum["names"]}
        if checksum["digest"] != _checksum(known):
            raise ValueError("its checksum is not that of its content")
    return states


def _checksum(value: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in _parts(value):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


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
    elif isinstance(value, (list, tuple)) and not all(type(entry) is int for entry in value):
        yield f"{type(value).__name__} {len(value)}".encode()
        for entry in value:
            yield from _parts(entry)
    else:
        yield f"{type(value).__name__} {value!r}".encode()


def describe_state(folder: str) -> str | None:
    """A checksum of what a resume reads of the trainer state of a checkpoint, however it is written down."""
    try:
        with open(os.path.join(folder, STATE_NAME), encoding="utf-8") as file:
            state = json.load(file)
        state.pop("log_history", None)  # which callbacks shorten
        return hashlib.blake2b(json.dumps(state, sort_keys=True).encode(), digest_size=16).hexdigest()
    except (OSError, ValueError, AttributeError):
        return None


def find_changes(folder: str, save_id: str | None) -> tuple[list[str], str | None]:
    """
    Compare a checkpoint with its manifest.

    Args:
        folder (`str`): The checkpoint.
        save_id (`str`, *optional*): The save in which the RNG file of this process was written.

    Returns:
        `tuple[list[str], str | None]`: What keeps a resume from being exact; and what may do so, as nobody can tell.
    """
    manifest = read_manifest(folder)
    if manifest is None:  # it may be of an earlier version, or of a copy of some of the files
        path = os.path.join(folder, MANIFEST_NAME)
        return [], f"{path} cannot be read" if os.path.lexists(path) else None
    if not manifest:
        return [], None
    if manifest["save"] != save_id:
        return [f"the RNG states in {folder} are of another save than its manifest, as if from another run"], None
    changes = []
    if manifest.get("trainer_state") not in (None, describe_state(folder)):
        changes.append(f"{os.path.join(folder, STATE_NAME)} was changed, or is of another checkpoint")
    doubts = []
    for name, size in manifest["files"].items():
        path = os.path.join(folder, *name.split("/"))
        if not os.path.isfile(path):
            changes += [f"{path} is missing"] if name in _OPTIONAL else []
        elif os.path.getsize(path) != size and name.endswith(_WEIGHTS) and name != "training_args.bin":
            doubts.append(f"{path} has {os.path.getsize(path)} bytes, and had {size} when the checkpoint was written")
    return changes, "; ".join(doubts) or None
