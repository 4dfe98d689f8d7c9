"""What the reports must show, checked on small invented results."""

import copy
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from exact_resume import report

TREES = {
    "stock": "stock 5.23.0",
    "literal": "literal reorder",
    "drain": "drain, then restore",
    "patched": "patched",
}
STEPS = 8
SVG = "{http://www.w3.org/2000/svg}"
SCRIPT = "<script>alert(1)</script>"


def resume(step, exact, *chain, stream="data", message="batch bytes differ: x[0, 1] 0.123 vs 0.456"):
    at = [step, *chain]
    divergence = {"step": at[-1] + 1, "micro_batch": 0, "stream": stream, "message": message}
    return {"at": at, "exact": exact, "divergence": None if exact else divergence}


def cell(diverging=(), **details):
    resumes = [resume(step, step not in diverging, **details) for step in range(1, STEPS + 1)]
    return {"status": "ok", "seconds": 1.25, "reason": None, "resumes": resumes}


def without_resumes(status, reason):
    return {"status": status, "seconds": 0.0, "reason": reason, "resumes": []}


def scenario(name, title, group, diverging, guard=False, **details):
    """Build a scenario that is exact on the patched tree and diverges at the named steps on the other trees."""
    cells = {tree: cell(diverging if tree != "patched" else (), **details) for tree in TREES}
    return {"name": name, "title": title, "group": group, "guard": guard, "cells": cells}


def clean_results():
    late = range(3, STEPS + 1)
    return {
        "schema": 1,
        "release": "5.23.0",
        "command": "python -m exact_resume verify",
        "environment": {"python": "3.11.7", "torch": "2.13.0+cpu", "platform": "Linux-6.1-x86_64", "cpus": 2},
        "started": "2026-11-23T01:00:00Z",
        "seconds": 212.3,
        "trees": [{"name": name, "title": title} for name, title in TREES.items()],
        "experiment": {
            "bare": [
                {"hypothesis": "A", "order": "load, then get", "golden": 1.25, "output": 1.25, "matches": True},
                {"hypothesis": "B", "order": "get, then load", "golden": 1.25, "output": 0.75, "matches": False},
            ],
            "trainer": {"stock": {"exact": 2, "total": 9}, "patched": {"exact": 9, "total": 9}},
        },
        "scenarios": [
            scenario("plain", "plain run", "baseline", (), guard=True),
            scenario("torch_noise", "torch noise in __getitem__", "noise", late, stream="torch"),
            scenario("numpy_noise", "numpy noise in the collator", "noise", (2, 4)),
            scenario("workers", "two workers", "loader", late, stream="sampler"),
        ],
    }


def row_of(results, name):
    return next(row for row in results["scenarios"] if row["name"] == name)


def renderings(results):
    return {
        "console": report.console_table(results),
        "markdown": report.markdown(results),
        "html": report.html(results),
        "svg": report.svg_heat_map(results),
    }


def console_row(results, name):
    lines = report.console_table(results).splitlines()
    return next(line for line in lines if line.split()[:1] == [name]).split()


def test_counts_are_exact_and_total_resumes():
    assert report.counts(cell((3, 5))) == (STEPS - 2, STEPS)
    assert report.counts(without_resumes("error", "crashed")) == (0, 0)


def test_every_scenario_and_tree_is_in_every_rendering():
    results = clean_results()
    for form, text in renderings(results).items():
        for row in results["scenarios"]:
            shown = row["title"].replace("__", r"\_\_") if form == "markdown" else row["title"]
            assert shown in text, (form, shown)
        for name, title in TREES.items():
            assert (name if form == "console" else title) in text, (form, name)


def test_the_time_of_each_group_and_tree_is_in_the_long_renderings():
    results = clean_results()
    group, rows = report.grouped(results)[0]
    rows[0]["cells"]["patched"]["seconds"] = 61.5
    seconds = f"{sum(row['cells']['patched']['seconds'] for row in rows):.1f} s"
    assert f"| {seconds} |" in report.markdown(results)
    assert f'<td class="group">{seconds}</td>' in report.html(results)


