"""The short form of the kill soak: exact on the patched tree, not on stock, and what it would notice."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from exact_resume import cli, trees
from exact_resume.matrix.scenarios import SCENARIOS
from exact_resume.soak import leaks
from exact_resume.soak.cases import CASES, Fault, chosen_faults
from exact_resume.soak.command import soak
from exact_resume.soak.leaks import TOLERANCE, find_growth, look_for_leaks
from exact_resume.soak.runs import Golden, _check, make_golden, run_with_faults
from exact_resume.soak.server import Attempt, Failure, Server

RELEASE = "5.23.0"
NAMED = {case.name: case for case in CASES}


@pytest.fixture(scope="module")
def patched():
    with Server(trees.build(trees.PATCHED, RELEASE), Path(sys.executable)) as server:
        yield server


def test_a_few_kills_of_each_kind(patched):
    results = soak(patched, 10, 3, [NAMED[name] for name in ("noise", "workers", "sigterm_handler")])
    assert results["failures"] == []
    assert results["kills"] >= 10 and sum(results["by_fault"].values()) == results["kills"]


def test_signals(patched, tmp_path):
    case, rng = NAMED["persistent_workers"], random.Random(0)
    golden = make_golden(patched, case, tmp_path, ())
    faults = [
        Fault("group", signal=9),
        Fault("worker", signal=9, hits_child=True),
        Fault("limit", {"kind": "limit", "step": 16, "at": 100}),
    ]
    golden.seconds /= 20  # so that none comes too late, whatever else the machine does
    rows = run_with_faults(patched, case, golden, faults, tmp_path, rng)
    assert [row["outcome"] for row in rows] == ["killed", "failed", "failed"]
    assert rows[-1]["saved"] == 15


def test_a_file_system_that_is_full(patched, tmp_path):
    if patched.file_system is None:
        pytest.skip(patched.skipped["full file system"])
    case = NAMED["noise"]
    golden = make_golden(patched, case, tmp_path, ())
    *_, faults = chosen_faults(case, {4: 1, 6: 1}, can_fill=True)
    rows = run_with_faults(patched, case, golden, faults, tmp_path, random.Random(0))
    assert [(row["outcome"], row["saved"]) for row in rows] == [("failed", 3), ("failed", 5)]
    assert not any(patched.file_system.iterdir())


def test_a_rank_that_is_killed(patched, tmp_path):
    case = NAMED["ranks"]
    golden = make_golden(patched, case, tmp_path, ())
    fault = Fault("rank 1", {"kind": "kill", "step": 4, "at": 1, "rank": 1})
    rows = run_with_faults(patched, case, golden, [fault], tmp_path, random.Random(0))
    assert [(row["outcome"], row["saved"]) for row in rows] == [("killed", 3)]


def test_stock_does_not_survive():
    with Server(trees.build(trees.STOCK, RELEASE), Path(sys.executable)) as server:
        results = soak(server, 2, 0, [NAMED["plain"]])
    assert any("cannot be resumed: " in failure for failure in results["failures"])


def test_nothing_leaks_while_workers_are_replaced(tmp_path):
    results = look_for_leaks(trees.build(trees.PATCHED, RELEASE), Path(sys.executable), 400)
    assert results["failures"] == []
    assert len(results["samples"]) == 8


def test_shared_memory_that_a_process_leaves_is_noticed(tmp_path):
    path = Path("/dev/shm") / f"exact-resume-{tmp_path.name}"
    program = "import mmap, sys, time; f = open(sys.argv[1], 'w+b'); f.truncate(1); m = mmap.mmap(f.fileno(), 1);"
    program += " time.sleep(1)"
    held = set()
    process = subprocess.Popen([sys.executable, "-c", program, path], start_new_session=True)
    try:
        leaks.watch(process.pid, held)
        assert path.name in held
        assert leaks.abandoned(held) == {path.name}
    finally:
        process.wait()
        path.unlink()


@pytest.mark.parametrize(("name", "step"), [("memory", TOLERANCE), ("descriptors", 1), ("shared_memory", 1)])
def test_growth_is_noticed(name, step):
    sample = {"memory": 10**9, "descriptors": 9, "processes": 0, "shared_memory": 2}
    assert find_growth([sample] * 8) == []
    growing = [{**sample, name: sample[name] + number * step} for number in range(8)]
    assert [line.split()[0] for line in find_growth(growing)] == [name]
    assert find_growth([sample] * 3) == ["3 samples are too few to compare"]


EVENTS = [
    {"step": step, "micro_batch": 0, "stream": "model", "what": "loss", "value": f"0x1.{step}p+0"}
    for step in (1, 2, 3)
]
GOLDEN = Golden([EVENTS], 1.0, 3)


def _attempt(*events, resumed=1, status=-9, **lines):
    log = [{"resumed": resumed}, *({"event": event} for event in events), *({key: lines[key]} for key in lines)]
    return Attempt(status, [log], "", True)


def test_what_is_as_in_the_golden_run_is_accepted():
    assert _check(_attempt(*EVENTS[1:2]), GOLDEN, 1) == 1
    assert _check(_attempt(*EVENTS[1:], status=0, finished=3), GOLDEN, 1) == 1
    assert _check(Attempt(-9, [[]], "", True), GOLDEN, 1) is None


@pytest.mark.parametrize(
    ("attempt", "newest", "said"),
    [
        (_attempt({**EVENTS[1], "value": "0x1.9p+0"}), 1, "differs in step 2: loss"),
        (_attempt(EVENTS[1], status=0, finished=3), 1, "the resumed run ends before loss of step 3"),
        (_attempt(*EVENTS[1:]), 2, "resumed from step 1, although checkpoint-2 had been saved"),
        (Attempt(1, [[]], "no such file", False), 1, "cannot be resumed: no such file"),
    ],
)
def test_what_is_not_right_is_noticed(attempt, newest, said):
    with pytest.raises(Failure, match=said):
        _check(attempt, GOLDEN, newest)


def test_every_moment_is_hit():
    faults = [fault.inside for run in chosen_faults(NAMED["noise"], {4: 5, 6: 4}, can_fill=False) for fault in run]
    assert sorted(fault["at"] for fault in faults if fault["kind"] == "kill") == [1, 2, 3, 4, 5]
    assert sorted(fault["at"] for fault in faults if fault["kind"] == "error") == [1, 2, 3, 4]


def test_the_cases_are_of_the_matrix():
    for case in CASES:
        assert SCENARIOS[case.scenario].num_processes == case.num_processes
        assert SCENARIOS[case.scenario].reason_to_skip() is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only", "nothing"], "no case nothing; there are: plain, "),
        (["--output", "no/such/file"], "choose --output"),
    ],
)
def test_bad_arguments_are_explained(options, said, capsys):
    assert cli.main(["soak", *options]) == 2
    assert said in capsys.readouterr().err
