"""The checks of the patches themselves."""

import re
import shutil

import pytest

from exact_resume import hunks as hunks_module
from exact_resume import lint, patchfile, patching, series
from exact_resume.git import blob_id


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
        "v9.9: 4 patches, 10 changed lines in src/transformers/trainer.py, limit: below 75",
    ]
    completed = world.run("lint")
    assert completed.returncode == 0 and completed.stdout.splitlines() == [*figures, "no findings"]


def test_each_finding_is_one_line_and_the_exit_code_is_1(own_patches, world):
    shutil.copy(own_patches / world.files[0], own_patches / "09-extra.patch")
    (own_patches.parent / "unused").mkdir()
    completed = world.run("lint")
    assert completed.returncode == 1 and completed.stderr == ""
    assert [line for line in completed.stdout.splitlines() if line.startswith("finding: ")] == [
        "finding: unused: no release in releases.toml uses this lane",
        f"finding: {own_patches.parent}/unused/series: cannot be read: No such file or directory",
        "finding: v9.9/09-extra.patch: not listed in series",
    ]


def test_a_listed_patch_that_is_missing(own_patches, world):
    with (own_patches / "series").open("a") as stream:
        stream.write("09-missing.patch\n")
    assert findings(own_patches) == ["v9.9/series: lists 09-missing.patch, which does not exist"]


def test_a_patch_that_is_listed_twice(own_patches, world):
    with (own_patches / "series").open("a") as stream:
        stream.write(f"{world.files[0]}\n")
    assert findings(own_patches) == [f"v9.9/series: lists {world.files[0]} twice"]


def test_a_series_file_that_export_would_not_write(own_patches, world):
    with (own_patches / "series").open("a") as stream:
        stream.write("# more\n")
    assert findings(own_patches) == ["v9.9/series: is not one name a line; run export"]


def test_a_file_whose_name_has_another_number_or_name(own_patches, world):
    for place, name in ((0, "02-save-the-sampler-state.patch"), (1, "02-other.patch")):
        (own_patches / world.files[place]).rename(own_patches / name)
        replace(own_patches / "series", world.files[place], name)
    said = "by its place and its message, its name is"
    assert findings(own_patches) == [
        f"v9.9/02-save-the-sampler-state.patch: {said} {world.files[0]}; run export",
        f"v9.9/02-other.patch: {said} {world.files[1]}; run export",
    ]


def test_a_release_whose_lane_does_not_exist(own_patches):
    with (own_patches.parent / "releases.toml").open("a") as stream:
        stream.write('[releases."9.9.1"]\nlane = "v9.10"\nfiles = {}\n[lanes."v9.11"]\nbase = "9.9.2"\n')
    assert findings(own_patches) == [
        "releases.toml: release 9.9.1 names lane v9.10, which does not exist",
        "releases.toml: names lane v9.11, which does not exist",
    ]


@pytest.mark.parametrize("field", ["Bug", "Origin", "Forwarded", "Applies-To", "Group"])
def test_a_missing_or_empty_field(own_patches, world, field):
    replace(own_patches / world.files[1], f"\n{field}: ", f"\nX-{field}: ")
    assert findings(own_patches) == [f"v9.9/{world.files[1]}: the field {field} is missing or empty"]


def test_an_empty_message(own_patches, world):
    replace(own_patches / world.files[1], "Without it a resumed run differs.\n\n", "")
    assert findings(own_patches) == [f"v9.9/{world.files[1]}: the message is empty"]


def test_a_group_that_there_is_not(own_patches, world):
    replace(own_patches / world.files[3], "Group: core", "Group: extra")
    assert findings(own_patches) == [f"v9.9/{world.files[3]}: the field Group is neither core nor companion"]


def test_a_core_patch_after_a_companion(own_patches, world):
    replace(own_patches / world.files[1], "Group: core", "Group: companion")
    after = f"is of the core, and follows on the companion {world.names[1]}"
    assert findings(own_patches) == [f"v9.9/{name}: {after}" for name in world.files[2:]]


def test_short_blob_ids(own_patches, world):
    patch = own_patches / world.files[2]
    line = next(line for line in patch.read_text().splitlines() if line.startswith("index "))
    replace(patch, line, line[:14] + ".." + line[48:55] + " 100644")
    (found,) = findings(own_patches)
    assert found.startswith(f"v9.9/{world.files[2]}: tests/trainer/test_trainer.py: ") and "--full-index" in found


