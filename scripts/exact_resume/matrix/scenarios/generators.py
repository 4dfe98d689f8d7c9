"""Generators and other state that the data pipeline owns."""

from functools import partial

from torch.utils.data import DataLoader
from transformers import Trainer

from exact_resume.matrix import ordinary_pieces, pieces, run_state_pieces, stateful_pieces
from exact_resume.matrix.scenarios.base import (
    ALL,
    DROPOUT,
    ORDINARY,
    PIPELINE,
    REGISTERED,
    Scenario,
    worker_arguments,
)

OWN = stateful_pieces.OwnNoiseDataset
SAMPLES, DECORATED = partial(ordinary_pieces.samples, 22), ordinary_pieces.decorated_collator


class SeededWorkersTrainer(Trainer):
    """Brings a `worker_init_fn` that makes the generators of a worker's dataset."""

    def get_train_dataloader(self) -> DataLoader:
        return self.accelerator.prepare(
            DataLoader(
                self.train_dataset,
                batch_size=4,
                shuffle=True,
                num_workers=2,
                worker_init_fn=stateful_pieces.seed_dataset,
                collate_fn=pieces.stack,
            )
        )


def _scenario(name: str, title: str, fixed_by: str | None = PIPELINE, **fields) -> Scenario:
    return Scenario(name, title, "generators", fixed_by, **{"model": DROPOUT, "tier": "suite", **fields})


def scenarios() -> list[Scenario]:
    """Every kind of generator, everywhere that one can be held, in the main process and in workers."""
    two, persistent = worker_arguments(2), worker_arguments(2, persistent=True)
    return [
        *[
            _scenario(f"own_{kind}", f"dataset owns a {kind} generator", dataset=partial(OWN, 22, (kind,)))
            for kind in stateful_pieces.KINDS
        ],
        _scenario(
            "own_all",
            "dataset owns all kinds, and draws globally",
            dataset=partial(OWN, 22, sources=ALL),
            tier="core",
        ),
        _scenario(
            "own_module",
            "dataset uses a generator of its module",
            dataset=partial(stateful_pieces.module_noise_dataset, 22),
        ),
        _scenario(
            "own_workers", "2 workers, dataset owns all kinds", dataset=partial(OWN, 22), arguments=two, tier="quick"
        ),
        _scenario(
            "own_persistent_workers",
            "2 persistent workers, dataset owns all kinds",
            dataset=partial(OWN, 22, sources=ALL),
            arguments=persistent,
        ),
        _scenario(
            "own_forkserver_workers",
            "2 workers under forkserver, dataset owns generators",
            # Those of PyTorch do not survive the way to another process.
            dataset=partial(OWN, 22, ("numpy", "numpy_legacy", "python")),
            arguments=worker_arguments(2, method="forkserver"),
            interrupts=(1, 2, 4, 7),
        ),
        _scenario(
            "own_worker_init",
            "worker_init_fn makes the dataset's generators",
            dataset=partial(OWN, 22),
            trainer_class=SeededWorkersTrainer,
        ),
        *[
            _scenario(
                f"collator_{kind}{'_workers' if arguments else ''}",
                f"collator seeds a {kind} generator lazily{', 2 persistent workers' if arguments else ''}",
                make_collator=partial(stateful_pieces.LazyCollator, kind),
                arguments=arguments,
            )
            for kind in ("torch", "numpy")
            for arguments in ({}, persistent)
        ],
        _scenario(
            "collator_closure",
            "collator with a generator in a closure",
            make_collator=stateful_pieces.closure_collator,
        ),
        *[
            _scenario(f"{name}{suffix}", f"{title}{words}", ORDINARY, arguments=arguments, tier=tier, **fields)
            for name, title, first_tier, fields in (
                ("ordinary_dataset", "dataset draws from module, class and function", "core", {"dataset": SAMPLES}),
                (
                    "ordinary_collator",
                    "collator in a decorator, with a cached factory",
                    "quick",
                    {"make_collator": DECORATED},
                ),
                (
                    "ordinary_buffers",
                    "transform with a buffer",
                    "quick",
                    {"dataset": partial(ordinary_pieces.BufferDataset, 22)},
                ),
            )
            for suffix, words, arguments, tier in (
                ("", "", {}, first_tier),
                ("_workers", ", 2 persistent workers", persistent, "suite"),
            )
        ],
        _scenario(
            "registered_state",
            "a trainer's inputs for several steps, registered",
            REGISTERED,
            trainer_class=run_state_pieces.BufferingTrainer,
            tier="core",
        ),
        _scenario(
            "collator_state_dict", "collator with a state_dict", make_collator=stateful_pieces.CurriculumCollator
        ),
        _scenario(
            "collator_state_dict_workers",
            "collator with a state_dict, 2 persistent workers",
            make_collator=stateful_pieces.CurriculumCollator,
            arguments=persistent,
        ),
    ]
