"""The bootstrap script without a network: its commands are recorded, and fail where a test says so."""

import configparser
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import bootstrap
from exact_resume.environments import HARNESS
from exact_resume.series import load_releases

CHECKOUT = Path(__file__).resolve().parents[2]


class Machine:
    """Stands in for `bootstrap.run`; a command's exit code is the one of the first word of it that `codes` has."""

    def __init__(self, root):
        self.venv = root / ".venv"
        self.python = self.venv / "bin" / "python"
        self.root = root
        self.codes = {}
        self.killed_at = None
        self.commands = []
        self.folders = []

    def run(self, command, folder=None):
        words = [word.replace(str(self.venv), "VENV") for word in command]
        self.commands.append(" ".join(words))
        self.folders.append(folder)
        if self.killed_at in words:
            raise KeyboardInterrupt
        if words[1:3] == ["-m", "venv"]:
            self.python.parent.mkdir(parents=True)
            self.python.write_text(platform.python_version())
        return next((self.codes[word] for word in words if word in self.codes), 0)

    def take(self):
        """Return the commands since the last call, without the options of pip."""
        taken, self.commands = self.commands, []
        pip = "VENV/bin/python -m pip install --disable-pip-version-check --no-input"
        return [command.replace(pip, "pip").replace(sys.executable, "PYTHON") for command in taken]

    def state(self):
        return json.loads((self.venv / bootstrap.STATE_FILE).read_text())


@pytest.fixture
def machine(tmp_path, monkeypatch):
    root = tmp_path / "checkout"
    root.mkdir()
    for name in ("setup.cfg", "pyproject.toml"):
        (root / name).write_text(name)
    made = Machine(root)
    monkeypatch.setattr(bootstrap, "ROOT", root)
    monkeypatch.setattr(bootstrap, "run", made.run)
    monkeypatch.setattr(bootstrap, "version_of", lambda python: python.read_text() if python.is_file() else "")
    monkeypatch.delenv(bootstrap.VENV_VARIABLE, raising=False)
    return made


VENV = "PYTHON -m venv VENV"
TORCH = f"pip {bootstrap.TORCH}"
TEST = "VENV/bin/python -m pytest -n auto --maxprocesses 4 --dist worksteal tests"
VERIFY = "VENV/bin/python -m exact_resume verify"


def test_the_first_run_makes_the_environment_and_installs_torch_first_and_alone(machine):
    assert bootstrap.main(["test"]) == 0
    assert machine.take() == [VENV, TORCH, "pip --editable .[test]", TEST]


def test_a_second_run_starts_at_once(machine):
    bootstrap.main(["test"])
    machine.take()
    assert bootstrap.main(["test"]) == 0
    assert machine.take() == [TEST]


def test_what_the_tests_need_is_enough_for_verify(machine):
    bootstrap.main(["test"])
    machine.take()
    assert bootstrap.main(["verify"]) == 0
    assert machine.take() == [VERIFY]


def test_prove_needs_what_verify_needs(machine):
    bootstrap.main(["prove", "5.22.2"])
    assert machine.take() == [VENV, TORCH, "pip --editable .[verify]", "VENV/bin/python -m exact_resume prove 5.22.2"]
    bootstrap.main(["verify"])
    assert machine.take() == [VERIFY]


def test_gate_takes_another_torch_and_makes_its_environment_for_it(machine, monkeypatch):
    assert bootstrap.main(["gate", "--merge", "x"]) == 0
    gate = "VENV/bin/python -m exact_resume gate --merge x"
    assert machine.take() == [VENV, TORCH, "pip --editable .[gate]", gate]
    monkeypatch.setenv(bootstrap.TORCH_VARIABLE, "2.12.0")
    assert bootstrap.main(["gate", "--merge", "x"]) == 0
    assert machine.take() == ["pip torch==2.12.0", "pip --editable .[gate]", gate]
    assert bootstrap.main(["verify"]) == 0
    assert machine.take()[0] == TORCH


def test_another_job_adds_to_the_same_environment(machine):
    bootstrap.main(["verify"])
    machine.take()
    bootstrap.main(["test"])
    assert machine.take() == [TORCH, "pip --editable .[test]", TEST]
    bootstrap.main(["verify"])
    bootstrap.main(["test"])
    assert machine.take() == [VERIFY, TEST]


def test_arguments_are_passed_on(machine):
    bootstrap.main(["test", "-k", "a or b"])
    bootstrap.main(["verify", "--only", "issue"])
    taken = machine.take()
    assert "VENV/bin/python -m pytest -k a or b" in taken
    assert taken[-1] == f"{VERIFY} --only issue"


