"""The command `soak`: kill runs at chosen and at random moments, resume them, and compare with those that were not."""

import argparse
import json
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from exact_resume import environments, runs, treespec
from exact_resume.errors import EXIT_FINDING, EXIT_FINE, UsageError
from exact_resume.soak.cases import CASES, STEPS, Case, chosen_faults, random_faults
from exact_resume.soak.leaks import look_for_leaks
from exact_resume.soak.runs import NOT_A_KILL, Golden, make_golden, run_with_faults
from exact_resume.soak.server import Failure, Server


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `soak`."""
    command.add_argument(
        "--tree", metavar="TREE", default="patched:5.23.0", help=f"default: %(default)s; {treespec.FORMS}"
    )
    command.add_argument("--kills", type=runs.positive, default=200, help="at least so many (default: %(default)s)")
    names = ", ".join(case.name for case in CASES)
    command.add_argument("--only", action="append", metavar="CASE", help=f"one of {names}; may be repeated")
    command.add_argument(
        "--recording",
        type=runs.positive,
        metavar="STEPS",
        help="kill nothing, but train so many steps, while workers are replaced, and look for what leaks",
    )
    command.add_argument("--seed", type=int, default=0, help="of what is drawn (default: %(default)s)")
    command.add_argument(
        "--output", type=Path, default=Path("soak.json"), help="file of the results (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit code.

    Raises:
        UsageError: for what the user can put right.
    """
    runs.check_installed("soak")
    unknown = sorted(set(args.only or ()) - {case.name for case in CASES})
    if unknown:
        raise UsageError(f"no case {unknown[0]}; there are: {', '.join(case.name for case in CASES)}")
    if not Path("/proc/self/stat").exists():
        raise UsageError("soak needs /proc, which this system does not have; run it on Linux")
    if args.output.is_dir() or not args.output.absolute().parent.is_dir():
        raise UsageError(f"{args.output} cannot be written; choose --output")
    source = treespec.resolve(args.tree)
    begin, python = time.monotonic(), environments.python_for_tree(source.folder)
    if args.recording:
        options = f" --recording {args.recording}"
        results = look_for_leaks(source.folder, python, args.recording)
        counts = f"{args.recording} steps"
    else:
        options = f" --kills {args.kills} --seed {args.seed}" + "".join(f" --only {name}" for name in args.only or ())
        with Server(source.folder, python) as server:
            results = soak(server, args.kills, args.seed, [c for c in CASES if c.name in (args.only or [c.name])])
        counts = f"{results['kills']} kills in {results['runs']} runs"
    results["command"] = f"python -m exact_resume soak --tree {args.tree}{options}"
    results["seconds"] = round(time.monotonic() - begin, 1)
    temporary = args.output.with_name(f".{args.output.name}.{os.getpid()}.tmp")
    temporary.write_text(f"{json.dumps(results, indent=2)}\n")
    os.replace(temporary, args.output)
    for line in results["failures"]:
        print(f"finding: {line}")
    print(f"{counts}, {len(results['failures'])} failures; wrote {args.output}")
    return EXIT_FINDING if results["failures"] else EXIT_FINE


def soak(server: Server, kills: int, seed: int, cases: list[Case]) -> dict[str, Any]:
    """
    Kill runs of each case, at least `kills` times in all.

    First come the runs at chosen moments, in an order that is drawn, then those that are killed at random. All of the
    first are made if `kills` is large enough.

    Returns:
        `kills`, `runs`, faults that came `too_late`, the counts `by_case` and `by_fault`, the reasons why cases, or a
        full file system, were `skipped`, and `failures`, as text.

    Raises:
        Finding: a run that is not killed fails already.
        UsageError: the tree lacks what every case needs.
    """
    rng, work = random.Random(seed), Path(tempfile.mkdtemp(prefix="soak-"))
    results: dict[str, Any] = {"kills": 0, "runs": 0, "too_late": 0, "by_case": Counter(), "by_fault": Counter()}
    environment = {name: value for name, value in server.environment.items() if name != "tree"}
    results.update(failures=[], skipped=server.skipped, environment=environment)
    try:
        if all(case.name in server.skipped for case in cases):
            raise UsageError(f"nothing can be run on this tree: {'; '.join(server.skipped.values())}; choose --tree")
        cases = [case for case in cases if case.name not in server.skipped]
        goldens = {case.name: make_golden(server, case, work, STEPS) for case in cases}
        can_fill = server.file_system is not None
        chosen = [
            (case, faults) for case in cases for faults in chosen_faults(case, goldens[case.name].moments, can_fill)
        ]
        rng.shuffle(chosen)
        while results["kills"] < kills:
            case, faults = chosen.pop() if chosen else _random(cases, rng, can_fill)
            _count(results, server, case, goldens[case.name], faults, work, rng)
            runs.say(f"{results['kills']}/{kills} kills, {len(results['failures'])} failures: {case.name}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return {**results, "by_case": dict(results["by_case"]), "by_fault": dict(results["by_fault"])}


def _random(cases: list[Case], rng: random.Random, can_fill: bool) -> tuple[Case, list]:
    case = rng.choice(cases)
    return case, random_faults(case, rng, can_fill)


def _count(
    results: dict[str, Any], server: Server, case: Case, golden: Golden, faults: list, work: Path, rng: random.Random
) -> None:
    results["runs"] += 1
    try:
        rows = run_with_faults(server, case, golden, faults, work, rng)
    except Failure as failure:
        results["failures"].append(str(failure))
        # It was killed at least once, or there would be nothing to fail.
        results["kills"] += 1
        return
    for row in rows:
        if row["outcome"] == NOT_A_KILL:
            results["too_late"] += 1
        else:
            results["kills"] += 1
            results["by_case"][case.name] += 1
            results["by_fault"][_kind(row["fault"])] += 1


def _kind(fault: str) -> str:
    """A fault without its numbers."""
    return " ".join("N" if word.isdigit() else word for word in fault.split())
