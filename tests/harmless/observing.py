"""What is observed of a workflow: outcome, files, messages, bits, calls, and operations on files."""

import hashlib
import io
import json
import logging
import os
import random
import re
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

# What depends on the time that something took.
TIME_KEY = re.compile(r"runtime|_per_second|_time$")
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")


class Run:
    """
    What a workflow gets.

    Args:
        folder: an empty folder.
        mode: "stock", "default", "off" or "strict".

    Attributes:
        out: the output folder that trainers have unless they are given another one, in `folder`.
        arguments: what to give to `TrainingArguments`.
    """

    def __init__(self, folder: Path, mode: str):
        self.folder = folder
        self.mode = mode
        self.out = folder / "out"
        self.arguments = {} if mode in ("stock", "default") else {"exact_resume": mode}
        self.calls: Counter[str] = Counter()
        self.offers: set[str] = set()
        self.bits: list[dict[str, Any]] = []
        self.resumed_bits: list[dict[str, Any]] = []

    def train(self, trainer, **options: Any) -> int:
        """Train without interruption; all bits of it are compared. Returns the step it ended at."""
        trainer.train(**options)
        self.bits.append(_bits(trainer))
        return trainer.state.global_step

    def resume(self, trainer, checkpoint: Any = True) -> int:
        """Resume; the parameters have to be those of stock, or those of an uninterrupted run of the same workflow."""
        trainer.train(resume_from_checkpoint=checkpoint if isinstance(checkpoint, bool) else str(checkpoint))
        self.resumed_bits.append(_bits(trainer))
        return trainer.state.global_step

    def called(self, name: str) -> None:
        """Count a call of the user's code."""
        self.calls[name] += 1


def _bits(trainer) -> dict[str, Any]:
    parameters = {name: value.detach() for name, value in trainer.model.state_dict().items()}
    rng = (random.getstate(), np.random.get_state(), torch.get_rng_state())
    log = [_without_times(entry) for entry in trainer.state.log_history]
    state = {"step": trainer.state.global_step, "epoch": trainer.state.epoch, "log": log}
    return {"parameters": digest(parameters), "rng": digest(rng), **state}


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_times(item) for name, item in value.items() if not TIME_KEY.search(name)}
    return [_without_times(item) for item in value] if isinstance(value, list) else value


def digest(value: Any) -> str:
    """A digest of tensors, arrays and what has a faithful `repr`, in containers."""
    hashed = hashlib.sha256()
    _update(hashed, value)
    return hashed.hexdigest()[:16]


def _update(hashed, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().contiguous()
        hashed.update(f"tensor {value.dtype} {tuple(value.shape)}".encode())
        hashed.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    elif isinstance(value, np.ndarray):
        hashed.update(f"array {value.dtype} {value.shape}".encode() + value.tobytes())
    elif isinstance(value, dict):
        for name, item in value.items():
            hashed.update(f"key {name!r}".encode())
            _update(hashed, item)
    elif isinstance(value, (list, tuple)):
        hashed.update(f"{type(value).__name__} {len(value)}".encode())
        for item in value:
            _update(hashed, item)
    else:
        hashed.update(repr(value).encode())


class Observer:
    """Watches this process while a workflow runs; made once, in a process that ends with it."""

    def __init__(self, run: Run, tree: str):
        self.run = run
        self.num_fsyncs = 0
        self.messages: list[str] = []
        self.changes: list[str] = []
        self._replaced = [(str(run.folder), "<folder>"), (tree, "<tree>")]
        self._is_watching = False

    def start(self) -> None:
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: self._note(f"{record.levelname} {record.name}: {record.getMessage()}")
        for name in (None, "transformers"):  # whose messages do not reach the root
            logging.getLogger(name).addHandler(handler)
        warnings.resetwarnings()
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ResourceWarning)  # which comes when the garbage is collected
        warnings.showwarning = self._note_warning
        sys.addaudithook(self._audit)
        # Nothing here has to outlast the machine; a workflow may put a failing one in its place.
        os.fsync = os.fdatasync = self._fsync
        self._is_watching = True
        self._begin = time.monotonic()

    def _fsync(self, descriptor) -> None:
        self.num_fsyncs += 1

    def _note_warning(self, message, category, filename, lineno, file=None, line=None) -> None:
        text = self.plain(f"{category.__name__}: {message}")
        if text not in self.messages:  # how often depends on how often the garbage is collected, for example
            self.messages.append(text)

    def _note(self, text: str) -> None:
        # Said where checkpoints are written within a second, so it depends on how busy the machine is.
        if "mtime may not be reliable" not in text:
            self.messages.append(self.plain(text))

    def plain(self, text: str) -> str:
        """Text without what differs between two runs: paths and addresses."""
        for path, name in self._replaced:
            text = text.replace(path, name)
        return re.sub(r"\b0x[0-9a-f]+", "0x", text)

    def _audit(self, event: str, arguments: tuple) -> None:
        if not self._is_watching:
            return
        if event == "open":
            path, mode, flags = arguments
            is_write = (
                bool(set(mode) & set("wax+")) if isinstance(mode, str) else bool(flags & (os.O_WRONLY | os.O_RDWR))
            )
            if not is_write:
                return
            paths = [path]
        elif event in CHANGES:
            paths = [argument for argument in arguments if isinstance(argument, (str, bytes, os.PathLike))]
        else:
            return
        paths = [self.plain(os.fsdecode(path)) for path in paths if isinstance(path, (str, bytes, os.PathLike))]
        # Names alone are what `rmtree` works with; the folder that it is in is not told here.
        if any(path.startswith("<folder>") or "/" not in path for path in paths):
            self.changes.append(" ".join([event, *paths]))

    def stop(self) -> dict[str, Any]:
        """What was observed, but for the outcome."""
        seconds, self._is_watching = time.monotonic() - self._begin, False
        run = self.run
        return {
            "seconds": seconds,
            "messages": self.messages,
            "num_fsyncs": self.num_fsyncs,
            "changes": sorted(self.changes),
            "files": {str(path.relative_to(run.folder)): self._describe(path) for path in _walk(run.folder)},
            "bits": run.bits,
            "resumed_bits": run.resumed_bits,
            "calls": dict(run.calls),
            "offers": sorted(run.offers),
        }

    def _describe(self, path: Path) -> dict[str, Any]:
        if path.is_symlink():
            return {"link": self.plain(os.readlink(path))}
        if path.is_dir():
            return {"folder": True}
        data = path.read_bytes()
        for replaced, name in self._replaced:
            data = data.replace(replaced.encode(), name.encode())
        description = {"bytes": hashlib.sha256(data).hexdigest()[:16]}
        try:
            if path.name == "trainer_state.json":
                description["bytes"] = digest(_without_times(json.loads(data)))
            elif path.name == "training_args.bin":
                arguments = vars(torch.load(path, weights_only=False))
                kept = {name: value for name, value in arguments.items() if name != "exact_resume"}
                description["bytes"] = digest(self.plain(repr(sorted(kept.items(), key=lambda item: item[0]))))
            elif re.fullmatch(r"rng_state(_\d+)?\.pth", path.name):
                states = torch.load(io.BytesIO(path.read_bytes()), weights_only=False)
                description["entries"] = {str(name): digest(value) for name, value in states.items()}
        except Exception:
            # A workflow may have put something else there; then the bytes are what is compared.
            pass
        return description


def _walk(folder: Path) -> list[Path]:
    found = []
    for parent, folders, files in os.walk(folder):
        found += [Path(parent, name) for name in (*folders, *files)]
    return sorted(found)
