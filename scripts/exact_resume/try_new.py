"""Try the patches on a transformers that has no lane yet: the newest release on the package index, or a tree."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from exact_resume import archives, environments, patching, prove, report, runs, trees
from exact_resume import tree as trees_on_disk
from exact_resume.errors import EXIT_FINDING, EXIT_FINE, SeriesError, UsageError
from exact_resume.matrix.client import ProcessEnded
from exact_resume.series import for_release, load_releases, nearest

NEXT_STEPS = "What to do is in `patches/README.md`, under *A new release*."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `try-new`."""
    parser.add_argument(
        "--tree",
        type=Path,
        metavar="TREE",
        help="a checkout, or a folder with the package and its metadata (default: the newest release on the index)",
    )
    parser.add_argument(
        "--jobs", type=runs.positive, default=os.cpu_count() or 1, help="processes (default: one a core)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("try-new.md"), metavar="FILE", help="the report (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the job and write its report; returns the exit code. Raises UsageError for what the user can put right."""
    runs.check_installed("try-new")
    runs.make_folder(args.output.absolute().parent)
    with tempfile.TemporaryDirectory() as scratch:
        stock = Path(scratch) / "stock"
        if args.tree is None:
            _newest_release(stock)
        else:
            _copy(args.tree, stock)
        version = environments.version_of(stock)
        if args.tree is None and version in load_releases():
            findings, text = [], f"# transformers {version}\n\nIt is the newest release, and it has a lane.\n"
        else:
            findings, text = _try(version, stock, args.jobs)
    args.output.write_text(text, encoding="utf-8")
    for finding in findings:
        print(f"finding: {report.one_line(finding)}")
    print(f"transformers {version}: {'the patches do not do' if findings else 'fine'}; wrote {args.output}")
    return EXIT_FINDING if findings else EXIT_FINE


def _newest_release(folder: Path) -> None:
    """Unpack the wheel of the newest release on the index."""
    wheels = folder.with_name("wheels")
    _pip("the newest release", ["download", "--no-deps", "--only-binary=:all:", "--dest", str(wheels), trees.PROJECT])
    (wheel,) = wheels.iterdir()
    try:
        archives.unpack(wheel, folder)
    except archives.Unusable as error:
        raise UsageError(f"{wheel.name} cannot be unpacked: {error}") from error


def _copy(source: Path, folder: Path) -> None:
    """Put the package of a tree, and the metadata of its distribution, into a folder of their own."""
    tree = trees_on_disk.find(source)
    if tree.package == trees_on_disk.SOURCE_PACKAGE:
        # The requirements of a checkout are known when it was built.
        _pip(
            f"the checkout {source}", ["install", "--no-deps", "--no-compile", "--target", str(folder), str(tree.root)]
        )
        return
    metadata = list(tree.root.glob(f"{trees.PROJECT}-*.dist-info"))
    if len(metadata) != 1:
        raise UsageError(f"{source}: no folder {trees.PROJECT}-*.dist-info beside the package; unpack a whole wheel")
    for path in (tree.root / tree.package, *metadata):
        shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))


def _pip(what: str, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UsageError(f"{what} of transformers is not to be had: {reason}; connect to the package index")


def _try(version: str, stock: Path, jobs: int) -> tuple[list[str], str]:
    """Return what is wrong, and the report as Markdown."""
    known = nearest(version)
    series = for_release(known)
    heading = [
        f"# transformers {version}",
        "",
        f"With the patches of lane {series.lane}, as for transformers {known}.",
        "",
    ]
    patched = stock.with_name("patched")
    shutil.copytree(stock, patched)
    try:
        patching.apply(patched, series=series)
    except (UsageError, SeriesError) as error:
        finding = f"the patches do not fit: {str(error).removeprefix(f'{patched.resolve()}: ')}"
        return [finding], "\n".join([*heading, report.markdown_text(finding), "", NEXT_STEPS, ""])
    python = environments.python_for_tree(stock)
    try:
        folders = {trees.STOCK: stock, trees.PATCHED: patched}
        results = prove.run_scenarios(version, folders, python, whole=False, jobs=jobs)
    except ProcessEnded as error:
        return [str(error)], "\n".join([*heading, "```", str(error), "```", "", NEXT_STEPS, ""])
    results["command"] = "python -m exact_resume try-new"
    findings = report.verdict(results)
    text = report.markdown(results).removeprefix("# Exact resume\n\n")
    return findings, "\n".join([*heading, *([NEXT_STEPS, ""] if findings else []), text])
