"""
Fork attempts from a process that has imported everything: a JSON request a line on stdin, two answers on stdout.

With a folder as argument, it mounts a file system there that can be filled, and which only it and its attempts see.
"""

import gc
import json
import os
import subprocess
import sys
import warnings


def main() -> None:
    """Answer with the process of each attempt when it starts, and with its status when it has ended."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.filterwarnings("ignore")

    import torch

    from exact_resume.matrix.serve import describe
    from exact_resume.soak import attempt, faults
    from exact_resume.soak.cases import CASES

    for folder in sys.argv[1:]:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={faults.ROOM}", "tmpfs", folder], check=True)

    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.fsync = lambda descriptor: None  # a process that is killed leaves to the system what it has written
    gc.freeze()
    skipped = {case.name: reason for case in CASES if (reason := attempt.reason_to_skip(case)) is not None}
    print(json.dumps({"environment": describe(), "skipped": skipped}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        if (pid := os.fork()) == 0:
            # In a session of its own, which can be killed as a whole.
            os.setsid()
            errors = os.open(f"{request['log']}.errors", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (errors, 1), (errors, 2)):
                os.dup2(descriptor, target)
            os.close(answers.fileno())
            os._exit(attempt.run(**request))
        print(json.dumps({"pid": pid}), file=answers)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), file=answers)


if __name__ == "__main__":
    main()
