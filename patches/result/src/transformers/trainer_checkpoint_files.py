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
The files of a checkpoint: which of them the [`Trainer`] has written, and how they are kept while they are written
anew.

The manifest of a checkpoint names the files that were written between the begin and the end of a save. Only these are
ever removed. It says how large they were, so that a resume can tell whether they are as they were written. Of the
trainer state it has a checksum, too; weights and optimizer states would have to be read again for one. Nothing here is
for one process only; `trainer_checkpoints.py` says which of them calls it.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from typing import Any


INCOMPLETE_NAME = "checkpoint-is-incomplete.txt"
MANIFEST_NAME = "checkpoint_manifest.json"
MANIFEST_VERSION = 2  # 1 had the sizes of some files only
STATE_NAME = "trainer_state.json"
# An upload of the output folder leaves out what begins with an underscore.
REPLACED_NAME = "_replaced"
# What the callbacks of `on_save` leave to store, when the manifest is written already, see `trainer_resume/files.py`
AFTER_ON_SAVE = "_after_on_save.pth"
_OPTIONAL = ("optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".distcp")
# Of `fsync`, where a file system does not have it, does not let this user call it, or another run has removed the file
_NOT_SUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF}
_NOT_SUPPORTED |= {errno.EACCES, errno.EPERM, errno.ENOENT}


def read_manifest(folder: str) -> dict[str, Any] | None:
    """
    What [`write_manifest`] wrote; `None` if there is no manifest or it cannot be read, nothing if it has another
    version.
    """
    try:
        with open(os.path.join(folder, MANIFEST_NAME), encoding="utf-8") as file:
            manifest = json.load(file)
        return {**manifest, "files": dict(manifest["files"])} if manifest["version"] == MANIFEST_VERSION else {}
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_manifest(folder: str, sizes: dict[str, int], run_id: str, save_id: str | None) -> None:
    """
    Write down what a save has written.

    Args:
        folder (`str`): The checkpoint.
        sizes (`dict[str, int]`): The sizes of the files in bytes, by their names.
        run_id (`str`): An identifier of the run, which is that of the one that it continues.
        save_id (`str`, *optional*): An identifier of the save, which the RNG files have, too.
    """
    content = {
        "version": MANIFEST_VERSION,
        "run": run_id,
        "save": save_id,
        "trainer_state": describe_state(folder),
        "files": dict(sorted(sizes.items())),
    }
    path = os.path.join(folder, MANIFEST_NAME)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
    bring_to_disk(path)


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


def has_all_files(folder: str) -> bool:
    """Whether `folder` has what its manifest names, which is written last and removed first."""
    manifest = read_manifest(folder)
    if not manifest:
        return False
    paths = ((os.path.join(folder, *name.split("/")), size) for name, size in manifest["files"].items())
    return all(os.path.isfile(path) and os.path.getsize(path) == size for path, size in paths)


def write_mark(folder: str, run_id: str) -> None:
    """Mark a checkpoint as one that this process is writing."""
    mark = os.path.join(folder, INCOMPLETE_NAME)
    with open(mark, "w", encoding="utf-8") as file:
        file.write("This checkpoint is being written, or the run was interrupted while it was.\n")
        file.write(f"run: {run_id}\nprocess: {os.getpid()} on {socket.gethostname()}\n")
    bring_to_disk(mark)
    bring_to_disk(folder)


def read_mark(folder: str) -> list[str]:
    """The lines of the mark of a checkpoint; none if there is no mark."""
    try:
        with open(os.path.join(folder, INCOMPLETE_NAME), encoding="utf-8") as file:
            return file.read().splitlines()
    except (OSError, ValueError):
        return []


def is_abandoned(folder: str) -> bool:
    """Whether what was writing a checkpoint was this process, before, or one of this machine that has ended."""
    for line in read_mark(folder):
        words = line.split()
        if words[:1] == ["process:"] and words[2:] == ["on", socket.gethostname()] and words[1].isdecimal():
            # Elsewhere, there is no such way to ask
            process = int(words[1])
            return process == os.getpid() or (os.name == "posix" and not _is_running(process))
    return False


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def keep_replaced(folder: str) -> list[str]:
    """Link the files of a complete checkpoint into a folder within it; return their names, the manifest first."""
    if not has_all_files(folder):  # not complete, or not ours
        return []
    names = _names_of_ours(folder)
    replaced = os.path.join(folder, REPLACED_NAME)
    shutil.rmtree(replaced, ignore_errors=True)  # of a process that was killed here
    for name in names:
        _link(os.path.join(folder, *name.split("/")), os.path.join(replaced, *name.split("/")))
    bring_to_disk(replaced)
    return names[::-1]


def put_back(folder: str) -> None:
    """Undo [`keep_replaced`], and the save that followed it."""
    replaced = os.path.join(folder, REPLACED_NAME)
    for name in _names_of_ours(replaced):
        target = os.path.join(folder, *name.split("/"))
        if os.path.lexists(target):
            os.remove(target)
        _link(os.path.join(replaced, *name.split("/")), target)
    os.remove(os.path.join(folder, INCOMPLETE_NAME))
    shutil.rmtree(replaced, ignore_errors=True)


def _names_of_ours(folder: str) -> list[str]:
    """The files of a complete checkpoint that the [`Trainer`] has written, the manifest last."""
    names = [name for name, _ in files_of(folder) if name.endswith(AFTER_ON_SAVE)]
    return [*names, *(name for name in read_manifest(folder)["files"] if name not in names), MANIFEST_NAME]


def _link(source: str, target: str) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # not every file system has links
        shutil.copy2(source, target)


def files_of(folder: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """The files of a checkpoint, by names with slashes, with their sizes and times."""
    for parent, folders, names in os.walk(folder):
        if parent == folder and REPLACED_NAME in folders:
            folders.remove(REPLACED_NAME)
        for name in names:
            path = os.path.join(parent, name)
            with contextlib.suppress(FileNotFoundError):
                stat = os.stat(path)
                relative = path[len(folder) :].lstrip(os.sep).replace(os.sep, "/")
                if relative not in (INCOMPLETE_NAME, MANIFEST_NAME):
                    yield relative, (stat.st_size, stat.st_mtime_ns)


def bring_to_disk(path: str) -> None:
    try:
        # Windows needs a descriptor to write to, and has none for a folder.
        descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # What could not be written is an error of the save, as it is where the file is written.
        if error.errno not in _NOT_SUPPORTED:
            raise
