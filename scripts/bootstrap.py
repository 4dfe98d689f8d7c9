"""Run one of the project's jobs in a virtual environment of its own, which the first run makes.

usage: python3 scripts/bootstrap.py verify [argument ...]   check that training resumes bit for bit
       python3 scripts/bootstrap.py prove [argument ...]    check the same of releases, and record it
       python3 scripts/bootstrap.py try-new [argument ...]  try the patches on a release that has no lane yet
       python3 scripts/bootstrap.py gate [argument ...]     judge what a change of transformers does to resuming
       python3 scripts/bootstrap.py bench [argument ...]    measure what recording, resuming and checkpoints cost
       python3 scripts/bootstrap.py soak [argument ...]     kill runs at any moment, resume them, and compare
       python3 scripts/bootstrap.py test [argument ...]     run the tests; the arguments are those of pytest
       python3 scripts/bootstrap.py lint                    check the sources, the patches and the workflows

The environment is `.venv` in the checkout, or the folder that EXACT_RESUME_VENV names. For `gate`, EXACT_RESUME_TORCH
names another release of torch.

exit codes: the job's own; 2 where this machine or the request will not do; 70 where the installation failed.
"""

# An older Python has to come as far as `check_machine` to be told what is wrong. So there is no annotation here that
# such a Python cannot evaluate, and `Fault` is no dataclass.

import hashlib
import importlib.util
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV_VARIABLE = "EXACT_RESUME_VENV"
TORCH_VARIABLE = "EXACT_RESUME_TORCH"
STATE_FILE = "exact-resume.json"
OLDEST_PYTHON = (3, 11)

# Installed before everything else and alone: whichever build of this release the machine's pip settings offer, with
# or without CUDA, then stays as it is while pip works out the rest.
TORCH = "torch==2.13.0"
PROVIDERS = {
    "verify": ("verify", "bench", "test"),
    "prove": ("verify", "bench", "test"),
    "try-new": ("verify", "bench", "test"),
    "gate": ("gate", "verify", "bench", "test"),
    "bench": ("bench", "test"),
    "soak": ("verify", "bench", "test"),
    "test": ("test",),
    "lint": ("lint",),
}
"""Which installed extras will do for a job."""

# Each process of the suite starts a few that import torch, so that more than four cost more memory than is saved.
TEST_ARGUMENTS = ("-n", "auto", "--maxprocesses", "4", "--dist", "worksteal", "tests")
WORKFLOWS = tuple(
    f".github/workflows/{name}.yml" for name in ("ci", "releases", "gate", "gate-pull-request", "gate-comment")
)
LINT_COMMANDS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("python", "-m", "exact_resume", "lint"),
    ("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS),
    ("check-jsonschema", "--builtin-schema", "vendor.github-actions", ".github/actions/gate/action.yml"),
    ("zizmor", "--offline", ".github"),
)
"""What lint runs, from the environment."""

EXIT_UNFIT = 2
EXIT_INSTALLATION = 70
EXIT_INTERRUPTED = 130


class Fault(Exception):
    """What ends this script early: a line for the user, and the exit code."""

    def __init__(self, code, line):
        super().__init__(line)
        self.code = code


def main(arguments) -> int:
    """Run the job that the arguments name and return its exit code."""
    try:
        check_machine()
        if not arguments or arguments[0] in ("-h", "--help"):
            print(__doc__.strip())
            return 0 if arguments else EXIT_UNFIT
        job, rest = arguments[0], arguments[1:]
        if job not in PROVIDERS:
            raise Fault(EXIT_UNFIT, f"no job {job}; there are: {', '.join(PROVIDERS)}")
        if job == "lint" and rest:
            raise Fault(EXIT_UNFIT, "lint takes no arguments")
        python = prepare(job)
        return JOBS[job](python, rest)
    except Fault as fault:
        print(f"bootstrap: {fault}", file=sys.stderr)
        return fault.code
    except KeyboardInterrupt:
        print("bootstrap: interrupted; run the command again to go on", file=sys.stderr)
        return EXIT_INTERRUPTED


def check_machine() -> None:
    """Raise Fault where this machine lacks what cannot be installed from here."""
    if sys.version_info[:2] < OLDEST_PYTHON:
        needed = ".".join(map(str, OLDEST_PYTHON))
        raise Fault(EXIT_UNFIT, f"Python {needed} or newer is needed, and this is {platform.python_version()}")
    # Some distributions ship Python without these two.
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        raise Fault(EXIT_UNFIT, f"{sys.executable} cannot make virtual environments; install its venv package")
    git = shutil.which("git")
    if git is None or subprocess.run([git, "--version"], capture_output=True, check=False).returncode != 0:
        raise Fault(EXIT_UNFIT, "git was not found on PATH, or does not work; install git")


def venv_folder() -> Path:
    """Return the folder of the virtual environment."""
    return Path(os.environ.get(VENV_VARIABLE) or ROOT / ".venv").absolute()


