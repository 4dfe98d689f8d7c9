"""Which tree a text names, what that tree requires, and what of it is run."""

import importlib.metadata
import os
import shutil
import subprocess
import zipfile

import pytest

from exact_resume import cli, environments, trees, treespec
from exact_resume.errors import UsageError
from exact_resume.matrix.client import ProcessEnded

RELEASE = "9.9.0"
TABLE = 'deps = {\n    "Wanted_One": "wanted-one>=2,<3",\n    "other": "other>=1",\n    "unused": "unused==1",\n}\n'
SETUP = """\
raise SystemExit("this is never run")
_deps = []
install_requires = [
    deps["wanted-one"],
    deps["plain"],  # which the table lacks
]
"""


def write(folder, files):
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def package(**files):
    """The files of a package, by path below the folder that holds it."""
    init = f'raise ImportError("this is never run")\n__version__ = "{RELEASE}"\n'
    return {"transformers/__init__.py": init, "transformers/trainer.py": "trainer = 1\n"} | {
        f"transformers/{name}.py": text for name, text in files.items()
    }


METADATA = f"Metadata-Version: 2.1\nName: transformers\nVersion: {RELEASE}\nRequires-Dist: of-release>=1\n"


def metadata(text=METADATA):
    return {f"transformers-{RELEASE}.dist-info/METADATA": text}