def test_patches_in_the_wrong_order_break_the_chain_of_blobs(own_patches, world):
    names = [world.files[1], world.files[0], *world.files[2:]]
    (own_patches / "series").write_text("\n".join(names) + "\n")
    found = [finding for finding in findings(own_patches) if "its name is" not in finding]
    assert found and all("src/transformers/trainer.py: starts from" in finding for finding in found)


def test_trailing_whitespace_in_an_added_line_only(own_patches, world):
    replace(own_patches / world.files[1], "+load more\n", "+load more \n")
    (found,) = findings(own_patches)
    assert "trailing whitespace in the added line 'load more '" in found


def test_a_file_without_a_final_newline(own_patches, world):
    patch = own_patches / world.files[0]
    replace(patch, "+    pass\n", "+    pass\n\\ No newline at end of file\n")
    (found,) = findings(own_patches)
    assert "tests/trainer/test_resume.py: the file would not end with a newline" in found


def test_a_patch_file_without_a_final_newline(own_patches, world):
    patch = own_patches / world.files[0]
    patch.write_bytes(patch.read_bytes().rstrip(b"\n"))
    assert findings(own_patches) == [f"v9.9/{world.files[0]}: does not end with a newline"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Subject: [PATCH] ", "Subject: [PATCH 2/4] "),
        ("Date: ", "Date:  "),
        ("\nBug: ", "\n\nBug: "),
        ("\ndiff --git", "\n---\n 2 files changed\n\ndiff --git"),
        ("@@ -0,0 +1 @@", "@@ -0,0 +1,1 @@"),
    ],
)
def test_a_mail_that_its_commit_does_not_give_back(own_patches, world, old, new):
    replace(own_patches / world.files[1], old, new)
    assert findings(own_patches) == [f"v9.9: {world.names[1]}: its commit, exported, gives other bytes"]


def test_a_mail_that_goes_on_after_its_diffs(own_patches, world):
    with (own_patches / world.files[1]).open("a") as stream:
        stream.write("\n")
    said = "its diffs are not in order, or something follows them; run export"
    assert findings(own_patches) == [f"v9.9/{world.files[1]}: {said}"]


def test_a_blob_id_that_the_diffs_of_a_created_file_do_not_give(own_patches, world):
    wrong = "1" * 40
    for name in (world.files[1], world.files[3]):
        replace(own_patches / name, blob_id(b"state = 1\n"), wrong)
    assert findings(own_patches) == [
        f"v9.9: {name}: its commit, exported, gives other bytes" for name in (world.names[1], world.names[3])
    ]


def test_mails_that_give_no_commits(own_patches, world):
    replace(own_patches / world.files[3], "-state = 1\n", "-state = 7\n")
    (finding,) = findings(own_patches)
    assert finding.startswith("v9.9: the mails do not give commits: git am failed: ")


def test_diffs_in_another_order(own_patches, world):
    mail = own_patches / world.files[1]
    head, *diffs = mail.read_bytes().split(b"diff --git ")
    mail.write_bytes(head + b"".join(b"diff --git " + diff for diff in reversed(diffs)))
    said = "its diffs are not in order, or something follows them; run export"
    assert findings(own_patches) == [f"v9.9/{world.files[1]}: {said}"]


def test_a_patch_that_no_lane_lists(own_patches, world):
    (own_patches / "series").write_text("".join(f"{name}\n" for name in world.files[:3]))
    assert findings(own_patches)[0] == f"v9.9/{world.files[3]}: not listed in series"


def test_a_patch_that_changes_nothing(own_patches, world):
    mail = own_patches / world.files[2]
    mail.write_bytes(mail.read_bytes().partition(b"diff --git ")[0].rstrip(b"\n") + b"\n")
    assert findings(own_patches) == [f"v9.9/{world.files[2]}: changes no file"]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("src/transformers/resume/state.py", "is not what lane v9.9 makes; export it"),
        ("src/transformers/trainer.py.diff", "is not what lane v9.9 makes; export it"),
        ("src/transformers/more.py", "should not be there; export v9.9"),
    ],
)
def test_a_result_that_the_series_does_not_give(own_patches, path, found):
    target = own_patches.parent / "result" / path
    target.write_text("x\n")
    assert findings(own_patches) == [f"result/{path}: {found}"]


def test_a_result_that_is_missing(own_patches):
    path = "result/src/transformers/training_args.py.diff"
    (own_patches.parent / path).unlink()
    assert findings(own_patches) == [f"{path}: is not there; export v9.9"]