def prepare(job) -> Path:
    """Make the environment ready for a job, as far as it is not, and return its Python."""
    venv = venv_folder()
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    state = read_state(venv)
    usable = state["settled"] and state["folder"] == str(venv) and version_of(python) == platform.python_version()
    if usable and any(state["installed"].get(extra) == fingerprint(extra) for extra in PROVIDERS[job]):
        return python
    if not usable:
        make_venv(venv)
        state = new_state(venv)
    # An installation that fails or is killed can leave half a package that looks whole. Without `settled` on record,
    # the next run makes the environment anew.
    write_state(venv, {**state, "settled": False})
    extra = PROVIDERS[job][0]
    install(python, extra)
    state["installed"][extra] = fingerprint(extra)
    write_state(venv, {**state, "settled": True})
    return python


def make_venv(venv) -> None:
    """Make the environment anew."""
    if venv.is_file() or (venv.is_dir() and any(venv.iterdir()) and not (venv / STATE_FILE).exists()):
        raise Fault(
            EXIT_UNFIT, f"{venv} was not made by this script; remove it, or set {VENV_VARIABLE} to another folder"
        )
    if Path(sys.prefix) == venv:
        raise Fault(EXIT_UNFIT, f"{venv} has to be made anew; use a Python outside of it")
    try:
        venv.mkdir(parents=True, exist_ok=True)
        # First, because it is what marks the folder as one that this script may empty.
        write_state(venv, new_state(venv))
        for path in venv.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != STATE_FILE:
                path.unlink()
    except OSError as error:
        raise Fault(
            EXIT_UNFIT, f"{venv} cannot be written: {error.strerror}; set {VENV_VARIABLE} to another folder"
        ) from error
    if run([sys.executable, "-m", "venv", str(venv)]) != 0:
        raise Fault(EXIT_INSTALLATION, f"making the virtual environment {venv} failed, see above")


def install(python, extra) -> None:
    """Install what an extra needs."""
    # ruff and its like do not need the largest package of all.
    targets = ([] if extra == "lint" else [(torch(extra),)]) + [("--editable", f".[{extra}]")]
    for target in targets:
        if run([str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *target]) != 0:
            line = (
                f"installing {target[-1]} failed, see above; check the network and pip's settings and run this again"
            )
            raise Fault(EXIT_INSTALLATION, line)


def torch(extra) -> str:
    """Return which torch an extra is installed with; the others name theirs in setup.cfg."""
    chosen = os.environ.get(TORCH_VARIABLE)
    return f"torch=={chosen}" if chosen and extra == "gate" else TORCH


def fingerprint(extra) -> str:
    """Return a hash of everything that decides what is installed for an extra, and of where the checkout is."""
    files = [(ROOT / name).read_bytes() for name in ("setup.cfg", "pyproject.toml")]
    words = [extra, torch(extra), sys.version, str(ROOT)]
    return hashlib.sha256(b"\0".join([*files, *(word.encode() for word in words)])).hexdigest()


def new_state(venv) -> dict:
    """Return the state of an environment that has nothing yet."""
    return {"settled": False, "folder": str(venv), "installed": {}}


def read_state(venv) -> dict:
    """Return the recorded state of the environment; the one of a new environment where there is no readable record."""
    try:
        state = json.loads((venv / STATE_FILE).read_text(encoding="utf-8"))
        return {"settled": state["settled"], "folder": state["folder"], "installed": dict(state["installed"])}
    except (OSError, ValueError, KeyError, TypeError):
        return new_state(venv)


def write_state(venv, state) -> None:
    """Replace the state at once, so that it is never half a file."""
    draft = venv / (STATE_FILE + ".new")
    draft.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    draft.replace(venv / STATE_FILE)


def version_of(python) -> str:
    """Return the version of a Python that may not work; the empty string where it does not."""
    code = "import platform; print(platform.python_version())"
    try:
        completed = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return completed.stdout.strip() if completed.returncode == 0 else ""


def run(command, folder=ROOT) -> int:
    """Print a command, run it, and return its exit code; 128 and the number where a signal ended it."""
    print("$ " + shlex.join(command), flush=True)
    # The environment has the package; another copy on PYTHONPATH would hide it.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    interrupted = False
    with subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL) as process:
        while True:
            try:
                code = process.wait()
                break
            except KeyboardInterrupt:  # which the command has received as well, and it may have to clean up
                interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    return code if code >= 0 else 128 - code


def train(job, python, arguments) -> int:
    """Run a job of the tool where the user is, as its arguments may name folders relative to that."""
    return run([str(python), "-m", "exact_resume", job, *arguments], Path.cwd())


def test(python, arguments) -> int:
    """Run the tests; all of them without arguments."""
    return run([str(python), "-m", "pytest", *(arguments or TEST_ARGUMENTS)])


def lint(python, _arguments) -> int:
    """Run every check, also after one that failed."""
    # Not all of them can be run as modules.
    failed = [
        " ".join(command) for command in LINT_COMMANDS if run([str(python.parent / command[0]), *command[1:]]) != 0
    ]
    print(f"lint: failed: {', '.join(failed)}" if failed else "lint: all checks passed", flush=True)
    return 1 if failed else 0


JOBS = {
    **{job: partial(train, job) for job in ("verify", "prove", "try-new", "gate", "bench", "soak")},
    "test": test,
    "lint": lint,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
