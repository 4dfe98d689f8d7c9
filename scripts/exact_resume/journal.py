"""
A journal of a real run: a few digests of every update step, by which two runs can be compared afterwards.

    trainer = Trainer(...)
    RNGJournal(trainer, "journal")
    trainer.train()

`python -m exact_resume diff` names the first step at which two such runs part.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import Trainer, TrainerCallback

from exact_resume.journal_file import DIGEST_SIZE, Header, Writer
from exact_resume.matrix.recording import exact, leaves
from exact_resume.matrix.rng_states import host_states

# In the order in which a step comes to them.
FIELDS = ("python", "numpy", "torch", "device", "batch", "loss", "parameters")
# How many elements are looked at: of each tensor of a batch, of each sampled parameter; and how many parameters are.
BATCH_ELEMENTS, PARAMETER_ELEMENTS, PARAMETERS = 4096, 64, 16
NOTHING = bytes(DIGEST_SIZE)


class RNGJournal(TrainerCallback):
    """
    Appends digests of the update steps of a run to a file, and draws no random number.

    It adds itself to the trainer. As a Trainer shows its callbacks neither batches nor losses, it also wraps the
    `training_step` of this one trainer, and calls it as it was called.

    A record has a digest of each of the `FIELDS`: the states of the RNGs, of the current device only, before the first
    forward pass of the step; the batch, of large tensors 4096 elements; the losses of the micro-batches; and after the
    update 64 elements each of 16 trainable parameters, evenly spaced and always the same. What is on a device is
    copied from there once a step, in one piece: the only synchronization.

    A run that is resumed goes on with the file, which gets a mark where it was. Each process writes a file of its own,
    `rank-N.journal`, and a record at once when its step is done.

    Args:
        trainer: The trainer of the run, before `train` is called.
        folder: Where the files are written.
        every: Record only update steps that are multiples of this.
    """

    def __init__(self, trainer: Trainer, folder: str | Path, every: int = 1):
        if every < 1:
            raise ValueError(f"every is {every}, and has to be 1 or more")
        self.folder, self.every = Path(folder), every
        self._step: Step | None = None
        self._is_recorded = False
        self._training_step = trainer.training_step
        trainer.training_step = self._observe
        trainer.add_callback(self)

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        header = Header(
            fields=FIELDS,
            world_size=args.world_size,
            rank=args.process_index,
            seed=args.seed,
            every=self.every,
            transformers=transformers.__version__,
            torch=torch.__version__,
        )
        self._writer = Writer(self.folder / f"rank-{args.process_index}.journal", header, state.global_step)
        self._device = args.device
        self._parameters = _some([parameter for parameter in model.parameters() if parameter.requires_grad])

    def on_step_begin(self, args, state, control, **kwargs):
        self._step, self._is_recorded = None, (state.global_step + 1) % self.every == 0

    def _observe(self, model, inputs, *args, **kwargs):
        if not self._is_recorded:
            return self._training_step(model, inputs, *args, **kwargs)
        if self._step is None:
            self._step = Step(rng_digests(self._device))
        for path, leaf in leaves(inputs):
            self._step.add("batch", path, 1)
            self._step.add("batch", leaf, BATCH_ELEMENTS)
        loss = self._training_step(model, inputs, *args, **kwargs)
        self._step.add("loss", loss, 1)
        return loss

    def on_step_end(self, args, state, control, **kwargs):
        if self._step is not None:
            for parameter in self._parameters:
                self._step.add("parameters", parameter, PARAMETER_ELEMENTS)
            self._writer.write(state.global_step, self._step.digests())
            self._step = None

    def on_train_end(self, args, state, control, **kwargs):
        self._is_recorded = False
        self._writer.close()


class Step:
    """
    What was seen of an update step that is not done yet.

    Args:
        digests: The digests of fields that are known already.
    """

    def __init__(self, digests: dict[str, bytes]):
        self._digests = digests
        self._hashes = {name: hashlib.blake2b(digest_size=DIGEST_SIZE) for name in ("batch", "loss", "parameters")}
        # Bytes on the devices where they were, and the hash that they belong to.
        self._pieces: list[tuple[Any, torch.Tensor]] = []

    def add(self, name: str, value: Any, count: int) -> None:
        """Add at most `count` elements of a tensor to the digest of a field, or a value of another type."""
        if isinstance(value, torch.Tensor):
            self._hashes[name].update(f"{value.dtype} {list(value.shape)}".encode())
            if value.layout is torch.strided:
                self._pieces.append((self._hashes[name], _sample(value, count)))
        elif isinstance(value, (str, bytes, int, float, np.ndarray, np.generic)):
            self._hashes[name].update(repr(exact(value)).encode())
        else:  # the representation of other objects may say where in memory they are
            self._hashes[name].update(type(value).__name__.encode())

    def digests(self) -> list[bytes]:
        """The digests of the `FIELDS`; zeros for what there is none of."""
        for device in dict.fromkeys(piece.device for _, piece in self._pieces):
            here = [(hash_, piece) for hash_, piece in self._pieces if piece.device == device]
            data, begin = torch.cat([piece for _, piece in here]).cpu().numpy().tobytes(), 0
            for hash_, piece in here:
                hash_.update(data[begin : begin + len(piece)])
                begin += len(piece)
        found = {**self._digests, **{name: hash_.digest() for name, hash_ in self._hashes.items()}}
        return [found.get(name, NOTHING) for name in FIELDS]


def rng_digests(device: torch.device) -> dict[str, bytes]:
    """Digests of the states of Python's, NumPy's and PyTorch's RNG, and of that of a device unless it is the CPU."""
    states = {name: repr(state).encode() for name, state in host_states().items()}
    of_device = None if device.type == "cpu" else getattr(getattr(torch, device.type, None), "get_rng_state", None)
    if of_device is not None:
        states["device"] = of_device().numpy().tobytes()
    return {name: hashlib.blake2b(state, digest_size=DIGEST_SIZE).digest() for name, state in states.items()}


def _some(parameters: list[torch.Tensor]) -> list[torch.Tensor]:
    """At most `PARAMETERS` of them, evenly spaced, with the first and the last."""
    places = [(len(parameters) - 1) * number // (PARAMETERS - 1) for number in range(PARAMETERS)]
    return [parameters[place] for place in dict.fromkeys(places)] if parameters else []


def _sample(tensor: torch.Tensor, count: int) -> torch.Tensor:
    """The bytes of at most `count` elements, evenly spaced; a copy, as what was seen may be changed in place."""
    if hasattr(tensor, "to_local"):  # this rank's part of it
        tensor = tensor.to_local()
    elements = tensor.detach().reshape(-1)
    # An odd distance, as an even one could lead to the same few columns of every row.
    distance = 1 if len(elements) <= count else -(-len(elements) // count) | 1
    return elements[::distance].clone().view(torch.uint8)
