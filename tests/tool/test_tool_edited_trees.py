"""Trees with local edits, half-applied series and damaged files."""

import subprocess

import pytest

from exact_resume import patching
from exact_resume.errors import SeriesError, UsageError

TRAINER = "src/transformers/trainer.py"
ARGUMENTS = "src/transformers/training_args.py"


def refused(world, match, action=patching.apply):
    """The action is refused with one line that matches, and changes nothing."""
    before = world.now()
    with pytest.raises(UsageError, match=match) as caught:
        action(world.tree)
    assert "\n" not in str(caught.value) and "nothing was changed" in str(caught.value)
    assert world.now() == before
    status = patching.status(world.tree)
    assert not status.clean and not status.exact
    return str(caught.value), status


@pytest.mark.parametrize("count", range(5))
def test_edits_elsewhere_in_the_same_file_are_kept_from_every_prefix(world, count):
    if count:
        patching.apply(world.tree, upto=world.names[count - 1])
    world.edit(TRAINER, "line 1\n", "# a fork's header\n# of three\n# lines\nline 1\n")
    world.edit(TRAINER, "line 45\n", "forked 45\n")
    status = patching.status(world.tree)
    assert status.clean and not status.exact and status.edited == (TRAINER,)
    assert [state for _, state in status.patches] == ["applied"] * count + ["not applied"] * (4 - count)
    assert status.lines[-1] == f"touched files: with local edits: {TRAINER}"
    patching.apply(world.tree)
    full = (world.stages[4] / TRAINER).read_text()
    expected = full.replace("line 1\n", "# a fork's header\n# of three\n# lines\nline 1\n", 1)
    assert (world.tree / TRAINER).read_text() == expected.replace("line 45\n", "forked 45\n")
    patching.revert(world.tree)
    pristine = (world.stages[0] / TRAINER).read_text()
    expected = pristine.replace("line 1\n", "# a fork's header\n# of three\n# lines\nline 1\n", 1)
    assert (world.tree / TRAINER).read_text() == expected.replace("line 45\n", "forked 45\n")


def test_edits_in_untouched_files_do_not_count(world):
    world.edit("src/transformers/untouched.py", "1", "2")
    patching.apply(world.tree)
    assert patching.status(world.tree).exact


def test_an_edited_line_under_a_hunk_is_refused_with_file_and_hunk(world):
    world.edit(TRAINER, "line 60\n", "forked 60\n")
    message, status = refused(world, f"{TRAINER}: hunk 2 of {world.names[0]} cannot be applied: locally edited")
    assert "half-applied" not in message
    assert dict(status.patches)[world.names[0]] == "unclear"


def test_patches_that_fail_only_because_an_earlier_one_does_are_not_blamed(world):
    world.edit(TRAINER, "line 30\n", "forked 30\n")
    message, _ = refused(world, f"{TRAINER}: hunk 1 of {world.names[1]} cannot be applied: locally edited")
    assert world.names[3] not in message


def test_an_edited_line_in_an_applied_hunk_is_refused_by_revert(world):
    patching.apply(world.tree)
    world.edit(TRAINER, "load all\n", "load some\n")
    refused(world, f"{TRAINER}: hunk 1 of {world.names[3]} cannot be taken back", patching.revert)
    refused(world, f"{TRAINER}: hunk 1 of {world.names[3]} cannot be taken back", patching.apply)


def test_a_hunk_that_another_tool_put_in_is_called_half_applied(world):
    world.edit(TRAINER, "line 10\n", "save 10\n")
    refused(world, f"half-applied: {TRAINER} has hunk 1 of {world.names[0]} but not hunk 2")
    refused(world, f"half-applied: {TRAINER} has hunk 1 of {world.names[0]} but not hunk 2", patching.revert)


def test_a_later_patch_without_the_earlier_ones_is_called_half_applied(world):
    world.edit(TRAINER, "line 30\n", "load\nload more\n")
    _, status = refused(world, f"half-applied: {TRAINER} has {world.names[1]} but not all patches before it")
    words = dict(status.patches)
    # The other file of the second patch is pristine, and so is the new file of the first.
    assert words[world.names[1]] == "partly applied" and words[world.names[0]] == "not applied"


def test_a_missing_earlier_patch_is_called_half_applied(world):
    patching.apply(world.tree)
    world.edit(TRAINER, "save 10\n", "line 10\n")
    world.edit(TRAINER, "save 60\n", "line 60\n")
    refused(world, f"half-applied: {TRAINER} lacks {world.names[0]} but has later patches", patching.revert)


