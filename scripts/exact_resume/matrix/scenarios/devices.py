"""Devices other than the CPU."""

from exact_resume.matrix.scenarios.base import (
    ALL,
    DROPOUT,
    PER_STEP,
    WORKERS,
    Scenario,
    noise,
    worker_arguments,
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
    ]
