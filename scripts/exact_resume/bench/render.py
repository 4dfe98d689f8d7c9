"""Tables of what `bench` measured, in Markdown, and where the documentation has them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from exact_resume import readme_table, report
from exact_resume.bench import calls, scale
from exact_resume.bench.groups import VARIANTS
from exact_resume.bench.summary import TIMES, number
from exact_resume.errors import UsageError

CHECKOUT = Path(__file__).resolve().parents[3]
TABLES = {"calls": calls.table, "scale": scale.table}
"""Of groups whose figures are not compared with each other, a function that makes the table."""
PAGE, PICTURE = Path("scripts/COSTS.md"), Path(".github/bench.svg")


def cell(figure: dict[str, Any], variant: str) -> str:
    """Write the median of a variant with its quartiles, and how it compares."""
    summary = figure["summary"].get(variant)
    if summary is None:
        return "-"
    text = _with_quartiles(summary, number)
    if summary["compared"] is None:
        return text
    if figure["unit"] in TIMES:
        return f"{text}; x {_with_quartiles(summary['compared'], '{:.4g}'.format)}"
    return f"{text}; {_with_quartiles(summary['compared'], '{:+,.0f}'.format).replace(',', ' ')}"


def _with_quartiles(spread: dict[str, float], write: Callable[[float], str]) -> str:
    q1, median, q3 = (write(spread[name]) for name in ("q1", "median", "q3"))
    return median if q1 == q3 else f"{median} ({q1} to {q3})"


def table(name: str, group: dict[str, Any]) -> str:
    """Return the Markdown table of a group of results, and where it comes from."""
    if name in TABLES:
        lines = TABLES[name](group)
    else:
        variants = [name for name in group["variants"] if any(name in figure["values"] for figure in group["figures"])]
        rows = [
            [report.markdown_text(figure["title"]), figure["unit"], *(cell(figure, name) for name in variants)]
            for figure in group["figures"]
        ]
        lines = report.markdown_table(["", "unit", *(VARIANTS[name].title for name in variants)], rows, left=2)
    facts = ", ".join(f"{key} {value}" for key, value in group["environment"].items() if key != "platform")
    origin = (
        f"Measured by `{report.one_line(group['command'])}`, rounds: {group['rounds']}; {report.markdown_text(facts)}."
    )
    return "\n".join([*lines, "", origin, ""])


def markdown(results: dict[str, Any]) -> str:
    """Return all tables as a report."""
    parts = [f"# What it costs, transformers {results['release']}", ""]
    for name, group in results["groups"].items():
        parts += [f"## {group['title']}", "", table(name, group)]
    return "\n".join(parts)


def markers(name: str) -> tuple[str, str]:
    """Return the lines between which the documentation has the table of a group."""
    return f"<!-- {name} table -->", f"<!-- end of {name} table -->"


def documentation(tables: Mapping[str, str]) -> str:
    """
    Return the page of the documentation with these tables, by the name of the group.

    Raises:
        UsageError: The page is not there, or not with its markers, as in an installation without checkout.
    """
    path = CHECKOUT / PAGE
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; run this from a checkout of the project") from error
    for name, lines in tables.items():
        text = readme_table.replaced(text, lines, path, *markers(name))
    return text
