"""A tiny transformers tree and a tiny patch series for it, made with real git repositories."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from exact_resume.git import blob_id

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
RELEASE = "9.9.0"
OLDER = "9.8.0"
LANE = "v9.9"
FIELDS = "Bug: https://example.org/1\nOrigin: vendor\nForwarded: not-needed\nApplies-To: 9.9.0\n"
MAIL = ("-1", "--stdout", "-U1", "--full-index", "--no-signature", "--zero-commit", "--no-stat")


def numbered(count, **replaced):
    """Return lines `line 1` .. `line COUNT`; `line7="a"` puts another text (or several lines) there."""
    return "".join(replaced.get(f"line{n}", f"line {n}") + "\n" for n in range(1, count + 1))


PRISTINE = {
    "src/transformers/__init__.py": f'"""Fake."""\n\n__version__ = "{RELEASE}"\n',
    "src/transformers/trainer.py": numbered(90),
    "src/transformers/training_args.py": numbered(30),
    "src/transformers/untouched.py": "untouched = 1\n",
    "tests/trainer/test_trainer.py": numbered(20),
}

# (title, files after it, None for a removed file); each stands on the ones before it.
STEPS = [
    (
        "Save the sampler state",
        {
            "src/transformers/trainer.py": numbered(90, line10="save 10", line60="save 60"),
            "tests/trainer/test_resume.py": "def test_one():\n    pass\n",
        },
    ),
    (
        "Load the sampler state",
        {
            "src/transformers/trainer.py": numbered(90, line10="save 10", line60="save 60", line30="load\nload more"),
            "src/transformers/training_args.py": numbered(30, line15="exact = True"),
            "src/transformers/resume/__init__.py": "",
            "src/transformers/resume/state.py": "state = 1\n",
        },
    ),
    ("Widen the trainer tests", {"tests/trainer/test_trainer.py": numbered(20, line5="wider 5")}),
    (
        "Check the état on load",
        {
            "src/transformers/trainer.py": numbered(
                90, line10="save 10", line60="save 60", line30="load\nload all\nload more", line80="check"
            ),
            "src/transformers/resume/state.py": "state = 2\n",
        },
    ),
]


def code(count, **replaced):
    """Return a Python file of lines `x1 = 1` ..; `x7="a"` puts another text (or several lines) there."""
    return "".join(replaced.get(f"x{n}", f"x{n} = {n}") + "\n" for n in range(1, count + 1))


CODE = PRISTINE | {
    "src/transformers/trainer.py": code(60),
    "src/transformers/training_args.py": code(20),
    "tests/trainer/test_trainer.py": code(20),
}
SAVED = {"x10": "save = 10", "x13": "save = 13"}
LOADED = {"x20": 'x20 = 20\nload = """now"""\nload_more = 1'}
CHECKED = {"x20": 'x20 = 20\nload = """now"""\ncheck = 1\nload_more = 1', "x50": "check = 50"}

# Valid Python, and hunks with more than one change in them.
CODE_STEPS = [
    (
        "Save",
        {
            "src/transformers/trainer.py": code(60, **SAVED),
            "tests/trainer/test_resume.py": "def test_one():\n    pass\n",
        },
    ),
    (
        "Load the état",
        {
            "src/transformers/trainer.py": code(60, **SAVED, **LOADED),
            "src/transformers/training_args.py": code(20, x15="exact = True"),
            "src/transformers/resume/state.py": "state = 1\n",
        },
    ),
    ("Check", {"src/transformers/trainer.py": code(60, **SAVED, **CHECKED)}),
]


def write_files(root, files):
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode())


def git(folder, *arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C.UTF-8"}
    identity = ["-c", "user.name=A Müller", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True).stdout


def make_lane(work, lane_folder, pristine, steps, fields=FIELDS):
    """Commit the steps in a fresh repository, write them as a lane, and return a copy of the tree after each."""
    origin = work / "origin"
    write_files(origin, pristine)
    git(origin, "init")
    git(origin, "add", ".")
    git(origin, "commit", "-m", "pristine")
    git(origin, "tag", "pristine")
    trees = [snapshot_copy(origin, work / "tree-0")]
    lane_folder.mkdir(parents=True)
    names = []
    for number, (title, files, *group) in enumerate(steps, 1):
        write_files(origin, files)
        git(origin, "add", ".")
        message = f"{title}\n\nWithout it a resumed run differs.\n\n{fields}Group: {group[0] if group else 'core'}\n"
        git(origin, "commit", "-m", message)
        trees.append(snapshot_copy(origin, work / f"tree-{number}"))
        names.append(re.sub("[^a-z0-9]+", "-", title.lower()).strip("-"))
        (lane_folder / f"{number:02}-{names[-1]}.patch").write_bytes(git(origin, "format-patch", *MAIL, "HEAD"))
    (lane_folder / "series").write_text("".join(f"{number:02}-{name}.patch\n" for number, name in enumerate(names, 1)))
    write_releases(lane_folder, pristine, trees)
    write_result(origin, lane_folder.parent / "result", pristine)
    return names, trees


def write_releases(lane_folder, pristine, trees):
    """Write releases.toml for one release and one lane, from the trees after each patch."""
    lines = [f'[lanes."{lane_folder.name}"]', f'base = "{RELEASE}"', "", f'[releases."{RELEASE}"]']
    lines += [f'lane = "{lane_folder.name}"', f'[releases."{RELEASE}".files]']
    for path in sorted(pristine):
        blobs = [blob_id((tree / path).read_bytes()) for tree in trees]
        chain = [blob for place, blob in enumerate(blobs) if place == 0 or blob != blobs[place - 1]]
        if len(chain) > 1:
            lines.append(f'"{path}" = {json.dumps(chain)}')
    (lane_folder.parent / "releases.toml").write_text("\n".join(lines) + "\n")


def write_result(origin, folder, pristine):
    """Write the new modules, and a diff of each that the steps change."""
    for path in git(origin, "diff", "--name-only", "pristine", "--", "src/transformers").decode().split():
        target = folder / (f"{path}.diff" if path in pristine else path)
        target.parent.mkdir(parents=True, exist_ok=True)
        diff = git(origin, "diff", "--full-index", "pristine", "--", path)
        target.write_bytes(diff if path in pristine else (origin / path).read_bytes())


def snapshot_copy(source, destination):
    shutil.copytree(source, destination, ignore=shutil.ignore_patterns(".git"))
    return destination


def snapshot(root):
    """Return every file with its bytes and mode, every link with its goal, and every folder below `root`."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_dir():
            found[name] = "folder"
        else:
            found[name] = (path.read_bytes(), path.stat().st_mode)
    return found


