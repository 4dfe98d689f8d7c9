"""Turn one result object of ``verify`` into a console table, Markdown, HTML, an SVG heat map and a verdict.

Everything here reads the plain dict that is also stored as ``results.json``, so that a report can be
rendered again later, on a machine that has neither torch nor transformers.
"""

import json
import os
import re
import textwrap
from collections import Counter
from html import escape
from pathlib import Path

from . import heat_map

CONSOLE_WIDTH = 100
TOOLTIP_LENGTH = 240
# An underscore inside a word is plain text in GitHub's Markdown, and names read better without the backslash.
MARKDOWN_SPECIAL = re.compile(r"([\\`*\[\]|~#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")


def counts(cell: dict) -> tuple[int, int]:
    """Return how many resumes of a cell were exact, and how many there were."""
    resumes = cell.get("resumes") or []
    return sum(bool(resume["exact"]) for resume in resumes), len(resumes)


def totals(results: dict) -> dict[str, tuple[int, int]]:
    """Return exact and total resumes over all scenarios, by tree name."""
    sums = {}
    for tree in results["trees"]:
        pairs = [counts(row["cells"][tree["name"]]) for row in results["scenarios"] if tree["name"] in row["cells"]]
        sums[tree["name"]] = (sum(exact for exact, _ in pairs), sum(total for _, total in pairs))
    return sums


def cell_kind(cell: dict | None) -> str:
    """Name the state of a cell: missing, skipped, error, empty, exact or diverged."""
    if cell is None:
        return "missing"
    if cell["status"] == "skipped":
        return "skipped"
    # A status this module does not know is no reason to call a cell fine.
    if cell["status"] != "ok":
        return "error"
    exact, total = counts(cell)
    return "empty" if total == 0 else "exact" if exact == total else "diverged"


def cell_text(cell: dict | None) -> str:
    """Return what a table shows for a cell: a count, or the word for why there is none."""
    words = {"missing": "-", "skipped": "skipped", "error": "error"}
    return words.get(cell_kind(cell)) or "{}/{}".format(*counts(cell))


def one_line(value: object) -> str:
    """Make text safe for one line of any output: no newlines, no terminal escapes, nothing XML forbids."""
    text = "".join(char if char.isprintable() else " " if char.isspace() else "\ufffd" for char in str(value))
    return " ".join(text.split())


