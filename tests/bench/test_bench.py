"""The bench: its arithmetic, its rounds, its tables and its picture, and one run of everything in miniature."""

import dataclasses
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from exact_resume import cli, runs
from exact_resume.bench import calls, command, plot, render, scale, summary
from exact_resume.bench.groups import IN_BAND, OFF, PATCHED, STATEFUL, STOCK, VARIANTS, Group, groups

ENVIRONMENT = {
    "tree": "/a/tree",
    "device": "cpu",
    "transformers": "5.23.0",
    "datasets": "5",
    "platform": "Linux",
    "python": "3.11.7",
    "cpus": 2,
}
SCALE = {"workers": [2, 8], "ranks": [1, 4096]}


def assert_refused(capsys, *said, arguments=()):
    assert cli.main(["bench", *map(str, arguments)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("exact-resume: ")
    for words in said:
        assert words in error


def test_a_spread_is_the_median_with_its_quartiles():
    assert summary.spread([5, 1, 3, 4, 2]) == {"q1": 2, "median": 3, "q3": 4}
    assert summary.spread([1, 2]) == {"q1": 1.25, "median": 1.5, "q3": 1.75}
    assert summary.spread([7]) == {"q1": 7, "median": 7, "q3": 7}


def test_times_are_compared_by_their_ratio_within_a_round_and_all_else_by_difference():
    # The machine was ten times as slow in the last round, which the ratio of medians would not tell from a finding.
    rounds = [
        {STOCK: [("a", "ms", 1.0), ("b", "bytes", 5)], PATCHED: [("a", "ms", 1.1), ("b", "bytes", 7)]},
        {STOCK: [("a", "ms", 2.0), ("b", "bytes", 5)], PATCHED: [("a", "ms", 2.0), ("b", "bytes", 6)]},
        {STOCK: [("a", "ms", 10.0), ("b", "bytes", 5)], PATCHED: [("a", "ms", 12.0), ("b", "bytes", 5)]},
    ]
    first, second = summary.collect(rounds)
    assert first == {"title": "a", "unit": "ms", "values": {STOCK: [1.0, 2.0, 10.0], PATCHED: [1.1, 2.0, 12.0]}}
    compared = summary.summarize(first, STOCK)
    assert compared[STOCK] == {"q1": 1.5, "median": 2.0, "q3": 6.0, "compared": None}
    assert compared[PATCHED]["median"] == 2.0
    assert compared[PATCHED]["compared"] == pytest.approx({"q1": 1.05, "median": 1.1, "q3": 1.15})
    assert summary.summarize(second, STOCK)[PATCHED]["compared"] == {"q1": 0.5, "median": 1, "q3": 1.5}


def test_what_the_baseline_does_not_have_is_not_compared():
    (figure,) = summary.collect([{STOCK: [], PATCHED: [("a", "us", 3.0)]}])
    assert summary.summarize(figure, STOCK) == {PATCHED: {"q1": 3.0, "median": 3.0, "q3": 3.0, "compared": None}}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.01234, "0.0123"), (1.5, "1.5"), (99.96, "100"), (1234567.8, "1 234 568"), (-5, "-5")],
)
def test_numbers_have_three_digits_or_all_before_the_point(value, text):
    assert summary.number(value) == text


def figure(title, unit, **values):
    made = {"title": title, "unit": unit, "values": values}
    return {**made, "summary": summary.summarize(made, STOCK if STOCK in values else PATCHED)}


def group_of(*figures, variants=(STOCK, PATCHED), options=None):
    environment = {"python": "3.11.7", "platform": "Linux", "cpus": 2}
    return {
        "title": "A group",
        "variants": list(variants),
        "options": options or {},
        "rounds": 3,
        "command": "python -m exact_resume bench",
        "environment": environment,
        "figures": list(figures),
    }


def results():
    sizes = [figure(scale.state_title(workers), "bytes", patched=[workers * 10_000]) for workers in (2, 8)]
    written = [figure(title(1, 2), "s", patched=[0.004]) for title in (scale.write_title, scale.read_title)]
    return {
        "schema": command.SCHEMA,
        "release": "5.23.0",
        "groups": {
            "recording": group_of(
                figure("a step", "ms", stock=[1.0, 1.0, 2.0], patched=[1.1, 1.0, 2.0], off=[1.0, 1.0, 2.0]),
                figure("a | snapshot", "us", patched=[3.0, 4.0, 5.0]),
                variants=(STOCK, OFF, PATCHED),
            ),
            "resuming": group_of(figure("map-style", "ms", stock=[10.0], patched=[5.0])),
            "checkpoints": group_of(figure("a checkpoint", "bytes", stock=[100], patched=[2100])),
            "scale": group_of(*sizes, *written, variants=(PATCHED,), options=SCALE),
        },
    }


