"""`python -m exact_resume check MODULE:FUNCTION`: does a trainer of your own resume bit for bit?"""

import argparse
import json
import math
import os
import sys
import tempfile
from pathlib import Path

from exact_resume import tree
from exact_resume.check import installation, report, runs, target
from exact_resume.check.process import FreshProcess
from exact_resume.errors import EXIT_FINDING, EXIT_FINE, UsageError

PACKAGE_PARENT = Path(__file__).resolve().parents[2]
TIMEOUT = 3600.0


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `check`."""
    command.add_argument(
        "target",
        metavar="MODULE:FUNCTION",
        help="a function that takes a folder for the output (or nothing) and returns a Trainer; MODULE is a module "
        "that can be imported from the current folder, or a .py file",
    )
    command.add_argument(
        "--interrupt-at",
        metavar="STEP[,STEP...]",
        type=_steps,
        default=(),
        help="update steps after which to interrupt; checkpoints are forced there (default: at most "
        f"{runs.NUM_INTERRUPTS} of the checkpoints that the trainer writes by itself)",
    )
    which = command.add_mutually_exclusive_group()
    which.add_argument(
        "--installed", action="store_true", help="use the transformers of this Python, patched or not (the default)"
    )
    which.add_argument(
        "--tree", metavar="TREE", type=Path, help="use another: a checkout, or a folder that holds the package"
    )
    command.add_argument("--output", metavar="DIR", type=Path, help="write check.json and check.md there")
    command.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=TIMEOUT,
        help="end a run that takes longer (default: %(default)g)",
    )
    command.epilog = "Checkpoints are kept until the end of the check, in a folder for temporary files; see TMPDIR."


def _steps(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of steps from 1, such as 2,5")
    return tuple(sorted({int(part) for part in parts}))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return seconds


def run(parsed: argparse.Namespace) -> int:
    """Run the check, print its report and return the exit code; the errors are those of `runs.check`."""
    target.split(parsed.target)
    if parsed.output is not None:
        _refuse_unwritable(parsed.output)
    package_parent, path = None, [os.getcwd(), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    if parsed.tree is not None:
        found = tree.find(parsed.tree)
        package_parent = (found.root / found.package).parent.resolve()
        path.insert(0, str(package_parent))
    path = [entry for entry in path if entry] + [str(PACKAGE_PARENT)]
    with tempfile.TemporaryDirectory(prefix="exact-resume-check-") as work:
        processes = FreshProcess(parsed.target, path, parsed.timeout, package_parent, say)
        check = runs.check(processes, parsed.target, Path(work), parsed.interrupt_at, say)
    where = installation.of(check, installed=parsed.tree is None)
    print("\n".join(report.text(check, where)))
    if parsed.output is not None:
        written = json.dumps(report.as_json(check, where), indent=1)
        (parsed.output / "check.json").write_text(written + "\n", encoding="utf-8")
        (parsed.output / "check.md").write_text(report.markdown(check, where), encoding="utf-8")
    return EXIT_FINE if check.verdict == runs.EXACT else EXIT_FINDING


def say(line: str) -> None:
    """Show a line of progress."""
    print(line, file=sys.stderr, flush=True)


def _refuse_unwritable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror or error}; choose another --output") from error
