"""Random trees: apply and revert do their work or refuse it, and never do anything else."""

import os
import shutil
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exact_resume import cli, patching
from exact_resume.errors import Finding, UsageError

EXAMPLES = settings.default.max_examples
TIMEOUT = pytest.mark.timeout(600 + 5 * EXAMPLES)

INIT = "src/transformers/__init__.py"
TRAINER = "src/transformers/trainer.py"
TOUCHED = [TRAINER, "src/transformers/training_args.py", "tests/trainer/test_trainer.py"]
MADE = ["src/transformers/resume/state.py", "src/transformers/resume/__init__.py", "tests/trainer/test_resume.py"]
FOLDERS = ["src", "src/transformers", "src/transformers/resume", "tests/trainer", "tests"]
ODD_NAMES = [
    "a\nb.py",
    "-rf",
    "é\u202e",
    " ",
    "'\"`$(x)",
    "\udcff\udcfe.py",
    ".trainer.py.exact-resume-00000000",
    "x" * 255,
]

files = st.sampled_from([*TOUCHED, *TOUCHED, *MADE, INIT])
texts = st.sampled_from(
    ["", "mine\n", "line 30\n", "save 10\n", "\r\n", "x = '''\n", "\ufeff", "<<<<<<< ours\n", "load\n"]
)
changes = st.one_of(
    st.tuples(st.just("insert"), files, st.integers(0, 95), texts),
    st.tuples(st.just("replace"), files, st.integers(0, 95), texts),
    st.tuples(st.just("stage"), files, st.integers(0, 4)),
    st.tuples(st.just("upto"), st.integers(0, 3)),
    st.tuples(st.just("cut"), files, st.integers(0, 900)),
    st.tuples(st.sampled_from(["crlf", "no_end", "remove", "folder", "pipe", "circle", "link_in", "link_out"]), files),
    st.tuples(st.just("bytes"), files, st.binary(max_size=40)),
    st.tuples(st.just("mode"), files, st.sampled_from([0o000, 0o400, 0o600, 0o755, 0o4751])),
    st.tuples(st.sampled_from(["remove", "link_in", "link_out", "circle", "read_only"]), st.sampled_from(FOLDERS)),
    st.tuples(st.just("odd"), st.sampled_from(["", *FOLDERS]), st.sampled_from(ODD_NAMES)),
    st.tuples(
        st.just("version"), st.sampled_from(["9.9.0", "9.9.1.dev0", "9.8.0", "1e400", "9" * 5000, "\x1b[31m", ""])
    ),
)


def change(world, kind, *details):
    """Do one thing to the tree; where that is not possible any more, nothing."""
    try:
        if kind == "upto":
            patching.apply(world.tree, upto=world.names[details[0]])
        elif kind == "version":
            (world.tree / INIT).write_text(f'__version__ = "{details[0]}"\n')
        else:
            _change_path(world, kind, world.tree / details[0], *details)
    except (OSError, UsageError, IndexError):
        pass


def _change_path(world, kind, path, name, *details):
    if kind in ("insert", "replace"):
        lines = path.read_bytes().splitlines(keepends=True)
        lines[details[0] : details[0] + (kind == "replace")] = [details[1].encode()]
        path.write_bytes(b"".join(lines))
    elif kind == "stage":
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(world.stages[details[0]] / name, path)
    elif kind in ("cut", "crlf", "no_end"):
        content = path.read_bytes()
        cut = {"cut": lambda: content[: details[0]], "crlf": lambda: content.replace(b"\n", b"\r\n")}
        path.write_bytes(cut.get(kind, lambda: content.rstrip(b"\n"))())
    elif kind == "bytes":
        path.write_bytes(details[0])
    elif kind in ("mode", "read_only"):
        path.chmod(details[0] if details else 0o555)
    elif kind == "odd":
        (path / details[0]).write_bytes(b"odd")
    else:
        _replace(world, kind, path)


def _replace(world, kind, path):
    """Take away what is at a path and put something else there."""
    aside = world.work / "outside" / "moved" if kind == "link_out" else world.tree / "moved"
    if kind.startswith("link"):
        path.rename(aside)
        path.symlink_to(aside)
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "circle":
        path.symlink_to(path)


def picture(folder):
    """What a folder holds, with owners and modes, whatever kind it is of, but for empty folders."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        # Neither git nor a wheel has them, so apply and revert do not keep them.
        if stat.S_ISDIR(status.st_mode) and all(below.is_dir() for below in path.rglob("*")):
            continue
        content = None
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found


def attempt(world, command, *arguments, **options):
    """Run a command; return whether it did something. Refused, it has changed nothing."""
    before = picture(world.work)
    try:
        command(world.tree, *arguments, **options)
    except UsageError as error:
        assert picture(world.work) == before
        assert "\n" not in str(error).replace(str(world.tree), "")
        return False
    outside = {path: one for path, one in before.items() if path.startswith("outside")}
    assert {path: one for path, one in picture(world.work).items() if path.startswith("outside")} == outside
    return True


def there_and_back(world, made):
    (world.work / "outside").mkdir(exist_ok=True)
    for one in made:
        change(world, *one)
    before = picture(world.work)
    for check in (patching.apply, patching.revert):
        attempt(world, check, check=True)
    assert picture(world.work) == before
    try:
        patching.status(world.tree)
    except (UsageError, Finding):
        pass
    assert picture(world.work) == before
    attempt(world, patching.revert)
    before = picture(world.work)
    if attempt(world, patching.apply):
        status = patching.status(world.tree)
        assert status.clean and {word for _, word in status.patches} == {"applied"}
        after = picture(world.work)
        assert attempt(world, patching.apply) and picture(world.work) == after
        assert attempt(world, patching.revert)
        assert picture(world.work) == before


def made_anew(world, stage):
    for name in ("tree", "outside"):
        shutil.rmtree(world.work / name, ignore_errors=True)
    shutil.copytree(stage, world.tree)


@TIMEOUT
@settings(max_examples=2 * EXAMPLES)
@given(made=st.lists(changes, min_size=1, max_size=4))
def test_a_folder_is_patched_and_restored_or_refused_unchanged(world, made):
    made_anew(world, world.stages[0])
    there_and_back(world, made)


@TIMEOUT
@settings(max_examples=max(1, EXAMPLES // 2))
@given(made=st.lists(changes, min_size=1, max_size=4))
def test_a_repository_is_patched_and_restored_or_refused_unchanged(fork, made):
    made_anew(fork, fork.stages[0])
    there_and_back(fork, made)


COMMANDS = ["apply", "revert", "status", "list", "diff", "wheel", "checkout", "hashes", "mbox"]
OPTIONS = [
    "--check",
    "--upto",
    "--without",
    "--commit",
    "--json",
    "--python",
    "--output",
    "--from",
    "--add",
    "--lane",
    "--",
    "-h",
]
VALUES = [
    "9.9.0",
    "v9.9",
    ".",
    "all",
    "/dev/null",
    "~nobody-of-that-name",
    "x" * 5000,
    "\udcff",
    "a\nb",
    "../..",
    "-",
    "",
]
words = st.sampled_from([*COMMANDS, *OPTIONS, *VALUES])


@TIMEOUT
@settings(max_examples=2 * EXAMPLES)
@given(command=st.sampled_from(COMMANDS), arguments=st.lists(words, max_size=3))
def test_no_arguments_are_a_fault_of_the_tool(world, monkeypatch, command, arguments):
    monkeypatch.chdir(world.tree)
    monkeypatch.setenv("EXACT_RESUME_CACHE", str(world.work / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert cli.main([command, *arguments]) in (0, 1, 2)
