"""Apply, revert and status on trees that the series knows byte for byte."""

import os
import shutil
from pathlib import Path

import pytest

from exact_resume import patching, series
from exact_resume.errors import UsageError
from exact_resume.git import blob_id

COUNT = 4


def test_apply_gives_the_tree_that_git_has(world):
    result = patching.apply(world.tree)
    assert world.now() == world.stage(COUNT)
    assert result.changed and list(result.patches) == world.names
    assert "src/transformers/resume/state.py" in result.files


def test_revert_restores_every_byte_and_removes_new_folders(world):
    before = world.now()
    patching.apply(world.tree)
    result = patching.revert(world.tree)
    assert world.now() == before
    assert list(result.patches) == world.names[::-1]


def test_apply_twice_is_harmless_and_says_so(world):
    patching.apply(world.tree)
    result = patching.apply(world.tree)
    assert not result.changed and "already applied" in result.lines[-1]
    assert world.now() == world.stage(COUNT)


def test_revert_of_a_pristine_tree_is_harmless_and_says_so(world):
    before = world.now()
    result = patching.revert(world.tree)
    assert not result.changed and "no patch is applied" in result.lines[-1]
    assert world.now() == before


@pytest.mark.parametrize("count", range(1, COUNT + 1))
def test_upto_gives_each_prefix_and_apply_goes_on_to_the_rest(world, count):
    patching.apply(world.tree, upto=world.names[count - 1])
    assert world.now() == world.stage(count)
    again = patching.apply(world.tree, upto=world.names[count - 1])
    assert not again.changed and "already applied" in again.lines[-1]
    rest = patching.apply(world.tree)
    assert list(rest.patches) == world.names[count:]
    assert world.now() == world.stage(COUNT)


@pytest.mark.parametrize("count", range(1, COUNT + 1))
def test_revert_works_from_each_prefix(world, count):
    patching.apply(world.tree, upto=world.names[count - 1].removesuffix(".patch"))
    patching.revert(world.tree)
    assert world.now() == world.stage(0)


def test_upto_an_earlier_patch_than_applied_is_refused(world):
    patching.apply(world.tree)
    before = world.now()
    with pytest.raises(UsageError, match=f"more than {world.names[1]} is applied already .*{world.names[3]}"):
        patching.apply(world.tree, upto=world.names[1])
    assert world.now() == before


def test_upto_an_unknown_patch_names_the_known_ones(world):
    with pytest.raises(UsageError, match=f"no patch 0009-x.patch.*{world.names[0]}.*{world.names[3]}"):
        patching.apply(world.tree, upto="0009-x.patch")


def test_check_changes_nothing_and_says_what_would_be_done(world):
    before = world.now()
    result = patching.apply(world.tree, check=True)
    assert world.now() == before and not result.changed
    assert list(result.patches) == world.names
    assert any(line.startswith(f"would be applied: {world.names[0]}") for line in result.lines)
    patching.apply(world.tree)
    after = world.now()
    result = patching.revert(world.tree, check=True)
    assert world.now() == after and any(line.startswith("would be taken back") for line in result.lines)


def test_an_installed_package_takes_the_package_part_and_is_told_about_the_tests(world, snapshot):
    folder = world.installed()
    before = snapshot(folder)
    result = patching.apply(folder)
    assert snapshot(folder / "transformers") == snapshot(world.stages[COUNT] / "src" / "transformers")
    assert not (folder / "tests").exists() and not (folder / "src").exists()
    assert any("left out: 2 files under tests/" in line for line in result.lines)
    assert "transformers/trainer.py" in result.files
    patching.revert(folder)
    assert snapshot(folder) == before


def test_upto_a_patch_that_is_all_tests_stops_before_the_next_in_an_installed_package(world, snapshot):
    folder = world.installed()
    patching.apply(folder, upto=world.names[2])
    assert snapshot(folder / "transformers") == snapshot(world.stages[2] / "src" / "transformers")
    assert "nothing for this kind of tree" in dict(patching.status(folder).patches)[world.names[2]]
    patching.apply(folder)
    assert snapshot(folder / "transformers") == snapshot(world.stages[COUNT] / "src" / "transformers")


@pytest.mark.parametrize("count", range(COUNT + 1))
def test_status_of_each_prefix(world, count):
    shutil.rmtree(world.tree)
    shutil.copytree(world.stages[count], world.tree)
    status = patching.status(world.tree)
    assert status.clean and status.exact
    assert [state for _, state in status.patches] == ["applied"] * count + ["not applied"] * (COUNT - count)
    assert (status.release, status.lane, status.kind) == ("9.9.0", "v9.9", "source checkout")
    assert status.lines[-1] == "touched files: exact"