def test_files_at_different_patches_are_called_half_applied_by_name(world):
    (world.tree / ARGUMENTS).write_bytes((world.stages[4] / ARGUMENTS).read_bytes())
    message, status = refused(world, "half-applied: ")
    assert f"{ARGUMENTS} is at {world.names[1]}" in message
    assert f"{TRAINER} is at the pristine release" in message
    assert dict(status.patches)[world.names[1]] == "partly applied"
    assert dict(status.patches)[world.names[3]] == "not applied"


def test_an_edited_file_and_an_exact_file_at_different_patches_are_half_applied(world):
    patching.apply(world.tree)
    (world.tree / ARGUMENTS).write_bytes((world.stages[0] / ARGUMENTS).read_bytes())
    world.edit(TRAINER, "line 45\n", "forked 45\n")
    message, _ = refused(world, "half-applied: ", patching.revert)
    assert f"{TRAINER} is at {world.names[3]}" in message


def test_a_new_file_that_exists_with_other_content_is_refused(world):
    target = world.tree / "tests/trainer/test_resume.py"
    target.write_text("def test_mine():\n    pass\n")
    refused(world, "tests/trainer/test_resume.py exists with other content")


def test_an_edited_new_file_stands_in_the_way_of_revert(world):
    patching.apply(world.tree)
    world.edit("src/transformers/resume/state.py", "state = 2", "state = 3")
    refused(world, "src/transformers/resume/state.py exists with other content", patching.revert)


def test_a_missing_file_is_named(world):
    (world.tree / ARGUMENTS).unlink()
    refused(world, f"{ARGUMENTS} is missing")


def test_a_removed_new_file_after_apply_is_half_applied(world):
    patching.apply(world.tree)
    (world.tree / "src/transformers/resume/state.py").unlink()
    refused(world, "half-applied: .*src/transformers/resume/state.py is at the pristine release", patching.revert)


@pytest.mark.parametrize("count", [0, 4])
def test_crlf_line_ends_are_refused_by_name(world, count):
    if count:
        patching.apply(world.tree)
    target = world.tree / TRAINER
    target.write_bytes(target.read_bytes().replace(b"\n", b"\r\n"))
    refused(world, f"{TRAINER} has CRLF line ends")
    refused(world, f"{TRAINER} has CRLF line ends", patching.revert)


def test_a_missing_final_newline_far_from_the_hunks_is_kept(world):
    target = world.tree / TRAINER
    target.write_bytes(target.read_bytes() + b"line 91\nline 92\nline 93\nlast")
    before = world.now()
    patching.apply(world.tree)
    assert target.read_bytes().endswith(b"\nlast")
    patching.revert(world.tree)
    assert world.now() == before


def test_trailing_blanks_and_tabs_of_a_fork_are_kept(world):
    world.edit(TRAINER, "line 45\n", "line 45 \t \n \n")
    before = world.now()
    patching.apply(world.tree)
    patching.revert(world.tree)
    assert world.now() == before


def test_a_context_that_differs_in_blanks_only_is_not_forgiven(world):
    world.edit(TRAINER, "line 9\n", "line 9 \n")
    refused(world, f"{TRAINER}: hunk 1 of {world.names[0]}")


def test_an_edit_of_the_context_is_not_forgiven(world):
    world.edit(TRAINER, "line 11\n", "forked 11\n")
    refused(world, f"{TRAINER}: hunk 1 of {world.names[0]}")


def test_a_tree_and_a_scratch_folder_that_a_repository_ignores_are_still_changed(world, monkeypatch):
    outer = world.work
    subprocess.run(["git", "init", "-q", str(outer)], check=True)
    (outer / ".gitignore").write_text("*\n")
    (outer / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(outer / "scratch"))
    world.edit(TRAINER, "line 45\n", "forked 45\n")
    patching.apply(world.tree)
    assert "load all" in (world.tree / TRAINER).read_text()
    assert not list((outer / "scratch").iterdir())


SETTINGS = {
    "the file in the home folder": {},
    "a file named in the environment": {"GIT_CONFIG_GLOBAL": "{home}/.gitconfig"},
    "the environment": {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "apply.ignorewhitespace",
        "GIT_CONFIG_VALUE_0": "change",
    },
}


