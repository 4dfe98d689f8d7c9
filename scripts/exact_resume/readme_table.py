"""Keep README's tables equal to the results of `verify` and to releases.toml: `readme-table [RESULTS] [--check]`."""

import argparse
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from exact_resume import report, support_table
from exact_resume.errors import EXIT_FINE, Finding, UsageError
from exact_resume.series import RELEASES_FILE

BEGIN, END = "<!-- exactness table -->", "<!-- end of exactness table -->"
MAKE_RESULTS = "run `python3 scripts/bootstrap.py verify --all` first"
HEAD = ["what is varied", "exact with", "scenarios", "stock", "patched", "skipped here"]

# A group that is not listed is shown by its own name.
GROUP_TITLES = {
    "issue": "the data and model of issue 39215",
    "model": "draws of the model: dropout, NumPy, Python",
    "order": "loaders without look-ahead, callbacks at epoch begin",
    "noise": "random datasets, transforms and collators, unseeded shuffling",
    "batching": "gradient accumulation, ragged batches and steps, `drop_last`",
    "samplers": "other samplers, and loaders of the user's own",
    "workers": "worker processes: number, prefetch factor, persistence, start method",
    "generators": "generator objects of datasets, collators and workers",
    "iterable": "iterable datasets",
    "stops": "epoch ends, evaluation, saving strategies, early stops",
    "logs": "logged values, at other intervals than checkpoints",
    "models": "models and training methods",
    "distributed": "several processes (DDP)",
    "kept": "combinations of these that random tests have kept",
    "cuda": "on a CUDA device",
}
TITLES_LENGTH = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `readme-table`."""
    parser.add_argument(
        "results",
        metavar="RESULTS",
        type=Path,
        nargs="?",
        default=Path("report/results.json"),
        help="what verify wrote (default: %(default)s)",
    )
    parser.add_argument(
        "--readme", type=Path, default=Path("README.md"), help="file with the tables (default: %(default)s)"
    )
    parser.add_argument("--check", action="store_true", help="only say whether the tables are as they have to be")
    parser.add_argument(
        "--support", action="store_true", help="only the table of supported releases, which needs no RESULTS"
    )
    parser.add_argument("--partial", action="store_true", help="take results of less than `verify --all`")


def run(args: argparse.Namespace) -> int:
    """Run the job; returns the exit code.

    Raises:
        UsageError: the results or the markers are missing, or the results are partial or not complete.
        Finding: a cell of the results is an error, or, for a check, a table is another one.
    """
    before = _read(args.readme, "choose --readme")
    after = replaced(before, support_table.table(), args.readme, support_table.BEGIN, support_table.END)
    sources = RELEASES_FILE
    if not args.support:
        results = _read_results(args.results, partial=args.partial)
        try:
            new = table(results)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise _foreign(args.results, error) from error
        after = replaced(after, new, args.readme, BEGIN, END)
        sources += f" and {args.results}"
    if before == after:
        print(f"{args.readme} agrees with {sources}")
        return EXIT_FINE
    if args.check:
        raise Finding(
            f"{args.readme} does not agree with {sources}; "
            f"write it with `python3 -m exact_resume readme-table{' --support' * args.support}`"
        )
    temporary = args.readme.with_name(f".{args.readme.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(after.encode())
        os.replace(temporary, args.readme)
    finally:
        temporary.unlink(missing_ok=True)
    print(f"wrote {args.readme}")
    return EXIT_FINE


def table(results: dict[str, Any]) -> str:
    """Return a Markdown table, a row for each group of scenarios and patch that makes them exact, and its origin.

    Raises:
        Finding: a cell of the stock or the patched tree is an error, which no count may hide.
    """
    broken = [
        f"{row['name']} on {tree}"
        for row in results["scenarios"]
        for tree in ("stock", "patched")
        if report.cell_kind(row["cells"][tree]) in ("error", "empty")
    ]
    if broken:
        raise Finding(f"these scenarios could not be run: {', '.join(broken)}; see the report of verify")
    lines = []
    for group, scenarios in report.grouped(results):
        title = GROUP_TITLES.get(group) or report.markdown_text(group)
        # A patch stands where its first scenario does.
        patches = list(dict.fromkeys(row["fixed_by"] for row in scenarios))
        for patch in patches:
            rows = [row for row in scenarios if row["fixed_by"] == patch]
            # Rows of one group are told apart by their scenarios.
            what = title if len(patches) == 1 else f"{title}: {_titles(rows)}"
            lines.append([what, f"`{patch}`" if patch else "stock already", *_figures(rows)])
    lines.append(["**all**", "", *_figures(results["scenarios"])])
    origin = (
        f"Interrupted, resumed and compared by `{report.one_line(results['command'])}`; x/y: x of y resumes are exact."
    )
    return "\n".join([*report.markdown_table(HEAD, lines, left=2), "", origin, ""])


def _titles(rows: list[dict]) -> str:
    """As many titles of scenarios as there is room for, and how many more there are."""
    titles = [report.one_line(row["title"]) for row in rows]
    shown = titles
    while len(shown) > 1 and len("; ".join(shown)) > TITLES_LENGTH:
        shown = shown[:-1]
    more = [f"{len(titles) - len(shown)} more"] * (len(shown) < len(titles))
    return report.markdown_text("; ".join([*shown, *more]))


def _figures(rows: list[dict]) -> list[str]:
    """The cells of a row of the table after its title and patch."""
    counts = []
    for tree in ("stock", "patched"):
        pairs = [report.counts(row["cells"][tree]) for row in rows]
        exact, total = (sum(column) for column in zip(*pairs, strict=True))
        counts.append(f"{exact}/{total}" if total else "-")
    skipped = [row["cells"]["patched"] for row in rows if report.cell_kind(row["cells"]["patched"]) == "skipped"]
    reasons = Counter(report.one_line(cell["reason"] or "no reason given") for cell in skipped)
    why = "; ".join(f"{count}: {report.markdown_text(reason)}" for reason, count in reasons.most_common())
    return [str(len(rows)), *counts, why]


def replaced(text: str, new: str, path: Path, begin: str, end: str) -> str:
    """Return a README's text with another table between the markers.

    Raises:
        UsageError: the markers are not there once each, in their order, on lines of their own.
    """
    lines = text.splitlines(keepends=True)
    bare = [line.rstrip("\r\n") for line in lines]
    if bare.count(begin) != 1 or bare.count(end) != 1 or bare.index(begin) > bare.index(end):
        raise UsageError(f"{path} needs a line `{begin}` and, after it, a line `{end}`, once each; put them there")
    return "".join([*lines[: bare.index(begin) + 1], new, *lines[bare.index(end) :]])


def _read(path: Path, advice: str) -> str:
    try:
        # As bytes, so that line ends stay what they are.
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"cannot read {path}: {reason}; {advice}") from error


def _read_results(path: Path, *, partial: bool) -> dict[str, Any]:
    try:
        results = json.loads(_read(path, MAKE_RESULTS))
        missing = _missing_fields(results)
    # Nested too deeply, JSON leads to a RecursionError.
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _foreign(path, error) from error
    if missing:
        raise UsageError(f"{path} lacks {missing}, as if another version of verify wrote it; {MAKE_RESULTS}")
    selection = results["selection"]
    if not partial and (selection["only"] or not selection["all"]):
        option = " ".join(f"--only {name}" for name in selection["only"]) or "neither --all nor --only"
        raise UsageError(f"{path} is partial (verify ran with {option}); {MAKE_RESULTS}, or say --partial")
    return results


def _foreign(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path} is not the JSON that verify writes: {type(error).__name__}: {error}; {MAKE_RESULTS}")


def _missing_fields(results: Any) -> str | None:
    """The first field that the table needs and the results lack."""
    for field in ("command", "selection", "scenarios"):
        if not isinstance(results, dict) or field not in results:
            return f"`{field}`"
    for field in ("all", "only"):
        if field not in results["selection"]:
            return f"`{field}` in `selection`"
    if not results["scenarios"]:
        return "any scenario"
    for row in results["scenarios"]:
        for field in ("name", "title", "group", "fixed_by", "cells"):
            if field not in row:
                return f"`{field}` of scenario {row.get('name', '?')}"
        for tree in ("stock", "patched"):
            absent = {"status", "reason", "resumes"} - set(row["cells"].get(tree, ()))
            if absent:
                return f"`{min(absent)}` of the cell of {row['name']} on {tree}"
    return None