def test_totals_per_tree_are_in_every_rendering():
    total = 4 * STEPS
    stock = total - 2 * (STEPS - 2) - 2
    texts = renderings(clean_results())
    assert console_row(clean_results(), "total")[1:] == [f"{stock}/{total}"] * 3 + [f"{total}/{total}"]
    assert f"**patched {total}/{total} exact, stock {stock}/{total}, literal {stock}/{total}" in texts["markdown"]
    assert f"{stock}<small> / {total} exact" in texts["html"]
    assert f"patched {total}/{total} exact, stock {stock}/{total}" in texts["svg"]


def test_clean_results_have_an_empty_verdict():
    results = clean_results()
    assert report.verdict(results) == []
    assert "Nothing fails." in report.markdown(results)
    assert "Nothing fails." in report.html(results)


def test_verdict_names_the_first_divergence_on_patched():
    results = clean_results()
    row_of(results, "workers")["cells"]["patched"] = cell((5, 7), stream="sampler", message="index 3 vs 4")
    assert report.verdict(results) == [
        "workers: not exact on patched, 6/8; interrupted at step 5: "
        "first difference at step 6, micro-batch 0, stream sampler: index 3 vs 4"
    ]
    for text in (report.markdown(results), report.html(results)):
        assert "Nothing fails" not in text
        assert "workers: not exact on patched" in text


def test_scenario_that_is_not_claimed_may_diverge_on_patched():
    results = clean_results()
    row_of(results, "workers")["cells"]["patched"] = cell((5,))
    row_of(results, "workers")["claimed"] = False
    assert report.verdict(results) == []
    row_of(results, "workers")["claimed"] = True
    assert len(report.verdict(results)) == 1


def test_nothing_measured_on_patched_is_not_exact():
    results = clean_results()
    row_of(results, "workers")["cells"]["patched"]["resumes"] = []
    assert report.verdict(results) == ["workers: not exact on patched, 0/0; no resume was measured"]


@pytest.mark.parametrize("status", ["error", "a status of the future"])
def test_verdict_reports_an_error_on_any_tree(status):
    results = clean_results()
    row_of(results, "plain")["cells"]["drain"] = without_resumes(status, "exit code 1\nTraceback")
    assert report.verdict(results) == ["plain: error on drain: exit code 1 Traceback"]
    assert console_row(results, "plain")[-2] == "error"


def test_verdict_reports_a_negative_control_that_cannot_fail():
    results = clean_results()
    row_of(results, "numpy_noise")["cells"]["stock"] = cell()
    assert report.verdict(results) == ["cannot fail: numpy_noise is exact on stock at all 8 resumes"]
    row_of(results, "numpy_noise")["guard"] = True
    assert report.verdict(results) == []


def test_skipped_cells_are_words_and_their_reasons_are_counted():
    results = clean_results()
    for name in ("plain", "workers"):
        row_of(results, name)["cells"]["patched"] = without_resumes("skipped", "datasets is not installed")
    row_of(results, "workers")["cells"]["stock"] = without_resumes("skipped", "needs two devices")
    assert report.verdict(results) == []
    assert report.skips(results) == [("datasets is not installed", 2), ("needs two devices", 1)]
    assert console_row(results, "workers")[-1] == "skipped"
    assert "- 2 x datasets is not installed\n- 1 x needs two devices" in report.markdown(results)
    assert "2 cells skipped: datasets is not installed" in report.html(results)
    assert 'class="skipped" d="' in report.svg_heat_map(results)


def test_missing_tree_cell_is_shown_as_not_run():
    results = clean_results()
    del row_of(results, "torch_noise")["cells"]["literal"]
    assert report.verdict(results) == []
    assert console_row(results, "torch_noise")[-4:] == ["2/8", "-", "2/8", "8/8"]
    assert console_row(results, "total")[2] == f"{3 * STEPS - 8}/{3 * STEPS}"
    assert "| 2/8 | - | 2/8 | **8/8** |" in report.markdown(results)
    assert report.html(results).count("not run") == 1
    assert report.svg_heat_map(results).count(">not run<") == 1


def test_results_of_one_tree_without_experiment_render():
    results = clean_results()
    results["trees"] = [tree for tree in results["trees"] if tree["name"] == "stock"]
    results["experiment"] = {}
    for row in results["scenarios"]:
        row["cells"] = {"stock": row["cells"]["stock"]}
    for text in renderings(results).values():
        assert "stock" in text
        assert "patched 0/0" not in text
        assert "Upstream experiment" not in text


