"""
Run a scenario on several ranks, with gloo on the CPU.

The ranks are started once for all runs of a cell. Their events are merged into one list in which each names its rank,
so that runs are compared as those of one process are.
"""

import contextlib
import faulthandler
import itertools
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from exact_resume.matrix import breaking
from exact_resume.matrix.client import FOLDER_VARIABLE
from exact_resume.matrix.recording import Event
from exact_resume.matrix.running import train
from exact_resume.matrix.scenarios import SCENARIOS, Scenario

# Older releases load what a rank saved to the device "cpu:RANK", of which PyTorch knows only "cpu".
torch.serialization.register_package(
    100, lambda storage: None, lambda storage, location: storage if location.startswith("cpu:") else None
)

# Seconds after which a run is taken for hung; those of the matrix take less than ten.
TIMEOUT = 120.0


class RankFailed(Exception):
    """A rank raised an error, died or hung."""


class Ranks:
    """
    Processes that train together, and that end together when one of them fails.

    Args:
        num_processes: Number of ranks.
        timeout: Seconds after which a call is taken for hung.
    """

    def __init__(self, num_processes: int, timeout: float = TIMEOUT):
        self.timeout = timeout
        # For the rendezvous, which therefore needs no port, and for the stacks of hung ranks.
        self._folder = tempfile.TemporaryDirectory(prefix="ranks-", dir=os.environ.get(FOLDER_VARIABLE))
        # The server that they are forked from imports transformers once.
        context = multiprocessing.get_context("forkserver")
        self._processes, self._connections = [], []
        for rank in range(num_processes):
            connection, other_end = context.Pipe()
            args = (other_end, rank, num_processes, Path(self._folder.name), timeout)
            process = context.Process(target=_serve, args=args)
            process.start()
            other_end.close()
            self._processes.append(process)
            self._connections.append(connection)

    def call(self, function: Callable, *args, **kwargs) -> list[Any]:
        """
        Call a function on all ranks.

        Args:
            function: A function of a module, so that it can be pickled.
            args: Its arguments, the same on every rank.
            kwargs: Its keyword arguments.

        Returns:
            What it returned, by rank.

        Raises:
            RankFailed: If a rank raises an error, dies or hangs; none is left running then.
        """
        results, deadline = {}, time.monotonic() + self.timeout
        try:
            for connection in self._connections:
                with contextlib.suppress(BrokenPipeError):
                    connection.send((function, args, kwargs))
            while missing := [rank for rank in range(len(self._processes)) if rank not in results]:
                sentinels = [process.sentinel for process in self._processes]
                connections = [self._connections[rank] for rank in missing]
                ready = wait([*connections, *sentinels], max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise RankFailed(self._describe_hang(missing))
                for rank in missing:
                    if self._connections[rank] in ready:
                        results[rank] = self._receive(rank)
                self._check_alive(0.0)
        except BaseException:
            self._kill()
            raise
        return [result for _, result in sorted(results.items())]

    def train(
        self, scenario: Scenario, folder: Path, checkpoint: Path | None = None, save: bool = True
    ) -> list[Event]:
        """As `running.train`, on all ranks."""
        return merge(self.call(_train, scenario.name, folder, checkpoint, save))

    def _receive(self, rank: int) -> Any:
        try:
            error, result = self._connections[rank].recv()
        except (EOFError, ConnectionResetError):
            error, result = "its connection was closed", None
        if error is not None:
            # When a rank dies, the others raise errors, which say less.
            self._check_alive(2.0)
            raise RankFailed(f"rank {rank}: {error}")
        return result

    def _check_alive(self, timeout: float) -> None:
        dead = wait([process.sentinel for process in self._processes], timeout)
        for rank, process in enumerate(self._processes):
            if process.sentinel in dead:
                process.join()
                raise RankFailed(f"rank {rank} died with exit code {process.exitcode}")

    def _describe_hang(self, ranks: list[int]) -> str:
        message = f"no answer from rank {', '.join(map(str, ranks))} within {self.timeout:g} s"
        for rank in ranks:
            os.killpg(self._processes[rank].pid, signal.SIGUSR1)  # its workers dump their stacks, too
        time.sleep(0.5)
        for rank in ranks:
            message += f"\nrank {rank}: {_stack_path(Path(self._folder.name), rank).read_text()}"
        return message

    def _kill(self) -> None:
        for process in self._processes:
            if process.is_alive():
                try:
                    os.killpg(process.pid, signal.SIGKILL)  # with the workers of its dataloader
                except ProcessLookupError:  # it has no group yet
                    process.kill()

    def close(self) -> None:
        """End the ranks."""
        for connection in self._connections:
            connection.close()
        deadline = time.monotonic() + 5.0
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
        self._kill()
        for process in self._processes:
            process.join()
        self._folder.cleanup()

    def __enter__(self) -> "Ranks":
        return self

    def __exit__(self, *details) -> None:
        self.close()


def _stack_path(folder: Path, rank: int) -> Path:
    return folder / f"stack-{rank}.txt"


def _serve(connection: Connection, rank: int, num_processes: int, folder: Path, timeout: float) -> None:
    """Runs in a rank: answer calls until the connection is closed."""
    os.setpgrp()
    stack = _stack_path(folder, rank).open("w")
    faulthandler.register(signal.SIGUSR1, stack)
    os.fsync = lambda descriptor: None  # as the process that starts the ranks does
    torch.set_num_threads(1)
    # Its workers are to be started as those of any other process are.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    os.environ["OMP_NUM_THREADS"] = "1"  # or Accelerate would set the number of threads
    if num_processes > 1:
        join(rank, num_processes, folder, timeout)
    while True:
        try:
            function, args, kwargs = connection.recv()
        except EOFError:
            return
        try:
            answer = (None, function(*args, **kwargs))
        except Exception as error:
            traceback.print_exc()
            answer = (f"{type(error).__name__}: {error}", None)
        connection.send(answer)


def join(rank: int, num_processes: int, folder: Path, timeout: float) -> None:
    """Join the process group that Accelerate will find, with the environment that a launcher sets."""
    for name, value in (("RANK", rank), ("WORLD_SIZE", num_processes)):
        os.environ[name] = os.environ[f"LOCAL_{name}"] = str(value)
    if "lo" in [name for _, name in socket.if_nameindex()]:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # whatever the name of this machine resolves to
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/rendezvous", timedelta(seconds=timeout), num_processes, rank
    )


