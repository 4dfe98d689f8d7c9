"""Installing changes into a tree is all or nothing, whatever fails and whenever."""

import os

import pytest

from exact_resume import install, patching
from exact_resume.errors import UsageError


def failing(real, at, error):
    """Wrap an os function so that its call number `at` (from 1) raises."""
    calls = []

    def wrapped(*arguments, **options):
        calls.append(arguments)
        if len(calls) == at:
            raise error
        return real(*arguments, **options)

    return wrapped


@pytest.mark.parametrize("at", range(1, 7))
@pytest.mark.parametrize("function", ["replace", "open", "fsync", "chmod", "link"])
def test_a_refused_write_rolls_everything_back(world, monkeypatch, function, at):
    real = getattr(os, function)
    before = world.now()
    wrapped = failing(real, at, OSError(28, "No space left on device"))

    def only_ours(*arguments, **options):
        ours = function == "fsync" or str(world.tree) in str(arguments)
        return (wrapped if ours else real)(*arguments, **options)

    monkeypatch.setattr(os, function, only_ours)
    try:
        patching.apply(world.tree)
    except UsageError as error:
        monkeypatch.undo()
        assert "No space left on device; nothing was changed" in str(error)
        assert world.now() == before
    else:
        # Fewer calls than that, or a failed hard link, which has a fallback.
        monkeypatch.undo()
        assert world.now() == world.stage(4)


@pytest.mark.parametrize("at", range(1, 6))
def test_an_interruption_between_two_files_rolls_everything_back(world, monkeypatch, at):
    before = world.now()
    real = os.replace
    monkeypatch.setattr(os, "replace", failing(real, at, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        patching.apply(world.tree)
    assert world.now() == before


@pytest.mark.parametrize("at", range(1, 4))
def test_an_interruption_while_files_are_removed_rolls_everything_back(world, monkeypatch, at):
    patching.apply(world.tree)
    before = world.now()
    monkeypatch.setattr(os, "unlink", failing_in_tree(os.unlink, world.tree, at))
    with pytest.raises(KeyboardInterrupt):
        patching.revert(world.tree)
    monkeypatch.undo()
    assert world.now() == before


def failing_in_tree(real, tree, at):
    wrapped = failing(real, at, KeyboardInterrupt())
    return lambda path, **options: (wrapped if str(path).startswith(str(tree)) else real)(path, **options)


def test_a_rollback_that_fails_too_says_where_the_bytes_are(world, monkeypatch):
    real = os.replace
    calls = []

    def broken(source, target):
        calls.append(source)
        if len(calls) > 3:  # after the journal, a new file and a changed one
            raise OSError(5, "Input/output error")
        real(source, target)

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(RuntimeError, match="could not be restored, its bytes are in (.*)") as caught:
        patching.apply(world.tree)
    kept = str(caught.value).split("its bytes are in ")[1].split(";")[0]
    pristine = (world.stages[0] / "src/transformers/trainer.py").read_bytes()
    assert open(kept, "rb").read() == pristine


def test_a_file_that_changes_meanwhile_is_left_alone(tmp_path):
    target = tmp_path / "a.py"
    target.write_bytes(b"new by another\n")
    with pytest.raises(UsageError, match="changed by someone else"):
        install.install([install.Change(target, b"old\n", b"ours\n")], tmp_path)
    assert target.read_bytes() == b"new by another\n"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("folder", ["src/transformers", "tests/trainer"])
def test_a_read_only_folder_is_refused_up_front(world, folder):
    before = world.now()
    (world.tree / folder).chmod(0o555)
    try:
        for check in (False, True):
            with pytest.raises(UsageError, match=f"{folder} is read-only"):
                patching.apply(world.tree, check=check)
    finally:
        (world.tree / folder).chmod(0o755)
    assert world.now() == before


def test_a_folder_that_the_system_calls_read_only_is_refused(world, monkeypatch):
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: not str(path).startswith(str(world.tree)) and real(path, mode)
    )
    with pytest.raises(UsageError, match="is read-only"):
        patching.apply(world.tree)


def test_without_hard_links_the_rollback_works_from_copies(world, monkeypatch):
    def no_links(*arguments, **options):
        raise OSError(95, "Operation not supported")

    before = world.now()
    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(os, "replace", failing(os.replace, 3, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        patching.apply(world.tree)
    assert world.now() == before
