"""The command line: `python -m exact_resume COMMAND`; the only place that turns an outcome into an exit code."""

import argparse
import errno
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from exact_resume import (
    __version__,
    checkout,
    diff,
    export,
    hashes,
    installed,
    lint,
    mbox,
    patching,
    proofs,
    readme_table,
    wheel,
)
from exact_resume import series as patch_series
from exact_resume.check import command as check
from exact_resume.errors import (
    EXIT_BROKEN_PIPE,
    EXIT_FINDING,
    EXIT_FINE,
    EXIT_INTERRUPTED,
    EXIT_OWN_FAULT,
    EXIT_USAGE,
    ExactResumeError,
    SeriesError,
    UsageError,
)

PROGRAM = "exact-resume"
DEBUG_VARIABLE = "EXACT_RESUME_DEBUG"
TRAINING_COMMANDS = {
    "verify": "check that training resumes bit for bit",
    "prove": "check the same of releases, and record it",
    "try-new": "try the patches on a release that has no lane yet",
    "gate": "judge what a change of transformers does to resuming",
    "bench": "measure what recording, resuming and checkpoints cost",
    "soak": "kill runs at any moment, resume them, and compare",
}
MODULES = {"bench": "bench.command", "gate": "gate.command", "soak": "soak.command"}
"""Where a command is, if not in the module of its name."""
EXIT_CODES = """\
exit codes:
  0   fine
  1   a finding: the tree is half-patched, or a check failed
  2   the request cannot be carried out as given
  70  a fault of this tool
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the arguments; those of the process without it.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # A title with a letter that the terminal's encoding lacks is no reason to fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader went away. Without this, Python tries to flush again at exit and reports that as an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        return _say("interrupted", EXIT_INTERRUPTED)
    except SeriesError as error:
        return _own_fault(error)
    except ExactResumeError as error:
        return _say(str(error), error.exit_code)
    except SystemExit as error:  # from argparse, which has said what is wrong
        return error.code if isinstance(error.code, int) else EXIT_FINE
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return _say(f"{error.filename}: the name is too long for the system; give another", EXIT_USAGE)
        return _own_fault(error)
    except Exception as error:
        return _own_fault(error)


def _run(arguments: list[str]) -> int:
    parsed = build_parser(_command(arguments)).parse_args(arguments)
    return parsed.run(parsed)


def _command(arguments: list[str]) -> str | None:
    return next((argument for argument in arguments if not argument.startswith("-")), None)


def build_parser(command_in_use: str | None) -> argparse.ArgumentParser:
    """Return the parser; of commands that train it has the arguments only on demand, as their modules need torch."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Make the transformers Trainer resume bit for bit, by a patch series.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    command = _add(commands, "apply", "apply the series to a tree", _apply)
    _add_tree(command)
    command.add_argument("--upto", metavar="PATCH", help="the last patch to apply")
    _add_without(command)
    command.add_argument("--commit", action="store_true", help="in a git work tree, make a commit for each patch")
    command.add_argument("--check", action="store_true", help="only say what would be done")

    command = _add(commands, "revert", "take the series back out of a tree", _revert)
    _add_tree(command)
    command.add_argument("--check", action="store_true", help="only say what would be done")

    _add_tree(_add(commands, "status", "say which patches a tree has", _status))
    command = _add(commands, "wheel", "build a patched wheel from the official one", wheel.run)
    wheel.add_arguments(command)
    _add_without(command)
    command = _add(commands, "mbox", "print the series as one mailbox, for git am", mbox.run)
    mbox.add_arguments(command)
    _add_without(command)
    check.add_arguments(_add(commands, "check", "check that a trainer of your own resumes bit for bit", check.run))
    command = _add(commands, "list", "list the supported releases and their patches", _list)
    command.add_argument(
        "--json", choices=("all", "boundaries"), help="only releases, as JSON: all, or the first and last of each lane"
    )
    command = _add(commands, "lint", "check the patches themselves", _lint)
    command.add_argument("--trees", action="store_true", help="compare them with the official wheels, too")

    checkout.add_arguments(_add(commands, "checkout", "make a work tree with a commit for each patch", checkout.run))
    export.add_arguments(_add(commands, "export", "write the series back from such a work tree", export.run))
    hashes.add_arguments(_add(commands, "hashes", "work out what files are in each release", hashes.run))

    diff.add_arguments(_add(commands, "diff", "find the first step at which two journals of runs part", diff.run))

    command = _add(
        commands, "readme-table", "write the tables of README.md from what verify and prove wrote", readme_table.run
    )
    readme_table.add_arguments(command)

    for name, text in TRAINING_COMMANDS.items():
        command = _add(commands, name, text, partial(_train, name))
        if name == command_in_use:
            _module(name).add_arguments(command)
    return parser


