"""Train for long while workers are replaced, and tell what the process holds; runs in a process of its own."""

import dataclasses
import json
import os
import sys
import threading
from pathlib import Path

import torch
from transformers import TrainerCallback

from exact_resume.matrix.scenarios import SCENARIOS
from exact_resume.matrix.scenarios.base import ALL, noise
from exact_resume.soak.processes import children, mapped

SCENARIO = "workers_2_prefetch_2_fork"
# Of an epoch, at whose end the workers end, and others are started for the next one.
STEPS_IN_EPOCH = 50
SAMPLES = 40
# Seconds; on a busy machine, the threads that close the queues of workers take longer to end than the workers.
PATIENCE = 60.0


class Sampling(TrainerCallback):
    """
    Prints what the process holds, between two epochs, when it has no workers.

    Args:
        num_steps: The number of update steps of the run.
    """

    def __init__(self, num_steps: int):
        self.every = max(1, num_steps // STEPS_IN_EPOCH // SAMPLES)

    def on_epoch_begin(self, args, state, control, **kwargs):
        if round(state.epoch or 0) % self.every == 0:
            for thread in threading.enumerate():
                if thread.name == "QueueFeederThread":
                    thread.join(PATIENCE)
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            sample = {
                "step": state.global_step,
                "memory": pages * os.sysconf("SC_PAGE_SIZE"),
                "descriptors": len(os.listdir("/proc/self/fd")),
                "processes": len(children(os.getpid())),
                "shared_memory": len(mapped()),
            }
            print(json.dumps(sample), flush=True)


def main() -> None:
    """Train: FOLDER STEPS."""
    folder, num_steps = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    os.fsync = lambda descriptor: None  # which is no matter of what is held
    dataset = noise(*ALL, size=4 * STEPS_IN_EPOCH)
    scenario = dataclasses.replace(SCENARIOS[SCENARIO], dataset=dataset)
    trainer = scenario.make_trainer(
        folder,
        max_steps=num_steps,
        exact_resume="strict",
        logging_strategy="no",
        save_steps=7 * STEPS_IN_EPOCH // 2,  # within an epoch and at its end
        save_total_limit=1,
    )
    trainer.add_callback(Sampling(num_steps))
    trainer.train()


if __name__ == "__main__":
    main()
