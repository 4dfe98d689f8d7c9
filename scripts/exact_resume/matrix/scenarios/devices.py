"""
Devices other than the CPU.

XPU, MPS and several GPUs of one process are stood in for: what is proven is that their states are recorded and
restored at the right moments.
"""

import importlib.util
from contextlib import contextmanager
from functools import partial
from unittest import mock

import torch
from transformers import Trainer, TrainingArguments
from transformers.training_args import ParallelMode

from exact_resume.matrix import pieces
from exact_resume.matrix.scenarios.base import (
    ALL,
    DEVICES,
    DROPOUT,
    PER_STEP,
    WORKERS,
    Scenario,
    noise,
    worker_arguments,
)


class StandIn:
    """
    A device module with `num_devices` devices, each of which draws as a generator of the CPU does.

    It keeps states and no generators: those of a device are nobody's attributes, so no search finds them.
    """

    def __init__(self, num_devices: int = 1):
        self.states = [torch.Generator().manual_seed(seed).get_state() for seed in range(num_devices)]

    def randn(self, device: int, shape: torch.Size) -> torch.Tensor:
        """Noise that is drawn on one of the devices."""
        generator = torch.Generator()
        generator.set_state(self.states[device])
        drawn = torch.randn(shape, generator=generator)
        self.states[device] = generator.get_state()
        return drawn

    def current_device(self) -> int:
        """The first."""
        return 0

    def get_rng_state(self) -> torch.Tensor:
        """That of the current device."""
        return self.states[0].clone()

    def set_rng_state(self, state: torch.Tensor) -> None:
        """Inverse of `get_rng_state`."""
        self.states[0] = state.clone()

    def get_rng_state_all(self) -> list[torch.Tensor]:
        """Those of all devices."""
        return [state.clone() for state in self.states]

    def set_rng_state_all(self, states: list[torch.Tensor]) -> None:
        """Inverse of `get_rng_state_all`."""
        self.states = [state.clone() for state in states]


class StandInModel(pieces.TinyModel):
    """Draws on the device."""

    device_module: StandIn | None = None

    def forward(self, x: torch.Tensor, labels: torch.Tensor, index: torch.Tensor | None = None):
        """As `TinyModel.forward`, with noise from every device."""
        for device in range(len(self.device_module.states) if self.training else 0):
            x = x + self.device_module.randn(device, x.shape)
        return super().forward(x, labels, index)


class SeveralDevicesArguments(TrainingArguments):
    """Says that one process trains on several devices."""

    parallel_mode = ParallelMode.NOT_DISTRIBUTED


@contextmanager
def standing_in(device_type: str, device_module: StandIn):
    """While this lasts, the trainer takes `device_module` for the module of the device that it trains on."""
    find = torch.get_device_module
    with mock.patch.object(
        torch, "get_device_module", lambda device: device_module if device_type in str(device) else find(device)
    ):
        if importlib.util.find_spec("transformers.trainer_resume") is None:
            yield
            return
        answer = (torch.device(device_type), len(device_module.states) > 1)
        with mock.patch("transformers.trainer_resume.generators.training_device", lambda args: answer, create=True):
            yield


class StandInTrainer(Trainer):
    """Trains on a device that is stood in for."""

    device_type = "xpu"
    num_devices = 1

    def train(self, *args, **kwargs):
        """As that of `Trainer`, with a device in the state of a new process."""
        self.model.device_module = StandIn(self.num_devices)
        with standing_in(self.device_type, self.model.device_module):
            return super().train(*args, **kwargs)


def _stand_in(name: str, device_type: str, num_devices: int = 1) -> Scenario:
    title = device_type.upper() if num_devices == 1 else f"{num_devices} GPUs in one process"
    options = {"args_class": SeveralDevicesArguments} if num_devices > 1 else {}
    return Scenario(
        name,
        f"stand-in for {title}",
        "devices",
        DEVICES,
        model=partial(StandInModel, dropout=0.5),
        trainer_class=type(
            "StandInTrainer", (StandInTrainer,), {"device_type": device_type, "num_devices": num_devices}
        ),
        trainer_options=lambda: dict(options),
        tier="core" if device_type == "mps" else "suite",
    )


def scenarios() -> list[Scenario]:
    """What needs a GPU, or a stand-in for another device."""
    noisy = {"dataset": noise(*ALL), "model": DROPOUT, "group": "cuda", "device": "cuda"}
    return [
        Scenario("cuda_dropout", "CUDA: dropout only", "cuda", None, model=DROPOUT, device="cuda"),
        Scenario("cuda_all_noise", "CUDA: all noise", fixed_by=PER_STEP, **noisy),
        Scenario(
            "cuda_workers",
            "CUDA: 2 persistent, pinned memory",
            fixed_by=WORKERS,
            **noisy,
            arguments={**worker_arguments(2, 2, True, "fork"), "dataloader_pin_memory": True},
        ),
        Scenario(
            "cuda_collator",
            "CUDA: the collator draws on the GPU",
            fixed_by=PER_STEP,
            **{**noisy, "make_collator": lambda: pieces.device_collate},
        ),
        Scenario("cuda_bf16", "CUDA: bf16", fixed_by=PER_STEP, **noisy, arguments={"bf16": True}),
        Scenario("cuda_fp16", "CUDA: fp16 with a scaler", fixed_by=PER_STEP, **noisy, arguments={"fp16": True}),
        _stand_in("stand_in_xpu", "xpu"),
        _stand_in("stand_in_mps", "mps"),
        _stand_in("stand_in_several_gpus", "cuda", 2),
    ]