def _add(commands, name: str, text: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.set_defaults(run=run)
    return command


def _add_without(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--without", metavar="PATCH", action="append", default=[], help="leave out this companion; may be repeated"
    )


def _add_tree(command: argparse.ArgumentParser) -> None:
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "tree",
        metavar="TREE",
        type=Path,
        nargs="?",
        help="a transformers checkout, or a folder that holds the package, such as site-packages",
    )
    which.add_argument(
        "--installed", action="store_true", help="the transformers that is installed for this Python interpreter"
    )
    command.add_argument(
        "--python", metavar="PATH", type=Path, help="with --installed: another interpreter, such as that of a venv"
    )


def _tree(parsed: argparse.Namespace) -> tuple[Path, installed.Installed | None]:
    if parsed.installed:
        found = installed.find(parsed.python)
        return found.folder, found
    if parsed.python:
        raise UsageError("--python chooses whose installed transformers is meant: give it with --installed, not TREE")
    return parsed.tree, None


def _apply(parsed: argparse.Namespace) -> int:
    tree, where = _tree(parsed)
    wanted = {"upto": parsed.upto, "without": parsed.without}
    result = patching.apply(tree, **wanted, check=parsed.check, commit=parsed.commit, installed=where)
    return _print(result.lines)


def _revert(parsed: argparse.Namespace) -> int:
    tree, where = _tree(parsed)
    return _print(patching.revert(tree, check=parsed.check, installed=where).lines)


def _status(parsed: argparse.Namespace) -> int:
    tree, where = _tree(parsed)
    status = patching.status(tree, installed=where)
    _print(status.lines)
    return EXIT_FINE if status.clean else EXIT_FINDING


def _list(parsed: argparse.Namespace) -> int:
    releases = patch_series.load_releases()
    if parsed.json:
        return _print([json.dumps(list(releases) if parsed.json == "all" else proofs.boundaries(releases))])
    for lane in dict.fromkeys(release.lane for release in releases.values()):
        served = ", ".join(version for version, release in releases.items() if release.lane == lane)
        _print([f"transformers {served}: lane {lane}"])
        for patch in patch_series.load_lane(lane).patches:
            _print([f"  {patch.name}  {patch.title}{' (companion)' if patch.is_companion else ''}"])
    return EXIT_FINE


def _lint(parsed: argparse.Namespace) -> int:
    figures, findings = lint.check(trees=parsed.trees)
    _print([*figures, *(f"finding: {finding}" for finding in findings)] if findings else [*figures, "no findings"])
    return EXIT_FINDING if findings else EXIT_FINE


def _train(name: str, parsed: argparse.Namespace) -> int:
    return _module(name).run(parsed)


def _module(name: str):
    try:
        module = MODULES.get(name, name.replace("-", "_"))
        return importlib.import_module(f"exact_resume.{module}")
    except ImportError as error:
        raise UsageError(f"{name} is not available in this installation: {error}") from error


def _print(lines) -> int:
    for line in lines:
        print(_harmless(line))
    return EXIT_FINE


def _say(line: str, code: int) -> int:
    # Where an error of the user's own code is told, indented lines follow.
    said = "\n  ".join(map(_harmless, line.split("\n  ")))
    print(f"{PROGRAM}: {said}", file=sys.stderr)
    return code


def _harmless(text: str) -> str:
    """Keep what a terminal would obey, such as in the name of a file, from being more than text; lines stay lines."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode() for char in text
    )


def _own_fault(error: Exception) -> int:
    if os.environ.get(DEBUG_VARIABLE) == "1":
        traceback.print_exc()
    what = " ".join(str(error).split()) or "no message"
    hint = f"set {DEBUG_VARIABLE}=1 for the traceback"
    return _say(f"fault of this tool: {type(error).__name__}: {what} ({hint})", EXIT_OWN_FAULT)
