"""Run workflows for another process: a JSON request a line on stdin, a JSON answer a line on stdout."""

import contextlib
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

# Of the errors of a workflow's process, when it was killed.
SAID = 2000


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.filterwarnings("ignore")

    import torch
    import transformers
    import workflows  # noqa: F401
    from registry import WORKFLOWS
    from transformers import Trainer  # noqa: F401

    # One thread, so that a sum is not split in another way on a busy machine, and so that forks are safe.
    torch.set_num_threads(1)
    tree = os.path.dirname(os.path.dirname(transformers.__file__))
    gc.freeze()
    print(json.dumps({"tree": tree}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        workflow = WORKFLOWS[request["name"]]
        with tempfile.TemporaryDirectory(prefix="exact-resume-", ignore_cleanup_errors=True) as folder:
            result = _run_in_fork(workflow, request["mode"], Path(folder), tree, answers.fileno())
        print(json.dumps({**result, **workflow.expectations()}), file=answers)


def _run_in_fork(workflow, mode: str, scratch: Path, tree: str, answers: int) -> dict[str, Any]:
    """Run it in a process of its own, as some workflows end theirs; the result is written to a file."""
    result, errors, folder = scratch / "result.json", scratch / "errors", scratch / "folder"
    folder.mkdir()
    if (pid := os.fork()) == 0:
        code = 1
        try:
            os.setsid()
            os.close(answers)
            errors_file = os.open(errors, os.O_WRONLY | os.O_CREAT)
            for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (errors_file, 1), (errors_file, 2)):
                os.dup2(descriptor, target)
            os.chdir(folder)
            result.write_text(json.dumps(_observe(workflow, mode, folder, tree)))
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + workflow.timeout
    status = None
    while status is None and time.monotonic() < deadline:
        ended, code = os.waitpid(pid, os.WNOHANG)
        status = os.waitstatus_to_exitcode(code) if ended else time.sleep(0.005)
    # Dataloader workers are in its session; those that outlive it are ended, too.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    if status is None:
        os.waitpid(pid, 0)
        return {"died": f"no end within {workflow.timeout:g} s", "said": _tail(errors)}
    if status != 0 or not result.exists():
        return {"died": f"the process ended with {status}", "said": _tail(errors)}
    shutil.rmtree(folder, ignore_errors=True)
    return {**json.loads(result.read_text()), "said": _tail(errors)}


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-SAID:] if path.exists() else ""


def _observe(workflow, mode: str, folder: Path, tree: str) -> dict[str, Any]:
    import traceback

    from observing import Observer, Run
    from transformers import set_seed

    run = Run(folder, mode)
    observer = Observer(run, tree)
    arguments = [] if workflow.argument is None else [workflow.argument]
    # What importing a tree draws is no difference.
    set_seed(3)
    observer.start()
    try:
        outcome = {"returned": workflow.function(run, *arguments)}
    except Exception as error:
        traceback.print_exc()
        outcome = {"raised": f"{type(error).__name__}: {observer.plain(str(error))}"}
    return {"outcome": json.loads(observer.plain(json.dumps(outcome))), **observer.stop()}


if __name__ == "__main__":
    main()
