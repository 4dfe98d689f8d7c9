"""Run places for another process: a JSON request a line on stdin, a JSON answer a line on stdout."""

import contextlib
import gc
import importlib
import json
import os
import sys
import time
import warnings


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.filterwarnings("ignore")

    import torch
    import transformers

    # One thread, so that a sum is not split in another way on a busy machine, and so that forks are safe.
    torch.set_num_threads(1)

    import ordinary  # noqa: F401
    import places  # noqa: F401
    from base import ORDINARY, PLACES
    from combinations import DATA_OWNERS, MOMENTS, OWNERS
    from kinds import KINDS
    from running import run_place, used_modules

    # What a training imports late, once for all.
    for name in used_modules():
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    gc.freeze()
    registers = {"place": PLACES, "ordinary": ORDINARY}
    listed = {kind: {name: [p.owner, p.title] for name, p in found.items()} for kind, found in registers.items()}
    listed |= {"owners": list(OWNERS), "data_owners": DATA_OWNERS, "kinds": list(KINDS), "moments": MOMENTS}
    tree = os.path.dirname(os.path.dirname(transformers.__file__))
    print(json.dumps({"tree": tree, "listed": listed}), file=answers)
    for line in sys.stdin:
        begin = time.monotonic()
        result = run_place(**json.loads(line))
        print(json.dumps({"result": result, "seconds": time.monotonic() - begin}), file=answers)


if __name__ == "__main__":
    main()
