"""What a journal costs, on a small language model; `python -m exact_resume bench --only journal` measures it."""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from exact_resume import journal

REPEATS = 200
BATCH, LENGTH, VOCABULARY = 4, 64, 1024


def _now(device: torch.device) -> float:
    """Seconds: of this process on the CPU, as others may be busy there; of the clock once a device is done."""
    if device.type == "cpu":
        return time.process_time()
    getattr(torch, device.type).synchronize()
    return time.perf_counter()


class _Clock(TrainerCallback):
    """Notes when each update step is done."""

    def __init__(self):
        self.times: list[float] = []

    def on_step_end(self, args, state, control, **kwargs):
        self.times.append(_now(args.device))


def cost_of_steps(num_steps: int, width: int = 64) -> tuple[float, float]:
    """
    Train a model, with a journal of every second update step.

    Args:
        num_steps: Update steps.
        width: Size of the model's hidden states.

    Returns:
        The median seconds of a step without and with a record.
    """
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=width, n_layer=2, n_head=2))
    tokens = torch.randint(VOCABULARY, (BATCH * num_steps, LENGTH))
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder,
            max_steps=num_steps,
            per_device_train_batch_size=BATCH,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = Trainer(model, args, train_dataset=[{"input_ids": row, "labels": row} for row in tokens])
        journal.RNGJournal(trainer, Path(folder) / "journal", every=2)
        clock = _Clock()
        trainer.add_callback(clock)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    took = [end - begin for begin, end in itertools.pairwise(clock.times)]
    # The first is that of step 2. Of the others, half are left out, as the first steps take longer.
    return statistics.median(took[1::2][num_steps // 8 :]), statistics.median(took[::2][num_steps // 8 :])


def cost_of_fields(device: torch.device, repeats: int) -> dict[str, float]:
    """
    Take digests as they are taken once a step.

    Args:
        device: Where the batch and the parameters are.
        repeats: How often.

    Returns:
        Median microseconds by what the digests are of.
    """
    batch = {name: torch.zeros(BATCH, LENGTH, dtype=torch.long, device=device) for name in ("input_ids", "labels")}
    parameters = [torch.zeros(1024, 1024, device=device) for _ in range(journal.PARAMETERS)]

    def digests(name: str, tensors: Iterable[torch.Tensor], count: int) -> None:
        step = journal.Step({})
        for tensor in tensors:
            step.add(name, tensor, count)
        step.digests()

    taken = {
        "RNG states": lambda: journal.rng_digests(device),
        "batch": lambda: digests("batch", batch.values(), journal.BATCH_ELEMENTS),
        "loss": lambda: digests("loss", [torch.zeros((), device=device)], 1),
        "parameters": lambda: digests("parameters", parameters, journal.PARAMETER_ELEMENTS),
    }
    return {name: _median(take, device, repeats) for name, take in taken.items()}


def _median(take: Callable[[], object], device: torch.device, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        begin = _now(device)
        take()
        times.append(1e6 * (_now(device) - begin))
    return statistics.median(times)


def measure(variant: str, folder: Path, steps: int) -> list[tuple[str, str, float]]:
    """Return title, unit and value of each figure; see `bench.measuring`. What is resumed how makes no difference."""
    fields = cost_of_fields(torch.device("cpu"), REPEATS)
    without, with_record = cost_of_steps(steps)
    return [
        *((f"digests of a step: {what}", "us", microseconds) for what, microseconds in fields.items()),
        ("a step of a small language model", "ms", 1000 * without),
        ("the same with a record", "ms", 1000 * with_record),
    ]
