"""The main job: build the trees, run the matrix on each, print the table and write the report."""

import argparse
import datetime
import os
import time
from pathlib import Path
from typing import Any

from exact_resume import environments, report, runs, trees
from exact_resume.errors import EXIT_FINDING, EXIT_FINE, UsageError
from exact_resume.matrix import tiers_upto
from exact_resume.matrix.client import Client
from exact_resume.series import load_releases


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
    parser.add_argument(
        "--jobs", type=runs.positive, default=os.cpu_count() or 1, help="processes (default: one a core)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("report"), help="folder of the report (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the job; returns the exit code. Raises UsageError for what the user can put right."""
    runs.check_installed("verify")
    if args.release not in load_releases():
        raise UsageError(f"no series for release {args.release}; supported: {', '.join(load_releases())}")
    runs.make_folder(args.output)

    started, begin = datetime.datetime.now(datetime.UTC), time.monotonic()
    python = environments.python_for(args.release)
    folders = _build_trees(args.release)
    results = _run_matrix(folders, python, args)
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


def _build_trees(release: str) -> dict[str, Path]:
    folders = {}
    for name in trees.TITLES:
        runs.say(f"tree {name}: building, or taking it from {trees.cache_folder()}")
        try:
            folders[name] = trees.build(name, release)
        except trees.NotForThisRelease as error:
            runs.say(f"tree {name}: left out: {error}")
    return folders


def _run_matrix(folders: dict[str, Path], python: Path, args: argparse.Namespace) -> dict[str, Any]:
    with Client(folders[trees.STOCK], python) as client:
        environment = client.environment
        scenarios = runs.select(client.scenarios, "suite" if args.all else "quick", args.only or ())
        bare = client.run_experiment()
    quick = tiers_upto("quick")
    # The other orders are shown to fail where they were proposed; what stock fails at besides, they fail at, too.
    chosen = {
        tree: [s for s in scenarios if s["tier"] in quick or not args.all or tree in (trees.STOCK, trees.PATCHED)]
        for tree in folders
    }
    cells = runs.run_cells(folders, chosen, python, jobs=args.jobs)
    # At the end, when nothing else of this job keeps the cores busy.
    runs.say("measuring what recording costs")
    with Client(folders[trees.PATCHED], python) as client:
        recording = [client.recording_cost(num_workers) for num_workers in (0, 2)]
    rows = runs.rows(scenarios, folders, cells)
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
