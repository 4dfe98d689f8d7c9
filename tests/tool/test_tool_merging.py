"""Forks at arbitrary commits: patches that are merged three-way where their hunks do not fit as they are."""

import shutil
import zipfile

import pytest

from exact_resume import merging, patching
from exact_resume.errors import UsageError

TRAINER = "src/transformers/trainer.py"
MERGED = f"merged three-way with transformers 9.9.0: {TRAINER}"
COUNT = 3


def insert_between_changes(world):
    """Put a line between the two changes of the first hunk: it does not fit any more, and both can be told apart."""
    world.edit(TRAINER, "x12 = 12\n", "mine = 1\nx12 = 12\n")


def files(world):
    """Everything in the work tree but git's own files."""
    return {name: held for name, held in world.now().items() if not name.startswith(".git")}


def refused(world, match, **options):
    before = world.now()
    with pytest.raises(UsageError, match=match) as caught:
        patching.apply(world.tree, **options)
    assert "\n" not in str(caught.value) and str(caught.value).endswith("nothing was changed")
    assert world.now() == before
    return str(caught.value)


@pytest.mark.parametrize("count", range(1, COUNT + 1))
def test_a_fork_is_merged_and_comes_back_from_every_prefix(fork, count):
    insert_between_changes(fork)
    before = fork.now()
    result = patching.apply(fork.tree, upto=fork.names[count - 1])
    assert MERGED in result.lines
    full = (fork.stages[count] / TRAINER).read_text()
    assert (fork.tree / TRAINER).read_text() == full.replace("x12 = 12\n", "mine = 1\nx12 = 12\n")
    status = patching.status(fork.tree)
    assert status.clean and status.edited == (TRAINER,)
    assert [state for _, state in status.patches] == ["applied"] * count + ["not applied"] * (COUNT - count)
    assert not patching.apply(fork.tree, upto=fork.names[count - 1]).changed
    assert MERGED in patching.revert(fork.tree).lines
    # The repository is only read.
    assert fork.now() == before


def test_a_merge_goes_on_from_a_prefix(fork):
    insert_between_changes(fork)
    patching.apply(fork.tree, upto=fork.names[0])
    result = patching.apply(fork.tree)
    assert list(result.patches) == fork.names[1:] and MERGED in result.lines
    assert patching.status(fork.tree).clean


def test_check_says_that_it_would_merge(fork):
    insert_between_changes(fork)
    before = fork.now()
    assert MERGED in patching.apply(fork.tree, check=True).lines
    assert fork.now() == before


def test_a_file_whose_hunks_fit_is_not_merged(fork):
    fork.edit(TRAINER, "x30 = 30\n", "mine = 30\n")
    assert not any("merged" in line for line in patching.apply(fork.tree).lines)


def test_a_hunk_that_fits_in_two_places_is_merged_into_the_right_one(fork):
    # The same lines once more, nearer to where the patch expects them.
    twin = "x49 = 49\nx50 = 50\nx51 = 51\n"
    fork.edit(TRAINER, "x45 = 45\n", "".join(f"mine_{n} = {n}\n" for n in range(5)) + twin + "x45 = 45\n")
    before = fork.now()
    assert MERGED in patching.apply(fork.tree).lines
    text = (fork.tree / TRAINER).read_text()
    assert text.index("x50 = 50") < text.index("x45 = 45") < text.index("check = 50")
    patching.revert(fork.tree)
    assert fork.now() == before


def test_a_tree_that_git_does_not_track_is_not_merged(fork):
    insert_between_changes(fork)
    shutil.rmtree(fork.tree / ".git")
    refused(fork, f"{TRAINER}: hunk 1 of {fork.names[0]} cannot be applied")


def test_a_package_that_its_repository_ignores_is_not_merged(fork, git):
    insert_between_changes(fork)
    (fork.work / ".gitignore").write_text("*\n")
    shutil.rmtree(fork.tree / ".git")
    git(fork.work, "init")
    refused(fork, f"{TRAINER}: hunk 1 of {fork.names[0]} cannot be applied")


