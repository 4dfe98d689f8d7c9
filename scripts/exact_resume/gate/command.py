"""The command `gate`: run the matrix on two trees and judge, or merge what the shards of such a run found."""

import argparse
import datetime
import os
import shlex
import time
from pathlib import Path
from typing import Any

from exact_resume import environments, runs, treespec
from exact_resume.errors import UsageError
from exact_resume.gate import render
from exact_resume.gate import results as gate_results
from exact_resume.gate.results import Results
from exact_resume.gate.running import Side, last_line, run_cells
from exact_resume.gate.verdicts import BASE, HEAD
from exact_resume.matrix.client import Client, ProcessEnded
from exact_resume.treespec import Source

# What a result says of a scenario, besides its cells.
SHOWN = ("name", "title", "group", "guard")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `gate`."""
    command.add_argument("--base", metavar="TREE", help=f"the tree before the change: {treespec.FORMS}")
    command.add_argument("--head", metavar="TREE", help="the tree after the change")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--quick", action="store_true", help="only the core scenarios, which takes a few minutes")
    which.add_argument(
        "--only", action="append", metavar="NAME", help="scenario or group to run instead; may be repeated"
    )
    command.add_argument("--output", type=Path, metavar="DIR", default=Path("gate"), help="default: %(default)s")
    command.add_argument(
        "--jobs", type=runs.positive, default=os.cpu_count() or 1, help="processes (default: one a core)"
    )
    command.add_argument(
        "--timeout", type=runs.positive, metavar="SECONDS", default=180, help="for a scenario (default: %(default)s)"
    )
    command.add_argument(
        "--shard", type=_shard, metavar="I/N", default=(1, 1), help="run every Nth scenario from I on"
    )
    command.add_argument(
        "--same-ok", action="store_true", help="let base and head be the same, as where only documents changed"
    )
    command.add_argument(
        "--merge", nargs="+", type=Path, metavar="DIR", help="run nothing, but merge the --output of all shards"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit code.

    Raises:
        UsageError: for what the user can put right.
    """
    if args.merge:
        runs.check_installed("gate", ("jinja2",))
        runs.make_folder(args.output)
        results = gate_results.merge([gate_results.read(folder) for folder in args.merge])
    elif args.base and args.head:
        runs.check_installed("gate")
        runs.make_folder(args.output)
        # Where this run fails, the verdict of an earlier one must not be taken for it.
        for name in render.FILES:
            (args.output / name).unlink(missing_ok=True)
        results = compare(args)
    else:
        raise UsageError("gate needs --base and --head, or --merge")
    written = render.write(results, args.output)
    print(render.console(results), end="")
    for path in written:
        print(f"wrote {path}")
    return gate_results.exit_code(results)


def compare(args: argparse.Namespace) -> Results:
    """Run the scenarios on both trees and return the result object.

    Raises:
        UsageError: a tree is unknown or unusable, or both are the same.
    """
    started, begin = datetime.datetime.now(datetime.UTC), time.monotonic()
    sources = {}
    for name, spec in ((BASE, args.base), (HEAD, args.head)):
        runs.say(f"{name}: reading {spec}")
        sources[name] = treespec.resolve(spec)
    same = sources[BASE].digest == sources[HEAD].digest
    if same and not args.same_ok:
        raise UsageError(
            f"{args.base} and {args.head} hold the same transformers, so there is nothing to compare; "
            "give two trees, or --same-ok where that is no mistake"
        )
    trees = [_describe(name, source) for name, source in sources.items()]
    for tree in trees:
        runs.say(f"{tree['name']}: {render.tree_line(tree)}; requires {', '.join(tree['requires'])}")
    planned, rows = ([], []) if same else _run(args, sources, trees)
    return {
        "schema": gate_results.SCHEMA,
        "kind": "gate",
        "command": _command(args),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - begin, 1),
        "selection": {"tier": None if args.only else _tier(args), "only": args.only or []},
        "shard": list(args.shard),
        "planned": planned,
        "same": same,
        "trees": trees,
        "scenarios": rows,
    }


def _run(args: argparse.Namespace, sources: dict[str, Source], trees: list[dict]) -> tuple[list[str], list[dict]]:
    """Run the share of this shard; return the names of all scenarios of all shards, and those of this one."""
    sides = {
        name: Side(source.folder, environments.python_for_tree(source.folder, name))
        for name, source in sources.items()
    }
    with _started(args, sides[BASE]) as client:
        # What there is to run is the same on every tree.
        scenarios = runs.select(client.scenarios, _tier(args), args.only or ())
        planned = [scenario["name"] for scenario in scenarios]
        mine = gate_results.share(planned, *args.shard)
        progress = runs.Progress(len(mine) * len(sides))
        done = run_cells(sides, mine, started={BASE: client}, jobs=args.jobs, timeout=args.timeout, add=progress.add)
    for tree in trees:
        tree["environment"] = {key: str(value) for key, value in done.environments.get(tree["name"], {}).items()}
    rows = [
        {key: scenario[key] for key in SHOWN} | {"cells": {side: done.cells[side, scenario["name"]] for side in sides}}
        for scenario in scenarios
        if scenario["name"] in mine
    ]
    return planned, rows


def _started(args: argparse.Namespace, base: Side) -> Client:
    try:
        return Client(base.folder, base.python, args.timeout)
    except ProcessEnded as error:
        raise UsageError(
            f"base {args.base} is unusable: transformers cannot be imported: {last_line(error)}; give another tree"
        ) from error


def _describe(name: str, source: Source) -> dict[str, Any]:
    commit = f" at {source.commit[:9]}" if source.commit else ""
    return {
        "name": name,
        "title": f"{name}, {source.release}{commit}",
        "spec": source.spec,
        "kind": source.kind,
        "release": source.release,
        "commit": source.commit,
        "edited": source.edited,
        "digest": source.digest,
        "requires": list(source.requires),
        "environment": {},
    }


def _tier(args: argparse.Namespace) -> str:
    return "core" if args.quick else "quick"


def _command(args: argparse.Namespace) -> str:
    words = ["python", "-m", "exact_resume", "gate", "--base", args.base, "--head", args.head]
    words += ["--quick"] * args.quick
    return shlex.join([*words, *(word for name in args.only or [] for word in ("--only", name))])


def _shard(text: str) -> tuple[int, int]:
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N")
    return int(number), int(count)
