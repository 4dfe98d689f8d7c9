"""The interpreter for a release: this one where it will do, else an environment that is made once."""

import importlib.metadata
import subprocess
import sys
import types
from pathlib import Path

import pytest

from exact_resume import environments, trees
from exact_resume.errors import UsageError

RELEASE = "9.9.0"


def add_distribution(folder, name, version, *requires):
    """Write the metadata of an installed distribution."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    (info / "METADATA").write_text("\n".join(lines) + "\n")


class Pip:
    """Stands in for the installation: what it is asked for, and whether it fails or is interrupted."""

    def __init__(self):
        self.calls = []
        self.outcome = None

    def run(self, command, env, **options):
        self.calls.append((command, env))
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        own = Path(command[0]).parents[1] / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
        if self.outcome is None:
            add_distribution(own / "site-packages", "wanted", "1.5")
        return subprocess.CompletedProcess(command, self.outcome is not None, "", self.outcome or "")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The site-packages of the running interpreter."""
    folder = tmp_path / "site-packages"
    for name, version in (
        ("torch", "2.13.0+cpu"),
        ("tokenizers", "0.23.1"),
        ("huggingface_hub", "2.0"),
        ("numpy", "2"),
    ):
        add_distribution(folder, name, version)
    add_distribution(folder, "accelerate", "1.15.0")
    monkeypatch.setattr(environments, "site_folders", lambda: [str(folder)])
    monkeypatch.setattr(environments, "HARNESS", ("accelerate==1.15.0",))
    return folder


@pytest.fixture
def pip(installed, tmp_path, monkeypatch):
    monkeypatch.setenv(trees.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(trees, "build", lambda name, release: tmp_path / f"tree-{release}")
    add_distribution(tmp_path / f"tree-{RELEASE}", "transformers", RELEASE, "wanted>=1", "never; extra == 'dev'")
    made = Pip()
    stand_in = types.SimpleNamespace(run=made.run)
    monkeypatch.setattr(environments, "subprocess", stand_in)
    return made


def test_the_requirements_of_a_tree_are_those_without_extras_that_apply_here(tmp_path):
    requires = (
        "b<1.0,>=0.3",
        "A",
        "test-only; extra == 'dev'",
        "windows-only; os_name == 'none'",
        "here; os_name != ''",
    )
    add_distribution(tmp_path, "transformers", RELEASE, *requires)
    assert environments.requirements(tmp_path) == ["A", "b<1.0,>=0.3", 'here; os_name != ""']


@pytest.mark.parametrize(
    ("needed", "missing"),
    [
        ([], []),
        (["Plain_Name", "other>=2"], []),
        (["plain-name<1"], ["plain-name<1"]),
        (["absent"], ["absent"]),
        (["parent"], ["child>=5"]),
        (["transformers==1"], []),
        (["pre>=2"], []),
        (["loop"], []),
    ],
)
def test_what_is_not_met_is_named_with_what_is_needed_in_turn(tmp_path, needed, missing):
    first, second = tmp_path / "first", tmp_path / "second"
    add_distribution(first, "plain.name", "1.0")
    add_distribution(second, "plain-name", "0.1")
    add_distribution(second, "other", "2.5")
    add_distribution(first, "parent", "1", "child>=5", "transformers<0", "unused; extra == 'x'")
    add_distribution(first, "child", "4")
    add_distribution(second, "child", "5")
    add_distribution(first, "pre", "2.1rc1", "torch")
    add_distribution(first, "torch", "2", "absent-driver")
    add_distribution(first, "loop", "1", "loop")
    assert environments.unmet(needed, [str(first), str(second)]) == missing


def test_an_interpreter_that_has_everything_is_the_one(pip, installed, capsys):
    add_distribution(installed, "wanted", "1.0")
    assert environments.python_for(RELEASE) == Path(sys.executable)
    assert pip.calls == []
    assert capsys.readouterr().err == (
        "transformers 9.9.0 runs in this interpreter: "
        "torch 2.13.0+cpu, accelerate 1.15.0, huggingface-hub 2.0, tokenizers 0.23.1, numpy 2\n"
    )


def test_an_environment_is_made_once_and_keeps_torch(pip, tmp_path):
    python = environments.python_for(RELEASE)
    assert python.is_relative_to(tmp_path / "cache" / "environments")
    assert environments.python_for(RELEASE) == python
    ((command, variables),) = pip.calls
    assert command[0] == str(python)
    torch = importlib.metadata.version("torch")
    assert command[-3:] == ["transformers==9.9.0", "accelerate==1.15.0", f"torch=={torch}"]
    assert variables["PYTHONPATH"] == str(tmp_path / "tree-9.9.0")


def test_an_environment_finds_its_own_packages_first_and_then_those_of_this_interpreter(pip, installed):
    python = environments.python_for(RELEASE)
    code = "import sys; print([path for path in sys.path if path.endswith('site-packages')])"
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    own = python.parents[1] / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    assert done.stdout.strip() == str([str(own), str(installed)])


def test_releases_that_require_the_same_share_an_environment(pip, tmp_path):
    add_distribution(tmp_path / "tree-9.9.1", "transformers", "9.9.1", "wanted>=1")
    add_distribution(tmp_path / "tree-9.8.0", "transformers", "9.8.0", "wanted>=1.2")
    python = environments.python_for(RELEASE)
    assert environments.python_for("9.9.1") == python
    assert environments.python_for("9.8.0") != python
    assert len(pip.calls) == 2


def test_an_interrupted_installation_is_made_anew(pip):
    pip.outcome = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        environments.python_for(RELEASE)
    half = Path(pip.calls[0][0][0]).parents[1] / "half"
    half.touch()
    pip.outcome = None
    assert environments.python_for(RELEASE).parents[1] == half.parent
    assert not half.exists() and len(pip.calls) == 2


def test_an_environment_whose_parent_lost_something_is_made_anew(pip, installed):
    environments.python_for(RELEASE)
    (installed / "accelerate-1.15.0.dist-info" / "METADATA").write_text("Name: accelerate\nVersion: 1.0\n")
    environments.python_for(RELEASE)
    assert len(pip.calls) == 2


def test_a_failed_installation_says_what_pip_said_last(pip):
    pip.outcome = "noise\nnoise\nnoise\nERROR: No matching\ndistribution found for wanted>=1\n"
    with pytest.raises(
        UsageError, match="transformers 9.9.0 .*ERROR: No matching distribution found .*index"
    ) as error:
        environments.python_for(RELEASE)
    assert "\n" not in str(error.value)
    pip.outcome = None
    environments.python_for(RELEASE)
