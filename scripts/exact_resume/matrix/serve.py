"""Serve scenario runs to another process: one JSON request a line on stdin, one JSON answer a line on stdout."""

import gc
import importlib.metadata
import json
import multiprocessing
import os
import platform
import sys
import warnings

SYNC_VARIABLE = "EXACT_RESUME_SYNC"
"""Set where what is written is to be brought to disk, as `bench` wants it."""


def describe() -> dict[str, object]:
    """What a result depends on besides the tree."""
    import torch
    import transformers

    versions = {name: importlib.metadata.version(name) for name in ("torch", "accelerate", "numpy", "datasets")}
    return {
        "python": platform.python_version(),
        **versions,
        "torch": torch.__version__,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "transformers": transformers.__version__,
        "tree": os.path.dirname(os.path.dirname(transformers.__file__)),
    }


def _measure(**request) -> object:
    # Only `bench` needs what this imports.
    from exact_resume.bench.measuring import measure

    return measure(**request)


def main() -> None:
    # Nothing that training prints may get between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.filterwarnings("ignore")

    import torch

    from exact_resume.matrix.cost import recording_cost
    from exact_resume.matrix.counting import count
    from exact_resume.matrix.experiment import run_experiment
    from exact_resume.matrix.running import run_scenario
    from exact_resume.matrix.scenarios import SCENARIOS
    from exact_resume.matrix.scenarios.configurations import run_configuration

    # The server that forkserver workers are forked from imports once what each of them needs.
    multiprocessing.set_forkserver_preload(["exact_resume.matrix.running"])
    # No checkpoint of these has to outlast the machine, and waiting for its disk takes longer than the training.
    if SYNC_VARIABLE not in os.environ:
        os.fsync = lambda descriptor: None
    # One thread, so that a sum is not split in another way on a busy machine.
    torch.set_num_threads(1)
    # The Trainer collects garbage at each start; what was imported need not be looked at every time.
    gc.freeze()
    print(
        json.dumps({"environment": describe(), "scenarios": [s.describe() for s in SCENARIOS.values()]}), file=answers
    )
    jobs = {
        "scenario": run_scenario,
        "configuration": run_configuration,
        "experiment": run_experiment,
        "cost": recording_cost,
        "count": count,
        "measure": _measure,
    }
    for line in sys.stdin:
        request = json.loads(line)
        job = jobs[request.pop("job")]
        print(json.dumps(job(**request)), file=answers)


if __name__ == "__main__":
    main()
