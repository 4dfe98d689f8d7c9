"""`checkout`: a git work tree with a commit for each patch."""

import shutil

import pytest

from exact_resume import checkout, export, lint, patching, series
from exact_resume.errors import SeriesError, UsageError
from exact_resume.git import blob_id

TRAINER = "src/transformers/trainer.py"


def files_at(git, folder, commit):
    """Return the bytes of each file of a commit."""
    names = git(folder, "ls-tree", "-r", "--name-only", commit).decode().splitlines()
    return {name: git(folder, "show", f"{commit}:{name}") for name in names}


def files_below(tree):
    return {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()}


def test_there_is_a_commit_for_the_release_and_for_each_patch(maintained, git):
    folder = maintained.work / "new" / "work"
    lines = checkout.checkout("9.9.0", folder)
    assert lines[-1] == f"to write it back: python -m exact_resume export {folder}"
    commits = git(folder, "rev-list", "--reverse", "main").decode().split()
    assert len(commits) == len(maintained.stages) == 4
    assert git(folder, "rev-parse", "base").decode().strip() == commits[0]
    for commit, stage in zip(commits, maintained.stages, strict=True):
        assert files_at(git, folder, commit) == files_below(stage)
    assert files_below(folder).items() >= files_below(maintained.stages[-1]).items()
    assert git(folder, "status", "--porcelain") == b""


def test_commits_have_the_message_author_and_date_of_the_mails(maintained, git):
    folder = maintained.work / "work"
    checkout.checkout("9.9.0", folder)
    for commit in ("main", "main~1", "main~2"):
        ours, its = (
            git(place, "log", "-1", "--format=%an <%ae> %ad%n%B", commit.replace("main", head)).decode()
            for place, head in ((maintained.work / "origin", "HEAD"), (folder, "main"))
        )
        assert ours == its and "A Müller <a@example.org>" in its and "Applies-To: 9.9.0" in its


def test_a_release_that_is_not_the_base_of_its_lane(maintained, git):
    maintained.run("hashes", "--add", "9.8.0", "--lane", "v9.9")
    folder = maintained.work / "work"
    lines = checkout.checkout("9.8.0", folder)
    assert "export does not take it" in lines[-1]
    for path, blobs in series.load_releases()["9.8.0"].files.items():
        assert blob_id((folder / path).read_bytes()) == blobs[-1]
        assert blob_id(git(folder, "show", f"base:{path}")) == blobs[0]


def test_the_pristine_files_may_come_from_a_tree(world, git):
    folder = world.work / "work"
    completed = world.run("checkout", "9.9.0", folder, "--pristine-from", world.tree)
    assert completed.returncode == 0, completed
    # Of what is not in the package only what the series changes.
    assert files_at(git, folder, "base") == files_below(world.stages[0])
    assert files_at(git, folder, "main") == files_below(world.stages[4])


def test_without_a_folder_the_release_names_it_and_an_empty_folder_will_do(maintained, monkeypatch):
    monkeypatch.chdir(maintained.work)
    folder = maintained.work / "transformers-9.9.0"
    folder.mkdir()
    checkout.checkout("9.9.0")
    assert patching.status(folder).exact


def test_only_the_release_also_without_a_lane_and_the_commits_of_another_work_tree(maintained, git):
    checkout.checkout("9.9.0", maintained.work / "work")
    folder = maintained.work / "older"
    lines = checkout.checkout("9.8.0", folder, bare=True)
    assert lines == [f"transformers 9.8.0 at {folder}: tag base, and no patch"]
    assert git(folder, "rev-parse", "base") == git(folder, "rev-parse", "HEAD")
    base = git(maintained.work / "work", "rev-parse", "base").decode().strip()
    git(folder, "fetch", "--no-tags", "../work", "main")
    git(folder, "cherry-pick", f"{base}..FETCH_HEAD")
    export.export(folder, "v9.8")
    assert lint.check()[1] == []
    mails = [(maintained.patches / lane / maintained.files[2]).read_bytes() for lane in ("v9.9", "v9.8")]
    assert mails[0] != mails[1]  # other blob ids and line numbers, and the same message
    assert mails[0].partition(b"diff --git ")[0] == mails[1].partition(b"diff --git ")[0]


def refused(world, match, *arguments, **options):
    before = world.now(), sorted(path.name for path in world.work.iterdir())
    with pytest.raises(UsageError, match=match):
        checkout.checkout(*arguments, **options)
    assert (world.now(), sorted(path.name for path in world.work.iterdir())) == before


def test_a_folder_in_use_is_refused(maintained):
    refused(maintained, "exists and is not empty", "9.9.0", maintained.tree)
    refused(maintained, "exists and is not empty", "9.9.0", maintained.tree / TRAINER)


def test_a_release_without_a_lane_is_refused(maintained):
    refused(maintained, "no patch series", "9.8.0", maintained.work / "work")


def test_a_tree_that_is_not_pristine_is_refused(maintained):
    maintained.edit(TRAINER, "line 45\n", "forked\n")
    refused(maintained, f"{TRAINER} is not as it was released", "9.9.0", maintained.work / "work", maintained.tree)


def test_a_tree_that_has_a_file_which_the_series_creates_is_refused(maintained):
    shutil.copytree(maintained.stages[2] / "src/transformers/resume", maintained.tree / "src/transformers/resume")
    refused(maintained, "resume/.* is not as it was released", "9.9.0", maintained.work / "work", maintained.tree)


def test_a_tree_of_another_release_is_refused(maintained):
    (maintained.tree / "src/transformers/__init__.py").write_text('__version__ = "9.7.0"\n')
    refused(maintained, "of transformers 9.7.0, not 9.9.0", "9.9.0", maintained.work / "work", maintained.tree)


def test_a_wheel_that_is_not_to_be_had_is_refused(maintained, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    shutil.rmtree(maintained.work / "cache" / "wheels")
    refused(maintained, "could not be downloaded", "9.9.0", maintained.work / "work")


def test_patches_that_do_not_give_what_they_record_leave_nothing_behind(maintained):
    mail = maintained.patches / "v9.9" / maintained.files[0]
    mail.write_text(mail.read_text().replace("+    pass\n", "+    fail\n"))
    with pytest.raises(SeriesError, match=r"test_resume\.py did not become what the series records"):
        checkout.checkout("9.9.0", maintained.work / "work")
    mail.write_text(mail.read_text().replace("-line 60\n", "-line 61\n"))
    with pytest.raises(SeriesError, match="git am failed: .*Save the sampler state"):
        checkout.checkout("9.9.0", maintained.work / "work")
    assert not [path for path in maintained.work.iterdir() if "work" in path.name]