@pytest.mark.parametrize("where", SETTINGS)
def test_git_settings_of_the_user_do_not_reach_the_patches(world, monkeypatch, where):
    home = world.work / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[core]\n\tautocrlf = true\n[apply]\n\tignorewhitespace = change\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    for name, value in SETTINGS[where].items():
        monkeypatch.setenv(name, value.format(home=home))
    world.edit(TRAINER, "line 9\n", "line  9\n")
    refused(world, f"{TRAINER}: hunk 1 of {world.names[0]}")
    world.edit(TRAINER, "line  9\n", "line 9\n")
    patching.apply(world.tree)
    assert world.now() == world.stage(4)


BLOCK = "one\ntwo\nthree\nfour\nfive\nsix\n"


def test_lines_that_occur_twice_do_not_hide_that_a_patch_is_in(lane_maker):
    version = {"src/transformers/__init__.py": '__version__ = "9.9.0"\n'}
    far = "".join(f"line {n}\n" for n in range(40))
    pristine = version | {TRAINER: "top\n" + BLOCK + far + BLOCK + "end\n"}
    patched = "top\n" + BLOCK.replace("three\n", "three\nnew\n") + far + BLOCK + "end\n"
    world = lane_maker(pristine, [("Insert", {TRAINER: patched})])
    patching.apply(world.tree)
    world.edit(TRAINER, "line 20\n", "forked 20\n")
    assert dict(patching.status(world.tree).patches) == {world.names[0]: "applied"}
    patching.revert(world.tree)
    world.edit(TRAINER, "forked 20\n", "line 20\n")
    assert world.now() == world.stage(0)


@pytest.mark.parametrize("edit", ["line 20", "line 0\n"])
def test_a_hunk_that_fits_in_two_places_of_an_edited_file_is_refused(lane_maker, edit):
    version = {"src/transformers/__init__.py": '__version__ = "9.9.0"\n'}
    far = "".join(f"line {n}\n" for n in range(40))
    pristine = version | {TRAINER: "top\n" + BLOCK + far + BLOCK + "end\n"}
    patched = "top\n" + BLOCK.replace("three\n", "three\nnew\n") + far + BLOCK + "end\n"
    world = lane_maker(pristine, [("Insert", {TRAINER: patched})])
    patching.apply(world.tree)
    patching.revert(world.tree)
    world.edit(TRAINER, edit, f"forked\n{edit}")
    before = world.now()
    for check in (False, True):
        with pytest.raises(UsageError, match=f"{TRAINER}: hunk 1 of {world.names[0]} fits in more than one place"):
            patching.apply(world.tree, check=check)
    assert world.now() == before


def test_success_that_git_reports_without_effect_is_not_believed(world, monkeypatch):
    done_nothing = subprocess.CompletedProcess([], 0, b"", b"")
    monkeypatch.setattr("exact_resume.git.run", lambda *arguments, **options: done_nothing)
    before = world.now()
    with pytest.raises(RuntimeError, match="reported success and left"):
        patching.apply(world.tree)
    assert world.now() == before


def test_git_that_fails_in_another_way_is_not_taken_for_a_hunk_that_does_not_fit(world, monkeypatch):
    crashed = subprocess.CompletedProcess([], 128, b"", b"fatal: unable to read")
    monkeypatch.setattr("exact_resume.git.run", lambda *arguments, **options: crashed)
    with pytest.raises(RuntimeError, match="git apply exited 128"):
        patching.apply(world.tree)


@pytest.mark.parametrize("action", [patching.apply, patching.revert])
def test_a_result_that_is_not_the_recorded_one_is_never_installed(world, monkeypatch, action):
    if action is patching.revert:
        patching.apply(world.tree)
    from exact_resume import scratch

    real = scratch.apply

    def spoiled(contents, diffs, **options):
        after = real(contents, diffs, **options)
        return after | {TRAINER: after[TRAINER] + b"x"} if len(after) > 1 else after

    monkeypatch.setattr(scratch, "apply", spoiled)
    before = world.now()
    with pytest.raises(SeriesError):
        action(world.tree)
    assert world.now() == before


def test_an_edited_file_whose_way_back_differs_is_never_installed(world, monkeypatch):
    world.edit(TRAINER, "line 45\n", "forked 45\n")
    from exact_resume import scratch

    real = scratch.apply

    def spoiled(contents, diffs, *, reverse=False):
        after = real(contents, diffs, reverse=reverse)
        return after | {TRAINER: after[TRAINER] + b"x"} if len(after) > 1 and reverse else after

    monkeypatch.setattr(scratch, "apply", spoiled)
    before = world.now()
    with pytest.raises(SeriesError, match="way back"):
        patching.apply(world.tree)
    assert world.now() == before