@dataclass
class World:
    """The fake release, its series, and one working copy of the tree."""

    patches: Path
    names: list[str]
    stages: list[Path]
    tree: Path
    work: Path

    @property
    def files(self):
        """The names of the files of the patches."""
        return [f"{number:02}-{name}.patch" for number, name in enumerate(self.names, 1)]

    def stage(self, count):
        """What the tree holds after `count` patches, according to git."""
        return snapshot(self.stages[count])

    def now(self):
        return snapshot(self.tree)

    def edit(self, path, old, new):
        target = self.tree / path
        text = target.read_bytes().decode()
        assert text.count(old) == 1
        target.write_bytes(text.replace(old, new).encode())

    def installed(self):
        """Return a site-packages folder with the pristine package."""
        folder = self.work / "site-packages"
        shutil.copytree(self.stages[0] / "src" / "transformers", folder / "transformers")
        return folder

    def run(self, *arguments, **environment):
        """Run the command line as a process of its own."""
        variables = {
            **os.environ,
            "PYTHONPATH": str(SCRIPTS),
            "EXACT_RESUME_PATCHES": str(self.patches),
            **environment,
        }
        command = [sys.executable, "-m", "exact_resume", *map(str, arguments)]
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, encoding="utf-8")


@pytest.fixture(scope="session")
def fake_series(tmp_path_factory):
    work = tmp_path_factory.mktemp("fake-series")
    names, trees = make_lane(work, work / "patches" / LANE, PRISTINE, STEPS)
    return work / "patches", names, trees


