"""Trees that somebody prepared: nothing outside of them is written, and what is wrong is said in one line."""

import json
import os
import shutil

import pytest

from exact_resume import cli, installed, patching
from exact_resume.errors import UsageError
from exact_resume.git import ABSENT, blob_id

TRAINER = "src/transformers/trainer.py"
JOURNAL = ".exact-resume-unfinished.json"


@pytest.fixture
def outside(world, snapshot):
    """A folder with files of others, which stays as it is."""
    folder = world.work / "outside"
    folder.mkdir()
    (folder / "secret").write_text("secret\n")
    os.utime(folder / "secret", (1, 1))
    before = snapshot(folder), folder.stat().st_mtime_ns, (folder / "secret").stat().st_mtime_ns
    yield folder
    assert (snapshot(folder), folder.stat().st_mtime_ns, (folder / "secret").stat().st_mtime_ns) == before


def journal(world, **changed):
    """Put a journal into the tree, as if a command had been killed there."""
    entry = [TRAINER, blob_id(b"before"), blob_id((world.tree / TRAINER).read_bytes())]
    content = {"token": "0123abcd", "files": [entry], "folders": [], "commit": None, **changed}
    (world.tree / JOURNAL).write_text(json.dumps(content))


def refused(world, said):
    before = world.now()
    for command in (patching.apply, patching.revert):
        with pytest.raises(UsageError, match=said) as caught:
            command(world.tree)
        assert "\n" not in str(caught.value)
    assert world.now() == before


@pytest.mark.parametrize("how", ["..", "link", "absolute", "folder"])
def test_a_journal_that_leads_out_of_the_tree_is_refused(world, outside, how):
    secret = (outside / "secret").read_bytes()
    (world.tree / "away").symlink_to(outside)
    name = {"..": "../outside/secret", "link": "away/secret", "absolute": str(outside / "secret"), "folder": "x"}[how]
    journal(world, files=[[name, ABSENT, blob_id(secret)]], folders=["away/new"] if how == "folder" else [])
    refused(world, "leads out of the tree")


def test_a_journal_that_leads_to_a_link_is_refused(world, outside):
    (world.tree / "away").symlink_to(outside / "secret")
    journal(world, files=[["away", ABSENT, blob_id(b"secret\n")]])
    refused(world, "leads out of the tree")


def test_old_bytes_that_are_a_link_are_not_put_into_place(world, outside):
    holder = world.tree / "src/transformers/.trainer.py.exact-resume-0123abcd"
    holder.mkdir()
    (holder / "old").symlink_to(outside / "secret")
    entry = [TRAINER, blob_id(b"secret\n"), blob_id((world.tree / TRAINER).read_bytes())]
    journal(world, files=[entry, ["new.py", ABSENT, blob_id(b"")]])
    refused(world, "the bytes of .* before it are not in .* any more")


def test_a_folder_for_old_bytes_that_is_a_link_is_not_emptied(world, outside):
    (world.tree / "src/transformers/.trainer.py.exact-resume-0123abcd").symlink_to(outside)
    journal(world, files=[[TRAINER, ABSENT, ABSENT]])
    patching.apply(world.tree)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[1]",
        "null",
        "[" * 100_000,
        '{"token": "../../x", "files": [], "folders": [], "commit": null}',
        '{"token": 1, "files": [], "folders": [], "commit": null}',
        '{"token": "0123abcd", "files": [["a"]], "folders": [], "commit": null}',
        '{"token": "0123abcd", "files": [["a\\u0000", "", ""]], "folders": [], "commit": null}',
        '{"token": "0123abcd", "files": [], "folders": ["."], "commit": null}',
        '{"token": "0123abcd", "files": [], "folders": [], "commit": ["--exec", "x"]}',
        '{"token": "0123abcd", "files": [], "folders": [], "commit": []}',
        " " * (2**20 + 1),
    ],
    ids=range(13),
)
def test_a_journal_that_is_none_is_refused(world, content):
    (world.tree / JOURNAL).write_text(content)
    refused(world, "cannot be used .* and remove this file; nothing was changed")


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_a_journal_that_is_no_file_is_refused(world, outside, kind):
    path = world.tree / JOURNAL
    {"link": lambda: path.symlink_to(outside / "secret"), "folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}[
        kind
    ]()
    with pytest.raises(UsageError, match="cannot be used"):
        patching.apply(world.tree)


def test_a_part_of_a_journal_that_is_a_link_is_removed_and_not_followed(world, outside):
    (world.tree / f"{JOURNAL}.part").symlink_to(outside / "secret")
    patching.apply(world.tree)
    assert world.now() == world.stage(4)


def test_a_folder_that_becomes_a_link_meanwhile_is_not_followed(world, outside, monkeypatch):
    from exact_resume import install

    real = install.install

    def swap(changes, *arguments):
        (world.tree / "src/transformers").rename(world.work / "moved")
        shutil.copytree(world.work / "moved", world.work / "elsewhere")
        (world.tree / "src/transformers").symlink_to(world.work / "elsewhere")
        real(changes, *arguments)

    monkeypatch.setattr(install, "install", swap)
    with pytest.raises(UsageError, match="was changed by someone else meanwhile"):
        patching.apply(world.tree)
    assert (world.work / "elsewhere/trainer.py").read_bytes() == (world.stages[0] / TRAINER).read_bytes()
    assert not list((world.work / "elsewhere").glob(".*"))


@pytest.mark.parametrize("path", [TRAINER, "src/transformers/resume/state.py", "tests/trainer"])
def test_links_in_a_circle_are_refused(world, path):
    target = world.tree / path
    target.parent.mkdir(exist_ok=True)
    if target.is_dir():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    target.symlink_to(target)
    refused(world, "cannot be followed: .*; nothing was changed|neither .* is there")


