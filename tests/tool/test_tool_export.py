"""`export`: the commits of a work tree become the files of a lane."""

import shutil

import pytest

from exact_resume import checkout, export, hashes, lint, patching, series
from exact_resume.errors import UsageError

TRAINER = "src/transformers/trainer.py"
STATE = "src/transformers/resume/state.py"
MESSAGE = "\n\nWithout it a resumed run differs.\n\nBug: b\nOrigin: o\nForwarded: no\nApplies-To: 9\nGroup: core\n"


def files_of(patches):
    return {path.relative_to(patches).as_posix(): path.read_bytes() for path in patches.rglob("*") if path.is_file()}


@pytest.fixture
def work(maintained):
    """A work tree of the release; releases.toml is as `hashes` writes it."""
    hashes.update([], added=[], lane=None, source=None)
    folder = maintained.work / "work"
    checkout.checkout("9.9.0", folder)
    return folder


def commit(git, folder, path, old, new, *arguments):
    """Replace a text in a file and commit it."""
    target = folder / path
    target.parent.mkdir(exist_ok=True)
    text = target.read_text() if target.exists() else ""
    assert old in text
    target.write_text(text.replace(old, new, 1) if old else text + new)
    git(folder, "add", ".")
    git(folder, "commit", *arguments)


def changed(maintained, before):
    after = files_of(maintained.patches)
    return {path for path in before | after if before.get(path) != after.get(path)}


def test_the_way_there_and_back_changes_no_byte(maintained, work):
    before = files_of(maintained.patches)
    completed = maintained.run("export", work)
    assert completed.returncode == 0, completed
    assert completed.stdout.splitlines() == [
        "lane v9.9: 3 patches, written against transformers 9.9.0; files changed: 0",
        "now work out the blob ids of the other releases: python -m exact_resume hashes --lane v9.9",
    ]
    assert files_of(maintained.patches) == before


def test_a_patch_that_leaves_all_diffs_to_its_lane_comes_back_as_well(world):
    folder = world.work / "work"
    checkout.checkout("9.9.0", folder, world.tree)
    before = files_of(world.patches)
    export.export(folder)
    assert changed(world, before) == set() or changed(world, before) == {"releases.toml"}


def test_the_settings_of_the_repository_do_not_reach_the_files(maintained, work, git):
    before = files_of(maintained.patches)
    for setting in (
        "diff.context=9",
        "diff.noprefix=true",
        "diff.mnemonicPrefix=true",
        "diff.algorithm=patience",
        "diff.interHunkContext=50",
        "diff.orderFile=nowhere",
        "diff.renames=copies",
        "format.signOff=true",
        "format.signature=me",
        "format.headers=X-Mine: 1",
        "format.to=me@example.org",
        "format.cc=me@example.org",
        "format.thread=true",
        "format.coverLetter=true",
        "format.useAutoBase=true",
        "format.outputDirectory=elsewhere",
        "format.suffix=.mine",
        "format.from=me <me@example.org>",
        "format.pretty=oneline",
        "color.ui=always",
        "diff.external=false",
        "diff.wsErrorHighlight=all",
        "diff.colorMoved=plain",
        "diff.indentHeuristic=false",
        "format.numbered=true",
        "format.subjectPrefix=MINE",
        "format.attach=true",
        "format.notes=true",
        "core.abbrev=8",
    ):
        git(work, "config", *setting.split("=", 1))
    export.export(work)
    assert changed(maintained, before) == set()


def test_a_changed_commit_changes_its_files_and_the_base(maintained, work, git):
    before = files_of(maintained.patches)
    commit(git, work, TRAINER, "check\n", "check it\n", "--amend", "--no-edit")
    export.export(work)
    assert changed(maintained, before) == {
        "releases.toml",
        "result/src/transformers/trainer.py.diff",
        f"v9.9/{maintained.files[2]}",
    }
    assert "+check it\n" in (maintained.patches / "result/src/transformers/trainer.py.diff").read_text()
    assert lint.check(maintained.patches, trees=True)[1] == []
    patching.apply(maintained.tree)
    assert patching.status(maintained.tree).exact
    assert "check it\n" in (maintained.tree / TRAINER).read_text()


