"""Run scenarios on trees, several processes at a time, with a line for every cell that is done."""

import argparse
import importlib.util
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from exact_resume import report
from exact_resume.errors import UsageError
from exact_resume.matrix import tiers_upto
from exact_resume.matrix.client import Client

Scenario = dict[str, Any]
Cell = dict[str, Any]

NEEDED = ("torch", "transformers", "accelerate", "datasets", "filelock", "jinja2", "packaging", "peft")

# The cell of a scenario that is left out on a tree.
NOT_RUN = {
    "status": "skipped",
    "reason": "only quick scenarios run on this tree",
    "seconds": 0.0,
    "golden": None,
    "resumes": [],
}


def check_installed(command: str, needed: Sequence[str] | None = None, extra: str = "verify") -> None:
    """Raise UsageError where a package is missing that a command needs, one of `NEEDED` unless others are given."""
    missing = [name for name in needed or NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{command} needs {', '.join(missing)}: run `python3 scripts/bootstrap.py {command}`, "
            f"which installs them, or install this project with its extra `{extra}`"
        )


def make_folder(folder: Path) -> None:
    """Make the folder of a report; raise UsageError where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the report cannot be written to {folder}: {error.strerror}; choose --output") from error


def positive(text: str) -> int:
    """Return a number of processes that the command line gives."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def select(scenarios: list[Scenario], upto: str, only: Sequence[str] = ()) -> list[Scenario]:
    """
    Return the scenarios to run.

    Args:
        scenarios: What a `Client` says of each scenario.
        upto: The last tier to run.
        only: Names of scenarios and groups, of any tier, that are run instead.

    Raises:
        UsageError: There is no such scenario or group.
    """
    if not only:
        return [scenario for scenario in scenarios if scenario["tier"] in tiers_upto(upto)]
    known = {scenario["name"] for scenario in scenarios} | {scenario["group"] for scenario in scenarios}
    unknown = sorted(set(only) - known)
    if unknown:
        raise UsageError(f"no scenario or group {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    return [scenario for scenario in scenarios if scenario["name"] in only or scenario["group"] in only]


def run_cells(
    folders: Mapping[str, Path],
    chosen: Mapping[str, list[Scenario]],
    python: Path,
    *,
    jobs: int,
    shares: int = 2,
    controls: Sequence[str] = (),
) -> dict[tuple[str, str], Cell]:
    """
    Run scenarios on trees.

    Args:
        folders: The folder of each tree.
        chosen: The scenarios to run on each tree.
        python: The interpreter.
        jobs: The number of processes at a time.
        shares: Into how many processes the scenarios of a tree are divided, as a process imports one tree, and the
            last to finish should not leave cores idle for long.
        controls: The names of trees on which a scenario is only interrupted where it is expected to fail.

    Returns:
        The cells by tree and name of the scenario; see `matrix.running.run_scenario`.
    """
    tasks = [
        (tree, chosen[tree][share::shares])
        for share in range(shares)
        for tree in folders
        if chosen[tree][share::shares]
    ]
    progress = Progress(sum(map(len, chosen.values())))

    def run_share(task: tuple[str, list[Scenario]]) -> dict[tuple[str, str], Cell]:
        tree, scenarios = task
        cells = {}
        with Client(folders[tree], python) as client:
            for scenario in scenarios:
                chains = scenario["control_chains"] if tree in controls else None
                cells[tree, scenario["name"]] = cell = client.run(scenario["name"], chains=chains)
                progress.add(tree, scenario["name"], cell)
        return cells

    with ThreadPoolExecutor(jobs) as pool:
        return {key: cell for part in pool.map(run_share, tasks) for key, cell in part.items()}


def rows(scenarios: list[Scenario], trees: Iterable[str], cells: Mapping[tuple[str, str], Cell]) -> list[Scenario]:
    """Return the scenarios with their cells by tree, as reports show them."""
    return [
        {
            **scenario,
            "claimed": True,
            "cells": {tree: cells.get((tree, scenario["name"]), NOT_RUN) for tree in trees},
        }
        for scenario in scenarios
    ]


class Progress:
    """A line for every cell that is done."""

    def __init__(self, total: int):
        self.total, self.done = total, 0
        self.lock = threading.Lock()

    def add(self, tree: str, name: str, cell: Cell) -> None:
        with self.lock:
            self.done += 1
            exact, total = report.counts(cell)
            outcome = f"{exact}/{total} exact" if cell["status"] == "ok" else cell["status"]
            say(f"[{self.done}/{self.total}] {tree:8} {name}: {outcome}, {cell['seconds']:.1f} s")


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)
