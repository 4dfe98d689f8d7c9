"""`apply --commit`: a commit for each patch in the user's repository, or none."""

import os
import shutil

import pytest

from exact_resume import patching
from exact_resume.errors import UsageError
from exact_resume.repository import Repository

TRAINER = "src/transformers/trainer.py"
COUNT = 3


@pytest.fixture
def fork(fork, monkeypatch):
    """The fork, and a user with a name and settings that are in the way."""
    home = fork.work / "home"
    home.mkdir()
    settings = "[user]\n\tname = Ünal\n\temail = u@example.org\n[i18n]\n\tcommitEncoding = latin1\n"
    (home / ".gitconfig").write_text(settings)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    return fork


def log(git, tree, form, *options):
    return git(tree, "log", "--reverse", f"--format={form}", *options).decode().strip().split("\n")


def refused(world, match, **options):
    """The commits are refused, and nothing is changed, neither in the files nor in what git keeps."""
    before = world.now()
    for check in (True, False):
        with pytest.raises(UsageError, match=match) as caught:
            patching.apply(world.tree, commit=True, check=check, **options)
        assert "\n" not in str(caught.value) and str(caught.value).endswith("nothing was changed")
        assert world.now() == before


def test_each_patch_becomes_a_commit_as_its_mail_says(fork, git):
    result = patching.apply(fork.tree, commit=True)
    assert result.lines[-1] == "done: 3 patches committed, 4 files changed"
    assert log(git, fork.tree, "%s")[1:] == ["Save", "Load the état", "Check"]
    assert set(log(git, fork.tree, "%an %ae|%cn %ce")[1:]) == {"A Müller a@example.org|Ünal u@example.org"}
    dates = git(fork.work, "-C", str(fork.tree), "log", "-1", "--format=%aI").decode().strip()
    mail = (fork.patches / "v9.9" / fork.files[2]).read_bytes().decode()
    assert mail.split("\nDate: ")[1].split("\n")[0].split(" ")[4] in dates
    body = git(fork.tree, "log", "-1", "--format=%B").decode()
    assert body == f"{mail.split('[PATCH] ')[1].partition(chr(10) + 'diff --git ')[0].rstrip()}\n\n"
    for count in range(COUNT + 1):
        git(fork.tree, "checkout", "--quiet", "--detach", f"main~{COUNT - count}")
        at_commit = {name: held for name, held in fork.now().items() if not name.startswith(".git")}
        assert at_commit == {name: held for name, held in fork.stage(count).items() if not name.startswith(".git")}


def test_afterwards_the_work_tree_is_clean_and_the_branch_is_the_same(fork, git):
    patching.apply(fork.tree, commit=True)
    assert git(fork.tree, "status", "--porcelain", "--branch") == b"## main\n"
    # Not even a look at the files is needed.
    assert git(fork.tree, "diff-files") == b""
    again = patching.apply(fork.tree, commit=True)
    assert not again.changed and "already applied" in again.lines[-1]


def test_commits_go_on_from_a_prefix(fork, git):
    patching.apply(fork.tree, commit=True, upto=fork.names[0])
    patching.apply(fork.tree, commit=True)
    assert log(git, fork.tree, "%s")[1:] == ["Save", "Load the état", "Check"]


def test_only_touched_files_are_committed(fork, git):
    (fork.tree / "src/transformers/untouched.py").write_text("mine = 1\n")
    (fork.tree / "new.py").write_text("mine = 1\n")
    patching.apply(fork.tree, commit=True)
    assert git(fork.tree, "status", "--porcelain") == b" M src/transformers/untouched.py\n?? new.py\n"


def test_merged_files_are_committed_merged(fork, git):
    fork.edit(TRAINER, "x12 = 12\n", "mine = 1\nx12 = 12\n")
    git(fork.tree, "commit", "-am", "fork")
    (fork.tree / TRAINER).chmod(0o755)
    git(fork.tree, "commit", "-am", "mode")
    patching.apply(fork.tree, commit=True)
    assert git(fork.tree, "status", "--porcelain") == b""
    assert b"100755" in git(fork.tree, "ls-tree", "HEAD", TRAINER)
    first = git(fork.tree, "show", f"HEAD~2:{TRAINER}").decode()
    assert first == (fork.stages[1] / TRAINER).read_text().replace("x12 = 12\n", "mine = 1\nx12 = 12\n")


