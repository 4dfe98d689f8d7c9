"""Show the result object of a gate: as text, Markdown, HTML and JUnit XML."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from exact_resume import report
from exact_resume.gate import results as gate_results
from exact_resume.gate import verdicts
from exact_resume.gate.results import Results
from exact_resume.gate.verdicts import BASE, HEAD, Verdict

SUMMARY_BYTES = 2**20
"""What GitHub takes as the summary of a step."""
LINE_LENGTH = 1000
FILES = (gate_results.FILE, "summary.md", "gate.html", "junit.xml")

Judged = list[tuple[dict[str, Any], Verdict]]


def headline(results: Results) -> str:
    """Say in a few words what the change did."""
    kinds = gate_results.tally(results)
    if results["same"]:
        return "base and head hold the same transformers, so there is nothing to compare"
    if broken := kinds[verdicts.NEWLY_BROKEN]:
        return f"{broken} of {_plural(kinds.total(), 'scenario')} got worse"
    return "nothing got worse" if gate_results.compared(results) else "nothing could be compared"


def figures(results: Results) -> str:
    """Return how many scenarios have which verdict, as one line."""
    kinds = gate_results.tally(results)
    counts = ", ".join(f"{kinds[kind]} {kind}" for kind in verdicts.KINDS if kinds[kind])
    number, count = results["shard"]
    shard = f" in shard {number}/{count}" if count > 1 else ""
    return f"{_plural(kinds.total(), 'scenario')}{shard}: {counts}" if counts else f"no scenario{shard}"


def tree_line(tree: dict[str, Any]) -> str:
    """Say what a tree is, with its commit and what its environment holds."""
    commit = f", commit {tree['commit'][:12]}" if tree["commit"] else ""
    edited = " with changes that are not committed" if tree["edited"] else ""
    shown = ("python", "torch", "accelerate", "numpy")
    versions = [f"{name} {tree['environment'][name]}" for name in shown if name in tree["environment"]]
    facts = f"{tree['kind']}, transformers {tree['release']}{commit}{edited}"
    return report.one_line(f"{tree['spec']}: {facts}{'; ' if versions else ''}{', '.join(versions)}")


def console(results: Results) -> str:
    """Return what a terminal shows: what is worse, what is unclear, then the figures."""
    lines = []
    for row, verdict in verdicts.judge_all(results):
        if verdict.kind != verdicts.SAME:
            lines.append(f"{verdict.kind}: {row['name']}: {verdict.why}")
    return "\n".join([*lines, *_notes(results), figures(results), headline(results)]) + "\n"


def markdown(results: Results, limit: int = SUMMARY_BYTES) -> str:
    """
    Return GitHub-flavoured Markdown: a line where all is well, with everything else folded away.

    Text that comes from the trees is shown as code, so that it makes no link, no mention and no heading.

    Args:
        results: The result object, which may be one that a stranger made.
        limit: The most bytes to return. What is more is left out, which is then said.
    """
    judged = verdicts.judge_all(results)
    broken = [(row, verdict) for row, verdict in judged if verdict.kind == verdicts.NEWLY_BROKEN]
    specs = ", ".join(f"{tree['name']} {code(tree['spec'], 200)}" for tree in results["trees"])
    first = f"**Exact resume: {headline(results)}.** {figures(results)}; {specs}."
    lines = [first, ""]
    lines += [*(f"- {code(row['name'])}: {code(verdict.why)}" for row, verdict in broken), ""] if broken else []
    lines += ["<details><summary>Details</summary>", ""]
    lines += [f"- {tree['name']}: {code(tree_line(tree))}" for tree in results["trees"]]
    lines += [f"- {note}" for note in _notes(results)]
    lines += [f"- run again: {code(results['command'])}", ""]
    lines += (
        report.markdown_table(["scenario", "verdict", "why", BASE, HEAD], _table(judged), left=3) if judged else []
    )
    return _fitted(lines, ["", "</details>", ""], limit)


def code(text: object, limit: int = LINE_LENGTH) -> str:
    """Return text as inline code that nothing in it can end, in a table as well."""
    shown = report.clipped(report.one_line(text), limit).replace("`", "'").replace("|", "\\|")
    return f"`{shown or ' '}`"


def html(results: Results) -> str:
    """Return one self-contained page, with the heat map of both trees."""
    return report.page(
        "gate.html.j2",
        _printable(results),
        headline=headline(results),
        failing=gate_results.exit_code(results) != 0,
        figures=figures(results),
        notes=_notes(results),
        judged=[(row, verdict) for row, verdict in _by_kind(results) if verdict.kind != verdicts.SAME],
        environment="; ".join(f"{tree['name']} {tree_line(tree)}" for tree in results["trees"]),
    )


def junit(results: Results) -> str:
    """Return JUnit XML with a test case for each scenario; only what got worse is a failure."""
    judged = verdicts.judge_all(results)
    suite = ElementTree.Element("testsuite", name="exact_resume.gate", tests=str(len(judged)))
    marks = {verdicts.NEWLY_BROKEN: "failure", verdicts.SAME: None, verdicts.NEWLY_EXACT: None}
    # Where nothing could be compared, a page with no mark in red would pass for a good one.
    other = "skipped" if gate_results.compared(results) else "error"
    counts = {"failure": 0, "error": 0, "skipped": 0}
    for row, verdict in judged:
        seconds = sum(cell["seconds"] for cell in row["cells"].values())
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=f"gate.{report.one_line(row['group'])}",
            name=report.one_line(row["name"]),
            time=f"{seconds:.2f}",
        )
        if mark := marks.get(verdict.kind, other):
            counts[mark] += 1
            ElementTree.SubElement(case, mark, message=report.one_line(f"{verdict.kind}: {verdict.why}"))
    suite.attrib |= {"failures": str(counts["failure"]), "errors": str(counts["error"])}
    suite.attrib |= {"skipped": str(counts["skipped"]), "time": f"{results['seconds']:.2f}"}
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def write(results: Results, folder: Path) -> list[Path]:
    """Write the result object and its renderings into a folder; return their paths."""
    data = json.dumps(results, indent=1) + "\n"
    texts = dict(zip(FILES, (data, markdown(results), html(results), junit(results)), strict=True))
    return report.write_texts(texts, folder)


def _notes(results: Results) -> list[str]:
    changed = sum(verdict.golden_changed for _, verdict in verdicts.judge_all(results))
    return [f"the uninterrupted run itself differs between base and head in {_plural(changed, 'scenario')}"] * bool(
        changed
    )


def _by_kind(results: Results) -> Judged:
    return sorted(verdicts.judge_all(results), key=lambda pair: verdicts.KINDS.index(pair[1].kind))


def _table(judged: Judged) -> Iterable[list[str]]:
    ordered = sorted(judged, key=lambda pair: verdicts.KINDS.index(pair[1].kind))
    return [
        [
            code(row["name"]),
            verdict.kind,
            code(verdict.why) if verdict.why else "",
            *(report.cell_text(row["cells"][side]) for side in (BASE, HEAD)),
        ]
        for row, verdict in ordered
    ]


def _printable(value: Any) -> Any:
    """Return nested containers with every text made fit for one line of any output."""
    if isinstance(value, dict):
        return {key: _printable(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_printable(entry) for entry in value]
    return report.one_line(value) if isinstance(value, str) else value


def _fitted(lines: list[str], closing: list[str], limit: int) -> str:
    """Join lines, leaving out the last ones where they would be too many bytes."""
    note = ["", f"This was cut, as it may have {limit} bytes; {gate_results.FILE} has it whole."]
    room = limit - sum(len(line.encode()) + 1 for line in [*note, *closing])
    kept = []
    for line in lines:
        room -= len(line.encode()) + 1
        if room < 0:
            break
        kept.append(line)
    if len(kept) == len(lines):
        return "\n".join([*lines, *closing])
    folded = any(line.startswith("<details>") for line in kept)
    return "\n".join([*kept, *note, *(closing if folded else [""])])


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" + "s" * (count != 1)