def test_a_vendored_package_in_a_repository_is_merged(fork, git):
    vendored = fork.work / "project" / "pkg" / "_vendor"
    shutil.copytree(fork.tree / "src" / "transformers", vendored / "transformers")
    git(fork.work / "project", "init")
    git(fork.work / "project", "add", ".")
    fork.tree = vendored
    fork.edit("transformers/trainer.py", "x12 = 12\n", "mine = 1\nx12 = 12\n")
    before = fork.now()
    assert "merged three-way with transformers 9.9.0: transformers/trainer.py" in patching.apply(vendored).lines
    patching.revert(vendored)
    assert fork.now() == before


def test_a_conflict_names_the_patch_the_file_and_the_lines(fork):
    fork.edit(TRAINER, "x1 = 1\n", "# a header\n# of two lines\nx1 = 1\n")
    fork.edit(TRAINER, "x10 = 10\n", "mine = 10\n")
    message = refused(fork, f"conflict: {TRAINER}, line 12: differs from transformers 9.9.0 where {fork.names[0]}")
    assert "python -m exact_resume checkout 9.9.0" in message and "--upto" not in message
    status = patching.status(fork.tree)
    assert not status.clean and {state for _, state in status.patches} == {"not applied"}
    assert any(line.startswith("problem: conflict: ") for line in status.lines)
    assert not patching.revert(fork.tree).changed


def test_the_patches_before_a_conflict_can_be_had(fork):
    insert_between_changes(fork)
    fork.edit(TRAINER, "x50 = 50\nx51 = 51\n", "mine = 50\n# and\nmine = 51\n")
    before = fork.now()
    # Counted in the fork's file, which has one line more above and lacks the lines of the second patch.
    message = refused(fork, f"{TRAINER}, lines 51-53: differs .* where {fork.names[2]} changes it")
    assert f"or apply with --upto {fork.names[1]}" in message
    patching.apply(fork.tree, upto=fork.names[1])
    status = patching.status(fork.tree)
    assert [state for _, state in status.patches] == ["applied", "applied", "not applied"] and not status.clean
    assert "--upto" not in refused(fork, f"lines 53-55: differs .* where {fork.names[2]} changes it")
    patching.revert(fork.tree)
    assert fork.now() == before


def test_lines_that_the_fork_has_deleted_are_a_conflict_too(fork):
    fork.edit(TRAINER, "x9 = 9\nx10 = 10\nx11 = 11\n", "")
    refused(fork, f"conflict: {TRAINER}, line 9: ")


def test_a_merge_that_is_not_valid_python_is_refused(fork):
    insert_between_changes(fork)
    # Quotes around the place where the second patch puts a line with quotes.
    fork.edit(TRAINER, "x17 = 17\n", 'text = """\n')
    fork.edit(TRAINER, "x25 = 25\n", '"""\n')
    compile((fork.tree / TRAINER).read_bytes(), TRAINER, "exec")
    refused(fork, f"{TRAINER} would not be valid Python when merged: .* in line ")
    patching.apply(fork.tree, upto=fork.names[0])


def partly(line, patch):
    return f"{TRAINER}, line {line}, is of {patch}, which is not there as a whole with those before it"


def test_half_a_patch_put_in_by_hand_is_not_completed(fork):
    insert_between_changes(fork)
    fork.edit(TRAINER, "x13 = 13\n", "save = 13\n")
    refused(fork, partly(14, fork.names[0]))
    assert not patching.status(fork.tree).clean


def test_a_later_patch_alone_is_not_taken_for_a_local_edit(fork):
    insert_between_changes(fork)
    fork.edit(TRAINER, "x50 = 50\n", "check = 50\n")
    refused(fork, partly(51, fork.names[2]))


def test_an_edit_in_a_merged_hunk_is_refused_by_revert(fork):
    insert_between_changes(fork)
    patching.apply(fork.tree)
    fork.edit(TRAINER, "load_more = 1\n", "load_less = 1\n")
    before = fork.now()
    with pytest.raises(UsageError, match=partly(22, fork.names[1])):
        patching.revert(fork.tree)
    assert fork.now() == before