def test_a_new_file_that_is_a_broken_link_out_of_the_tree_is_refused(world, outside):
    (world.tree / "src/transformers/resume").mkdir()
    (world.tree / "src/transformers/resume/state.py").symlink_to(outside / "new")
    refused(world, "leads through a symbolic link to .*outside")


def test_a_file_without_end_is_refused(world):
    with open(world.tree / TRAINER, "r+b") as stream:
        stream.truncate(2**40)
    with pytest.raises(UsageError, match="trainer.py is too large"):
        patching.apply(world.tree)
    with open(world.tree / "src/transformers/__init__.py", "r+b") as stream:
        stream.truncate(2**40)
    with pytest.raises(UsageError, match="is too large"):
        patching.apply(world.tree)


def test_a_pipe_in_the_place_of_a_file_is_refused(world):
    (world.tree / TRAINER).unlink()
    os.mkfifo(world.tree / TRAINER)
    with pytest.raises(UsageError, match="is not a regular file"):
        patching.apply(world.tree)


def test_a_repository_whose_work_tree_is_elsewhere(fork, git, outside_fork):
    git(fork.tree, "config", "core.worktree", str(outside_fork))
    before = fork.now()
    with pytest.raises(UsageError, match="nothing was changed"):
        patching.apply(fork.tree, commit=True)
    assert fork.now() == before


@pytest.fixture
def outside_fork(fork):
    folder = fork.work / "outside"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []


def test_a_package_that_is_a_link_out_of_a_repository(fork, git):
    shutil.move(fork.tree / "src/transformers", fork.work / "elsewhere")
    (fork.tree / "src/transformers").symlink_to(fork.work / "elsewhere")
    with pytest.raises(UsageError, match="leads through a symbolic link"):
        patching.apply(fork.tree, commit=True)


def test_the_command_line_prints_no_control_characters(world, capsys):
    tree = world.tree.rename(world.work / "tree\x1b[31m\r\u202e")
    assert cli.main(["apply", str(tree)]) == cli.main(["status", str(tree)]) == 0
    (tree / TRAINER).write_text("mine\n")
    assert cli.main(["revert", str(tree)]) == 2
    said = capsys.readouterr()
    assert not set("\x1b\r\u202e") & set(said.out + said.err)
    assert r"tree\x1b[31m\r\u202e" in said.out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_owner_group_and_mode_stay(world):
    trainer = world.tree / TRAINER
    os.chown(trainer, 1234, 2345)
    trainer.chmod(0o2751)
    for command in (patching.apply, patching.revert):
        command(world.tree)
        status = trainer.stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1234, 2345, 0o2751)


@pytest.fixture
def site(world):
    """An installation with a RECORD."""
    folder = world.installed()
    info = folder / "transformers-9.9.0.dist-info"
    info.mkdir()
    (info / "RECORD").write_text("transformers/trainer.py,sha256=x,1\n")
    return installed.Installed(folder, folder, info / "RECORD")


@pytest.mark.parametrize("name", ["transformers-9.9.0.dist-info/RECORD", "exact_resume-installed.json"])
def test_notes_that_are_links_out_of_the_installation_are_refused(site, outside, snapshot, name):
    (site.site / name).unlink(missing_ok=True)
    (site.site / name).symlink_to(outside / ("secret" if "RECORD" in name else "new"))
    before = snapshot(site.site)
    with pytest.raises(UsageError, match="is a link that leads out of"):
        patching.apply(site.folder, installed=site)
    assert snapshot(site.site) == before


@pytest.mark.parametrize("content", [b"\xff\xfe,x,y\n", b'"transformers/x,sha256=1,2\n' + b"x" * 200_000])
def test_a_record_that_cannot_be_read_is_refused_or_left_alone(site, snapshot, content):
    site.record.write_bytes(content)
    before = snapshot(site.site)
    with pytest.raises(UsageError, match="RECORD cannot be read"):
        patching.apply(site.folder, installed=site)
    assert snapshot(site.site) == before


@pytest.mark.parametrize(
    "note",
    [
        "[" * 100_000,
        '{"version": "9.9.0", "patches": [], "record": []}',
        '{"version": 1, "patches": 2, "record": {}}',
        "\ufeff{}",
    ],
    ids=range(4),
)
def test_a_note_that_is_none_is_refused(site, note):
    site.note_file.write_text(note)
    for command in (patching.apply, patching.status):
        with pytest.raises(UsageError, match="exact_resume-installed.json cannot be read"):
            command(site.folder, installed=site)


def test_a_note_with_lines_of_other_types_is_read(site):
    note = {"version": "9.9.0", "patches": [1], "record": {"transformers/trainer.py": 5}}
    site.note_file.write_text(json.dumps(note))
    patching.apply(site.folder, installed=site)
    patching.revert(site.folder, installed=site)


@pytest.mark.parametrize("name", ["\udcff\udcfe", "a\nb", " ", "-x", "é\u202e", "~", "*?[a]", "$(x)'\""])
def test_the_name_of_a_tree_may_be_anything_that_the_system_allows(fork, git, name):
    git(fork.tree, "config", "user.name", "A")
    git(fork.tree, "config", "user.email", "a@example.org")
    # In a folder of a repository, and so part of the names that git is given.
    inner = fork.tree / name
    inner.mkdir()
    (fork.tree / "src").rename(inner / "src")
    (fork.tree / "tests").rename(inner / "tests")
    git(fork.tree, "add", "--all")
    git(fork.tree, "commit", "-m", "moved")
    patching.apply(inner, commit=True)
    assert git(fork.tree, "status", "--porcelain") == b""
    assert patching.status(inner).exact
    patching.revert(inner)
    assert git(fork.tree, "diff", "--quiet", "HEAD~3") == b""