def test_console_table_is_aligned_and_fits():
    results = clean_results()
    row_of(results, "workers")["title"] = "a title that goes on " * 10
    row_of(results, "workers")["cells"]["patched"] = cell((5,), message="a long message " * 20)
    table, causes = report.console_table(results).split("\n\n")
    assert max(len(line) for line in report.console_table(results).splitlines()) <= 100
    assert len({len(line) for line in table.splitlines()}) == 1
    assert table.splitlines()[1] == table.splitlines()[3] == "-" * len(table.splitlines()[0])


def test_console_lists_first_causes_of_patched_only():
    results = clean_results()
    assert "interrupted" not in report.console_table(results)
    row_of(results, "workers")["cells"]["patched"] = cell((5, 6))
    text = report.console_table(results)
    assert text.count("interrupted at step") == 1
    assert "workers: interrupted at step 5: first difference at step 6" in text


def test_first_causes_of_every_tree_are_in_markdown_and_html():
    results = clean_results()
    cause = "interrupted at step 3: first difference at step 4, micro-batch 0, stream torch: batch bytes differ: x"
    assert f"- `torch_noise` on stock, 6 of 8 diverge; {cause}" in report.markdown(results)
    assert "<details><summary>First causes (9)</summary>" in report.markdown(results)
    page = report.html(results)
    assert page.count("<details") == 3
    assert f'<td class="fixed">6 of 8</td>\n<td>{cause}' in page


def test_experiment_environment_and_command_are_shown():
    results = clean_results()
    text, page = report.markdown(results), report.html(results)
    assert "| B | get, then load | 1.25 | 0.75 | no |" in text
    assert "| stock | 2/9 |" in text
    assert "<td>stock</td><td>2/9</td>" in page
    for shown in ("get, then load", "transformers 5.23.0; python 3.11.7, torch 2.13.0+cpu", "took 3 min 32 s"):
        assert shown in text
        assert shown in page
    assert "```sh\npython -m exact_resume verify\n```" in text
    assert "<pre>python -m exact_resume verify</pre>" in page


def test_chain_of_interrupts_and_absent_details_are_put_in_words():
    chained = {"resumes": [resume(2, False, 5)]}
    chained["resumes"][0]["divergence"]["micro_batch"] = None
    assert report.first_cause(chained).startswith("interrupted at step 2, then 5: first difference at step 6, stream")
    chained["resumes"][0]["divergence"] = None
    assert report.first_cause(chained) == "interrupted at step 2, then 5: differs, no cause recorded"
    assert report.first_cause(cell()) is None


def test_markup_in_results_is_escaped_everywhere():
    results = clean_results()
    row = row_of(results, "workers")
    row["title"] = row["group"] = f"workers {SCRIPT}"
    row["cells"]["patched"] = cell((5,), message=SCRIPT)
    row["cells"]["drain"] = without_resumes("error", SCRIPT)
    row["cells"]["literal"] = without_resumes("skipped", SCRIPT)
    results["environment"]["platform"] = SCRIPT
    results["trees"][0]["title"] = results["experiment"]["bare"][0]["order"] = SCRIPT
    texts = renderings(results)
    for form in ("markdown", "html", "svg"):
        assert "<script" not in texts[form].lower(), form
        assert "&lt;script&gt;" in texts[form], form
    ElementTree.fromstring(texts["svg"])


def test_markdown_rows_survive_pipes_and_newlines():
    results = clean_results()
    row_of(results, "workers")["title"] = "two | workers\nand *more*"
    line = next(line for line in report.markdown(results).splitlines() if "`workers`" in line)
    assert r"two \| workers and \*more\*" in line
    assert len(re.findall(r"(?<!\\)\|", line)) == len(TREES) + 2


def test_control_characters_reach_no_terminal_and_no_xml():
    results = clean_results()
    row_of(results, "workers")["title"] = "two\x1b[31m workers\x00"
    row_of(results, "workers")["cells"]["patched"] = cell((5,), message="\x1b[2J\udc80")
    for form, text in renderings(results).items():
        assert not re.search(r"[\x00-\x08\x0b-\x1f\ud800-\udfff]", text), form
    ElementTree.fromstring(report.svg_heat_map(results))