def test_new_patches_are_named_after_their_titles(maintained, work, git):
    title = "Trainer: Keep what nobody else keeps, in a way that is too long for the name of one file"
    commit(git, work, TRAINER, "line 70\n", "kept 70\n", "-m", title + MESSAGE)
    commit(git, work, STATE, "", "kept = 1\n", "-m", "Keep `é`!" + MESSAGE)
    export.export(work)
    files = [*maintained.files, "04-trainer-keep-what-nobody-else-keeps-in-a-way-that-is-too.patch", "05-keep.patch"]
    assert (maintained.patches / "v9.9" / "series").read_text().split() == files
    assert [patch.title for patch in series.load_lane("v9.9").patches][3:] == [title, "Keep `é`!"]
    assert lint.check(maintained.patches, trees=True)[1] == []


def test_a_name_in_the_message_stays_when_the_title_changes(maintained, work, git):
    for title in ("Keep it", "Keep it all"):
        amend = ["--amend"] if title == "Keep it all" else []
        commit(git, work, STATE, "", "kept = 1\n", *amend, "-m", f"{title}{MESSAGE}Name: kept\n")
        export.export(work)
        assert series.load_lane("v9.9").names[3:] == ["kept"]
    assert lint.check(maintained.patches, trees=True)[1] == []


def test_a_patch_that_is_left_out_is_removed(maintained, work, git):
    before = files_of(maintained.patches)
    git(work, "reset", "--hard", "main~1")
    lines = export.export(work)
    gone = maintained.files[2]
    of_result = {f"result/{path}" for path in (f"{TRAINER}.diff", STATE)}
    assert changed(maintained, before) == {f"v9.9/{gone}", "v9.9/series", "releases.toml", *of_result}
    assert f"removed: v9.9/{gone}" in lines and "written: v9.9/series" in lines
    assert lint.check(maintained.patches)[1] == []


def test_a_proof_is_kept(maintained, work):
    table = maintained.patches / "releases.toml"
    table.write_text(table.read_text() + '[releases."9.9.0".proof]\npython = "3.11.7"\n')
    export.export(work)
    assert series.load_releases()["9.9.0"].proof == {"python": "3.11.7"}


def refused(maintained, match, *arguments):
    before = files_of(maintained.patches)
    with pytest.raises(UsageError, match=match):
        export.export(*arguments)
    assert changed(maintained, before) == set()


def test_what_is_not_committed_is_refused(maintained, work, git):
    (work / TRAINER).write_text("changed\n")
    refused(maintained, f"not committed: {TRAINER}", work)
    git(work, "checkout", TRAINER)
    (work / "src/transformers/forgotten.py").write_text("")
    refused(maintained, r"not committed: src/transformers/forgotten\.py", work)
    (work / "src/transformers/forgotten.py").unlink()
    (work / "src/transformers/__pycache__").mkdir()
    (work / "src/transformers/__pycache__" / "x.pyc").write_text("")
    export.export(work)


def test_a_folder_without_such_a_history_is_refused(maintained, work, git):
    refused(maintained, "no such folder", maintained.work / "nowhere")
    refused(maintained, "not a git repository", maintained.tree)
    git(work, "checkout", "base")
    refused(maintained, "no commit follows that of the release", work)
    git(work, "checkout", "-b", "side")
    commit(git, work, STATE, "", "side = 1\n", "-m", "Side")
    git(work, "merge", "-s", "ours", "main")
    refused(maintained, "is a merge", work)


def test_a_history_that_does_not_begin_with_a_release_is_refused(maintained, git):
    folder = maintained.work / "other"
    folder.mkdir()
    git(folder, "init")
    for name in "ab":
        commit(git, folder, name, "", "text\n", "-m", name)
    refused(maintained, r"has no src/transformers/__init__\.py with a version", folder)


