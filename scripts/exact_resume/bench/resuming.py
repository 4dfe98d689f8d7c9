"""How long a resumed run takes to its first batch."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import TrainerCallback, default_data_collator

from exact_resume.bench.groups import DRAIN, PATCHED, STATEFUL, STOCK
from exact_resume.bench.peers import make_trainer
from exact_resume.matrix import pieces
from exact_resume.matrix.interrupting import SaveAt
from exact_resume.matrix.iterable_pieces import PositionedStream, SizedStream

BATCH_SIZE, STREAM_BATCH_SIZE, REST = 256, 64, 3
LENGTH, VOCABULARY, BUFFER_SIZE, SLOW_SECONDS = 256, 1000, 1000, 0.001


class Integers(Dataset):
    """
    The integers below `size`.

    Args:
        size: Number of samples.
        seconds: What a sample takes.
    """

    def __init__(self, size: int, seconds: float = 0.0):
        self.size = size
        self.seconds = seconds

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        if self.seconds:
            time.sleep(self.seconds)
        return index


def collate_integers(indices: list[int]) -> dict[str, torch.Tensor]:
    """Make `x` `(batch, NUM_FEATURES)` and `labels` `(batch, 1)` of indices."""
    labels = torch.tensor(indices, dtype=torch.float32).unsqueeze(1) * 1e-7
    return {"x": labels.expand(-1, pieces.NUM_FEATURES), "labels": labels}


class Texts(Dataset):
    """Samples of `LENGTH` tokens, as lists, which is what a tokenizer returns."""

    def __init__(self, size: int):
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return {"input_ids": [(index + position) % VOCABULARY for position in range(LENGTH)]}


class TextStream(SizedStream):
    """`Texts` as a stream through a shuffle buffer."""

    def __init__(self, size: int):
        super().__init__(0, buffer_size=BUFFER_SIZE)
        self.samples = Texts(size)


def datasets_stream(size: int):
    """The same with the `datasets` library."""
    import datasets

    rows = datasets.Dataset.from_list([Texts(size)[index] for index in range(size)])
    return rows.to_iterable_dataset().shuffle(seed=0, buffer_size=BUFFER_SIZE)


class TextModel(nn.Module):
    """The smallest model of `input_ids`."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.EmbeddingBag(VOCABULARY, 4)

    def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return `{"loss"}` for `input_ids` `(batch, LENGTH)`."""
        return {"loss": self.embedding(input_ids).mean()}


@dataclass(frozen=True)
class Case:
    """
    A run that is interrupted near the end of its epoch, and resumed.

    Args:
        title: What tables call it.
        size: Number of samples.
        batch_size: Samples of a batch.
        dataset: Makes the data, of as many samples.
        collator: The data collator.
        model: Makes the model.
        variants: Which variants resume it.
        slow: Whether the data are slow to read once the checkpoint is there.
    """

    title: str
    size: int
    batch_size: int
    dataset: Callable[..., Any]
    collator: Callable
    model: Callable[[], nn.Module] = pieces.TinyModel
    variants: tuple[str, ...] = (STOCK, STATEFUL, PATCHED)
    slow: bool = False

    def trainer(self, variant: str, folder: Path, callback: TrainerCallback, **options):
        """Make the trainer; `options` are those of the dataset."""
        return make_trainer(
            variant,
            folder,
            self.dataset(self.size, **options),
            self.model,
            self.collator,
            (callback,),
            per_device_train_batch_size=self.batch_size,
            max_steps=self.size // self.batch_size,
        )


def _cases(variant: str, sizes: list[int], slow_batches: int, positions: list[int], buffered: int) -> list[Case]:
    stream = partial(Case, batch_size=STREAM_BATCH_SIZE)
    text = partial(stream, size=_with_rest(buffered), collator=default_data_collator, model=TextModel)
    cases = [
        *(Case(f"map-style, {_count(size)} samples", size, BATCH_SIZE, Integers, collate_integers) for size in sizes),
        Case(
            f"map-style, {_count(slow_batches)} batches of a sample of 1 ms",
            slow_batches,
            1,
            Integers,
            collate_integers,
            variants=(STOCK, DRAIN, STATEFUL, PATCHED),
            slow=True,
        ),
        *(
            stream(
                f"iterable with state_dict, after {_count(position)} samples",
                _with_rest(position),
                dataset=PositionedStream,
                collator=pieces.stack,
            )
            for position in positions
        ),
        text(f"iterable with a shuffle buffer, after {_count(buffered)} texts", dataset=TextStream),
        text(
            f"of datasets, with a shuffle buffer, after {_count(buffered)} texts",
            dataset=datasets_stream,
            variants=(STOCK, PATCHED),
        ),
    ]
    return [case for case in cases if variant in case.variants]


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _with_rest(position: int) -> int:
    return (position // STREAM_BATCH_SIZE + REST) * STREAM_BATCH_SIZE


def prepare(variant: str, folder: Path, **sizes) -> None:
    """Write a checkpoint of each case, `REST` batches before the end; see `groups.groups` for the sizes."""
    for number, case in enumerate(_cases(variant, **sizes)):
        save = SaveAt(case.size // case.batch_size - REST)
        case.trainer(variant, folder / str(number), save).train()


class _FirstBatch(TrainerCallback):
    """Notes when the batches of the first update step are there, and stops."""

    def on_step_begin(self, args, state, control, **kwargs):
        self.time = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = True


def measure(variant: str, folder: Path, **sizes) -> list[tuple[str, str, float]]:
    """Return title, unit and value of each figure, from the checkpoints that `prepare` wrote for the variant."""
    cases = _cases(variant, **sizes)
    _first_batch_ms(cases[0], variant, folder / "0")  # what is imported on the first resume does not count
    return [
        (case.title, "ms", _first_batch_ms(case, variant, folder / str(number))) for number, case in enumerate(cases)
    ]


def _first_batch_ms(case: Case, variant: str, folder: Path) -> float:
    (checkpoint,) = folder.glob("checkpoint-*")
    first = _FirstBatch()
    trainer = case.trainer(variant, folder, first, **({"seconds": SLOW_SECONDS} if case.slow else {}))
    begin = time.perf_counter()
    trainer.train(resume_from_checkpoint=str(checkpoint))
    return 1000 * (first.time - begin)