def test_verify_runs_where_the_user_is(machine, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    bootstrap.main(["verify"])
    assert machine.folders[-1] == tmp_path
    assert machine.folders[:-1] == [None] * 3


@pytest.mark.parametrize(("job", "word"), [("test", "pytest"), ("verify", "verify")])
@pytest.mark.parametrize("code", [1, 2, 5, 70, 139])
def test_the_exit_code_is_passed_on(machine, job, word, code):
    machine.codes = {word: code}
    assert bootstrap.main([job]) == code


def test_lint_needs_no_torch_and_runs_every_check(machine, capsys):
    assert bootstrap.main(["lint"]) == 0
    checks = [f"VENV/bin/{' '.join(command)}" for command in bootstrap.LINT_COMMANDS]
    assert machine.take() == [VENV, "pip --editable .[lint]", *checks]
    machine.codes = {"format": 1, "--offline": 14}
    assert bootstrap.main(["lint"]) == 1
    assert machine.take() == checks
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "lint: failed: ruff format --check ., zizmor --offline .github"


@pytest.mark.parametrize("name", ["setup.cfg", "pyproject.toml"])
def test_changed_requirements_are_installed(machine, name):
    bootstrap.main(["test"])
    machine.take()
    (machine.root / name).write_text("changed")
    bootstrap.main(["test"])
    assert machine.take() == [TORCH, "pip --editable .[test]", TEST]


def test_another_python_gets_a_new_environment(machine):
    bootstrap.main(["test"])
    machine.take()
    machine.python.write_text("3.99.0")
    bootstrap.main(["test"])
    assert machine.take() == [VENV, TORCH, "pip --editable .[test]", TEST]


def test_a_moved_checkout_gets_a_new_environment(machine, monkeypatch):
    bootstrap.main(["test"])
    machine.take()
    moved = machine.root.with_name("moved")
    machine.root.rename(moved)
    monkeypatch.setattr(bootstrap, "ROOT", moved)
    machine.venv, machine.python = moved / ".venv", moved / ".venv" / "bin" / "python"
    bootstrap.main(["test"])
    assert machine.take() == [VENV, TORCH, "pip --editable .[test]", TEST]


@pytest.mark.parametrize("moment", ["venv", bootstrap.TORCH, ".[test]"])
def test_after_an_interrupted_installation_the_environment_is_made_anew(machine, capsys, moment):
    machine.killed_at = moment
    assert bootstrap.main(["test"]) == bootstrap.EXIT_INTERRUPTED
    assert capsys.readouterr().err == "bootstrap: interrupted; run the command again to go on\n"
    machine.take()
    (machine.venv / "lib").mkdir()
    (machine.venv / "lib" / "half.py").touch()
    machine.killed_at = None
    assert bootstrap.main(["test"]) == 0
    assert machine.take() == [VENV, TORCH, "pip --editable .[test]", TEST]
    assert not (machine.venv / "lib").exists()


def test_an_interrupted_job_leaves_the_environment_as_it_is(machine):
    bootstrap.main(["test"])
    machine.killed_at = "pytest"
    assert bootstrap.main(["test"]) == bootstrap.EXIT_INTERRUPTED
    machine.killed_at = None
    machine.take()
    bootstrap.main(["test"])
    assert machine.take() == [TEST]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"settled": true}'])
def test_a_damaged_record_means_a_new_environment(machine, text):
    bootstrap.main(["test"])
    machine.take()
    (machine.venv / bootstrap.STATE_FILE).write_text(text)
    assert bootstrap.main(["test"]) == 0
    assert machine.take() == [VENV, TORCH, "pip --editable .[test]", TEST]
    assert machine.state()["settled"]


@pytest.mark.parametrize("target", [bootstrap.TORCH, ".[test]"])
def test_a_failed_installation_is_said_in_one_line_and_tried_again(machine, capsys, target):
    machine.codes = {target: 1}
    assert bootstrap.main(["test"]) == 70
    assert machine.take()[-1].endswith(target)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"bootstrap: installing {target} failed, see above; check ")
    machine.codes = {}
    assert bootstrap.main(["test"]) == 0


def test_a_failed_venv_is_said_in_one_line(machine, capsys):
    machine.codes = {"venv": 1}
    assert bootstrap.main(["test"]) == 70
    assert machine.take() == [VENV]
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_environment_can_be_elsewhere(machine, monkeypatch, tmp_path):
    machine.venv = tmp_path / "some" / "where"
    machine.python = machine.venv / "bin" / "python"
    monkeypatch.setenv(bootstrap.VENV_VARIABLE, str(machine.venv))
    assert bootstrap.main(["test"]) == 0
    assert machine.take()[0] == VENV
    assert not (machine.root / ".venv").exists()


def test_a_folder_that_the_script_did_not_make_is_left_alone(machine, capsys):
    machine.venv.mkdir()
    precious = machine.venv / "precious"
    precious.write_text("text")
    assert bootstrap.main(["test"]) == 2
    assert machine.take() == []
    assert "was not made by this script" in capsys.readouterr().err
    assert precious.read_text() == "text"