def git(folder, *arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run([*command, *arguments], cwd=folder, env=environment, check=True, capture_output=True)
    return done.stdout.decode().strip()


def commit(folder, message):
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A folder to be in, a cache, and one release whose requirements are known without a network."""
    monkeypatch.setenv(trees.CACHE_VARIABLE, str(tmp_path / "cache"))
    wheels = tmp_path / "cache" / "wheels"
    wheels.mkdir(parents=True)
    with zipfile.ZipFile(wheels / trees.wheel_name(RELEASE), "w") as archive:
        for path, text in (package() | metadata()).items():
            archive.writestr(path, text)
    monkeypatch.setattr("exact_resume.source_requirements.nearest", lambda version: RELEASE)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def clone(world):
    """A clone with a commit, another that changes the package, and one that changes only documents."""
    folder = world / "clone"
    checkout = {f"src/{path}": text for path, text in package(dependency_versions_table=TABLE).items()}
    write(
        folder, checkout | {"setup.py": SETUP, "tests/test_it.py": "", "src/transformers.egg-info/PKG-INFO": METADATA}
    )
    git(world, "init", "--quiet", "clone")
    commit(folder, "first")
    git(folder, "tag", "first")
    write(folder, {"src/transformers/trainer.py": "trainer = 2\n"})
    commit(folder, "second")
    write(folder, {"README.md": "words\n"})
    commit(folder, "third")
    return folder


def state(folder):
    """Everything that a clone consists of, with the times of its files."""
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_checkout_is_read_with_its_own_requirements_and_commit(clone):
    source = treespec.resolve("clone")
    assert (source.kind, source.release, source.edited) == ("source checkout", RELEASE, False)
    assert source.commit == git(clone, "rev-parse", "HEAD")
    assert source.requires == ("plain", "wanted-one<3,>=2")
    assert (source.folder / "transformers" / "trainer.py").read_text() == "trainer = 2\n"
    # Nothing else of the folder can be imported, and what asks for the version is told that of the tree.
    assert sorted(path.name for path in source.folder.iterdir()) == [
        "transformers",
        f"transformers-{RELEASE}.dist-info",
    ]
    (found,) = importlib.metadata.distributions(name="transformers", path=[str(source.folder)])
    assert found.version == RELEASE


def test_a_checkout_with_changes_says_so(clone):
    before = treespec.resolve("clone")
    write(clone, {"tests/test_it.py": "changed = 1\n"})
    assert treespec.resolve("clone") == before
    write(clone, {"src/transformers/trainer.py": "trainer = 3\n"})
    after = treespec.resolve("clone")
    assert after.edited and after.commit == before.commit and after.digest != before.digest


def test_a_ref_is_exported_and_the_clone_is_not_touched(clone):
    before = state(clone)
    refs = {ref: treespec.resolve(f"clone@{ref}") for ref in ("HEAD", "HEAD~1", "first", "main", "main@{0}")}
    assert state(clone) == before
    assert {ref: (source.folder / "transformers/trainer.py").read_text() for ref, source in refs.items()} == {
        "HEAD": "trainer = 2\n",
        "HEAD~1": "trainer = 2\n",
        "first": "trainer = 1\n",
        "main": "trainer = 2\n",
        "main@{0}": "trainer = 2\n",
    }
    assert refs["first"].commit == git(clone, "rev-parse", "first")
    assert refs["HEAD"].requires == ("plain", "wanted-one<3,>=2")
    # Commits that change something else hold the same package.
    assert refs["HEAD"].commit != refs["HEAD~1"].commit and refs["HEAD"].digest == refs["HEAD~1"].digest
    assert refs["HEAD"].digest == treespec.resolve("clone").digest != refs["first"].digest


def test_a_ref_of_a_bare_clone_and_of_a_folder_inside_a_clone(clone, world):
    git(world, "clone", "--quiet", "--bare", "clone", "b@re.git")
    expected = treespec.resolve("clone@first").digest
    assert treespec.resolve("b@re.git@first").digest == expected
    assert treespec.resolve("clone/src@first").digest == expected


def test_a_link_in_a_commit_is_not_followed(clone, world):
    (world / "secret").write_text("secret")
    (clone / "src/transformers/link.py").symlink_to(world / "secret")
    commit(clone, "a link")
    folder = treespec.resolve("clone@HEAD").folder
    assert (folder / "transformers/link.py").read_text() == str(world / "secret")
    assert not (folder / "transformers/link.py").is_symlink()


def test_a_folder_with_metadata_is_run_without_its_neighbours(world):
    write(world / "site", package() | metadata() | {"numpy/__init__.py": "raise ImportError\n"})
    source = treespec.resolve("site")
    assert (source.kind, source.commit, source.requires) == ("installed package", None, ("of-release>=1",))
    assert not (source.folder / "numpy").exists()


def test_a_folder_without_metadata_requires_what_the_nearest_release_does(world):
    write(world / "site", package(dependency_versions_table='deps = {"of_release": "of-release>=5"}\n'))
    assert treespec.resolve("site").requires == ("of-release>=5",)


@pytest.mark.parametrize("table", ["deps = {", "deps = dict(a=1)\n", "other = 1\n", "deps = {1: 2}\n", "deps = []\n"])
def test_a_table_of_another_form_is_left_aside(world, table):
    write(world / "site", package(dependency_versions_table=table))
    assert treespec.resolve("site").requires == ("of-release>=1",)


@pytest.mark.parametrize("setup", ["install_requires = [", "install_requires = deps_list('a')\n", "", None])
def test_a_setup_of_another_form_is_left_aside(clone, setup):
    (clone / "setup.py").unlink() if setup is None else write(clone, {"setup.py": setup})
    assert treespec.resolve("clone").requires == ("of-release>=1",)


def test_a_requirement_without_meaning_is_refused(clone):
    write(clone, {"src/transformers/dependency_versions_table.py": 'deps = {"plain": "plain >> 1"}\n'})
    with pytest.raises(UsageError, match="clone: what it requires cannot be read: .*correct dependency_versions"):
        treespec.resolve("clone")


def test_metadata_without_meaning_is_refused(world):
    write(world / "site", package() | metadata(METADATA + "Requires-Dist: plain >> 1\n"))
    with pytest.raises(UsageError, match="site: what it requires cannot be read: .*correct its metadata"):
        treespec.resolve("site")


def test_a_wheel_and_a_release_are_unpacked(world):
    shutil.copy(trees.official_wheel(RELEASE), "fork-1.whl")
    wheel, stock = treespec.resolve("fork-1.whl"), treespec.resolve(f"stock:{RELEASE}")
    assert (wheel.kind, stock.kind) == ("wheel", "stock release")
    assert wheel.digest == stock.digest and wheel.requires == ("of-release>=1",)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("nowhere", "nowhere: there is no such file or folder; give a transformers checkout"),
        ("clone/README.md", "there is no such file or folder"),
        (".", "not a transformers tree"),
        ("bad.whl", "bad.whl: not a wheel that can be read: File is not a zip file; build or download it again"),
        (
            "clone@nowhere",
            "clone@nowhere: fatal: Needed a single revision; give a ref that the clone has, or fetch it",
        ),
        ("clone@--all", "clone@--all: fatal"),
        ("empty@HEAD", "empty@HEAD: commit [0-9a-f]{12} has no src/transformers; give a clone of transformers"),
        (".@HEAD", "not a git repository"),
        ("patched:0.1", "transformers 0.1 has no patch series"),
    ],
)
def test_what_names_no_tree_is_refused(world, clone, spec, said):
    (world / "bad.whl").write_bytes(b"no zip")
    (world / "empty").mkdir()
    git(world / "empty", "init", "--quiet")
    git(world / "empty", "commit", "--quiet", "--allow-empty", "--message", "nothing")
    with pytest.raises(UsageError, match=said):
        treespec.resolve(spec)


def gate(*arguments):
    return cli.main(["gate", *arguments])


def test_the_same_tree_twice_is_refused_and_may_be_allowed(clone, capsys):
    assert gate("--base", "clone@HEAD~1", "--head", "clone") == 2
    assert (
        "clone@HEAD~1 and clone hold the same transformers, so there is nothing to compare" in capsys.readouterr().err
    )
    assert not os.path.exists("gate/results.json")
    assert gate("--base", "clone@HEAD~1", "--head", "clone", "--same-ok") == 0
    assert "base and head hold the same transformers" in capsys.readouterr().out
    assert os.path.exists("gate/results.json")


def test_a_run_that_fails_leaves_no_verdict_of_an_earlier_one(clone):
    assert gate("--base", "clone@HEAD~1", "--head", "clone", "--same-ok") == 0
    assert gate("--base", "clone@nowhere", "--head", "clone") == 2
    assert os.listdir("gate") == []


def test_a_base_that_cannot_be_imported_is_unusable(clone, capsys, monkeypatch):
    def client(folder, python, timeout):
        raise ProcessEnded(
            "a scenario process ended with exit code 1", "Traceback\n  line\nImportError: no such name\n"
        )

    monkeypatch.setattr(environments, "python_for_tree", lambda tree, title: "python")
    monkeypatch.setattr("exact_resume.gate.command.Client", client)
    assert gate("--base", "clone@first", "--head", "clone") == 2
    said = capsys.readouterr().err
    assert "base clone@first is unusable: transformers cannot be imported: ImportError: no such name; give" in said


def test_without_a_network_the_missing_requirements_are_named(clone, capsys, monkeypatch):
    def run(command, **options):
        return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution found for plain\n")

    monkeypatch.setattr(environments, "HARNESS", ())
    monkeypatch.setattr(environments, "subprocess", type("Stand-in", (), {"run": staticmethod(run)}))
    assert gate("--base", "clone@first", "--head", "clone") == 2
    said = capsys.readouterr().err
    assert "what base requires and is not here, " in said and "plain" in said and "wanted-one<3,>=2" in said
    assert "connect to the package index" in said