@pytest.fixture
def world(fake_series, tmp_path, monkeypatch):
    patches, names, trees = fake_series
    monkeypatch.setenv("EXACT_RESUME_PATCHES", str(patches))
    tree = snapshot_copy(trees[0], tmp_path / "tree")
    return World(patches, names, trees, tree, tmp_path)


@pytest.fixture(scope="session")
def code_series(tmp_path_factory):
    work = tmp_path_factory.mktemp("code-series")
    names, trees = make_lane(work, work / "patches" / LANE, CODE, CODE_STEPS)
    git(trees[0], "init")
    git(trees[0], "add", ".")
    git(trees[0], "commit", "-m", "pristine")
    return work / "patches", names, trees


@pytest.fixture
def fork(code_series, tmp_path, monkeypatch):
    """A world whose tree is a git work tree in which the pristine release is committed; nothing is in the cache."""
    patches, names, trees = code_series
    monkeypatch.setenv("EXACT_RESUME_PATCHES", str(patches))
    monkeypatch.setenv("EXACT_RESUME_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return World(patches, names, trees, Path(shutil.copytree(trees[0], tmp_path / "tree")), tmp_path)


@pytest.fixture
def own_patches(world, monkeypatch):
    """A copy of the fake series that a test may damage; the world uses it."""
    world.patches = Path(shutil.copytree(world.patches, world.work / "own-patches"))
    monkeypatch.setenv("EXACT_RESUME_PATCHES", str(world.patches))
    return world.patches / LANE


@pytest.fixture(scope="session", name="make_lane")
def make_lane_fixture():
    return make_lane


@pytest.fixture(scope="session", name="World")
def world_class():
    return World


@pytest.fixture
def lane_maker(tmp_path, monkeypatch):
    """Make a world from a pristine tree and steps of the test's own."""

    def make(pristine, steps):
        patches = tmp_path / "patches"
        names, trees = make_lane(tmp_path, patches / LANE, pristine, steps)
        monkeypatch.setenv("EXACT_RESUME_PATCHES", str(patches))
        return World(patches, names, trees, snapshot_copy(trees[0], tmp_path / "tree"), tmp_path)

    return make


@pytest.fixture
def maintained(lane_maker, monkeypatch):
    """A world whose release, and an older one with other line numbers, are in the cache as wheels."""
    pristine = {path: text for path, text in PRISTINE.items() if not path.startswith("tests/")}
    world = lane_maker(pristine, [step for step in STEPS if step[0] != "Widen the trainer tests"])
    monkeypatch.setenv("EXACT_RESUME_CACHE", str(world.work / "cache"))
    write_wheel(world.work / "cache", RELEASE, pristine)
    older = pristine | {
        "src/transformers/__init__.py": f'__version__ = "{OLDER}"\n',
        "src/transformers/trainer.py": "one\nmore\n" + pristine["src/transformers/trainer.py"],
    }
    write_wheel(world.work / "cache", OLDER, older)
    return world


def write_wheel(cache, release, files):
    """Put a wheel with the package into the cache."""
    (cache / "wheels").mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(cache / "wheels" / f"transformers-{release}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path.removeprefix("src/"), text)


@pytest.fixture(name="write_wheel")
def write_wheel_fixture(maintained):
    """Put a wheel with the package into the cache of the world."""
    return lambda release, files: write_wheel(maintained.work / "cache", release, files)


@pytest.fixture(scope="session", name="git")
def git_fixture():
    return git


@pytest.fixture(scope="session", name="snapshot")
def snapshot_fixture():
    return snapshot


CHANGING = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.chmod", "os.chown", "subprocess.Popen"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def run_and_kill(call, at):
    """Run `call` in a process that is killed before the system call number `at`, from 1, that changes a file.

    Return whether it came to that. Programs that it starts count as such calls.
    """
    child = os.fork()
    if child == 0:
        left = at

        def count(event, arguments):
            nonlocal left
            if event in CHANGING or (event == "open" and arguments[2] & WRITING and arguments[0] != os.devnull):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            call()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


@pytest.fixture(name="run_and_kill")
def run_and_kill_fixture():
    return run_and_kill