def test_a_table_has_a_column_a_variant_and_says_where_it_is_from():
    lines = render.table("recording", results()["groups"]["recording"]).splitlines()
    assert lines[0] == "|  | unit | stock | patched, `off` | patched |"
    assert lines[2] == ("| a step | ms | 1 (1 to 1.5) | 1 (1 to 1.5); x 1 | 1.1 (1.05 to 1.55); x 1 (1 to 1.05) |")
    assert lines[3] == r"| a \| snapshot | us | - | - | 4 (3.5 to 4.5) |"
    assert lines[-1] == "Measured by `python -m exact_resume bench`, rounds: 3; python 3.11.7, cpus 2."


def test_differences_have_a_sign():
    (line,) = render.table("checkpoints", results()["groups"]["checkpoints"]).splitlines()[2:-2]
    assert line == "| a checkpoint | bytes | 100 | 2 100; +2 000 |"


def test_the_scale_is_calculated_from_measured_sizes():
    lines = render.table("scale", results()["groups"]["scale"]).splitlines()[2:-2]
    assert lines[0] == "| 1 | 2 | 20 kB | 0.02 MB | 1 | 2.02 ms | 1.02 ms | 4 ms | 4 ms |"
    # 8192 operations at 10 000 a second take longer than 330 MB at 10 GB/s.
    assert lines[3] == "| 4096 | 8 | 80 kB | 328 MB | 4096 | 819 ms | 410 ms | - | - |"
    assert scale.seconds(1, 5e9, 1) == pytest.approx(5.001)
    assert scale.seconds(4096, 5e9, 1) == pytest.approx(2048)


def calls_group():
    take, report_ = (
        next(call for call in calls.CALLS if call.path == path) for path in ("StepStart.take", "Worker.report")
    )
    measured = [
        (calls.MAIN, take, 1, 3),
        (calls.MAIN, report_, 2, 1),
        (calls.WITH_WORKERS, take, 1, 2),
        (calls.WORKER, report_, 1, 5),
    ]
    figures = [(calls.calls_title(place, call), count) for place, call, count, _ in measured]
    figures += [(calls.time_title(place, call), time) for place, call, _, time in measured]
    figures += [(calls.WITHIN, 0.1), (calls.AROUND, 0.4)]
    return group_of(*(figure(title, "us", patched=[value]) for title, value in figures), variants=(PATCHED,))


def test_the_calls_of_a_step_have_their_shares_and_their_reasons():
    lines = render.table("calls", calls_group()).splitlines()
    assert [line.count("|") for line in lines[:9]] == [7] * 9
    assert lines[2].startswith(f"| {calls.MAIN} | `record.StepStart.take` | Copies the loss")
    assert [line.split(" | ", 3)[3] for line in lines[2:9]] == [
        "1 | 3 | 75% |",
        "2 | 1 | 25% |",
        " | 4 | 100% |",
        "1 | 2 | 100% |",
        " | 2 | 100% |",
        "1 | 5 | 100% |",
        " | 5 | 100% |",
    ]
    assert lines[10] == "To time a call takes about 0.1 us within it and 0.4 us in its caller; both are taken off."


def test_a_call_is_timed_without_those_within_it(monkeypatch):
    stopwatch = pytest.importorskip("exact_resume.bench.stopwatch")
    clock = [0.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: clock[0])

    def spend(seconds, *functions):
        clock[0] += seconds
        return [function() for function in functions]

    watch = stopwatch.Stopwatch(num_processes=2, num_kinds=3, most=10)
    untold = watch.wrap(None, lambda: spend(4))
    inner = watch.wrap(1, lambda: spend(2, untold))
    watch.wrap(0, lambda: spend(1, inner, inner))()
    watch.process = 1
    assert list(watch.wrap_generator(2, lambda owner, steps: (spend(8) for _ in steps))(None, iter("ab"))) == [[], []]
    assert [watch.times(kind, 0, 1) for kind in range(3)] == [[1], [2, 2], [8, 8, 0]]


def test_what_timing_takes_is_taken_off():
    watch = pytest.importorskip("exact_resume.bench.stopwatch").Stopwatch(num_processes=1, num_kinds=3, most=10)
    within, around = watch.calibrate()
    assert 0 <= within < 1e-3 and 0 <= around < 1e-3
    assert watch.times(0, 0) == []


def test_the_picture_shows_every_figure_and_is_the_same_each_time():
    pytest.importorskip("matplotlib")
    text = plot.draw(results())
    ElementTree.fromstring(text)
    for words in ("a step", "map-style", "a checkpoint", "patched, off"):
        assert f">{words}<" in text
    assert "a | snapshot" not in text
    assert plot.draw(results()) == text
    assert not re.search(r"[ \t]$", text, re.MULTILINE)
    assert set(plot.STYLES) == set(VARIANTS)


