"""Look for what a long run leaves behind: memory, file descriptors, processes, shared memory. Imports no torch."""

import json
import os
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from exact_resume.matrix.client import environment_for
from exact_resume.soak.processes import abandoned, mapped, session

# Bytes by which a run may grow in its second half, as an allocator keeps what it may need again.
TOLERANCE = 16 * 2**20
# Seconds in which the workers of a process that was killed have to notice it; they look every five.
PATIENCE = 60.0
# Seconds between two looks at what the processes hold.
PERIOD = 0.1


def look_for_leaks(tree: Path, python: Path, num_steps: int) -> dict[str, Any]:
    """
    Train while workers end and are replaced, once to the end and once until the process is killed.

    Args:
        tree: A folder that holds the package `transformers/`.
        python: The interpreter.
        num_steps: The number of update steps, of 50 for each pair of workers.

    Returns:
        `samples` of what the process holds, `seconds_until_gone`, in which the workers of the killed process ended,
        and `failures`, as text.
    """
    held: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        process = _start(tree, python, folder / "long", num_steps, held)
        samples = [json.loads(line) for line in process.stdout]
        process.stdout.close()
        said = (folder / "long.errors").read_text(errors="replace").strip().splitlines() or [""]
        failures = [] if process.wait() == 0 else [f"the training failed: {said[-1]}"]
        process = _start(tree, python, folder / "killed", 10**6, held)
        process.stdout.readline()
        time.sleep(0.5)
        seconds, left = _kill(process)
    failures += find_growth(samples) if not failures else []
    if left:
        failures.append(f"{len(left)} processes are still there {PATIENCE:g} s after their parent was killed")
    # Not all that is new, as other processes of this machine make some of their own.
    if names := abandoned(held):
        failures.append(f"shared memory is left: {', '.join(sorted(names))}")
    return {"steps": num_steps, "samples": samples, "seconds_until_gone": seconds, "failures": failures}


def _start(tree: Path, python: Path, folder: Path, num_steps: int, held: set[str]) -> subprocess.Popen:
    command = [python, "-W", "ignore", "-m", "exact_resume.soak.recording", folder, str(num_steps)]
    # In a session of its own, so that what it leaves can be found.
    with Path(f"{folder}.errors").open("w") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment_for(tree),
            text=True,
            start_new_session=True,
        )
    threading.Thread(target=watch, args=(process.pid, held), daemon=True).start()
    return process


def watch(leader: int, held: set[str]) -> None:
    """Note the names of the shared memory that the processes of a session hold, as long as there are any."""
    while processes := session(leader):
        for process in processes:
            held.update(name.removesuffix(" (deleted)") for name in mapped(Path(f"/proc/{process}")))
        time.sleep(PERIOD)


def _kill(process: subprocess.Popen) -> tuple[float, list[int]]:
    """Kill a process alone; return the seconds until all that it started had ended, and what has not."""
    began = time.monotonic()
    process.kill()
    process.wait()
    while (left := session(process.pid)) and time.monotonic() < began + PATIENCE:
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    process.stdout.close()
    return round(time.monotonic() - began, 1), left


def find_growth(samples: list[dict[str, int]]) -> list[str]:
    """Compare the last quarter of the samples with the second; in the first, caches fill."""
    quarter = len(samples) // 4
    if quarter == 0:
        return [f"{len(samples)} samples are too few to compare"]
    growth = []
    for name, tolerance in (("memory", TOLERANCE), ("descriptors", 0), ("processes", 0), ("shared_memory", 0)):
        values = [sample[name] for sample in samples]
        early, late = statistics.median(values[quarter : 2 * quarter]), statistics.median(values[-quarter:])
        if late - early > tolerance:
            growth.append(f"{name} grew from {early:.0f} to {late:.0f} in half of the run")
    return growth
