"""Worker processes."""

from functools import partial

from exact_resume.matrix import pieces
from exact_resume.matrix.scenarios.base import (
    ALL,
    ARGUMENTS,
    DROPOUT,
    PARTIAL,
    WORKERS,
    Scenario,
    noise,
    worker_arguments,
)


def _tier(num_workers: int, prefetch: int, persistent: bool, method: str) -> str:
    if method == "spawn":
        # Every worker imports torch anew, some seconds each; what differs from forkserver is only how it starts.
        return "suite" if (num_workers, prefetch, persistent) == (2, 2, True) else "long"
    if (method, prefetch) != ("fork", 2) or num_workers == 1:
        return "suite"
    return "core" if num_workers == 2 else "quick"


def _worker_scenario(num_workers: int, prefetch: int, persistent: bool, method: str) -> Scenario:
    arguments = worker_arguments(num_workers, prefetch, persistent, method)
    # Shorter epochs, and fewer, the longer it takes to start a worker.
    size, epochs = {"fork": (22, 3), "forkserver": (11, 3), "spawn": (11, 2)}[method]
    return Scenario(
        f"workers_{num_workers}_prefetch_{prefetch}_{'persistent_' if persistent else ''}{method}",
        f"{num_workers} {'persistent, ' if persistent else 'workers, '}prefetch {prefetch}, {method}",
        "workers",
        WORKERS,
        dataset=noise(*ALL, size=size, uses_worker_info=True),
        model=DROPOUT,
        arguments={**arguments, "num_train_epochs": epochs},
        controls=(2, 4),
        tier=_tier(num_workers, prefetch, persistent, method),
    )


def scenarios() -> list[Scenario]:
    """Every number of workers, prefetch factor, persistence and start method, and what workers draw in."""
    noisy = {"dataset": noise(*ALL, uses_worker_info=True), "model": DROPOUT}
    scenarios = [
        _worker_scenario(num_workers, prefetch, persistent, method)
        for method in ("fork", "forkserver", "spawn")
        for num_workers in (1, 2, 3)
        for prefetch in (1, 2, 4)
        for persistent in (False, True)
    ]
    two = worker_arguments(2, 2, False, "fork")
    return scenarios + [
        Scenario(
            "workers_dropout", "2 workers, dropout only", "workers", None, model=DROPOUT, arguments=two, tier="suite"
        ),
        Scenario(
            "workers_accumulation",
            "3 workers, accumulation 2, ragged",
            "workers",
            WORKERS,
            dataset=noise(*ALL, size=18),
            model=DROPOUT,
            arguments={**worker_arguments(3, 2, True, "fork"), "gradient_accumulation_steps": 2},
            tier="suite",
        ),
        Scenario(
            "workers_collator",
            "2 workers, random collator",
            "workers",
            WORKERS,
            model=DROPOUT,
            make_collator=lambda: pieces.noisy_collate,
            arguments=two,
            tier="suite",
        ),
        Scenario(
            "workers_getitems",
            "3 workers, __getitems__",
            "workers",
            WORKERS,
            dataset=partial(pieces.BatchedNoisyDataset, 22, ALL),
            model=DROPOUT,
            arguments=worker_arguments(3, 2, False, "fork"),
            tier="suite",
        ),
        Scenario(
            "workers_datasets",
            "2 persistent, datasets transform",
            "workers",
            WORKERS,
            dataset=partial(pieces.datasets_with_transform, 22),
            model=DROPOUT,
            arguments=worker_arguments(2, 2, True, "fork"),
            tier="suite",
        ),
        # What the worker draws is not recorded then; nothing does, as one alone keeps the order.
        Scenario(
            "workers_any_order",
            "1 worker, in any order, unseedable sampler",
            "workers",
            PARTIAL,
            model=DROPOUT,
            arguments={
                **worker_arguments(1),
                "accelerator_config": {"use_seedable_sampler": False},
                "dataloader_in_order": False,
            },
            tier="core",
            lacks=None if "dataloader_in_order" in ARGUMENTS else "no workers that deliver in any order",
        ),
        Scenario(
            "workers_unseedable",
            "2 workers, unseedable sampler",
            "workers",
            WORKERS,
            **noisy,
            arguments={**two, "accelerator_config": {"use_seedable_sampler": False}},
            tier="suite",
        ),
    ]
