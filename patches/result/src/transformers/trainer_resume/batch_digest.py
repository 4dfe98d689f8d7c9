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
"""Digests of batches and of their indices, by which a resume tells whether it repeats them."""

import inspect
import zlib
from array import array
from collections import UserDict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch


# Of a tensor, in bytes: so much of it is read, in so many pieces at most, each of which is as long or shorter.
MAX_SIZE = 2**16
NUM_PIECES = 8
MIN_PIECE_SIZE = 2**12
MAX_FIELDS = 1000
MAX_ENTRIES = 4096
MAX_DEPTH = 16

_PLAIN = {type(None), bool, int, float, complex, str, bytes}

# By field, what it is, and the CRC-32 of its pieces, such as `{"labels": ["int64 [8]", 3421780262]}`
Digest = dict[str, list]


def digest_batch(batch: Any, unchecked: Iterable[str] = ()) -> Digest:
    """
    Return a digest of what is in a batch.

    Args:
        batch: Tensors, NumPy arrays, numbers and strings, in dictionaries, lists and tuples. Of other objects, it has
            the type only.
        unchecked (`Iterable[str]`): The names of fields that are left out.

    Returns:
        `dict[str, list]`: By field, a description and the CRC-32 of its pieces: all of the bytes of a tensor up to 64
        KiB, beyond that pieces of it, evenly spread.
    """
    return {name: _digest(value) for name, value in islice(_fields("", batch, frozenset(unchecked)), MAX_FIELDS)}


def find_difference(expected: Digest, actual: Digest) -> str | None:
    """Return in words where a batch differs from what it was, or `None`."""
    if expected == actual:
        return None
    for name in [*expected, *(name for name in actual if name not in expected)]:
        before, after = expected.get(name), actual.get(name)
        if before == after:
            continue
        field = f"field `{name}`" if name else "it"
        if before is None or after is None:
            return f"{field} was {(before or ['missing'])[0]}, and is {(after or ['missing'])[0]}"
        if before[0] != after[0]:
            return f"{field} was {before[0]}, and is {after[0]}"
        pieces = zip(before[1:], after[1:])
        number, digests = next((index, piece) for index, piece in enumerate(pieces) if piece[0] != piece[1])
        place = "" if len(before) == 2 else f" in piece {number + 1} of {len(before) - 1}"
        return f"{field} ({before[0]}) differs{place}: its digest was {digests[0]:08x}, and is {digests[1]:08x}"
    return None


def unchecked_fields(objects: Iterable[Any]) -> frozenset[str]:
    """
    The fields of a batch that differ between two runs by nature, such as a time stamp: those that a dataset or a
    collate function names in an attribute `unchecked_fields`, a string or a list of strings.
    """
    names = set()
    for value in objects:
        fields = inspect.getattr_static(value, "unchecked_fields", ())  # which calls nothing of it
        fields = [fields] if isinstance(fields, str) else fields
        if isinstance(fields, (list, tuple, set, frozenset)):
            names.update(name for name in fields if isinstance(name, str))
    return frozenset(names)


def digest_indices(indices: Any, digest: int | None) -> int | None:
    """
    Return the digest of indices that follow others.

    Args:
        indices: What a sampler drew: an index, a batch of them, or several; it makes no difference which.
        digest (`int`, *optional*): The digest of those before, 0 if there are none, `None` if it is not known.
    """
    if digest is None:
        return None
    if type(indices) not in (list, tuple):
        indices = indices.tolist() if isinstance(indices, (torch.Tensor, np.ndarray)) else indices
        indices = indices if type(indices) is list else (indices,)
    try:
        return zlib.crc32(array("q", indices), digest)
    except (TypeError, OverflowError):
        for index in indices:
            if isinstance(index, (list, tuple, torch.Tensor, np.ndarray)):
                digest = digest_indices(index, digest)
            else:
                digest = zlib.crc32((repr(index) if type(index) in _PLAIN else type(index).__name__).encode(), digest)
        return digest


def _fields(name: str, value: Any, unchecked: frozenset[str], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """What is in a batch, by name: of its own keys, as they are, and of what is within, joined with points."""
    if name in unchecked or depth > MAX_DEPTH:
        return
    if isinstance(value, UserDict):
        value = vars(value).get("data")
    # As these classes have them, and not as a subclass may make them up
    if isinstance(value, dict):
        entries = dict.items(value)
    elif isinstance(value, (list, tuple)) and not _PLAIN.issuperset(map(type, value)):
        entries = enumerate(list.__iter__(value) if isinstance(value, list) else tuple.__iter__(value))
    else:
        yield name, value
        return
    for key, entry in entries:
        key = str(key) if type(key) in _PLAIN else type(key).__name__
        yield from _fields(f"{name}.{key}" if name else key, entry, unchecked, depth + 1)


def _digest(value: Any) -> list:
    kind = type(value)
    try:
        if isinstance(value, torch.Tensor):
            return _digest_tensor(value)
        if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
            data = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
            return [f"array {value.dtype} {list(value.shape)}", *_digest_bytes(data)]
        if kind in _PLAIN:
            return [kind.__name__, zlib.crc32(repr(value).encode())]
        if isinstance(value, (list, tuple)):  # of these
            entries = value[:: 1 + len(value) // MAX_ENTRIES]
            return [f"{kind.__name__} {len(value)}", zlib.crc32(repr(list(entries)).encode())]
    except Exception:  # of a tensor that is stored in another way
        pass
    return [kind.__name__]


def _digest_tensor(tensor: torch.Tensor) -> list:
    description = f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized or tensor.is_meta:
        return [f"{tensor.layout} {description}"]
    tensor = tensor.detach().as_subclass(torch.Tensor).resolve_conj().resolve_neg()
    flat = tensor.contiguous().reshape(-1).view(torch.uint8)
    return [description, *_digest_bytes(flat.numpy() if flat.device.type == "cpu" else flat)]


def _digest_bytes(data: torch.Tensor | np.ndarray) -> list[int]:
    """The CRC-32 of each piece of an array of bytes."""
    size = len(data)
    number = min(NUM_PIECES, max(1, size // MIN_PIECE_SIZE))
    length = min(-(-size // number), MAX_SIZE // number) if size > 0 else 0
    # Of all that is too long to be read whole, the last piece ends where it ends.
    starts = [(size - length) * index // (number - 1) if number > 1 else 0 for index in range(number)]
    if size <= MAX_SIZE:
        starts = [length * index for index in range(number)]
    pieces = (data[start : start + length] for start in starts)
    # Of what a device has, only these are copied.
    return [zlib.crc32(piece.cpu().numpy() if isinstance(piece, torch.Tensor) else piece) for piece in pieces]
