"""Prove releases, one after the other, and record what passed in releases.toml."""

import argparse
import datetime
import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exact_resume import environments, proofs, report, runs, tree_check, trees
from exact_resume.errors import EXIT_FINDING, EXIT_FINE, EXIT_USAGE, Finding, UsageError
from exact_resume.matrix.client import Client, ProcessEnded
from exact_resume.series import Release, for_release, load_releases

TREES = (trees.STOCK, trees.PATCHED)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `prove`."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("releases", metavar="RELEASE", nargs="*", default=[], help="release to prove")
    which.add_argument("--all", action="store_true", help="every release")
    which.add_argument(
        "--boundaries", action="store_true", help="the newest, the oldest, and the first and the last of each lane"
    )
    parser.add_argument("--whole", action="store_true", help="run all scenarios of the test suite; takes much longer")
    parser.add_argument("--again", action="store_true", help="also what has a proof of the series as it is")
    parser.add_argument(
        "--jobs", type=runs.positive, default=os.cpu_count() or 1, help="processes (default: one a core)"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="write a report of each release into this folder")


def run(args: argparse.Namespace) -> int:
    """Run the job; returns the exit code. Raises UsageError for what the user can put right."""
    runs.check_installed("prove")
    known = load_releases()
    chosen = (
        list(known)
        if args.all
        else proofs.boundaries(known)
        if args.boundaries
        else list(dict.fromkeys(args.releases))
    )
    unknown = [version for version in chosen if version not in known]
    if unknown:
        raise UsageError(f"no series for release {', '.join(unknown)}; supported: {', '.join(known)}")
    if args.output is not None:
        runs.make_folder(args.output)
    codes = []
    for number, version in enumerate(chosen, 1):
        runs.say(f"transformers {version}, release {number} of {len(chosen)}")
        codes.append(_prove_one(known[version], args))
    print(f"{codes.count(EXIT_FINE)} of {len(codes)} releases are proven")
    return EXIT_FINDING if EXIT_FINDING in codes else max(codes)


def _prove_one(release: Release, args: argparse.Namespace) -> int:
    version, begin = release.version, time.monotonic()
    if not args.again and proofs.is_fresh(release) and (not args.whole or release.proof["tier"] == proofs.WHOLE):
        print(f"transformers {version}: proven already: {_summary(release.proof)}", flush=True)
        return EXIT_FINE
    try:
        tree_check.check(version)
        python = environments.python_for(version)
        folders = {name: trees.build(name, version) for name in TREES}
        results = run_scenarios(version, folders, python, whole=args.whole, jobs=args.jobs)
        if args.output is not None:
            report.write(results, args.output / version)
        findings = report.verdict(results)
        if findings:
            raise Finding(findings[0] + (f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""))
    except (Finding, ProcessEnded) as error:
        if release.proof is not None:
            proofs.record(version, None)
        print(f"transformers {version}: finding: {report.one_line(error)}", flush=True)
        return EXIT_FINDING
    except UsageError as error:
        print(f"transformers {version}: could not be run: {error}", flush=True)
        return EXIT_USAGE
    proof = _proof(results, proofs.WHOLE if args.whole else proofs.CORE)
    proofs.record(version, proof)
    print(f"transformers {version}: proven: {_summary(proof)}, {time.monotonic() - begin:.0f} s", flush=True)
    return EXIT_FINE


def _summary(proof: Mapping[str, Any]) -> str:
    skipped = f", {proof['skipped']} skipped" if proof["skipped"] else ""
    return (
        f"{proof['tier']}, {proof['scenarios']} scenarios, exact resumes {proof['patched']} patched, "
        f"{proof['stock']} stock{skipped}"
    )


def run_scenarios(
    version: str, folders: Mapping[str, Path], python: Path, *, whole: bool, jobs: int
) -> dict[str, Any]:
    """
    Run scenarios on the stock and the patched tree of a release.

    Args:
        version: The release.
        folders: The trees by name.
        python: The interpreter.
        whole: Whether to run those of the test suite, on stock only where they have to fail, or the core ones.
        jobs: The number of processes at a time.

    Returns:
        The results; see `report`.

    Raises:
        ProcessEnded: A tree cannot be imported.
    """
    started, begin = datetime.datetime.now(datetime.UTC), time.monotonic()
    with Client(folders[trees.STOCK], python) as client:
        environment, scenarios = client.environment, runs.select(client.scenarios, "suite" if whole else "core")
    cells = runs.run_cells(
        folders,
        dict.fromkeys(TREES, scenarios),
        python,
        jobs=jobs,
        shares=max(2 if whole else 1, jobs // len(TREES)),
        controls=(trees.STOCK,) if whole else (),
    )
    del environment["tree"]
    return {
        "schema": 1,
        "release": version,
        "command": f"python -m exact_resume prove {version}" + " --whole" * whole,
        "selection": {"all": whole, "only": []},
        "environment": environment,
        "trees": [{"name": name, "title": trees.TITLES[name].format(release=version)} for name in TREES],
        "scenarios": runs.rows(scenarios, TREES, cells),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - begin, 1),
    }


def _proof(results: dict[str, Any], tier: str) -> dict[str, Any]:
    kinds = Counter(report.cell_kind(row["cells"][trees.PATCHED]) for row in results["scenarios"])
    totals = report.totals(results)
    return {
        **{name: results["environment"][name] for name in ("python", "torch", "accelerate")},
        "tier": tier,
        "scenarios": kinds.total() - kinds["skipped"],
        "skipped": kinds["skipped"],
        **{name: "{}/{}".format(*totals[name]) for name in (trees.PATCHED, trees.STOCK)},
        "series": proofs.digest(for_release(results["release"])),
    }