def test_status_and_check_leave_no_trace_in_the_tree(world):
    before = world.now()
    patching.status(world.tree)
    patching.apply(world.tree, check=True)
    assert world.now() == before


def test_file_modes_survive_and_new_files_follow_the_umask(world):
    trainer = world.tree / "src/transformers/trainer.py"
    trainer.chmod(0o640)
    old_umask = os.umask(0o027)
    try:
        patching.apply(world.tree)
    finally:
        os.umask(old_umask)
    assert trainer.stat().st_mode & 0o777 == 0o640
    assert (world.tree / "src/transformers/resume/state.py").stat().st_mode & 0o777 == 0o640
    patching.revert(world.tree)
    assert trainer.stat().st_mode & 0o777 == 0o640


def test_a_file_that_shares_its_bytes_with_a_package_cache_is_cut_loose(world):
    cached = world.work / "cached.py"
    os.link(world.tree / "src/transformers/trainer.py", cached)
    patching.apply(world.tree)
    assert cached.read_bytes() == (world.stages[0] / "src/transformers/trainer.py").read_bytes()


def test_a_link_inside_the_tree_is_followed_and_stays_a_link(world):
    trainer = world.tree / "src/transformers/trainer.py"
    real = world.tree / "real_trainer.py"
    trainer.rename(real)
    trainer.symlink_to(real)
    before = world.now()
    patching.apply(world.tree)
    assert trainer.is_symlink()
    assert real.read_bytes() == (world.stages[COUNT] / "src/transformers/trainer.py").read_bytes()
    patching.revert(world.tree)
    assert world.now() == before


@pytest.mark.parametrize("linked", ["src/transformers/trainer.py", "src/transformers", "src"])
def test_a_link_out_of_the_tree_is_refused(world, linked):
    outside = world.work / "outside"
    (world.tree / linked).rename(outside)
    (world.tree / linked).symlink_to(outside)
    before = world.now()
    with pytest.raises(UsageError, match="leads through a symbolic link to .*outside"):
        patching.apply(world.tree)
    assert world.now() == before


def test_a_tree_that_is_given_through_a_link_works(world):
    link = world.work / "link"
    link.symlink_to(world.tree)
    patching.apply(link)
    assert world.now() == world.stage(COUNT)


def test_a_removed_module_that_left_compiled_code_behind_is_no_obstacle(world):
    patching.apply(world.tree)
    cache = world.tree / "src/transformers/resume/__pycache__"
    cache.mkdir()
    (cache / "state.cpython-311.pyc").write_bytes(b"x")
    patching.revert(world.tree)
    assert not (cache.parent / "state.py").exists()
    patching.apply(world.tree)
    assert patching.status(world.tree).exact


@pytest.mark.parametrize("path", ["src/transformers/resume", "tests/trainer/test_resume.py"])
def test_a_folder_or_file_in_the_way_of_a_new_file_is_refused(world, path):
    target = world.tree / path
    target.write_text("mine\n")
    before = world.now()
    with pytest.raises(UsageError):
        patching.apply(world.tree)
    assert world.now() == before


def test_a_series_can_be_given_instead_of_the_one_for_the_release(world, monkeypatch):
    own = series.load_lane("v9.9", world.patches)
    monkeypatch.setenv("EXACT_RESUME_PATCHES", "/nowhere")
    patching.apply(Path(world.tree), series=own)
    assert world.now() == world.stage(COUNT)


def test_a_series_that_removes_and_empties_files(lane_maker):
    pristine = {
        "src/transformers/__init__.py": '__version__ = "9.9.0"\n',
        "src/transformers/old/gone.py": "gone = 1\n",
        "src/transformers/kept.py": "kept = 1\n",
    }
    path = "src/transformers/old/gone.py"
    gone = blob_id(pristine[path].encode())
    world = lane_maker(pristine, [("Empty a file", {"src/transformers/kept.py": ""})])
    patch = next((world.patches / "v9.9").glob("*.patch"))
    table = world.patches / "releases.toml"
    table.write_text(f'{table.read_text()}"{path}" = ["{gone}", "{"0" * 40}"]\n')
    deletion = (
        f"diff --git a/{path} b/{path}\ndeleted file mode 100755\n"
        f"index {gone}..{'0' * 40}\n--- a/{path}\n"
        "+++ /dev/null\n@@ -1 +0,0 @@\n-gone = 1\n"
    )
    patch.write_text(patch.read_text().rstrip("\n") + "\n" + deletion)
    (world.tree / path).chmod(0o755)
    before = world.now()
    patching.apply(world.tree)
    assert not (world.tree / "src/transformers/old").exists()
    assert (world.tree / "src/transformers/kept.py").read_bytes() == b""
    patching.revert(world.tree)
    assert world.now() == before
