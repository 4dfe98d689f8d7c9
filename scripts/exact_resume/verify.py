"""The main job: build the trees, run the matrix on each, print the table and write the report."""

import argparse
import datetime
import importlib.util
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from exact_resume import report, trees
from exact_resume.errors import EXIT_FINDING, EXIT_FINE, UsageError
from exact_resume.matrix import tiers_upto
from exact_resume.matrix.client import Client
from exact_resume.series import load_releases

NEEDED = ("torch", "transformers", "accelerate", "datasets", "filelock", "jinja2")


# The cell of a scenario that is left out on a tree.
NOT_RUN = {
    "status": "skipped",
    "reason": "only quick scenarios run on this tree",
    "seconds": 0.0,
    "golden": None,
    "resumes": [],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `verify`."""
    parser.add_argument("--release", default="5.23.0", help="transformers release (default: %(default)s)")
    selection = parser.add_mutually_exclusive_group()
    selection.add_argument(
        "--all", action="store_true", help="run also what the default leaves to the test suite; takes much longer"
    )
    selection.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="scenario or group to run, also one that the default leaves to the test suite; may be repeated",
    )
    parser.add_argument("--jobs", type=_positive, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument(
        "--output", type=Path, default=Path("report"), help="folder of the report (default: %(default)s)"
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Run the job; returns the exit code. Raises UsageError for what the user can put right."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"verify needs {', '.join(missing)}: run `python3 scripts/bootstrap.py verify`, which installs them, "
            "or install this project with its extra `verify`"
        )
    if args.release not in load_releases():
        raise UsageError(f"no series for release {args.release}; supported: {', '.join(load_releases())}")
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the report cannot be written to {args.output}: {error.strerror}; choose --output"
        ) from error

    started, begin = datetime.datetime.now(datetime.UTC), time.monotonic()
    folders = {}
    for name in trees.TITLES:
        _say(f"tree {name}: building, or taking it from {trees.cache_folder()}")
        folders[name] = trees.build(name, args.release)
    results = _run_matrix(folders, args)
    results.update(started=started.isoformat(timespec="seconds"), seconds=round(time.monotonic() - begin, 1))
    written = report.write(results, args.output)
    print(report.console_table(results))
    for path in written:
        print(f"wrote {path}")
    failures = report.verdict(results)
    for line in failures:
        print(f"finding: {line}")
    print(f"took {results['seconds']:.0f} s")
    return EXIT_FINDING if failures else EXIT_FINE


def _select(scenarios: list[dict[str, Any]], only: list[str] | None, every_tier: bool) -> list[dict[str, Any]]:
    if not only:
        tiers = tiers_upto("suite" if every_tier else "quick")
        return [scenario for scenario in scenarios if scenario["tier"] in tiers]
    known = {scenario["name"] for scenario in scenarios} | {scenario["group"] for scenario in scenarios}
    unknown = sorted(set(only) - known)
    if unknown:
        raise UsageError(f"no scenario or group {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    return [scenario for scenario in scenarios if scenario["name"] in only or scenario["group"] in only]


def _run_matrix(folders: dict[str, Path], args: argparse.Namespace) -> dict[str, Any]:
    with Client(folders[trees.STOCK]) as client:
        environment, scenarios = client.environment, _select(client.scenarios, args.only, args.all)
        bare = client.run_experiment()
    quick = tiers_upto("quick")
    # The other orders are shown to fail where they were proposed; what stock fails at besides, they fail at, too.
    chosen = {
        tree: [s for s in scenarios if s["tier"] in quick or not args.all or tree in (trees.STOCK, trees.PATCHED)]
        for tree in folders
    }
    # Two processes a tree, as a process imports one tree, and the last to finish should not leave cores idle for long.
    tasks = [(tree, chosen[tree][half::2]) for half in range(2) for tree in folders if chosen[tree][half::2]]
    progress = _Progress(sum(map(len, chosen.values())))
    with ThreadPoolExecutor(args.jobs) as pool:
        parts = pool.map(lambda task: _run_scenarios(folders[task[0]], *task, progress), tasks)
        cells = {key: cell for part in parts for key, cell in part.items()}
    # After the pool, when nothing else of this job keeps the cores busy.
    _say("measuring what recording costs")
    with Client(folders[trees.PATCHED]) as client:
        recording = [client.recording_cost(num_workers) for num_workers in (0, 2)]
    rows = []
    for scenario in scenarios:
        row = {tree: cells.get((tree, scenario["name"]), NOT_RUN) for tree in folders}
        rows.append({**scenario, "claimed": True, "cells": row})
    issue = [row for row in rows if row["group"] == "issue"]
    counted = {tree: report.counts(issue[0]["cells"][tree]) for tree in folders} if issue else {}
    trainer = {tree: {"exact": exact, "total": total} for tree, (exact, total) in counted.items()}
    del environment["tree"]
    options = [f"--release {args.release}", *["--all"] * args.all, *(f"--only {name}" for name in args.only or [])]
    return {
        "schema": 1,
        "release": args.release,
        "command": " ".join(["python -m exact_resume verify", *options]),
        "selection": {"all": args.all, "only": args.only or []},
        "environment": environment,
        "trees": [{"name": name, "title": trees.TITLES[name].format(release=args.release)} for name in folders],
        "experiment": {"bare": bare, "trainer": trainer},
        "recording": recording,
        "scenarios": rows,
    }


def _run_scenarios(
    folder: Path, tree: str, scenarios: list[dict], progress: "_Progress"
) -> dict[tuple[str, str], dict]:
    cells = {}
    with Client(folder) as client:
        for scenario in scenarios:
            cell = cells[tree, scenario["name"]] = client.run(scenario["name"])
            progress.add(tree, scenario["name"], cell)
    return cells


class _Progress:
    """A line on stderr for every cell that is done."""

    def __init__(self, total: int):
        self.total, self.done = total, 0
        self.lock = threading.Lock()

    def add(self, tree: str, name: str, cell: dict[str, Any]) -> None:
        with self.lock:
            self.done += 1
            exact, total = report.counts(cell)
            outcome = f"{exact}/{total} exact" if cell["status"] == "ok" else cell["status"]
            _say(f"[{self.done}/{self.total}] {tree:8} {name}: {outcome}, {cell['seconds']:.1f} s")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