def test_html_has_a_titled_mark_per_resume_and_loads_nothing():
    page = report.html(clean_results())
    assert page.count('role="img" title="interrupted at step') == 4 * len(TREES) * STEPS
    assert 'title="interrupted at step 2: exact"' in page
    assert 'title="interrupted at step 3: first difference at step 4, micro-batch 0, stream torch: batch bytes' in page
    assert not re.search(r"https?:|<script|<link|<img|@import|url\(", page)
    assert "prefers-color-scheme: dark" in page


def svg_bars(results):
    """Return the drawing, its bars (kind and right edge, taken from the dashed lines) and how many crosses it has."""
    drawing = ElementTree.fromstring(report.svg_heat_map(results))
    pitch = 1 + int(re.search(r"stroke-dasharray:(\d+) 1}", drawing.findtext(f"{SVG}style")).group(1))
    bars, crosses = [], 0
    for strip in drawing.iter(f"{SVG}g"):
        left = int(re.match(r"translate\((\d+) ", strip.get("transform")).group(1))
        for path in strip:
            if path.get("class") == "sign":
                crosses += path.get("d").count("m0-6")
            for start, length in re.findall(r"M(\d+) \d+h(\d+)(?=M|$)", path.get("d")):
                ends = range(left + int(start) + pitch, left + int(start) + int(length) + 2, pitch)
                bars += [(path.get("class"), end) for end in ends]
    return drawing, bars, crosses


def test_svg_draws_one_bar_per_resume_and_a_cross_on_each_that_diverges():
    diverging = 3 * (2 * (STEPS - 2) + 2)
    _, bars, crosses = svg_bars(clean_results())
    kinds = [kind for kind, _ in bars]
    # The legend adds one mark of each kind.
    assert kinds.count("exact") == 4 * len(TREES) * STEPS - diverging + 1
    assert kinds.count("diverged") == crosses == diverging + 1


def test_long_strips_wrap_inside_their_column():
    results = clean_results()
    short, few, _ = svg_bars(results)
    chains = [resume(first, True, second) for first in range(1, 10) for second in range(first + 1, 10)]
    row_of(results, "workers")["cells"]["patched"]["resumes"] = chains * 2
    tall, many, _ = svg_bars(results)
    assert len(many) == len(few) + 2 * len(chains) - STEPS
    assert tall.get("width") == short.get("width") == "900"
    assert int(tall.get("height")) > int(short.get("height"))
    # Right of the last strip there is still room for its count.
    assert max(end for _, end in many) < 900 - 16 - 7 * len("72/72")


def test_write_stores_four_files_and_round_trips_the_results(tmp_path):
    results = clean_results()
    before = copy.deepcopy(results)
    paths = report.write(results, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["results.json", "report.md", "report.html", "heatmap.svg"]
    assert sorted(os.listdir(tmp_path / "new" / "folder")) == sorted(path.name for path in paths)
    assert results == before
    assert json.loads(paths[0].read_text()) == results
    assert list(json.loads(paths[0].read_text())) == list(results)
    assert paths[1].read_text() == report.markdown(results)
    assert paths[2].read_text() == report.html(results)
    assert paths[3].read_text() == report.svg_heat_map(results)


def test_failed_write_raises_and_leaves_no_temporary_file(tmp_path):
    (tmp_path / "report.md").mkdir()
    with pytest.raises(OSError):
        report.write(clean_results(), tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["report.md", "results.json"]


def test_failed_rendering_keeps_the_previous_report(tmp_path):
    paths = report.write(clean_results(), tmp_path)
    kept = [path.read_bytes() for path in paths]
    broken = clean_results()
    del broken["environment"]
    with pytest.raises(KeyError):
        report.write(broken, tmp_path)
    assert [path.read_bytes() for path in paths] == kept


def test_importing_the_module_is_cheap():
    heavy = "import sys, exact_resume.report; print(sorted({'jinja2', 'rich', 'torch', 'numpy'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    run = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, env=environment, check=True)
    assert run.stdout.strip() == "[]"


def test_a_changed_uninterrupted_run_is_a_finding():
    results = clean_results()
    cells = results["scenarios"][0]["cells"]
    before = report.verdict(results)
    cells["stock"]["golden"], cells["patched"]["golden"] = "1f", "2e"
    assert set(report.verdict(results)) - set(before) == {
        f"{results['scenarios'][0]['name']}: the patch changes the uninterrupted run"
    }
    cells["patched"]["golden"] = "1f"
    assert report.verdict(results) == before
