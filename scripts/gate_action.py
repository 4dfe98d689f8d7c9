"""What the action runs: `run` judges two trees, or one shard of that, and `merge` puts the shards together.

Its arguments are in variables of the environment, as GitHub passes them without a shell that could misread them:
GATE_BASE, GATE_HEAD, GATE_QUICK ("true" or "false"), GATE_ONLY, names with blanks between them, GATE_SHARD,
GATE_TIMEOUT; GATE_SHARDS, a folder with a folder for each shard; GATE_OUTPUT; and GATE_PULL_REQUEST, the number of the
pull request, which may be empty.

The exit code is that of `gate`.
"""

import os
import subprocess
import sys
from pathlib import Path

import bootstrap

NUMBER_FILE = "pull-request.txt"


def main(arguments, environ) -> int:
    """Do what the one argument says, show the summary, and return the exit code."""
    job, output = {"run": run, "merge": merge}[arguments[0]], Path(environ["GATE_OUTPUT"])
    code = job(environ, output)
    summary = output / "summary.md"
    text = (
        summary.read_text(encoding="utf-8") if summary.exists() else f"**Exact resume: no result.** Exit code {code}."
    )
    with open(environ["GITHUB_STEP_SUMMARY"], "a", encoding="utf-8") as stream:
        stream.write(text + "\n")
    return code


def run(environ, output) -> int:
    """Run the scenarios of a shard, in an environment that is made for it."""
    options = {"--base": "BASE", "--head": "HEAD", "--shard": "SHARD", "--timeout": "TIMEOUT"}
    # As one word, so that what begins with a dash is no option.
    words = [f"{option}={environ[f'GATE_{name}']}" for option, name in options.items()]
    only = [f"--only={name}" for name in environ["GATE_ONLY"].split()]
    words += only or ["--quick"] * (environ["GATE_QUICK"] == "true")
    # A pull request may change documents only, and is to pass then.
    return bootstrap.main(["gate", *words, "--same-ok", f"--output={output}"])


def merge(environ, output) -> int:
    """Merge the results of the shards, and keep the number of the pull request beside them."""
    folders = sorted(str(path.parent) for path in Path(environ["GATE_SHARDS"]).glob("*/results.json"))
    command = [sys.executable, "-m", "exact_resume", "gate", f"--output={output}", "--merge", *folders]
    own = str(Path(__file__).resolve().parent)
    code = subprocess.run(command, env={**os.environ, "PYTHONPATH": own}, check=False).returncode
    if environ.get("GATE_PULL_REQUEST") and output.is_dir():
        (output / NUMBER_FILE).write_text(environ["GATE_PULL_REQUEST"] + "\n", encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
