"""End a process, or have it fail, at a chosen moment of a save; this is the part that runs in the process itself."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from exact_resume.matrix.interrupting import RequestCheckpoint

KILL, ERROR, LIMIT, FULL = "kill", "error", "limit", "full"
# Bytes of the file system that is filled, when it is not.
ROOM = 2**28
EVENTS = ("open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir")
WRITES = set("wax+")


class Moments:
    """
    Counts what a save does to the file system below a folder, and does something at one of these moments.

    A moment is what Python is about to do: open a file to write, rename, remove, or make a folder. What libraries
    write by themselves has a moment as well, when half of the file is written.

    Args:
        folder: The run's output folder.
    """

    def __init__(self, folder: Path):
        self.folder = f"{folder}{os.sep}"
        self.count = 0
        self.is_armed = False
        self.at, self.act = 0, lambda: None
        sys.addaudithook(self._hear)
        torch.save = self._halving(torch.save, 1)
        safetensors.torch.save_file = self._halving(safetensors.torch.save_file, 1)

    def arm(self) -> None:
        self.count, self.is_armed = 0, True

    def _hear(self, event: str, args: tuple) -> None:
        if self.is_armed and event in EVENTS and str(args[0]).startswith(self.folder):
            if event != "open" or WRITES & set(str(args[1])):
                self._see()

    def _see(self) -> None:
        self.count += 1
        if self.count == self.at:
            self.act()

    def _halving(self, save: Callable, position: int) -> Callable:
        def save_in_halves(*args, **kwargs):
            result = save(*args, **kwargs)
            path = args[position]
            if self.is_armed and str(path).startswith(self.folder):
                self.is_armed = False
                content = Path(path).read_bytes()
                Path(path).write_bytes(content[: len(content) // 2])
                self.is_armed = True
                self._see()
                self.is_armed = False
                Path(path).write_bytes(content)
                self.is_armed = True
            return result

        return save_in_halves


def kill() -> None:
    """Kill this process and all that it has started, and that has started it, with it."""
    os.killpg(0, signal.SIGKILL)


def fail() -> None:
    """What a write to a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def leave_room(file_system: Path, room: int) -> None:
    """Give a tmpfs, in a namespace of this user's, the size of what is on it, and `room` bytes."""
    status = os.statvfs(file_system)
    # Size 0 would be no limit.
    size = max(1, (status.f_blocks - status.f_bfree) * status.f_frsize + room)
    subprocess.run(["mount", "-o", f"remount,size={size}", file_system], check=True)


def prepare(trainer, folder: Path, fault: dict[str, Any], log: Callable[[dict], None]) -> None:
    """
    Arrange for a fault in a training that is about to begin, and log what it saves.

    Args:
        trainer: The trainer.
        folder: Its output folder.
        fault: `kind`, one of "kill", "error", "limit" and "full"; `step`, at whose save it happens; `at`, the number
            of the moment, or, of "limit", the size that no file can exceed, or, of "full", the bytes that are left on
            the file system, which is mounted at the parent of `folder`; `event`, at which the handler of SIGTERM saves
            the checkpoint of this step once more, if the fault is to hit that. Empty for none.
        log: Takes a line of the log.
    """
    save, moments = trainer._save_checkpoint, Moments(folder)
    kind, event = fault.get("kind"), fault.get("event")
    moments.act = {KILL: kill, ERROR: fail}.get(kind, lambda: None)
    moments.at = fault.get("at", 0)
    file_system = folder.parent if os.path.ismount(folder.parent) else None
    if file_system is not None:  # an attempt before this one may have filled it
        leave_room(file_system, ROOM)
    if event is not None:
        request = RequestCheckpoint(trainer, event, fault["step"])
        trainer.add_callback(request)
        execute = request.manager.execute_jit_checkpoint

        def execute_jit_checkpoint() -> None:
            moments.arm()
            execute()

        request.manager.execute_jit_checkpoint = execute_jit_checkpoint

    def save_checkpoint(model, trial) -> None:
        step = trainer.state.global_step
        # One that was interrupted before is not hit again.
        is_hit = step == fault.get("step") and event is None and not (folder / f"checkpoint-{step}").is_dir()
        if is_hit and kind == LIMIT:
            resource.setrlimit(resource.RLIMIT_FSIZE, (fault["at"], resource.RLIM_INFINITY))
        elif is_hit and kind == FULL:
            leave_room(file_system, fault["at"])
        elif is_hit:
            moments.arm()
        save(model, trial)
        if is_hit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        log({"saved": step, **({"moments": moments.count} if is_hit else {})})
        moments.is_armed = False

    trainer._save_checkpoint = save_checkpoint