def _train(name: str, folder: Path, checkpoint: Path | None, save: bool) -> list[Event]:
    return train(SCENARIOS[name], folder, checkpoint, save)


def merge(events_by_rank: list[list[Event]]) -> list[Event]:
    """
    Merge the events of ranks into one list: by step, then by position within the step, then by rank.

    The first difference to another merged list is then the first on any rank, as ranks do the same things in parallel.
    """
    merged = []
    for rank, events in enumerate(events_by_rank):
        for step, events_of_step in itertools.groupby(events, key=lambda event: event.step):
            for position, event in enumerate(events_of_step):
                merged.append((step, position, rank, replace(event, what=f"{event.what} on rank {rank}")))
    return [event for *_, event in sorted(merged, key=lambda entry: entry[:3])]


def launch(scenario: Scenario, folder: Path, record: Path, checkpoint: Path | None = None) -> list[Event]:
    """As `running.train`, in fresh processes that `accelerate launch` starts."""
    options = {
        "num_machines": 1,
        "num_processes": scenario.num_processes,
        "num_cpu_threads_per_process": 1,
        "mixed_precision": "no",
        "dynamo_backend": "no",
        "main_process_port": 0,  # any free one
    }
    # With `--cpu` it needs mpirun. As it is, it starts ranks as torchrun does; the Trainer is told to use the CPU.
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += [f"--{name}={value}" for name, value in options.items()]
    command += ["-m", "exact_resume.matrix.distributed", scenario.name, str(folder), str(record)]
    command += [] if checkpoint is None else [str(checkpoint)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        raise RankFailed(f"accelerate launch failed:\n{done.stderr[-2000:]}")
    records = [torch.load(f"{record}.{rank}", weights_only=True) for rank in range(scenario.num_processes)]
    return merge([[Event(**event) for event in events] for events in records])


def flip_a_byte(folder: Path, kind: str, rank: int = 1) -> None:
    """As `breaking.flip_a_byte`, in what one rank wrote."""
    for path in folder.glob(f"checkpoint-*/rng_state_{rank}.pth"):
        # It looks for the file of a run of one process.
        alone = path.rename(path.with_name("rng_state.pth"))
        breaking.flip_a_byte(folder, kind)
        alone.rename(path)


def main() -> None:
    """One rank of a run: NAME FOLDER RECORD [CHECKPOINT]; a launcher has set the environment."""
    name, folder, record, *checkpoint = sys.argv[1:]
    torch.set_num_threads(1)
    events = train(SCENARIOS[name], Path(folder), Path(checkpoint[0]) if checkpoint else None)
    torch.save([asdict(event) for event in events], f"{record}.{os.environ['RANK']}")


if __name__ == "__main__":
    main()