def test_a_merge_that_could_not_be_taken_back_is_refused(fork, monkeypatch):
    insert_between_changes(fork)
    real = merging.merge

    def spoiled(ours, base, theirs):
        merged = real(ours, base, theirs)
        return merged + b"# more\n" if b"save" in theirs and b"save" not in base else merged

    monkeypatch.setattr(merging, "merge", spoiled)
    refused(fork, "it could not be told again which patches are in|way back would not restore")


def without_pristine_files(world, git):
    """Make the fork's history begin with its own edits, as in a shallow clone."""
    insert_between_changes(world)
    shutil.rmtree(world.tree / ".git")
    git(world.tree, "init")
    git(world.tree, "add", ".")
    git(world.tree, "commit", "-m", "fork")


def test_without_the_file_of_the_release_it_says_what_to_do(fork, git):
    without_pristine_files(fork, git)
    message = refused(fork, f"{TRAINER}: some hunks do not fit as they are, .* is not to be had: the wheel of transf")
    assert f"fetch the tag v9.9.0 of upstream into {fork.tree}" in message
    status = patching.status(fork.tree)
    assert any("is not to be had" in problem for problem in status.problems)


def test_the_file_of_the_release_is_taken_from_the_wheel_in_the_cache(fork, git):
    without_pristine_files(fork, git)
    before = fork.now()
    wheels = fork.work / "cache" / "wheels"
    wheels.mkdir(parents=True)
    with zipfile.ZipFile(wheels / "transformers-9.9.0-py3-none-any.whl", "w") as wheel:
        wheel.write(fork.stages[0] / TRAINER, "transformers/trainer.py")
    assert MERGED in patching.apply(fork.tree).lines
    patching.revert(fork.tree)
    assert fork.now() == before


def test_another_file_in_the_wheel_is_not_merged_from(fork, git):
    without_pristine_files(fork, git)
    wheels = fork.work / "cache" / "wheels"
    wheels.mkdir(parents=True)
    with zipfile.ZipFile(wheels / "transformers-9.9.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("transformers/trainer.py", "another = 1\n")
    refused(fork, "is not to be had: the wheel has none or another one")


def test_git_settings_of_the_user_do_not_reach_a_merge(fork, monkeypatch):
    home = fork.work / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[merge]\n\tconflictStyle = diff3\n[core]\n\tautocrlf = true\n")
    monkeypatch.setenv("HOME", str(home))
    fork.edit(TRAINER, "x9 = 9\nx10 = 10\n", "x9 = 9\nmine = 10\n")
    refused(fork, f"{TRAINER}, line 10: ")


def test_a_merge_gives_what_both_sides_changed():
    base = b"".join(b"%d\n" % n for n in range(9))
    ours, theirs = base.replace(b"1\n", b"ours\n"), base.replace(b"5\n", b"theirs\n")
    assert merging.merge(ours, base, theirs) == ours.replace(b"5\n", b"theirs\n")
    # No final newline, and lines that look like markers.
    ours = b"<<<<<<< a\n" + ours.removesuffix(b"\n")
    assert merging.merge(ours, base, theirs) == ours.replace(b"5\n", b"theirs\n")


def test_each_conflict_has_its_lines():
    base = b"".join(b"%d\n" % n for n in range(20))
    ours = b"new\n" + base.replace(b"5\n6\n", b"a\nb\nc\n", 1).replace(b"\n15\n", b"\nd\n")
    theirs = base.replace(b"\n2\n", b"\n2\nmore\n").replace(b"5\n6\n", b"x\ny\n", 1).replace(b"\n15\n", b"\ny\n")
    with pytest.raises(merging.Conflict) as caught:
        merging.merge(ours, base, theirs)
    assert caught.value.lines == ((7, 9), (18, 18))


@pytest.mark.parametrize(
    ("path", "content", "error"),
    [
        ("a.py", b"x = 1\n", None),
        ("a.py", b"x = '\\d'\n", None),
        ("a.py", b"x = = 1\n", "invalid syntax in line 1"),
        ("a.py", b"x = 1\nreturn\n", "'return' outside function in line 2"),
        ("a.py", b"x = '\0'\n", "source code string cannot contain null bytes"),
        ("a.md", b"x = = 1\n", None),
    ],
)
def test_syntax_is_checked_in_python_files(path, content, error):
    said = merging.syntax_error(path, content)
    assert said == error if error is None else said.startswith(error)