def test_no_hook_is_run(fork, git):
    hooks = fork.tree / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("pre-commit", "commit-msg", "post-commit", "reference-transaction", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\necho {name} >> {fork.work}/hooks.log\nexit 1\n")
        (hooks / name).chmod(0o755)
    git(fork.tree, "config", "core.fsmonitor", str(hooks / "pre-commit"))
    patching.apply(fork.tree, commit=True)
    assert not (fork.work / "hooks.log").exists()


def test_a_detached_head_moves_and_the_branch_stays(fork, git):
    git(fork.tree, "checkout", "--quiet", "--detach")
    patching.apply(fork.tree, commit=True)
    assert log(git, fork.tree, "%s", "main") == ["pristine"]
    assert len(log(git, fork.tree, "%s", "HEAD")) == 1 + COUNT


def test_a_linked_work_tree_gets_its_own_commits(fork, git):
    main = fork.tree
    linked = fork.work / "linked"
    git(main, "worktree", "add", "-b", "patched", str(linked))
    before = work_tree_and_branch(fork, git)
    patching.apply(linked, commit=True)
    assert git(linked, "status", "--porcelain", "--branch") == b"## patched\n"
    assert len(log(git, main, "%s", "patched")) == 1 + COUNT and log(git, main, "%s", "main") == ["pristine"]
    assert work_tree_and_branch(fork, git) == before


def test_a_vendored_package_is_committed_in_its_repository(fork, git):
    project = fork.work / "project"
    vendored = project / "pkg" / "_vendor"
    shutil.copytree(fork.tree / "src" / "transformers", vendored / "transformers")
    git(project, "init")
    git(project, "add", ".")
    git(project, "commit", "-m", "vendor")
    patching.apply(vendored, commit=True)
    assert git(project, "status", "--porcelain") == b""
    touched = git(project, "show", "--name-only", "--format=", "HEAD").decode().split()
    assert touched == ["pkg/_vendor/transformers/trainer.py"]


def test_variables_that_git_sets_inside_a_hook_do_not_lead_elsewhere(fork, git, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(fork.work / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(fork.work / "index"))
    patching.apply(fork.tree, commit=True)
    monkeypatch.undo()
    assert git(fork.tree, "status", "--porcelain") == b"" and not (fork.work / "index").exists()


def test_check_writes_nothing(fork):
    before = fork.now()
    result = patching.apply(fork.tree, commit=True, check=True)
    assert "would be committed: save  Save" in result.lines
    assert fork.now() == before


def test_staged_changes_are_refused(fork, git):
    (fork.tree / "src/transformers/untouched.py").write_text("mine = 1\n")
    git(fork.tree, "add", ".")
    refused(fork, r"changes are staged \(src/transformers/untouched.py\); commit or unstage them")


@pytest.mark.parametrize("path", [TRAINER, "src/transformers/resume/state.py"])
def test_changes_of_a_touched_file_that_are_not_committed_are_refused(fork, path):
    if path == TRAINER:
        fork.edit(TRAINER, "x30 = 30\n", "mine = 30\n")
    else:
        patching.apply(fork.tree)
    refused(fork, f"changes are not committed in .*{path}")


@pytest.mark.parametrize(
    ("name", "what"),
    [("MERGE_HEAD", "merge"), ("rebase-merge", "rebase"), ("rebase-apply", "rebase or am"), ("REVERT_HEAD", "revert")],
)
def test_the_middle_of_something_else_is_refused(fork, name, what):
    (fork.tree / ".git" / name).write_text("")
    refused(fork, f"in the middle of a {what}; finish or abort it")


def test_a_stopped_rebase_of_a_linked_work_tree_is_refused(fork, git):
    linked = fork.work / "linked"
    git(fork.tree, "worktree", "add", "-b", "patched", str(linked))
    (fork.tree / ".git" / "worktrees" / "linked" / "rebase-merge").mkdir()
    fork.tree = linked
    refused(fork, "in the middle of a rebase")


def test_a_user_without_a_name_is_refused(fork):
    (fork.work / "home" / ".gitconfig").write_text("")
    refused(fork, "git does not know who commits: .*; set user.name and user.email with git config")


def test_a_name_from_the_environment_will_do(fork, git, monkeypatch):
    (fork.work / "home" / ".gitconfig").write_text("")
    monkeypatch.setenv("GIT_COMMITTER_NAME", "E")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "e@example.org")
    patching.apply(fork.tree, commit=True)
    assert log(git, fork.tree, "%cn")[-1] == "E"


def test_a_branch_without_a_commit_is_refused(fork, git):
    shutil.rmtree(fork.tree / ".git")
    git(fork.tree, "init")
    git(fork.tree, "add", ".")
    refused(fork, "the branch has no commit yet")


def test_a_folder_outside_git_is_refused(fork):
    shutil.rmtree(fork.tree / ".git")
    refused(fork, "is not in a git work tree")


def test_a_package_that_git_does_not_track_is_refused(fork, git):
    (fork.work / ".gitignore").write_text("*\n")
    shutil.rmtree(fork.tree / ".git")
    git(fork.work, "init")
    refused(fork, "does not track __init__.py of the package")


@pytest.mark.parametrize("lock", ["index.lock", "refs/heads/main.lock", "HEAD.lock"])
def test_a_lock_of_another_process_puts_everything_back(fork, git, lock):
    before = work_tree_and_branch(fork, git)
    (fork.tree / ".git" / lock).write_text("")
    with pytest.raises(UsageError, match=r"\.lock.*; nothing was changed"):
        patching.apply(fork.tree, commit=True)
    (fork.tree / ".git" / lock).unlink()
    assert work_tree_and_branch(fork, git) == before


def work_tree_and_branch(world, git):
    files = {name: held for name, held in world.now().items() if not name.startswith(".git")}
    return files, git(world.tree, "rev-parse", "HEAD"), git(world.tree, "status", "--porcelain", "--branch")


def test_a_commit_of_somebody_else_meanwhile_is_not_lost(fork, git, monkeypatch):
    real = Repository.ask

    def ask(self, *arguments, **options):
        if arguments[0] == "update-ref":
            git(self.top, "commit", "--allow-empty", "-m", "other")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Repository, "ask", ask)
    with pytest.raises(UsageError, match="nothing was changed"):
        patching.apply(fork.tree, commit=True)
    assert log(git, fork.tree, "%s") == ["pristine", "other"]
    assert {state for _, state in patching.status(fork.tree).patches} == {"not applied"}


@pytest.mark.parametrize("command", ["hash-object", "commit-tree", "update-index", "update-ref"])
@pytest.mark.parametrize("after", [False, True])
def test_an_interruption_puts_everything_back(fork, git, monkeypatch, command, after):
    before = work_tree_and_branch(fork, git)
    real = Repository.ask

    def ask(self, *arguments, **options):
        # The index of the user, not the one that the commits are made from.
        meant = arguments[0] == command and not (command == "update-index" and "GIT_INDEX_FILE" in options)
        answer = real(self, *arguments, **options) if after or not meant else None
        if meant:
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(Repository, "ask", ask)
    with pytest.raises(KeyboardInterrupt):
        patching.apply(fork.tree, commit=True)
    assert work_tree_and_branch(fork, git) == before


def test_the_command_line_commits(fork, git):
    completed = fork.run("apply", fork.tree, "--commit")
    assert completed.returncode == 0 and completed.stderr == ""
    assert completed.stdout.splitlines()[1] == "committed: save  Save"
    assert len(log(git, fork.tree, "%h")) == 1 + COUNT
