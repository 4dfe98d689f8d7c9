"""`diff`: where journals part, what is ignored in them, and what is refused; all without torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from exact_resume import cli
from exact_resume.errors import UsageError
from exact_resume.journal_file import CRC, DIGEST_SIZE, HEAD, Header, Writer, read

FIELDS = ("python", "torch", "batch", "loss", "parameters")
RECORD_SIZE = HEAD.size + len(FIELDS) * DIGEST_SIZE + CRC.size


def header(**changes):
    standard = {"fields": FIELDS, "world_size": 1, "rank": 0, "seed": 42, "every": 1}
    return Header(**{**standard, "transformers": "5.23.0", "torch": "2.13.0", **changes})


def write(path, steps, after=0, different=(), **changes):
    """Write a journal of these steps, in which the fields `different` are not those of other journals."""
    writer = Writer(path, header(**changes), after)
    for step in steps:
        writer.write(step, [f"{step:4}{'!' if name in different else '.'}{name:.3}".encode() for name in FIELDS])
    writer.close()
    return path


@pytest.fixture
def diff(capsys):
    def run(*arguments):
        code = cli.main(["diff", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def refused(outcome, *said):
    """Exit code 2 and one line that says these things."""
    code, out, err = outcome
    assert (code, out, err.count("\n")) == (2, "", 1)
    for words in said:
        assert str(words) in err


def test_the_same_runs(diff, tmp_path):
    a, b = write(tmp_path / "a", range(1, 8)), write(tmp_path / "b", range(1, 6))
    assert diff(a, b) == (
        0,
        f"A: {a}, 7 steps from 1 to 7\nB: {b}, 5 steps from 1 to 5\nthe same in 5 steps that both have, from 1 to 5\n",
        "",
    )


@pytest.mark.parametrize(
    ("different", "text", "hint"),
    [
        (["torch"], "different: torch; the same: python, batch, loss, parameters", "something drew more or less"),
        (
            ["torch", "batch"],
            "different: torch, batch; the same: python, loss, parameters",
            "before the data were drawn",
        ),
        (["batch", "loss"], "different: batch, loss; the same: python, torch, parameters", "samplers, workers"),
        (
            ["loss"],
            "different: loss; the same: python, torch, batch, parameters",
            "kernels that are not deterministic",
        ),
        (
            ["parameters"],
            "different: parameters; the same: python, torch, batch, loss",
            "the optimizer and its schedule",
        ),
    ],
)
def test_the_first_step_that_differs_and_what_differs_in_it(diff, tmp_path, different, text, hint):
    a, b = write(tmp_path / "a", range(1, 10)), write(tmp_path / "b", range(1, 5))
    write(b, range(5, 10), after=4, different=different)
    code, out, _ = diff(a, b)
    lines = out.splitlines()
    assert (code, lines[2]) == (1, f"parted at step 5: {text}")
    assert hint in lines[3]
    assert lines[4:] == ["  last common step: 4", "  in between, B was resumed after step 4"]


def test_all_lists_every_step_that_differs(diff, tmp_path):
    a, b = write(tmp_path / "a", range(1, 5)), write(tmp_path / "b", range(1, 5), different=["loss"])
    code, out, _ = diff(a, b, "--all")
    assert code == 1
    assert "parted at step 1: different: loss; " in out and "at what the runs began with" in out
    assert "last common step: none" in out
    assert [line.split(":")[0] for line in out.splitlines()[-3:]] == ["  step 2", "  step 3", "  step 4"]


def test_steps_that_one_journal_lacks_are_not_compared(diff, tmp_path):
    a = write(tmp_path / "a", range(1, 31))
    b = write(tmp_path / "b", range(10, 31, 10), every=10)
    assert "the same in 3 steps that both have, from 10 to 30" in diff(a, b)[1]
    c = write(tmp_path / "c", range(10, 31, 10), different=["batch"], every=10)
    assert "the runs may have parted earlier" in diff(a, c)[1]


def test_what_a_resumed_run_repeats_replaces_what_was_recorded(diff, tmp_path):
    a, b = write(tmp_path / "a", range(1, 11)), write(tmp_path / "b", range(1, 8))
    # Preempted after step 7, resumed after step 5.
    write(b, range(6, 11), after=5)
    code, out, _ = diff(a, b)
    assert code == 0
    assert "B: " in out and "resumed after step 5 and repeated 2 steps, which came out the same" in out
    # And after step 8, but not as before.
    write(b, range(9, 10), after=8, different=["batch"])
    code, out, _ = diff(a, b)
    assert code == 1
    assert "resumed after step 8 and repeated 1 step, which differ from step 9 on" in out
    assert "parted at step 9" in out and "in between, B was resumed after step 8" in out
    # Step 10 was not repeated, so the run has none.
    assert sorted(read(b).steps) == list(range(1, 10))


def test_a_run_that_is_started_once_more_replaces_all(tmp_path, diff):
    a, b = write(tmp_path / "a", range(1, 3)), write(tmp_path / "b", range(1, 9), different=["batch"])
    write(b, range(1, 3))
    code, out, _ = diff(a, b)
    assert (
        code == 0 and "2 steps from 1 to 2, started once more and repeated 2 steps, which differ from step 1 on" in out
    )


def test_other_seeds_and_releases_are_noted(diff, tmp_path):
    a, b = write(tmp_path / "a", [1]), write(tmp_path / "b", [1], seed=43, torch="2.12.0")
    code, out, _ = diff(a, b)
    assert code == 0
    assert "note: seed is 42 in A and 43 in B\nnote: torch is 2.13.0 in A and 2.12.0 in B\n" in out


@pytest.mark.parametrize("cut", [1, CRC.size, RECORD_SIZE - 1])
def test_a_torn_last_record_is_ignored_with_a_note_and_cut_when_the_run_goes_on(diff, tmp_path, cut):
    a, b = write(tmp_path / "a", range(1, 7)), write(tmp_path / "b", range(1, 6))
    b.write_bytes(b.read_bytes()[:-cut])
    code, out, _ = diff(a, b)
    assert code == 0 and "4 steps from 1 to 4, torn records at the end, ignored: 1" in out
    write(b, range(5, 7), after=4)
    code, out, _ = diff(a, b)
    assert code == 0 and "6 steps from 1 to 6, resumed after step 4\n" in out


def test_zeros_at_the_end_are_ignored(diff, tmp_path):
    a = write(tmp_path / "a", range(1, 7))
    b = tmp_path / "b"
    b.write_bytes(a.read_bytes() + bytes(2 * RECORD_SIZE + 5))
    code, out, _ = diff(a, b)
    assert code == 0 and "6 steps from 1 to 6, torn records at the end, ignored: 3" in out


def test_a_damaged_record_is_refused_with_its_number(diff, tmp_path):
    a = write(tmp_path / "a", range(1, 7))
    data = bytearray(a.read_bytes())
    data[-2 * RECORD_SIZE - 20] ^= 1
    a.write_bytes(data)
    refused(diff(a, a), a, "damaged: record 4 of 6")


def test_what_is_no_journal_is_refused(diff, tmp_path):
    a = write(tmp_path / "a", [1])
    refused(diff(a, tmp_path / "nowhere"), tmp_path / "nowhere", "No such file")
    for content in (b"", b"some text\n", a.read_bytes()[:40], b"exact-resume journal 1\n{}\n"):
        (tmp_path / "other").write_bytes(content)
        refused(diff(a, tmp_path / "other"), tmp_path / "other", "is no journal", "RNGJournal")


def test_journals_that_cannot_be_compared_are_refused(diff, tmp_path):
    a = write(tmp_path / "a", [1, 2])
    refused(diff(a, write(tmp_path / "b", [1], world_size=2)), "number of processes is 1 and 2")
    refused(diff(a, write(tmp_path / "c", [1], fields=FIELDS[1:])), "fields is", "'python', 'torch'")
    refused(diff(a, write(tmp_path / "d", [3])), "no step is in both", "1 step from 3 to 3")
    refused(diff(a, write(tmp_path / "e", [])), "no step is in both", "no steps")


def run_of(folder, *different, ranks=3):
    """A folder with the journals of all ranks, of which these have another batch from step 2 on."""
    for rank in range(ranks):
        path = write(folder / f"rank-{rank}.journal", [1], world_size=ranks, rank=rank)
        write(path, [2, 3], after=1, different=["batch"] if rank in different else [], world_size=ranks, rank=rank)
    return folder


def test_folders_are_compared_rank_by_rank(diff, tmp_path):
    a = run_of(tmp_path / "a")
    code, out, _ = diff(a, run_of(tmp_path / "b"))
    assert code == 0 and "rank 0, 1, 2: the same in 3 steps that both have, from 1 to 3" in out
    code, out, _ = diff(a, run_of(tmp_path / "c", 1))
    assert code == 1
    assert "rank 0, 2: the same in 3 steps that both have" in out
    assert "rank 1: parted at step 2: different: batch;" in out
    code, out, _ = diff(a / "rank-1.journal", tmp_path / "c" / "rank-1.journal")
    assert code == 1 and "\nparted at step 2: " in out


def test_folders_that_are_not_one_run_are_refused(diff, tmp_path):
    a, b = run_of(tmp_path / "a"), run_of(tmp_path / "b")
    (tmp_path / "empty").mkdir()
    refused(diff(a, tmp_path / "empty"), tmp_path / "empty", "holds no journal")
    (b / "rank-1.journal").unlink()
    refused(diff(a, b), b, "lacks the journal of rank 1")
    write(b / "rank-1.journal", [1], world_size=2, rank=1)
    refused(diff(a, b), b, "runs with 2 and 3 processes")
    refused(diff(a, a / "rank-0.journal"), "name two folders or two files")
    refused(diff(a / "rank-0.journal", a / "rank-1.journal"), "their rank is 0 and 1")


@pytest.mark.parametrize(
    ("changes", "said"), [({"world_size": 2}, "world_size is 1, and now 2"), ({"rank": 1}, "rank")]
)
def test_a_run_does_not_go_on_with_the_journal_of_another(tmp_path, changes, said):
    a = write(tmp_path / "a", [1])
    before = a.read_bytes()
    with pytest.raises(UsageError, match=said):
        Writer(a, header(**changes), 1)
    assert a.read_bytes() == before


def test_diff_needs_no_torch(tmp_path):
    for name in ("torch", "transformers", "numpy", "accelerate"):
        (tmp_path / "poisoned" / name).mkdir(parents=True)
        (tmp_path / "poisoned" / name / "__init__.py").write_text("raise SystemExit('imported what it must not')\n")
    a = write(tmp_path / "a", [1])
    path = os.pathsep.join([str(tmp_path / "poisoned"), str(Path(cli.__file__).parents[1])])
    command = [sys.executable, "-m", "exact_resume", "diff", str(a), str(a)]
    completed = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert (completed.returncode, completed.stderr) == (0, "")
    assert "the same in 1 step that both have" in completed.stdout
