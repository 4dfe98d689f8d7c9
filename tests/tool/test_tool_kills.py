"""A process that is killed at any moment leaves nothing half-done: the next one finishes it or takes it back."""

import itertools
import os
import shutil
import subprocess
import sys
from functools import partial

import pytest

from exact_resume import committing, install, installed, patching, trees, treespec, unfinished, wheel
from exact_resume.errors import Finding, UsageError

TRAINER = "src/transformers/trainer.py"
CREATED = "tests/trainer/test_resume.py"
JOURNAL = ".exact-resume-unfinished.json"
COUNT = 4


@pytest.fixture
def taken_down(monkeypatch):
    """Return what a command would install, without doing it."""

    def take_down(command):
        taken = []
        with monkeypatch.context() as patched:
            patched.setattr(install, "install", lambda *arguments: taken.append(arguments))
            command()
        return partial(install.install, *taken[0])

    return take_down


def put_right(root, others=()):
    with unfinished.alone(root, others, partial(committing.is_made, root)):
        pass


def kill_everywhere(run_and_kill, call, root, *, state, restore, others=()):
    """Kill `call` before each of its changes, and the recovery as well; return the states that were found then."""
    before = state()
    found = []
    for at in itertools.count(1):
        if not run_and_kill(call, at):
            break
        # The recovery gets killed too, each time at another place.
        run_and_kill(partial(put_right, root, others), at % 9 + 1)
        put_right(root, others)
        found.append(state())
        restore()
        assert state() == before
    after = state()
    assert before != after
    # Before the last changes, which only clean up, it was done already.
    kinds = ["before" if one == before else "after" if one == after else "neither" for one in found]
    assert kinds == sorted(kinds, key=["before", "after", "neither"].index)
    assert set(kinds) == {"before", "after"}
    print(f"killed {len(kinds)} times: {kinds.count('before')} times undone, {kinds.count('after')} times finished")
    return kinds


@pytest.fixture
def half_applied(world, run_and_kill, taken_down):
    """Kill `apply` as soon as it has changed the trainer and made a new file."""
    call = taken_down(partial(patching.apply, world.tree))
    before = (world.tree / TRAINER).read_bytes()
    for at in itertools.count(1):
        assert run_and_kill(call, at)
        if (world.tree / TRAINER).read_bytes() != before and (world.tree / CREATED).exists():
            return
        put_right(world.tree)


def copied(folder):
    """Return a function that brings back what a folder holds now."""
    kept = folder.with_name(f"{folder.name}-kept")
    shutil.copytree(folder, kept, symlinks=True)

    def restore():
        shutil.rmtree(folder)
        shutil.copytree(kept, folder, symlinks=True)

    return restore


def test_apply_and_revert_that_are_killed(world, run_and_kill, taken_down):
    for command in (patching.apply, patching.revert):
        call = taken_down(partial(command, world.tree))
        kinds = kill_everywhere(run_and_kill, call, world.tree, state=world.now, restore=copied(world.tree))
        assert len(kinds) > 30
        shutil.rmtree(world.tree.with_name("tree-kept"))
    assert world.now() == world.stage(0)


def test_apply_with_commits_that_is_killed(fork, git, run_and_kill, taken_down):
    git(fork.tree, "config", "user.name", "A Müller")
    git(fork.tree, "config", "user.email", "a@example.org")
    call = taken_down(partial(patching.apply, fork.tree, commit=True))

    def state():
        files = {path: content for path, content in fork.now().items() if not path.startswith(".git")}
        return files, git(fork.tree, "rev-parse", "HEAD"), git(fork.tree, "status", "--porcelain")

    kinds = kill_everywhere(run_and_kill, call, fork.tree, state=state, restore=copied(fork.tree))
    assert len(kinds) > 30


def test_apply_to_an_installation_whose_note_lies_elsewhere(world, snapshot, run_and_kill, taken_down):
    site = world.work / "site"
    site.mkdir()
    editable = installed.Installed(world.tree, site, None)
    call = taken_down(partial(patching.apply, world.tree, installed=editable))
    restores = [copied(world.tree), copied(site)]

    def state():
        # A note names its patches in their order, and so is the same each time.
        return world.now(), snapshot(site)

    def restore():
        for one in restores:
            one()

    kinds = kill_everywhere(run_and_kill, call, world.tree, state=state, restore=restore, others=[site])
    assert len(kinds) > 30
    for at in itertools.count(1):
        assert run_and_kill(call, at)
        if (world.tree / JOURNAL).exists():
            break
    with pytest.raises(UsageError, match="leads out of the tree.*give --installed again"):
        patching.apply(world.tree)


def test_the_commands_after_a_killed_one(world, half_applied, capsys):
    half = world.now()
    for command in (patching.status, partial(patching.apply, check=True), partial(patching.revert, check=True)):
        with pytest.raises((UsageError, Finding), match="was interrupted; give apply or revert once more"):
            command(world.tree)
    assert world.now() == half
    patching.revert(world.tree)
    assert world.now() == world.stage(0)
    assert "an earlier command was interrupted; what it had begun is undone now" in capsys.readouterr().err
    assert patching.status(world.tree).exact


def test_a_command_that_is_killed_from_outside(world):
    """By the command line, and a signal that comes at some time."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    slow = (
        "import os, sys, time; from exact_resume import cli, install; real = os.replace\n"
        "def replace(*paths):\n    real(*paths); print('replaced', flush=True); time.sleep(0.2)\n"
        "install.os.replace = replace; cli.main(['apply', sys.argv[1]])"
    )
    process = subprocess.Popen([sys.executable, "-c", slow, world.tree], env=variables, stdout=subprocess.PIPE)
    for _ in range(3):
        process.stdout.readline()
    process.kill()
    process.communicate()
    assert (world.tree / JOURNAL).exists()
    completed = world.run("apply", world.tree)
    assert completed.returncode == 0 and "interrupted; what it had begun is undone now" in completed.stderr
    assert world.now() == world.stage(COUNT)


def test_a_half_patched_tree_is_not_judged(world, half_applied):
    with pytest.raises(UsageError, match="was interrupted; give apply or revert once more"):
        treespec.resolve(str(world.tree))


def test_a_wheel_and_a_tree_in_the_cache_that_are_killed(tmp_path, monkeypatch, run_and_kill):
    monkeypatch.setenv("EXACT_RESUME_CACHE", str(tmp_path / "cache"))

    def make(folder):
        (folder / "whole").write_text("whole")

    cases = [
        (partial(wheel._write, tmp_path / "output", "a.whl", b"content"), tmp_path / "output", ["a.whl"]),
        (partial(trees.cached, "key", make), tmp_path / "cache" / "unpacked", ["key", "key.lock", "key/whole"]),
    ]
    for call, folder, expected in cases:
        for at in itertools.count(1):
            was_killed = run_and_kill(call, at)
            call()
            assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == expected
            shutil.rmtree(folder)
            if not was_killed:
                break
        assert at > 3


def test_the_release_was_reinstalled_after_a_kill(world, half_applied):
    for path in (TRAINER, "src/transformers/training_args.py", "tests/trainer/test_trainer.py"):
        shutil.copy(world.stages[0] / path, world.tree / path)
    patching.apply(world.tree)
    assert world.now() == world.stage(COUNT)


def test_a_file_that_was_changed_after_a_kill_is_not_overwritten(world, half_applied):
    (world.tree / TRAINER).write_text("mine\n")
    before = world.now()
    with pytest.raises(UsageError, match=f"{TRAINER} was changed since; restore .* and remove this file"):
        patching.apply(world.tree)
    assert world.now() == before