def clipped(text: str, limit: int) -> str:
    """Cut text to a length, and show that it was cut."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def interrupts(resume: dict) -> str:
    """Say where a run was interrupted, e.g. ``interrupted at step 2, then 5``."""
    return "interrupted at step " + ", then ".join(str(step) for step in resume["at"])


def difference(divergence: dict | None) -> str:
    """Say in words where a resumed run first differs from the golden run."""
    if not divergence:
        return "differs, no cause recorded"
    micro_batch = divergence.get("micro_batch")
    where = f"step {divergence.get('step')}" + ("" if micro_batch is None else f", micro-batch {micro_batch}")
    return one_line(f"first difference at {where}, stream {divergence.get('stream')}: {divergence.get('message')}")


def first_cause(cell: dict | None) -> str | None:
    """Return the first diverging resume of a cell in words, or None when none diverges."""
    wrong = [resume for resume in (cell or {}).get("resumes") or [] if not resume["exact"]]
    return f"{interrupts(wrong[0])}: {difference(wrong[0].get('divergence'))}" if wrong else None


def causes(results: dict, tree: str) -> list[dict]:
    """Return scenario, diverged and total counts, and first cause of every cell of a tree that diverges."""
    found = []
    for row in results["scenarios"]:
        cell = row["cells"].get(tree)
        if cause := first_cause(cell):
            exact, total = counts(cell)
            found.append({"scenario": row, "diverged": total - exact, "total": total, "cause": cause})
    return found


def skips(results: dict) -> list[tuple[str, int]]:
    """Return the reasons why cells were skipped, with how many cells each, most frequent first."""
    cells = [cell for row in results["scenarios"] for cell in row["cells"].values() if cell["status"] == "skipped"]
    return Counter(one_line(cell.get("reason") or "no reason given") for cell in cells).most_common()


def verdict(results: dict) -> list[str]:
    """Return one line per failing fact; an empty list means the run is clean.

    A scenario counts as claimed unless it says otherwise. Skipped and missing cells are no failures:
    a run may be narrowed on purpose, and the reports show every such cell.
    """
    lines = []
    for row in results["scenarios"]:
        name, cells = row["name"], row["cells"]
        for tree, cell in cells.items():
            if cell_kind(cell) == "error":
                lines.append(f"{name}: error on {tree}: {one_line(cell.get('reason') or 'no reason given')}")
        patched = cells.get("patched")
        if row.get("claimed", True) and cell_kind(patched) in ("diverged", "empty"):
            why = first_cause(patched) or "no resume was measured"
            lines.append(f"{name}: not exact on patched, {cell_text(patched)}; {why}")
        golden = {cells[tree]["golden"] for tree in ("stock", "patched") if (cells.get(tree) or {}).get("golden")}
        if len(golden) > 1:
            lines.append(f"{name}: the patch changes the uninterrupted run")
        # A negative control that stock passes would pass without the patch too, so it shows nothing.
        if not row.get("guard") and cell_kind(cells.get("stock")) == "exact":
            lines.append(f"cannot fail: {name} is exact on stock at all {counts(cells['stock'])[1]} resumes")
    return lines


def headline(results: dict) -> str:
    """Return the totals per tree as one sentence, the patched tree first."""
    parts = [f"{name} {exact}/{total}" for name, (exact, total) in totals(results).items()]
    parts.sort(key=lambda part: not part.startswith("patched "))
    return ", ".join([f"{part} exact" if index == 0 else part for index, part in enumerate(parts)])


def environment_line(results: dict) -> str:
    """Return release, environment, start and duration as one line."""
    seconds = results["seconds"]
    took = f"{int(seconds // 60)} min {int(seconds % 60)} s" if seconds >= 60 else f"{seconds:.1f} s"
    facts = ", ".join(f"{name} {value}" for name, value in results["environment"].items())
    return one_line(f"transformers {results['release']}; {facts}; started {results['started']}, took {took}")


def grouped(results: dict) -> list[tuple[str, list[dict]]]:
    """Return the scenarios by group, groups in the order in which they first appear."""
    groups = {}
    for row in results["scenarios"]:
        groups.setdefault(one_line(row.get("group") or "other"), []).append(row)
    return list(groups.items())


def group_seconds(rows: list[dict], trees: list[str]) -> list[str]:
    """Return what the scenarios of a group took on each tree, all processes together."""
    return [f"{sum((row['cells'].get(tree) or {}).get('seconds', 0.0) for row in rows):.1f} s" for tree in trees]


def console_table(results: dict) -> str:
    """Return the scenario x tree table as plain text, at most 100 columns, then what diverges on patched."""
    trees = [tree["name"] for tree in results["trees"]]
    sums = {tree: "{}/{}".format(*pair) for tree, pair in totals(results).items()}
    widths = [max(len(tree), len(sums[tree]), len("skipped")) for tree in trees]
    room = max(CONSOLE_WIDTH - sum(widths) - 2 * len(widths), 20)
    # The name comes first, because it is what a narrower run is asked for with.
    name_width = max([len(row["name"]) for row in results["scenarios"]] + [len("scenario")])
    labels = {row["name"]: f"{row['name']:{name_width}}  {one_line(row['title'])}" for row in results["scenarios"]}
    label_width = min(max([len(label) for label in labels.values()] + [len("scenario")]), room)

    def line(label: str, words: list[str]) -> str:
        cells = [f"  {word:>{width}}" for word, width in zip(words, widths, strict=True)]
        return f"{clipped(label, label_width):{label_width}}" + "".join(cells)

    rule = "-" * len(line("", trees))
    lines = [line("scenario", trees), rule]
    for _, rows in grouped(results):
        lines += [line(labels[row["name"]], [cell_text(row["cells"].get(tree)) for tree in trees]) for row in rows]
        lines.append(rule)
    lines.append(line("total", [sums[tree] for tree in trees]))
    diverged = [f"{found['scenario']['name']}: {found['cause']}" for found in causes(results, "patched")]
    if diverged:
        lines += ["", "first causes on patched:"]
        lines += [textwrap.fill(text, CONSOLE_WIDTH, subsequent_indent="    ") for text in diverged]
    lines += ["", *recording_lines(results)] if results.get("recording") else []
    return "\n".join(text.rstrip() for text in lines) + "\n"


def recording_lines(results: dict) -> list[str]:
    """Say for each way of loading what recording costs an update step."""
    return [
        f"recording, {entry['num_workers']} workers: {entry['on_ms']} ms a step instead of {entry['off_ms']} ms, "
        f"ratio {entry['ratio']} (median of pairs)"
        for entry in results.get("recording") or []
    ]


def markdown_text(value: object) -> str:
    """Escape text so that Markdown shows it as it is, in a table cell too."""
    return MARKDOWN_SPECIAL.sub(r"\\\1", escape(one_line(value), quote=False))


def markdown_table(head: list[str], rows: list[list[str]], left: int = 1) -> list[str]:
    """Return the lines of a Markdown table whose first ``left`` columns are aligned left."""
    rules = [":--" if index < left else "--:" for index in range(len(head))]
    return ["| " + " | ".join(row) + " |" for row in [head, rules, *rows]]


def markdown(results: dict) -> str:
    """Return the whole report as GitHub-flavoured Markdown."""
    trees, failing, experiment = results["trees"], verdict(results), results.get("experiment") or {}
    names = [tree["name"] for tree in trees]
    lines = ["# Exact resume", "", f"**{headline(results)}**", ""]
    lines += ["Failing:", "", *(f"- {markdown_text(text)}" for text in failing)] if failing else ["Nothing fails."]
    lines += ["", markdown_text(environment_line(results)), "", "## Scenarios", ""]
    rows = []
    for group, scenarios in grouped(results):
        rows.append([f"**{markdown_text(group)}**", *group_seconds(scenarios, names)])
        for row in scenarios:
            cells = [row["cells"].get(name) for name in names]
            # Bold what is exact everywhere, so that the column to look at stands out in plain text as well.
            words = [f"**{cell_text(cell)}**" if cell_kind(cell) == "exact" else cell_text(cell) for cell in cells]
            notes = " ".join(f"({note})" for note in scenario_notes(row))
            rows.append([f"{markdown_text(row['title'])} `{row['name']}` {notes}".rstrip(), *words])
    rows.append(["**total**", *("**{}/{}**".format(*pair) for pair in totals(results).values())])
    lines += markdown_table(["scenario", *(markdown_text(tree["title"]) for tree in trees)], rows)
    if experiment.get("bare"):
        lines += ["", "## Upstream experiment", ""]
        head = ["hypothesis", "order", "golden", "output", "matches"]
        entries = [{**entry, "matches": "yes" if entry["matches"] else "no"} for entry in experiment["bare"]]
        lines += markdown_table(head, [[markdown_text(entry[key]) for key in head] for entry in entries], left=2)
    if experiment.get("trainer"):
        entries = [[markdown_text(name), f"{e['exact']}/{e['total']}"] for name, e in experiment["trainer"].items()]
        lines += ["", "### The same experiment in Trainer", "", *markdown_table(["tree", "exact resumes"], entries)]
    if results.get("recording"):
        lines += ["", "## What recording costs", "", *(f"- {line}" for line in recording_lines(results))]
    found = [(name, cause) for name in names for cause in causes(results, name)]
    if found:
        lines += ["", f"<details><summary>First causes ({len(found)})</summary>", ""]
        for name, cause in found:
            share = f"{cause['diverged']} of {cause['total']} diverge"
            lines.append(f"- `{cause['scenario']['name']}` on {name}, {share}; {markdown_text(cause['cause'])}")
        lines += ["", "</details>"]
    if skips(results):
        lines += ["", "## Skipped", "", *(f"- {count} x {markdown_text(why)}" for why, count in skips(results))]
    return "\n".join([*lines, "", "## Run it again", "", "```sh", one_line(results["command"]), "```", ""])


def scenario_notes(row: dict) -> list[str]:
    """Return the words that set a scenario apart: a guard, or not claimed by the patched tree."""
    return ["guard"] * bool(row.get("guard")) + ["not claimed"] * (not row.get("claimed", True))


def heat_cell(cell: dict | None) -> dict:
    """Return one cell of the heat map: its kind, its text, and a mark (kind, title) per resume."""
    marks = []
    for resume in (cell or {}).get("resumes") or []:
        outcome = "exact" if resume["exact"] else difference(resume.get("divergence"))
        kind = "exact" if resume["exact"] else "diverged"
        marks.append({"kind": kind, "title": clipped(f"{interrupts(resume)}: {outcome}", TOOLTIP_LENGTH)})
    kind = cell_kind(cell)
    if kind in ("error", "skipped"):
        marks.append({"kind": kind, "title": clipped(one_line(f"{kind}: {cell.get('reason')}"), TOOLTIP_LENGTH)})
    return {"kind": kind, "text": "not run" if cell is None else cell_text(cell), "marks": marks}


def heat_groups(results: dict) -> list[dict]:
    """Return the heat map as plain data, for the HTML page and the SVG alike."""
    groups = []
    for title, rows in grouped(results):
        cells = [[heat_cell(row["cells"].get(tree["name"])) for tree in results["trees"]] for row in rows]
        titles = [{**row, "title": one_line(row["title"]), "notes": scenario_notes(row)} for row in rows]
        heat = [{**row, "heat": line} for row, line in zip(titles, cells, strict=True)]
        seconds = group_seconds(rows, [tree["name"] for tree in results["trees"]])
        groups.append({"title": title, "rows": heat, "seconds": seconds})
    return groups


def html(results: dict) -> str:
    """Return the report as one self-contained HTML page."""
    return page(
        "report.html.j2",
        results,
        headline=headline(results),
        failing=verdict(results),
        environment=environment_line(results),
        experiment=results.get("experiment") or {},
        causes={tree["name"]: causes(results, tree["name"]) for tree in results["trees"]},
        skips=skips(results),
        recording=recording_lines(results),
    )


def page(template: str, results: dict, **values) -> str:
    """Return a page made from a template, with what every page has and the given values."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = FileSystemLoader(Path(__file__).with_name("templates"))
    environment = Environment(loader=templates, autoescape=True, trim_blocks=True, undefined=StrictUndefined)
    environment.filters["one_line"] = one_line
    return environment.get_template(template).render(
        results=results, totals=totals(results), groups=heat_groups(results), **values
    )


def svg_heat_map(results: dict) -> str:
    """Return the heat map as a standalone SVG, 900 pixels wide, for light and dark pages."""
    trees = [(one_line(tree["title"]), "{}/{}".format(*totals(results)[tree["name"]])) for tree in results["trees"]]
    return heat_map.draw(f"Exact resumes: {headline(results)}", trees, heat_groups(results))


def write(results: dict, folder: Path) -> list[Path]:
    """Write results.json, report.md, report.html and heatmap.svg into a folder; return their paths."""
    # Rendered before anything is written, so that a failing renderer leaves the previous report whole.
    texts = {
        "results.json": json.dumps(results, indent=1) + "\n",
        "report.md": markdown(results),
        "report.html": html(results),
        "heatmap.svg": svg_heat_map(results),
    }
    return write_texts(texts, folder)


def write_texts(texts: dict[str, str], folder: Path) -> list[Path]:
    """Write files into a folder, each whole or not at all; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        temporary = folder / f".{name}.{os.getpid()}.tmp"
        try:
            temporary.write_text(text, encoding="utf-8", newline="\n")
            os.replace(temporary, folder / name)
        finally:
            temporary.unlink(missing_ok=True)
    return [folder / name for name in texts]
