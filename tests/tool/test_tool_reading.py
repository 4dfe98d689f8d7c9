"""What is read: trees, patch files, lanes and releases."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest

from exact_resume import git, patchfile, patching, series, tree
from exact_resume.errors import SeriesError, UsageError


def test_a_patch_is_read_with_its_header_and_blobs(world):
    patches = series.load_lane("v9.9").patches
    assert [patch.name for patch in patches] == world.names
    last = patches[3]
    assert last.title == "Check the état on load"
    assert last.author == "A Müller <a@example.org>"
    assert last.message == "Without it a resumed run differs."
    assert last.fields == {
        "Bug": "https://example.org/1",
        "Origin": "vendor",
        "Forwarded": "not-needed",
        "Applies-To": "9.9.0",
        "Group": "core",
    }


def test_the_blob_ids_of_a_patch_are_those_of_the_trees(world):
    for number, patch in enumerate(series.load_lane("v9.9").patches):
        for diff in patch.diffs:
            for stage, blob in ((number, diff.old_blob), (number + 1, diff.new_blob)):
                path = world.stages[stage] / diff.path
                assert git.blob_id(path.read_bytes() if path.exists() else None) == blob
            assert diff.is_new == (not (world.stages[number] / diff.path).exists())


def test_the_raw_diffs_together_are_the_diff_part_of_the_file(world):
    for name, patch in zip(world.files, series.load_lane("v9.9").patches, strict=True):
        raw = (world.patches / "v9.9" / name).read_bytes()
        assert patch.text == raw
        assert patch.mail + b"".join(diff.text for diff in patch.diffs) == raw


def test_a_patch_may_create_nothing(world):
    patch = series.load_lane("v9.9").patches[2]
    assert [(diff.path, diff.is_new) for diff in patch.diffs] == [("tests/trainer/test_trainer.py", False)]


@pytest.mark.parametrize(
    ("title", "field", "name"),
    [
        ("Trainer: Keep `é`!", "", "trainer-keep"),
        ("Keep all", "Name: kept-all\n", "kept-all"),
        ("Keep what nobody else keeps, in a way that is too long for the name of one file", "", None),
    ],
)
def test_a_patch_is_named_by_its_field_or_by_its_title(title, field, name):
    raw = f"From: a\nSubject: [PATCH] {title}\n\nWhy.\n\n{field}Bug: b\n\n{DIFF}"
    name = name or "keep-what-nobody-else-keeps-in-a-way-that-is-too-long-for"
    assert patchfile.parse("p", raw.encode()).name == name


def test_blob_ids_are_put_into_the_index_line():
    (diff,) = patchfile.parse_diffs("p", DIFF.encode())
    other = replace(diff, old_blob="3" * 40, new_blob="4" * 40).with_blobs
    assert other.text.decode() == DIFF.replace("1" * 40, "3" * 40).replace("2" * 40, "4" * 40)
    assert diff.with_blobs == diff


def test_a_long_field_and_a_long_title_are_unfolded():
    raw = (
        b"From 0000 Mon Sep 17 00:00:00 2001\nFrom: a\nSubject: [PATCH 1/2] A title\n that goes on\n\n"
        b"Why.\n\nBug: https://example.org/1\n and more\nBug: second\nSigned-off-by: a\n---\n x | 1 +\n\n"
        b"diff --git a/x b/x\nnew file mode 100644\nindex " + b"0" * 40 + b".." + b"1" * 40 + b"\n"
        b"--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+x\n\n"
    )
    patch = patchfile.parse("p", raw)
    assert patch.title == "A title that goes on"
    assert patch.fields["Bug"] == "https://example.org/1 and more\nsecond"
    assert patch.message == "Why."


DIFF = "diff --git a/x b/x\nindex " + "1" * 40 + ".." + "2" * 40 + " 100644\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1" * 40, "1" * 7, "--full-index"),
        ("index", "similarity index 90%\nindex", "only plain text"),
        ("index", "old mode 100644\nnew mode 100755\nindex", "only plain text"),
        ("index", "new file mode 120000\nindex", "not a regular file"),
        ("--- a/x", "GIT binary patch", "only plain text"),
        ("a/x b/x", "a/x b/y", "rename"),
        ("a/x b/x", "a/../x b/../x", "not a plain path"),
        ("a/x b/x", "a//x b//x", "not a plain path"),
        ("@@ -1 +1 @@", "@@ nonsense @@", "not a hunk header"),
        ("+b\n", "", "cut short"),
        ("+b\n", "+b\nmore\n", "not part of a diff"),
        ("+b\n", "+b\n-- \n2.39.5\n", "not part of a diff"),
        (DIFF, DIFF + DIFF, "two diffs"),
        ("Subject: t", "X: t", "no Subject"),
    ],
)
def test_a_damaged_patch_is_refused_with_its_name_and_place(old, new, message):
    raw = f"From: a\nSubject: t\n\nWhy.\n---\n\n{DIFF}"
    patchfile.parse("0001-x.patch", raw.encode())
    assert raw.count(old) >= 1
    with pytest.raises(SeriesError, match=f"^0001-x.patch: .*{message}"):
        patchfile.parse("0001-x.patch", raw.replace(old, new, 1).encode())


def test_blob_ids_are_those_of_git():
    assert git.blob_id(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert git.blob_id(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert git.blob_id(None) == "0" * 40


def test_a_checkout_is_told_from_an_installed_package(world):
    checkout = tree.find(world.tree)
    assert (checkout.kind, checkout.release) == ("source checkout", "9.9.0")
    assert checkout.inside("tests/trainer/x.py") == "tests/trainer/x.py"
    installed = tree.find(world.installed())
    assert installed.kind == "installed package"
    assert installed.inside("src/transformers/a/b.py") == "transformers/a/b.py"
    assert installed.inside("tests/trainer/x.py") is None
    assert tree.find(world.tree / "src").kind == "installed package"


@pytest.mark.parametrize(
    "line", ["__version__ = '9.9.0'", '__version__="9.9.0"', '__version__  =  "9.9.0"  # comment']
)
def test_the_release_is_read_without_running_the_package(world, line):
    init = world.tree / "src/transformers/__init__.py"
    init.write_text(f"raise SystemExit('imported')\n{line}\n")
    assert tree.find(world.tree).release == "9.9.0"


@pytest.mark.parametrize("inner", ["src/transformers", "site-packages/transformers"])
def test_the_package_itself_is_refused_with_the_folder_to_give(world, inner):
    folder = world.tree / inner if inner.startswith("src") else world.installed() / "transformers"
    wanted = world.tree if inner.startswith("src") else folder.parent
    with pytest.raises(UsageError, match=f"give {wanted}$"):
        tree.find(folder)


def test_the_series_file_may_have_comments_and_empty_lines(own_patches, world):
    names = "\n\n".join(f"  {name}  # why" for name in world.files)
    (own_patches / "series").write_text(f"# a comment\n{names}\n\n#end")
    assert series.load_lane("v9.9").names == world.names


@pytest.mark.parametrize(
    "damage", ["releases", "[releases]\nx = 1\n", '[releases."9.9.0"]\nlan = "x"\n', "releases = 3\n"]
)
def test_a_damaged_release_table_is_our_own_fault(own_patches, world, damage):
    (own_patches.parent / "releases.toml").write_text(damage)
    with pytest.raises(SeriesError, match=r"releases\.toml: cannot be read"):
        patching.apply(world.tree)


def test_a_missing_patch_file_is_our_own_fault(own_patches, world):
    (own_patches / world.files[1]).unlink()
    with pytest.raises(SeriesError, match=world.names[1]):
        patching.status(world.tree)


def test_a_patches_variable_that_leads_nowhere_is_the_users_mistake(world, monkeypatch):
    monkeypatch.setenv("EXACT_RESUME_PATCHES", str(world.tree))
    with pytest.raises(UsageError, match=r"EXACT_RESUME_PATCHES=.*no releases\.toml there"):
        series.patches_folder()


def test_patches_beside_the_package_come_before_those_of_the_checkout(world, monkeypatch):
    package = world.work / "scripts" / "exact_resume"
    outer, inner = world.work / "patches", package / "patches"
    for folder in (outer, inner):
        folder.mkdir(parents=True)
    monkeypatch.delenv("EXACT_RESUME_PATCHES")
    monkeypatch.setattr(series, "__file__", str(package / "series.py"))
    with pytest.raises(SeriesError, match="installation is incomplete"):
        series.patches_folder()
    (outer / "releases.toml").write_text("")
    assert series.patches_folder() == outer
    (inner / "releases.toml").write_text("")
    assert series.patches_folder() == inner


def write_releases(patches, *versions):
    """Let releases of these versions be served by the lane, in this order, each with blob ids of its own."""
    head, _, files = (patches / "releases.toml").read_text().partition("[releases.")
    files = files.partition(".files]\n")[2]
    for number, version in enumerate(versions):
        other = re.sub("[0-9a-f]{40}", lambda match, n=number: f"{n:02}{match.group()[2:]}", files)
        head += f'[releases."{version}"]\nlane = "v9.9"\nproof = {{number = {number}}}\n'
        head += f'[releases."{version}".files]\n{other}'
    (patches / "releases.toml").write_text(head)


def test_releases_are_newest_first_and_have_their_lane_files_and_proof(own_patches, world):
    write_releases(world.patches, "9.9.0", "9.10.0", "9.9.2", "10.0.0")
    releases = series.load_releases()
    assert list(releases) == ["10.0.0", "9.10.0", "9.9.2", "9.9.0"]
    release = releases["9.10.0"]
    assert (release.version, release.lane, release.proof) == ("9.10.0", "v9.9", {"number": 1})
    assert [len(blobs) for blobs in release.files.values()] == [4, 2, 2]
    assert series.load_lanes() == {"v9.9": series.Lane("9.9.0")}


def test_the_series_of_a_release_has_the_blob_ids_of_this_release(own_patches, world):
    write_releases(world.patches, "9.9.0", "9.10.0")
    lane, other = series.load_lane("v9.9"), series.for_release("9.10.0")
    assert (other.lane, other.base) == (lane.lane, lane.base) == ("v9.9", "9.9.0")
    files = series.load_releases()["9.10.0"].files
    seen = {path: [] for path in files}
    for mine, its in zip(lane.patches, other.patches, strict=True):
        for before, after in zip(mine.diffs, its.diffs, strict=True):
            assert before.text == after.text
            if before.path in files:
                seen[before.path].append((after.old_blob, after.new_blob))
            else:
                assert before == after
    assert seen == {path: list(pairwise(blobs)) for path, blobs in files.items()}


@pytest.mark.parametrize("damage", ["less", "more", "missing"])
def test_blob_ids_that_do_not_go_with_the_lane_are_our_own_fault(own_patches, world, damage):
    table = world.patches / "releases.toml"
    line = next(line for line in table.read_text().splitlines() if "training_args" in line)
    other = {"less": line.partition(",")[0] + "]", "more": line[:-1] + ', "x"]', "missing": ""}[damage]
    table.write_text(table.read_text().replace(line, other))
    known = {"less": 1, "more": 3, "missing": 0}[damage]
    with pytest.raises(
        SeriesError, match=rf"9\.9\.0: .*training_args\.py: {known} blob ids, where lane v9\.9 needs 2"
    ):
        series.for_release("9.9.0")


def test_a_file_that_a_mail_changes_twice_is_our_own_fault(own_patches, world):
    mail = own_patches / world.files[0]
    raw = mail.read_bytes()
    mail.write_bytes(raw + raw[raw.index(b"diff --git ") :])
    with pytest.raises(SeriesError, match=r"v9\.9/01-save-.*: two diffs for src/transformers/trainer\.py"):
        series.load_lane("v9.9")


def test_a_core_patch_after_a_companion_is_our_own_fault(own_patches, world):
    mail = own_patches / world.files[0]
    mail.write_text(mail.read_text().replace("Group: core", "Group: companion"))
    with pytest.raises(SeriesError, match="lists a patch of the core after a companion"):
        series.for_release("9.9.0")


@pytest.mark.parametrize("form", ["{name}", "{name}.patch", "03-{name}.patch", "17-{name}.patch"])
def test_a_patch_may_be_named_as_its_file(world, form):
    assert series.load_lane("v9.9").position(form.format(name=world.names[2])) == 2


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("9.9.1", "9.9.1"),
        ("9.9.7", "9.9.4"),
        ("9.9.2", "9.9.1"),
        ("9.9.0", "9.9.1"),
        ("9.10.0.dev0", "9.9.4"),
        ("9.12.3", "9.12.5"),
        ("11.0.0", "9.12.5"),
        ("1.0.0", "9.9.1"),
        ("5.0.0rc1", "9.9.1"),
        ("unknown", "9.9.1"),
    ],
)
def test_the_nearest_release_is_of_the_same_minor_then_older_then_newer(own_patches, world, version, expected):
    write_releases(world.patches, "9.9.1", "9.9.4", "9.12.5")
    assert series.nearest(version) == expected