def edit_table(own_patches, *subs):
    for old, new in subs:
        replace(own_patches.parent / "releases.toml", old, new)


def test_blob_ids_of_a_release_that_do_not_go_with_its_lane(own_patches):
    arguments = series.load_releases()["9.9.0"].files["src/transformers/training_args.py"]
    edit_table(own_patches, (f', "{arguments[1]}"', ""))
    (finding,) = findings(own_patches)
    assert finding.startswith("releases.toml: release 9.9.0: src/transformers/training_args.py: 1 blob ids")
    edit_table(own_patches, (f'"{arguments[0]}"', f'"{"1" * 40}", "{arguments[1]}"'))
    assert findings(own_patches) == ["releases.toml: release 9.9.0: other blob ids than in its lane, v9.9"]


def test_blob_ids_of_a_proven_release_that_an_export_has_made_stale(own_patches):
    arguments = series.load_releases()["9.9.0"].files["src/transformers/training_args.py"]
    edit_table(own_patches, (f', "{arguments[1]}"', ""))
    table = own_patches.parent / "releases.toml"
    table.write_text(table.read_text() + '[releases."9.9.0".proof]\nseries = "earlier"\n')
    (finding,) = findings(own_patches)
    assert "1 blob ids, where lane v9.9 needs 2" in finding


def test_a_base_that_the_lane_does_not_serve(own_patches):
    edit_table(own_patches, ('base = "9.9.0"', 'base = "9.8.0"'))
    assert findings(own_patches) == ["v9.9: its base, 9.8.0, is not served by it in releases.toml"]


def test_a_lane_without_a_base(own_patches):
    edit_table(own_patches, ('[lanes."v9.9"]\nbase = "9.9.0"\n', "lanes = {}\n"))
    assert findings(own_patches) == ["v9.9: releases.toml does not name its base"]


def test_the_published_files_are_compared_on_demand(maintained, write_wheel):
    completed = maintained.run("lint", "--trees")
    assert completed.returncode == 0, completed
    assert completed.stderr.splitlines() == ["v9.9: replaying it on 9.9.0", "9.9.0: applying v9.9"]
    own = maintained.patches / "v9.9" / maintained.files[0]
    replace(own, "@@ -9,3 +9,3 @@ line 8\n", "@@ -9,3 +9,3 @@\n")
    assert lint.check()[1] == []
    assert lint.check(trees=True)[1] == [f"v9.9: {maintained.names[0]}: its commit, exported, gives other bytes"]


def test_the_context_of_the_result_is_compared_on_demand(maintained):
    maintained.run("hashes")
    diff = maintained.patches / "result" / "src/transformers/trainer.py.diff"
    replace(diff, " line 8\n", " line eight\n")
    assert lint.check()[1] == []
    said = "not what v9.9 makes of 9.9.0; run export"
    assert lint.check(trees=True)[1] == [f"result/src/transformers/trainer.py.diff: {said}"]


def test_published_files_that_a_lane_does_not_fit_and_blob_ids_that_they_do_not_give(maintained, write_wheel):
    maintained.run("hashes", "--add", "9.8.0", "--lane", "v9.9")
    # With its hash, another wheel would not get that far.
    table = maintained.patches / "releases.toml"
    table.write_text(re.sub("wheel_sha256 = .*\n", "", table.read_text()))
    files = {
        "src/transformers/__init__.py": '__version__ = "9.8.0"\n',
        "src/transformers/trainer.py": "".join(f"line {n}\n" for n in range(1, 91)),
        "src/transformers/training_args.py": "".join(f"line {n}\n" for n in range(1, 31)),
    }
    write_wheel("9.8.0", files)
    other = "releases.toml: release 9.8.0: other blob ids than its published files give; run hashes"
    assert lint.check(trees=True)[1] == [other]
    write_wheel("9.9.0", files | {"src/transformers/trainer.py": "".join(f"line {n}\n" for n in range(20, 91))})
    found = lint.check(trees=True)[1]
    assert found[0].startswith("v9.9: does not give commits on 9.9.0: git am failed: ")
    assert found[1:] == [f"9.9.0: {maintained.names[0]}: src/transformers/trainer.py: hunk 1 does not fit", other]


def found_in(*hunks, context=1):
    """Return what is found in the hunks, which are lines without their ends."""
    head = f"diff --git a/x b/x\nindex {'1' * 40}..{'2' * 40} 100644\n--- a/x\n+++ b/x\n"
    text = head + "".join(f"{line}\n" for hunk in hunks for line in hunk)
    (diff,) = patchfile.parse_diffs("p", text.encode())
    return list(hunks_module.check(diff, context))


