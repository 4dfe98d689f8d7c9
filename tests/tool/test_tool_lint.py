"""The checks of the patches themselves."""

import shutil

import pytest

from exact_resume import lint, patching


def findings(own_patches):
    return lint.check(own_patches.parent)[1]


def replace(path, old, new, count=1):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def test_a_series_in_order_has_no_findings_and_its_figures_are_told(own_patches, world):
    figures, found = lint.check(own_patches.parent)
    assert found == []
    assert figures == [
        "v9.9: 4 patches, 10 changed lines in src/transformers/trainer.py, limit: below 80",
    ]
    completed = world.run("lint")
    assert completed.returncode == 0 and completed.stdout.splitlines() == [*figures, "no findings"]


def test_each_finding_is_one_line_and_the_exit_code_is_1(own_patches, own_mails, world):
    for folder in (own_patches, own_mails):
        shutil.copy(folder / world.names[0], folder / "0009-extra.patch")
    (own_patches.parent / "unused").mkdir()
    completed = world.run("lint")
    assert completed.returncode == 1 and completed.stderr == ""
    assert [line for line in completed.stdout.splitlines() if line.startswith("finding: ")] == [
        "finding: unused: no release in releases.toml uses this lane",
        "finding: common/0009-extra.patch: no lane lists this patch",
        f"finding: {own_patches.parent}/unused/series: cannot be read: No such file or directory",
        "finding: v9.9/0009-extra.patch: not listed in series",
    ]


def test_a_listed_patch_that_is_missing(own_patches, world):
    with (own_patches / "series").open("a") as stream:
        stream.write("0009-missing.patch\n")
    assert findings(own_patches) == ["v9.9/series: lists 0009-missing.patch, which does not exist in common"]


def test_a_patch_that_is_listed_twice(own_patches, world):
    with (own_patches / "series").open("a") as stream:
        stream.write(f"{world.names[0]}\n")
    assert findings(own_patches) == [f"v9.9/series: lists {world.names[0]} twice"]


def test_a_release_whose_lane_does_not_exist(own_patches):
    with (own_patches.parent / "releases.toml").open("a") as stream:
        stream.write('[releases."9.9.1"]\nlane = "v9.10"\nfiles = {}\n[lanes."v9.11"]\nbase = "9.9.2"\n')
    assert findings(own_patches) == [
        "releases.toml: release 9.9.1 names lane v9.10, which does not exist",
        "releases.toml: names lane v9.11, which does not exist",
    ]


@pytest.mark.parametrize("field", ["Bug", "Origin", "Forwarded", "Applies-To"])
def test_a_missing_or_empty_field(own_patches, own_mails, world, field):
    replace(own_mails / world.names[1], f"\n{field}: ", f"\nX-{field}: ")
    assert findings(own_patches) == [f"common/{world.names[1]}: the field {field} is missing or empty"]


def test_an_empty_message(own_patches, own_mails, world):
    replace(own_mails / world.names[1], "Without it a resumed run differs.\n\n", "")
    assert findings(own_patches) == [f"common/{world.names[1]}: the message is empty"]


def test_short_blob_ids(own_patches, world):
    patch = own_patches / world.names[2]
    line = next(line for line in patch.read_text().splitlines() if line.startswith("index "))
    replace(patch, line, line[:14] + ".." + line[48:55] + " 100644")
    (found,) = findings(own_patches)
    assert found.startswith(f"v9.9/{world.names[2]}: tests/trainer/test_trainer.py: ") and "--full-index" in found


def test_patches_in_the_wrong_order_break_the_chain_of_blobs(own_patches, world):
    names = [world.names[1], world.names[0], *world.names[2:]]
    (own_patches / "series").write_text("\n".join(names) + "\n")
    found = findings(own_patches)
    assert found and all("src/transformers/trainer.py: starts from" in finding for finding in found)


def test_trailing_whitespace_in_an_added_line_only(own_patches, world):
    replace(own_patches / world.names[1], "+load more\n", "+load more \n")
    (found,) = findings(own_patches)
    assert "trailing whitespace in the added line 'load more '" in found


def test_a_file_without_a_final_newline(own_patches, own_mails, world):
    patch = own_mails / world.names[0]
    replace(patch, "+    pass\n", "+    pass\n\\ No newline at end of file\n")
    (found,) = findings(own_patches)
    assert "tests/trainer/test_resume.py: the file would not end with a newline" in found


def test_a_patch_file_without_a_final_newline(own_patches, world):
    patch = own_patches / world.names[0]
    patch.write_bytes(patch.read_bytes().rstrip(b"\n"))
    assert findings(own_patches) == [f"v9.9/{world.names[0]}: does not end with a newline"]


@pytest.mark.parametrize("path", ["setup.py", "tests/trainer.py", "tests/models/x.py", "src/transformers.py"])
def test_a_path_outside_the_allowed_folders(own_patches, world, path):
    patch = own_patches / world.names[2]
    patch.write_text(patch.read_text().replace("tests/trainer/test_trainer.py", path))
    assert any("outside src/transformers/ and tests/trainer/" in finding for finding in findings(own_patches))


@pytest.mark.parametrize(("added", "expected"), [(79, 0), (80, 1)])
def test_the_changed_lines_in_the_trainer_stay_below_the_limit(lane_maker, added, expected):
    pristine = {"src/transformers/__init__.py": "", "src/transformers/trainer.py": "a\n"}
    world = lane_maker(pristine, [("Grow", {"src/transformers/trainer.py": "a\n\n" + "b\n" * (added - 1)})])
    figures, found = lint.check(world.patches)
    assert f"{added} changed lines" in figures[0]
    assert len(found) == expected


def test_a_patch_that_adds_the_missing_final_newline_is_in_order_and_reversible(lane_maker):
    pristine = {"src/transformers/__init__.py": '__version__ = "9.9.0"\n', "src/transformers/x.py": "a\nb"}
    world = lane_maker(pristine, [("End the file", {"src/transformers/x.py": "a\nb\nc\n"})])
    assert lint.check(world.patches)[1] == []
    patching.apply(world.tree)
    assert world.now() == world.stage(1)
    patching.revert(world.tree)
    assert world.now() == world.stage(0)