def test_a_commit_that_no_patch_file_can_hold_is_refused(maintained, work, git):
    (work / "src/transformers/link.py").symlink_to("trainer.py")
    git(work, "add", ".")
    git(work, "commit", "-m", "Link" + MESSAGE)
    refused(maintained, "commit [0-9a-f]{10}: .*link.py: .*not a regular file", work)


def test_two_commits_of_one_title_are_refused(maintained, work, git):
    commit(git, work, STATE, "", "more = 1\n", "-m", "Save the sampler state" + MESSAGE)
    refused(maintained, "two commits give the name .*'Save the sampler state'", work)


def test_a_title_that_gives_no_name_is_refused(maintained, work, git):
    commit(git, work, STATE, "", "more = 1\n", "-m", "Ü" + MESSAGE)
    refused(maintained, "'Ü' gives no name; add the field Name", work)


def test_a_core_patch_after_a_companion_is_refused(maintained, work, git):
    for number, group in enumerate(("companion", "core")):
        text = MESSAGE.replace("core", group)
        commit(git, work, STATE, "", f"more = {number}\n", "-m", f"Number {number}{text}")
    refused(maintained, "'Number 1' is of the core and follows on a companion; put companions last", work)


@pytest.mark.parametrize("lane", ["common", "result", "5.19", "v5", "../v5.1", "v5.1.2"])
def test_a_name_that_is_not_one_of_a_lane_is_refused(maintained, work, lane):
    refused(maintained, "is not the name of a lane", work, lane)


@pytest.fixture
def older(maintained, git, work):
    """A work tree of an older release, to which the commits of the first were taken."""
    folder = maintained.work / "older"
    shutil.copytree(work, folder)
    git(folder, "checkout", "--orphan", "new", "base")
    (folder / "src/transformers/__init__.py").write_text('__version__ = "9.8.0"\n')
    text = (folder / TRAINER).read_text()
    (folder / TRAINER).write_text(text.replace("line 10\n", "line 10a\n"))
    git(folder, "add", ".")
    git(folder, "commit", "-m", "transformers 9.8.0")
    for number in (2, 1, 0):
        done = "line 10\n" if number == 2 else None
        pick(git, folder, f"main~{number}", done)
    return folder


def pick(git, folder, commit_id, conflict):
    """Cherry-pick a commit; `conflict` says that the lines of the trainer have to be put right."""
    if conflict is None:
        git(folder, "cherry-pick", commit_id)
        return
    import subprocess

    with pytest.raises(subprocess.CalledProcessError):
        git(folder, "cherry-pick", commit_id)
    text = git(folder, "show", f"{commit_id}:{TRAINER}").decode()
    (folder / TRAINER).write_text(text)
    git(folder, "add", ".")
    git(folder, "cherry-pick", "--continue")


def test_a_new_lane_for_another_release(maintained, older, write_wheel, git):
    refused(maintained, "of transformers 9.8.0, which no lane serves; name a lane with --lane", older)
    before = files_of(maintained.patches)
    export.export(older, "v9.8")
    assert {path for path in changed(maintained, before) if not path.startswith("v9.8/")} == {"releases.toml"}
    assert {name: lane.base for name, lane in series.load_lanes().items()} == {"v9.9": "9.9.0", "v9.8": "9.8.0"}
    names = git(older, "ls-tree", "-r", "--name-only", "new~3").decode().splitlines()
    write_wheel("9.8.0", {name: git(older, "show", f"new~3:{name}").decode() for name in names})
    assert lint.check(maintained.patches, trees=True)[1] == []
    before = files_of(maintained.patches)
    export.export(older)
    assert changed(maintained, before) == set()