IN_ORDER = ["@@ -4,3 +4,4 @@ def f():", " before", "-old", "+new", "+more", " after"]


def test_hunks_in_order():
    later = ["@@ -8,2 +9,1 @@", " before", "-last"]
    assert found_in(IN_ORDER, later) == []
    assert found_in(["@@ -0,0 +1,2 @@", "+a", "+b"], context=3) == []
    assert found_in(["@@ -1 +1 @@", "-    a", "+a"]) == []
    assert found_in(["@@ -1,3 +1,3 @@", "-b", " c", "+b", " d"]) == []


@pytest.mark.parametrize(
    ("hunks", "found"),
    [
        (
            [["@@ -4,3 +5,3 @@", *IN_ORDER[1:4], " after"]],
            "hunk 1: its line numbers do not go with the hunks before it",
        ),
        ([IN_ORDER, ["@@ -9,2 +9,2 @@", " x", "-a", "+b"]], "hunk 2: its line numbers do not go"),
        ([IN_ORDER, ["@@ -7,2 +8,2 @@", " x", "-a", "+b"]], "hunk 2: git would write it together"),
        ([["@@ -4,4 +4,4 @@", " x", *IN_ORDER[1:4], " after"]], "hunk 1: more context than 1"),
        ([["@@ -4,4 +4,4 @@", *IN_ORDER[1:4], " after", " x"]], "hunk 1: more context than 1"),
        ([["@@ -4,7 +4,7 @@", *IN_ORDER[1:4], " 1", " 2", " 3", "-c", "+d", " after"]], "hunk 1: more context than 1"),
        ([["@@ -4,2 +4,2 @@", "-a", "+b", " after"]], "hunk 1: less context than 1"),
        ([["@@ -4,2 +4,2 @@", " x", "-a", "+b"], ["@@ -9,2 +9 @@", " x", "-a"]], "hunk 1: less context than 1"),
        ([["@@ -1,2 +1,2 @@", " x", " y"]], "hunk 1: changes nothing"),
        ([["@@ -1 +1 @@", "+a", "-b"]], "hunk 1: removed lines have to come before added ones"),
        ([["@@ -1 +1,3 @@", "-a", "+b", "+a", "+c"]], "hunk 1: removes and adds the line 'a'"),
        ([["@@ -1 +1 @@", "-a = 1", "+a =  1"]], "hunk 1: changes only blanks in the line 'a = 1'"),
        ([["@@ -1 +1 @@", "-a ", "+a"]], "hunk 1: changes only blanks in the line 'a '"),
        ([["@@ -1,2 +1,3 @@", " a", "+", " b"]], "hunk 1: changes empty lines only"),
        ([["@@ -1,3 +1,2 @@", " a", "-", " b"]], "hunk 1: changes empty lines only"),
    ],
)
def test_hunks_that_git_would_write_otherwise_or_that_need_not_be(hunks, found):
    (finding,) = found_in(*hunks)
    assert finding.startswith(found)


@pytest.mark.parametrize("context", [0, 2])
def test_a_lane_with_another_number_of_context_lines(lane_maker, git, context):
    pristine = {"src/transformers/__init__.py": "", "src/transformers/x.py": "a\nb\nc\nd\ne\nf\ng\n"}
    world = lane_maker(pristine, [("Change", {"src/transformers/x.py": "a\nb\nc\nD\ne\nf\ng\n"})])
    diff = git(world.work / "origin", "diff", "--full-index", f"-U{context}", "HEAD~1", "HEAD")
    mail = world.patches / "v9.9" / world.files[0]
    mail.write_bytes(mail.read_bytes().partition(b"diff --git ")[0] + diff)
    (finding,) = lint.check()[1]
    assert finding.endswith(f"x.py: hunk 1: {'more' if context else 'less'} context than 1")


@pytest.mark.parametrize("path", ["setup.py", "tests/trainer.py", "tests/models/x.py", "src/transformers.py"])
def test_a_path_outside_the_allowed_folders(own_patches, world, path):
    patch = own_patches / world.files[2]
    patch.write_text(patch.read_text().replace("tests/trainer/test_trainer.py", path))
    assert any("outside src/transformers/ and tests/trainer/" in finding for finding in findings(own_patches))


@pytest.mark.parametrize(("added", "expected"), [(lint.TRAINER_LIMIT - 1, 0), (lint.TRAINER_LIMIT, 1)])
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
