"""Several processes at once, on one tree and in one cache: one goes first, the others wait, and all get it right."""

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from exact_resume import environments, locks, patching, proofs, series, trees, wheel

COUNT = 4
PATCHES = Path(__file__).resolve().parents[2] / "patches"


def start(call):
    """Run `call` in a process of its own, and return its number."""
    child = os.fork()
    if child == 0:
        try:
            call()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def all_at_once(*calls):
    children = [start(call) for call in calls]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(calls)


def commands(world, *arguments):
    """Start the command line some times at once; return what each said, when all have ended."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "EXACT_RESUME_PATCHES": str(world.patches)}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "exact_resume", *map(str, words)],
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for words in arguments
    ]
    said = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0] * len(started), said
    return [out for out, _ in said]


def test_several_applies_on_one_tree(world):
    said = commands(world, *[["apply", world.tree]] * 3)
    assert sorted(out.splitlines()[-1].partition(":")[0] for out in said) == ["already applied"] * 2 + ["done"]
    assert world.now() == world.stage(COUNT)


def test_apply_against_revert(world):
    for _ in range(3):
        apply, revert = partial(patching.apply, world.tree), partial(patching.revert, world.tree)
        all_at_once(apply, revert, partial(patching.status, world.tree), apply, revert)
        assert world.now() in (world.stage(0), world.stage(COUNT))


def test_who_has_to_wait_says_so(world):
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for command, holding in (("apply", True), ("status", False), ("revert", True)):
        with locks.locked(world.tree, shared=holding):
            process = subprocess.Popen(
                [sys.executable, "-m", "exact_resume", command, world.tree],
                env=variables,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            line = process.stderr.readline()
            assert line == f"waiting for another exact-resume that works in {world.tree}\n"
            assert process.poll() is None
        assert process.wait() == 0
        process.stderr.close()
    assert world.now() == world.stage(0)


def test_readers_do_not_wait_for_each_other(world, capsys):
    with locks.locked(world.tree, shared=True):
        assert patching.status(world.tree).clean
        patching.apply(world.tree, check=True)
    assert "waiting" not in capsys.readouterr().err


def test_a_lock_of_a_killed_process_keeps_nobody_out(world, capsys):
    reading, writing = os.pipe()

    def hold():
        with locks.locked(world.tree):
            os.write(writing, b"x")
            time.sleep(600)

    child = start(hold)
    os.read(reading, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)
    patching.apply(world.tree)
    assert world.now() == world.stage(COUNT) and "waiting" not in capsys.readouterr().err


def test_a_file_system_without_locks_is_worked_on_all_the_same(world, monkeypatch):
    def refuse(*arguments):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    patching.apply(world.tree)
    assert world.now() == world.stage(COUNT)


def test_proofs_of_several_processes_are_all_kept(tmp_path):
    folder = Path(shutil.copytree(PATCHES, tmp_path / "patches"))
    known = list(series.load_releases(folder))[:4]
    all_at_once(*(partial(proofs.record, version, {"python": version}, folder) for version in known))
    after = series.load_releases(folder)
    assert {version: after[version].proof for version in known} == {version: {"python": version} for version in known}
    assert {path.name for path in folder.iterdir()} == {path.name for path in PATCHES.iterdir()}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EXACT_RESUME_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def slowly(log):
    """Note that it is done, in a file that several processes append to, and take some time."""
    with open(log, "a") as stream:
        stream.write("made\n")
    time.sleep(0.1)


def test_a_tree_is_made_by_one_process_and_whole_for_the_others(cache, tmp_path):
    def make(folder):
        (folder / "first").write_text("1")
        slowly(tmp_path / "log")
        (folder / "last").write_text("2")

    def want():
        assert sorted(os.listdir(trees.cached("a/key", make))) == ["first", "last"]

    all_at_once(*[want] * 4)
    assert (tmp_path / "log").read_text() == "made\n"


def test_a_tree_that_a_killed_process_was_making_is_made_anew(cache):
    reading, writing = os.pipe()

    def make_half(folder):
        (folder / "half").write_text("1")
        os.write(writing, b"x")
        time.sleep(600)

    child = start(partial(trees.cached, "key", make_half))
    os.read(reading, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert os.listdir(trees.cached("key", lambda folder: (folder / "whole").write_text("1"))) == ["whole"]
    assert sorted(os.listdir(cache / "unpacked")) == ["key", "key.lock"]


def test_a_wheel_is_downloaded_by_one_process(cache, tmp_path, monkeypatch):
    def download(release, path):
        slowly(tmp_path / "log")
        path.write_text(release)

    monkeypatch.setattr(trees, "_download", download)
    all_at_once(*[partial(trees.official_wheel, "0.0.1")] * 4)
    assert (tmp_path / "log").read_text() == "made\n"
    assert trees.official_wheel("0.0.1").read_text() == "0.0.1"


def test_an_environment_is_made_by_one_process(cache, tmp_path):
    folder = cache / "environments" / "key"
    python = folder / "bin/python"
    own = folder / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    want = partial(environments._make_once, folder, python, own, [], partial(slowly, tmp_path / "log"))
    all_at_once(*[want] * 3)
    assert (tmp_path / "log").read_text() == "made\n"
    assert subprocess.run([python, "-c", ""], check=False).returncode == 0


def test_a_wheel_is_written_by_several_processes(tmp_path):
    output = tmp_path / "output"
    all_at_once(*[partial(wheel._write, output, "a.whl", b"content" * 100_000)] * 4)
    assert os.listdir(output) == ["a.whl"] and (output / "a.whl").read_bytes() == b"content" * 100_000


def test_a_part_of_a_wheel_that_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / ".a.whl.part").symlink_to(tmp_path / "elsewhere")
    wheel._write(tmp_path, "a.whl", b"content")
    assert os.listdir(tmp_path) == ["a.whl"] and not (tmp_path / "a.whl").is_symlink()