def test_an_environment_does_not_remove_itself(machine, monkeypatch, capsys):
    monkeypatch.setattr(sys, "prefix", str(machine.venv))
    assert bootstrap.main(["test"]) == 2
    assert "use a Python outside of it" in capsys.readouterr().err
    assert machine.take() == []


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 6, 15), (3, 10, 13)])
def test_an_old_python_is_named_in_one_line(machine, monkeypatch, capsys, version):
    monkeypatch.setattr(sys, "version_info", version)
    assert bootstrap.main(["test"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bootstrap: Python 3.11 or newer is needed, and this is ")
    assert machine.take() == []


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_a_python_without_venv_is_named_in_one_line(machine, monkeypatch, capsys, missing):
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None if name == missing else name)
    assert bootstrap.main(["test"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("cannot make virtual environments; install its venv package")


@pytest.mark.parametrize("broken", [False, True])
def test_a_missing_or_broken_git_is_named_in_one_line(machine, monkeypatch, capsys, tmp_path, broken):
    if broken:
        (tmp_path / "git").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bootstrap.main(["test"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "bootstrap: git was not found on PATH, or does not work; install git"


def test_wrong_arguments_change_nothing(machine, capsys):
    assert bootstrap.main(["tests"]) == 2
    assert bootstrap.main(["lint", "--fix"]) == 2
    assert bootstrap.main([]) == 2
    assert bootstrap.main(["--help"]) == 0
    assert machine.take() == []
    assert "no job tests; there are: verify, prove, try-new, gate, bench, soak, test, lint" in capsys.readouterr().err


def test_run_prints_the_command_and_hides_the_callers_python_settings(monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    code = "import os, sys; print(os.environ.get('PYTHONPATH'), repr(sys.stdin.read())); sys.exit(3)"
    command = [sys.executable, "-c", code]
    assert bootstrap.run(command) == 3
    assert capfd.readouterr().out.splitlines() == [f"$ {shlex.join(command)}", "None ''"]


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_run_reports_a_signal_as_a_shell_does():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    assert bootstrap.run([sys.executable, "-c", code]) == 128 + signal.SIGTERM


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_an_interrupted_command_can_clean_up(tmp_path):
    """As from a terminal, the script and the command both get the signal."""
    child = tmp_path / "child.py"
    # os.write, as print cannot be called again by a handler that comes in the middle of it.
    child.write_text(
        "import os, signal, sys, time\n"
        "def stop(*_):\n    time.sleep(1)\n    os.write(1, b'cleaned up\\n')\n    sys.exit(0)\n"
        "signal.signal(signal.SIGINT, stop)\nos.write(1, b'ready\\n')\ntime.sleep(60)\n"
    )
    parent = (
        # Under a shell that runs the tests in the background, the signal would be ignored.
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"sys.path.insert(0, {str(CHECKOUT / 'scripts')!r}); import bootstrap\n"
        f"try:\n    bootstrap.run([sys.executable, {str(child)!r}])\n"
        "except KeyboardInterrupt:\n    sys.exit(130)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline().startswith("$ ")
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=30)[0] == "cleaned up\n"
    assert process.returncode == 130


def test_version_of_a_python_that_does_not_work_is_empty(tmp_path):
    assert bootstrap.version_of(Path(sys.executable)) == platform.python_version()
    assert bootstrap.version_of(tmp_path / "none") == ""
    broken = tmp_path / "python"
    broken.symlink_to(shutil.which("false"))
    assert bootstrap.version_of(broken) == ""


def test_the_package_list_has_every_package():
    names = setup_cfg()["options"]["packages"].split()
    folders = (CHECKOUT / "scripts").glob("exact_resume/**/__init__.py")
    found = {".".join(path.parent.relative_to(CHECKOUT / "scripts").parts) for path in folders}
    assert set(names) == {*found, "exact_resume.patches"}


def test_torch_is_the_same_everywhere():
    assert bootstrap.TORCH in setup_cfg()["options.extras_require"]["prove"].split()
    assert tox_ini()["testenv"]["deps"] == bootstrap.TORCH


def test_the_environment_of_a_release_gets_what_the_extra_installs():
    extras = setup_cfg()["options.extras_require"]
    assert set(HARNESS) <= set(extras["gate"].split())
    assert "exact-resume[gate]" in extras["prove"].split()


def test_tox_runs_the_same_commands():
    lint = tox_ini()["testenv:lint"]["commands"].strip().splitlines()
    assert lint == [" ".join(command) for command in bootstrap.LINT_COMMANDS]
    test = tox_ini()["testenv:test"]["commands"]
    assert test == f"python -m pytest {{posargs:{' '.join(bootstrap.TEST_ARGUMENTS)}}}"


def test_every_workflow_is_linted():
    found = (CHECKOUT / ".github" / "workflows").iterdir()
    assert sorted(bootstrap.WORKFLOWS) == sorted(path.relative_to(CHECKOUT).as_posix() for path in found)


def test_tox_has_an_environment_for_each_release():
    lines = [f"tf{release}: RELEASE = {release}" for release in load_releases()]
    assert tox_ini()["testenv"]["set_env"].strip().splitlines() == lines


def tox_ini():
    parsed = configparser.RawConfigParser()
    parsed.read(CHECKOUT / "tox.ini", encoding="utf-8")
    return parsed


def setup_cfg():
    parsed = configparser.RawConfigParser()
    parsed.read(CHECKOUT / "setup.cfg", encoding="utf-8")
    return parsed
