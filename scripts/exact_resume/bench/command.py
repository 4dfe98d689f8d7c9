"""`python -m exact_resume bench`: measure in rounds, and write tables and a picture of what it costs."""

import argparse
import contextlib
import datetime
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exact_resume import environments, report, runs, trees
from exact_resume.bench import plot, render, summary
from exact_resume.bench.groups import VARIANTS, Group, groups
from exact_resume.errors import EXIT_FINE, UsageError
from exact_resume.matrix.client import Client
from exact_resume.matrix.serve import SYNC_VARIABLE
from exact_resume.series import load_releases

NEEDED = (*runs.NEEDED, "matplotlib", "torchdata")
RESULTS = "bench.json"
SCHEMA = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `bench`."""
    parser.add_argument("--release", default="5.23.0", help="transformers release (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller sizes: minutes, not an hour")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help=f"group to measure, may be repeated: {', '.join(groups(quick=True))}; "
        f"the others are kept as {RESULTS} has them",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("report"), help="folder of the report (default: %(default)s)"
    )
    parser.add_argument(
        "--docs",
        action="store_true",
        help=f"put the tables into {render.PAGE} and, if no group is missing, the picture into {render.PICTURE}",
    )


def run(args: argparse.Namespace) -> int:
    """Run the job; returns the exit code. Raises UsageError for what the user can put right."""
    if args.release not in load_releases():
        raise UsageError(f"no series for release {args.release}; supported: {', '.join(load_releases())}")
    known = groups(args.quick)
    unknown = sorted(set(args.only or ()) - known.keys())
    if unknown:
        raise UsageError(f"no group {', '.join(unknown)}; there are: {', '.join(known)}")
    runs.check_installed("bench", NEEDED, extra="bench")
    runs.make_folder(args.output)
    results = _earlier(args.output / RESULTS, args.release)
    chosen = {name: group for name, group in known.items() if name in (args.only or known)}
    missing = [name for name in known if name not in {*chosen, *results["groups"]}]
    if args.docs:
        render.documentation(dict.fromkeys(known, ""))  # what is wrong with the page shows before hours of work

    python = environments.python_for(args.release)
    options = ["--quick"] * args.quick + [f"--only {name}" for name in args.only or ()]
    command = " ".join(["python -m exact_resume bench", f"--release {args.release}", *options])
    with contextlib.ExitStack() as stack:
        clients = _start(chosen, args.release, python, stack)
        for name, group in chosen.items():
            results["groups"][name] = {**_measure(name, group, clients), "command": command, "quick": args.quick}
            # In the order of the groups, whichever was measured last; and at once, as others may fail.
            results["groups"] = {name: results["groups"][name] for name in known if name in results["groups"]}
            written = report.write_texts(_texts(results), args.output)
    print(render.markdown(results))
    for path in written:
        print(f"wrote {path}")
    if args.docs:
        tables = {name: render.table(name, group) for name, group in results["groups"].items()}
        texts = {render.PAGE: render.documentation(tables)}
        if missing:
            print(f"{render.PICTURE} stays, as {args.output / RESULTS} lacks {', '.join(missing)}")
        else:
            texts[render.PICTURE] = plot.draw(results)
        for path, text in texts.items():
            report.write_texts({path.name: text}, (render.CHECKOUT / path).parent)
            print(f"wrote {path}")
    return EXIT_FINE


def _texts(results: dict[str, Any]) -> dict[str, str]:
    texts = {RESULTS: json.dumps(results, indent=1) + "\n", "bench.md": render.markdown(results)}
    picture = plot.draw(results)
    return {**texts, "bench.svg": picture} if picture else texts


def _earlier(path: Path, release: str) -> dict[str, Any]:
    """What an earlier run has measured of this release, by another run of this command."""
    new = {"schema": SCHEMA, "release": release, "groups": {}}
    if not path.exists():
        return new
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        same = {name: results[name] for name in ("schema", "release")} == {"schema": SCHEMA, "release": release}
        return {**new, "groups": dict(results["groups"])} if same else new
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is not what bench writes ({type(error).__name__}: {report.one_line(error)}); "
            "remove it, or choose another --output"
        ) from error


def _start(chosen: Mapping[str, Group], release: str, python: Path, stack: contextlib.ExitStack) -> dict[str, Client]:
    """A process for each tree that is measured, by the name of the tree."""
    clients = {}
    for tree in dict.fromkeys(VARIANTS[variant].tree for group in chosen.values() for variant in group.variants):
        runs.say(f"tree {tree}: building, or taking it from {trees.cache_folder()}")
        # A process that has looked at a GPU cannot be forked, and everything here is measured on the CPU.
        client = Client(trees.build(tree, release), python, variables={"CUDA_VISIBLE_DEVICES": "", SYNC_VARIABLE: "1"})
        clients[tree] = stack.enter_context(client)
    return clients


def _measure(name: str, group: Group, clients: Mapping[str, Client]) -> dict[str, Any]:
    """Measure a group: in every round each variant once, in a process of its own, beginning with another each time."""
    started, begin = datetime.datetime.now(datetime.UTC), time.monotonic()

    def measure(variant: str, folder: str, what: str, prepares: bool = False) -> Any:
        began = time.monotonic()
        options = {"group": name, "variant": variant, "folder": folder, "prepares": prepares, **group.options}
        answer = clients[VARIANTS[variant].tree].measure(**options)
        runs.say(f"{name}: {what}, {variant}: {time.monotonic() - began:.1f} s")
        return answer

    rounds = []
    with tempfile.TemporaryDirectory(prefix="exact-resume-bench-") as work:
        kept = {variant: Path(work) / variant for variant in group.variants}
        for variant, folder in kept.items():
            folder.mkdir()
            if group.prepares:
                measure(variant, str(folder), "preparing", prepares=True)
        for number in range(group.rounds):
            measured = {}
            first = number % len(group.variants)
            for variant in (*group.variants[first:], *group.variants[:first]):
                with tempfile.TemporaryDirectory(dir=work) as scratch:
                    folder = str(kept[variant]) if group.prepares else scratch
                    measured[variant] = measure(variant, folder, f"round {number + 1} of {group.rounds}")
            rounds.append({variant: measured[variant] for variant in group.variants})
    figures = summary.collect(rounds)
    environment = dict(clients[VARIANTS[group.variants[0]].tree].environment)
    for key in ("tree", "device", "transformers", "datasets"):
        del environment[key]
    return {
        "title": group.title,
        "variants": list(group.variants),
        "options": group.options,
        "rounds": group.rounds,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - begin, 1),
        "environment": environment,
        "figures": [{**figure, "summary": summary.summarize(figure, group.variants[0])} for figure in figures],
    }
