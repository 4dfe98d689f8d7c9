"""What people give by mistake, or have for reasons of their own: one line that helps, or the right thing done."""

import shutil

import pytest

from exact_resume import patching
from exact_resume.errors import UsageError

TRAINER = "src/transformers/trainer.py"
INIT = "src/transformers/__init__.py"
COUNT = 4


def refused(folder, match):
    with pytest.raises(UsageError, match=match) as caught:
        patching.apply(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_release_is_told_the_nearest_known_one(world):
    (world.tree / INIT).write_text('__version__ = "9.8.1"\n')
    message = refused(world.tree, "transformers 9.8.1 has no patch series; the nearest release that has one is 9.9.0")
    assert "python -m exact_resume list" in message and "nothing was changed" in message


@pytest.mark.parametrize(
    "version", ["9.10.0.dev0", "9.9.0.dev0", "9.9.1rc1", "9.9.0.post1", "9.9.0+mine", "9.9.0-mine"]
)
def test_a_version_between_releases_is_taken_for_the_nearest_one(world, version):
    (world.tree / INIT).write_text(f'__version__ = "{version}"\n')
    before = world.now()
    result = patching.apply(world.tree)
    assert result.lines[0] == f"transformers {version}, taken for 9.9.0 (source checkout) at {world.tree}, lane v9.9"
    assert patching.status(world.tree).exact and patching.status(world.tree).release == version
    patching.revert(world.tree)
    assert world.now() == before


def test_a_version_between_releases_is_merged_where_git_tracks_it(fork, git):
    (fork.tree / INIT).write_text('__version__ = "9.10.0.dev0"\n')
    fork.edit(TRAINER, "x12 = 12\n", "new = 1\nx12 = 12\n")
    git(fork.tree, "commit", "-am", "development goes on")
    result = patching.apply(fork.tree)
    assert f"merged three-way with transformers 9.9.0: {TRAINER}" in result.lines
    assert "taken for 9.9.0" in result.lines[0]


def test_the_checkout_itself_is_found_from_the_package(world):
    message = refused(world.tree / "src" / "transformers", "this looks like the package itself")
    assert message.endswith(f"give {world.tree}")


def test_a_vendored_package_is_found_below_the_folder(world):
    vendored = world.work / "mypkg" / "_vendor"
    shutil.copytree(world.tree / "src" / "transformers", vendored / "transformers")
    message = refused(world.work / "mypkg", "not a transformers tree")
    assert message.endswith(f"the package is in {vendored / 'transformers'}, give {vendored}")
    patching.apply(vendored)
    assert patching.status(vendored).exact


def test_a_checkout_below_the_folder_is_found(world):
    message = refused(world.work, "not a transformers tree")
    assert message.endswith(f"give {world.tree}")


@pytest.mark.parametrize("given", [".", "transformers_fork"])
def test_a_renamed_package_is_found_and_a_link_helps(world, given):
    folder = world.installed()
    renamed = folder / "transformers_fork"
    (folder / "transformers").rename(renamed)
    message = refused(folder / given, f"{renamed} looks like the package under another name")
    assert message.endswith(f"(ln -s transformers_fork {folder / 'transformers'}) and give {folder}")
    (folder / "transformers").symlink_to("transformers_fork")
    patching.apply(folder)
    assert (renamed / "trainer.py").read_bytes() == (world.stages[COUNT] / TRAINER).read_bytes()


def test_hidden_folders_and_links_are_not_searched(world):
    folder = world.work / "mypkg"
    shutil.copytree(world.tree / "src", folder / ".hidden")
    (folder / "link").symlink_to(world.tree)
    assert refused(folder, "not a transformers tree").endswith(
        "give a transformers checkout or a site-packages folder"
    )


def test_a_large_folder_is_not_searched_for_ever(world, monkeypatch):
    monkeypatch.setattr("exact_resume.tree.SEARCHED_FOLDERS", 3)
    folder = world.work / "large"
    for name in "abcd":
        (folder / name).mkdir(parents=True)
    shutil.copytree(world.tree / "src" / "transformers", folder / "d" / "transformers")
    assert refused(folder, "not a transformers tree").endswith(
        "give a transformers checkout or a site-packages folder"
    )


def mails(world):
    """The files of the patches."""
    return [str(world.patches / "v9.9" / name) for name in world.files]


@pytest.mark.parametrize("count", range(1, COUNT + 1))
def test_patches_that_git_am_applied_are_recognised(world, git, count):
    git(world.tree, "init")
    git(world.tree, "add", ".")
    git(world.tree, "commit", "-m", "fork")
    git(world.tree, "am", *mails(world)[:count])
    world.edit(TRAINER, "line 45\n", "mine 45\n")
    states = [state for _, state in patching.status(world.tree).patches]
    assert states == ["applied"] * count + ["not applied"] * (COUNT - count)
    assert list(patching.apply(world.tree).patches) == world.names[count:]
    patching.revert(world.tree)
    expected = (world.stages[0] / TRAINER).read_text().replace("line 45\n", "mine 45\n")
    assert (world.tree / TRAINER).read_text() == expected


def test_patches_that_git_am_merged_are_recognised(fork, git):
    fork.edit(TRAINER, "x12 = 12\n", "mine = 1\nx12 = 12\n")
    git(fork.tree, "commit", "-am", "fork")
    before = (fork.tree / TRAINER).read_bytes()
    git(fork.tree, "am", "--3way", *mails(fork))
    assert patching.status(fork.tree).clean
    assert "already applied" in patching.apply(fork.tree).lines[-1]
    patching.revert(fork.tree)
    assert (fork.tree / TRAINER).read_bytes() == before


def test_one_file_that_was_patched_by_hand_is_half_applied(world):
    shutil.copy(world.stages[COUNT] / TRAINER, world.tree / TRAINER)
    refused(world.tree, f"half-applied: .*{TRAINER} is at {world.names[3]}, .*; nothing was changed")


def test_patches_of_another_project_beside_ours_are_kept(world):
    # Near to our hunks, and not in them; one before and one after ours went in.
    world.edit(TRAINER, "line 12\n", "line 12\nother 12\n")
    patching.apply(world.tree)
    world.edit(TRAINER, "line 62\n", "line 62\nother 62\n")
    assert patching.status(world.tree).clean
    patching.revert(world.tree)
    text = (world.tree / TRAINER).read_text()
    assert text == (world.stages[0] / TRAINER).read_text().replace("line 12\n", "line 12\nother 12\n").replace(
        "line 62\n", "line 62\nother 62\n"
    )


def test_patches_of_another_project_in_our_hunks_are_refused_by_name(world):
    world.edit(TRAINER, "line 11\n", "other 11\n")
    refused(world.tree, f"{TRAINER}: hunk 1 of {world.names[0]} cannot be applied: locally edited lines there")


def test_crlf_line_ends_are_refused_where_git_tracks_the_tree_too(fork):
    target = fork.tree / TRAINER
    target.write_bytes(target.read_bytes().replace(b"\n", b"\r\n"))
    refused(fork.tree, f"{TRAINER} has CRLF line ends; restore the file with LF line ends")


def test_a_touched_file_that_is_no_text_is_refused_where_git_tracks_the_tree_too(fork):
    (fork.tree / TRAINER).write_bytes(b"\0")
    refused(fork.tree, f"{TRAINER} is no text; restore the files of the release")


def test_a_version_of_thousands_of_digits_is_of_no_release(world):
    (world.tree / INIT).write_text(f'__version__ = "{"9" * 5000}"\n')
    refused(world.tree, "has no patch series; the nearest release that has one is 9.9.0")