def test_there_is_no_picture_of_nothing():
    assert plot.draw({"groups": {"scale": results()["groups"]["scale"]}}) is None


def test_the_page_has_a_place_for_every_group():
    names = groups(quick=True)
    assert list(names) == list(groups(quick=False))
    text = render.documentation({name: f"table of {name}\n" for name in names})
    for name in names:
        begin, end = render.markers(name)
        assert f"{begin}\ntable of {name}\n{end}\n" in text


class StandIn:
    """A process that measures nothing: what it was asked for, and figures that tell how often it was asked."""

    asked = []
    environment = ENVIRONMENT

    def __init__(self, tree, python, variables):
        assert variables == {"CUDA_VISIBLE_DEVICES": "", "EXACT_RESUME_SYNC": "1"}
        self.tree = tree

    def measure(self, group, variant, folder, prepares, **options):
        assert VARIANTS[variant].tree == self.tree
        self.asked.append((group, variant, prepares))
        if group == "scale":
            return [(scale.state_title(workers), "bytes", 1000) for workers in options["workers"]]
        return None if prepares else [("a step", "ms", float(len(self.asked)))]

    def __enter__(self):
        return self

    def __exit__(self, *details):
        pass


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A folder in which `bench` runs, on three groups, without measuring anything."""
    chosen = {
        "recording": Group("Recording", (STOCK, OFF, PATCHED), 2, {}),
        "resuming": Group("Resuming", (STOCK, PATCHED), 1, {}, prepares=True),
        "scale": Group("Scale", (PATCHED,), 1, SCALE),
    }
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(StandIn, "asked", [])
    monkeypatch.setattr(command, "Client", StandIn)
    monkeypatch.setattr(command, "groups", lambda quick: chosen)
    monkeypatch.setattr(command.plot, "draw", lambda results: "<svg/>\n")
    monkeypatch.setattr(command.environments, "python_for", lambda release: None)
    monkeypatch.setattr(command.trees, "build", lambda tree, release: tree)
    monkeypatch.setattr(runs, "check_installed", lambda *arguments, **options: None)
    monkeypatch.setattr(render, "CHECKOUT", tmp_path)
    page = tmp_path / render.PAGE
    page.parent.mkdir()
    (tmp_path / render.PICTURE).parent.mkdir()
    page.write_text("Words.\n" + "".join("{}\nold\n{}\n".format(*render.markers(name)) for name in chosen))
    return tmp_path


def read(folder):
    return json.loads((folder / "report" / "bench.json").read_text())


def test_each_round_begins_with_another_variant(bench, capsys):
    assert cli.main(["bench"]) == 0
    assert StandIn.asked == [
        *(("recording", variant, False) for variant in (STOCK, OFF, PATCHED, OFF, PATCHED, STOCK)),
        *(("resuming", variant, prepares) for prepares in (True, False) for variant in (STOCK, PATCHED)),
        ("scale", PATCHED, False),
    ]
    (measured,) = read(bench)["groups"]["recording"]["figures"]
    assert measured["values"] == {STOCK: [1.0, 6.0], OFF: [2.0, 4.0], PATCHED: [3.0, 5.0]}
    assert measured["summary"][PATCHED]["compared"]["median"] == pytest.approx((3 + 5 / 6) / 2)
    assert "tree" not in read(bench)["groups"]["recording"]["environment"]
    output = capsys.readouterr()
    assert "recording: round 2 of 2, stock: 0.0 s" in output.err and "resuming: preparing, patched" in output.err
    assert "| a step | ms |" in output.out and "wrote report/bench.svg" in output.out


def test_other_groups_are_kept_as_they_were_measured(bench):
    assert cli.main(["bench"]) == 0
    before = read(bench)["groups"]
    assert cli.main(["bench", "--only", "recording", "--quick"]) == 0
    after = read(bench)["groups"]
    assert list(after) == list(before)
    assert {name: after[name] == before[name] for name in before} == {
        "recording": False,
        "resuming": True,
        "scale": True,
    }
    assert after["recording"]["command"] == "python -m exact_resume bench --release 5.23.0 --quick --only recording"
    # Those of another release are not.
    assert cli.main(["bench", "--only", "scale", "--release", "5.22.2"]) == 0
    assert list(read(bench)["groups"]) == ["scale"]


def test_a_failure_keeps_the_groups_before_it(bench, monkeypatch):
    monkeypatch.setattr(scale, "state_title", lambda workers: "none")
    monkeypatch.setattr(render, "table", lambda name, group: 1 / 0 if name == "scale" else "")
    assert cli.main(["bench"]) == 70
    assert list(read(bench)["groups"]) == ["recording", "resuming"]


def test_the_documentation_gets_the_tables_and_the_picture(bench):
    assert cli.main(["bench", "--docs"]) == 0
    text = (bench / render.PAGE).read_text()
    assert text.startswith("Words.\n") and "old" not in text and text.count("Measured by ") == 3
    assert (bench / render.PICTURE).read_text() == "<svg/>\n"


def test_the_documentation_keeps_what_was_not_measured(bench, capsys):
    assert cli.main(["bench", "--docs", "--only", "recording"]) == 0
    text = (bench / render.PAGE).read_text()
    assert text.count("Measured by ") == 1 and text.count("\nold\n") == 2
    assert not (bench / render.PICTURE).exists()
    assert ".github/bench.svg stays, as report/bench.json lacks resuming, scale" in capsys.readouterr().out


def test_documentation_that_cannot_be_written_is_refused_before_anything_is_measured(bench, capsys):
    page = bench / render.PAGE
    page.write_text(page.read_text().replace("<!-- scale table -->\n", ""))
    assert_refused(capsys, "COSTS.md needs a line `<!-- scale table -->`", arguments=["--docs"])
    page.unlink()
    assert_refused(capsys, "cannot read", "from a checkout", arguments=["--docs"])
    assert StandIn.asked == []


def test_what_is_not_there_is_named(bench, capsys):
    assert_refused(capsys, "no group speed", "recording, resuming, scale", arguments=["--only", "speed"])
    assert_refused(capsys, "no series for release 1.0", arguments=["--release", "1.0"])
    (bench / "report").mkdir()
    for text in ("{", "[]", '{"schema": 1, "release": "5.23.0", "groups": 3}'):
        (bench / "report" / "bench.json").write_text(text)
        assert_refused(capsys, "report/bench.json is not what bench writes", "choose another --output")
    (bench / "file").write_text("")
    assert_refused(capsys, "cannot be written to file", arguments=["--output", "file"])
    assert StandIn.asked == []


def test_packages_that_are_missing_are_named_with_the_extra(monkeypatch, capsys):
    monkeypatch.setattr(command, "NEEDED", ("no_such_package",))
    assert_refused(capsys, "bench needs no_such_package", "bootstrap.py bench", "its extra `bench`")


def test_everything_is_measured_in_miniature(tmp_path, monkeypatch, capsys):
    """Every group, but only the variants that another does not stand for."""
    for name in ("matplotlib", "torchdata"):
        pytest.importorskip(name)
    tiny = {
        "step": {"steps": 20, "budgets": [(0, 40)]},
        "calls": {"steps": 20},
        "recording": {"steps": 20, "padded_steps": 20, "width": 8},
        "memory": {"steps": 50},
        "resuming": {"sizes": [2000], "slow_batches": 5, "positions": [64], "buffered": 128},
        "check": {"layers": 2, "width": 8},
        "scale": {"workers": [1], "ranks": [1, 2]},
        "journal": {"steps": 8},
    }
    variants = {"resuming": (STOCK, STATEFUL, PATCHED), "recording": (STOCK, STATEFUL, IN_BAND, PATCHED)}
    variants.update(calls=(PATCHED,), memory=(PATCHED,), check=(PATCHED,), scale=(PATCHED,), journal=(STOCK,))
    chosen = {
        name: dataclasses.replace(
            group, rounds=1, options=tiny.get(name, {}), variants=variants.get(name, (STOCK, PATCHED))
        )
        for name, group in groups(quick=True).items()
    }
    monkeypatch.setattr(command, "groups", lambda quick: chosen)
    assert cli.main(["bench", "--quick", "--output", str(tmp_path)]) == 0, capsys.readouterr().err
    measured = json.loads((tmp_path / "bench.json").read_text())["groups"]
    assert list(measured) == list(chosen)
    by_title = {figure["title"]: figure for group in measured.values() for figure in group["figures"]}
    queued = {
        name: values[0] for name, values in by_title["through the queue of 2 workers, a batch"]["values"].items()
    }
    assert queued[STOCK] == queued[PATCHED] < queued[STATEFUL] < queued[IN_BAND]
    sizes = by_title["a checkpoint, 8 workers, prefetch factor 2"]["values"]
    assert sizes[STOCK][0] < sizes[PATCHED][0]
    times = [figure["values"] for figure in by_title.values() if figure["unit"] in summary.TIMES]
    assert all(value > 0 for values in times for rounds in values.values() for value in rounds)
    assert by_title["a step, 0 workers; budget +40"]["values"].keys() == {STOCK, PATCHED}
    assert {
        call for call in calls.CALLS if not any(calls.time_title(p, call) in by_title for p in calls.PLACES)
    } == set()
    assert (tmp_path / "bench.svg").read_text().startswith("<?xml")
