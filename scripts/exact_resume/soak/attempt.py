"""One attempt of a run: train from the newest checkpoint, if there is one, and log what happens; runs in a process."""

import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.trainer_utils import get_last_checkpoint

from exact_resume.matrix import distributed
from exact_resume.matrix.recording import Recorder
from exact_resume.matrix.running import release_workers
from exact_resume.matrix.scenarios import SCENARIOS
from exact_resume.matrix.scenarios.base import ARGUMENTS
from exact_resume.soak import faults
from exact_resume.soak.cases import Case

# Seconds that the other ranks get after one has ended, as a launcher gives them.
GRACE = 1.0


class LoggingRecorder(Recorder):
    """
    A recorder whose events survive the end of their process.

    Args:
        trainer: The trainer.
        log: Takes a line of the log.
    """

    def __init__(self, trainer, log: Callable[[dict], None]):
        super().__init__(trainer)
        self.log = log

    def _add(self, stream: str, what: str, value: Any, micro_batch: int | None = None) -> None:
        super()._add(stream, what, value, micro_batch)
        self.log({"event": asdict(self.events.pop())})

    def on_train_begin(self, args, state, control, **kwargs):
        self.log({"resumed": state.global_step, "time": time.monotonic()})

    def on_train_end(self, args, state, control, **kwargs):
        # The handler of SIGTERM ends a training before its end, with evaluations that no other run has.
        if state.global_step >= state.max_steps:
            super().on_train_end(args, state, control, **kwargs)
            self.log({"finished": state.global_step, "time": time.monotonic()})


def reason_to_skip(case: Case) -> str | None:
    """Why a case cannot be run on this tree, or `None`."""
    scenario = SCENARIOS[case.scenario]
    return replace(scenario, arguments={**scenario.arguments, **case.arguments}).reason_to_skip()


def train(name: str, folder: Path, log_path: Path, arguments: dict[str, Any], fault: dict[str, Any]) -> None:
    """
    Train until the end, or until the fault.

    Args:
        name: The scenario.
        folder: The run's output folder, the same for all of its attempts.
        log_path: Where lines of JSON are written: "resumed", "event", "saved", "finished".
        arguments: `TrainingArguments` that are not the scenario's.
        fault: See `faults.prepare`; of another rank's it is empty.
    """
    descriptor = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def log(line: dict) -> None:
        os.write(descriptor, f"{json.dumps(line)}\n".encode())

    seed = os.getpid()  # as good as that of any process
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    scenario = SCENARIOS[name]
    strict = {"exact_resume": "strict"} if "exact_resume" in ARGUMENTS else {}
    trainer = scenario.make_trainer(folder, **strict, **arguments)
    for callback in trainer.callback_handler.callbacks:
        if getattr(callback, "jit_manager", None) is not None:
            callback.jit_manager.kill_wait = 0.0
    LoggingRecorder(trainer, log)
    faults.prepare(trainer, folder, fault, log)
    folder.mkdir(parents=True, exist_ok=True)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)) is not None)
    release_workers(trainer)


def run(name: str, folder: str, log: str, arguments: dict[str, Any], fault: dict[str, Any]) -> int:
    """As `train`, on as many ranks as the scenario has; returns an exit code."""
    num_processes = SCENARIOS[name].num_processes
    if num_processes == 1:
        return _report(lambda: train(name, Path(folder), Path(f"{log}.0"), arguments, fault))
    # Beside the log, and so in a folder that is removed even where this process is killed.
    with tempfile.TemporaryDirectory(dir=Path(log).parent) as rendezvous:
        ranks = []
        for rank in range(num_processes):
            own = fault if rank == fault.get("rank", 0) else {}

            def serve(rank=rank, own=own) -> None:
                distributed.join(rank, num_processes, Path(rendezvous), timeout=60.0)
                train(name, Path(folder), Path(f"{log}.{rank}"), arguments, own)

            ranks.append(_fork(serve))
        return _wait_for(ranks)


def _fork(function: Callable[[], None]) -> int:
    if (pid := os.fork()) == 0:
        os._exit(_report(function))
    return pid


def _report(function: Callable[[], None]) -> int:
    try:
        function()
        return 0
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stderr.flush()


def _wait_for(pids: list[int]) -> int:
    """As a launcher does: when one rank fails, the others are ended."""
    codes, deadline = {}, None
    while len(codes) < len(pids):
        for pid in set(pids) - codes.keys():
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                codes[pid] = status
                if status != 0:
                    deadline = deadline or time.monotonic() + GRACE
        if deadline is not None and time.monotonic() > deadline:
            for pid in set(pids) - codes.keys():
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    return int(any(codes.values()))