def test_what_lanes_share_is_carried_from_the_newest_into_the_others(maintained, older, work, git):
    export.export(older, "v9.8")
    name = maintained.names[2]
    commit(git, older, STATE, "state = 2", "state = 3", "--amend", "--no-edit")
    refused(maintained, f"lane v9.8 gives another {name} than lane v9.9 has.* change the newest lane", older)
    commit(git, work, STATE, "state = 2", "state = 3", "--amend", "-m", "Check the état on load\n\nOther" + MESSAGE)
    before = files_of(maintained.patches)
    export.export(work)
    mails = {f"{lane}/{maintained.files[2]}" for lane in ("v9.8", "v9.9")}
    assert changed(maintained, before) == {*mails, f"result/{STATE}"}
    assert lint.check(maintained.patches)[1] == []
    for lane in ("v9.8", "v9.9"):
        text = (maintained.patches / lane / maintained.files[2]).read_text()
        assert "+state = 3" in text and "\nOther\n" in text
    git(older, "commit", "--amend", "-m", "Check the état on load\n\nOther" + MESSAGE)
    before = files_of(maintained.patches)
    export.export(older)
    assert changed(maintained, before) == set()


def test_lanes_that_do_not_share_what_they_should_are_a_finding(maintained, older, work):
    export.export(older, "v9.8")
    mail = maintained.patches / "v9.8" / maintained.files[0]
    mail.write_text(mail.read_text().replace("Bug: ", "Bug: more "))
    said = "the message or a file that the series creates is not as in v9.9; export v9.9"
    assert lint.check(maintained.patches)[1] == [f"v9.8: {maintained.names[0]}: {said}"]


def test_a_patch_that_another_lane_lists_is_kept_there(maintained, older, work, git):
    export.export(older, "v9.8")
    before = files_of(maintained.patches)
    git(work, "reset", "--hard", "main~1")
    export.export(work)
    of_result = {f"result/{path}" for path in (f"{TRAINER}.diff", STATE)}
    assert changed(maintained, before) == {
        f"v9.9/{maintained.files[2]}",
        "v9.9/series",
        "releases.toml",
        *of_result,
    }
    assert lint.check(maintained.patches)[1] == []


def test_a_patch_of_an_older_lane_alone(maintained, older, git):
    export.export(older, "v9.8")
    commit(git, older, STATE, "", "old = 1\n", "-m", "Only here" + MESSAGE)
    export.export(older)
    commit(git, older, STATE, "old = 1", "old = 2", "--amend", "--no-edit")
    export.export(older)
    assert b"+old = 2" in (maintained.patches / "v9.8" / "04-only-here.patch").read_bytes()
    assert lint.check(maintained.patches)[1] == []


def test_a_lane_that_does_not_fit_what_it_shares_is_named_and_can_be_exported_next(maintained, older, work, git):
    export.export(older, "v9.8")
    # The newest lane makes one patch of two, under the name of the second.
    git(work, "reset", "--soft", "main~2")
    git(work, "commit", "-m", "Check the état on load\n\nAll at once" + MESSAGE)
    lines = export.export(work)
    assert any(line.startswith("lane v9.8 does not fit together any more, export it next: ") for line in lines)
    assert lint.check(maintained.patches)[1] != []
    git(older, "reset", "--soft", "new~2")
    git(older, "commit", "-m", "Check the état on load\n\nAll at once" + MESSAGE)
    # The date and the author are shared as well.
    git(older, "commit", "--amend", "--no-edit", "--date", git(work, "log", "-1", "--format=%aI").decode().strip())
    export.export(older)
    assert lint.check(maintained.patches)[1] == []


def test_a_lane_that_serves_no_release_any_more_is_removed(maintained, older):
    export.export(older, "v9.8")
    export.export(older, "v9.7")
    assert not list((maintained.patches / "v9.8").glob("*"))
    assert set(series.load_lanes()) == {"v9.9", "v9.7"}
    assert lint.check(maintained.patches)[1] == []


def test_a_work_tree_of_an_older_release_than_the_base_is_refused(maintained, older):
    refused(maintained, "lane v9.9 is written against 9.9.0; .* checkout 9.9.0", older, "v9.9")


def test_a_read_only_folder_of_patches_is_refused_before_anything_is_written(maintained, work, git):
    commit(git, work, TRAINER, "check\n", "check it\n", "--amend", "--no-edit")
    (maintained.patches / "v9.9").chmod(0o555)
    try:
        refused(maintained, "read-only", work)
    finally:
        (maintained.patches / "v9.9").chmod(0o755)
