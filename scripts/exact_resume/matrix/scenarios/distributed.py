"""Several ranks: DDP with gloo on the CPU."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch.utils.data import IterableDataset
from transformers import TrainingArguments

from exact_resume.matrix import pieces
from exact_resume.matrix.distributed_pieces import AdaptedModel, OrderByData, OrderByRank, OrderedModel
from exact_resume.matrix.run_state_pieces import NormalizedModel
from exact_resume.matrix.scenarios.base import (
    ALL,
    BUCKETS,
    DEVICES,
    DROPOUT,
    KEPT,
    PER_STEP,
    PIPELINE,
    WORKERS,
    Scenario,
    noise,
    worker_arguments,
)

# With 2 ranks and 2 samples a batch, 7 update steps an epoch, of which the last is ragged.
SIZE = 26
ARGUMENTS = {"num_train_epochs": 2, "per_device_train_batch_size": 2, "ddp_find_unused_parameters": False}
# A sum of three gradients depends on their order, and that on the buckets, which change after the first step
# unless DDP looks for unused parameters.
THREE = {"ddp_find_unused_parameters": True}
# Of 2.3 MB, for the smallest buckets that there are.
WIDE = partial(OrderedModel, width=256, num_layers=8)
# Two neighbours, the end of an epoch, and within the next.
INTERRUPTS = (2, 3, 7, 10)


class NoisyStream(IterableDataset):
    """The samples of `pieces.NoisyDataset`, with noise, as an iterable without a length."""

    def __init__(self, size: int):
        self.samples = pieces.NoisyDataset(size, ALL)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        return (self.samples[index] for index in range(len(self.samples)))


class SizedNoisyStream(NoisyStream):
    """The same with a length."""

    def __len__(self) -> int:
        return len(self.samples)


def add_noise(row: dict) -> dict:
    """Add noise to a row of `streaming`."""
    return {**row, "x": row["x"] + pieces.draw(ALL, 1 + int(row["index"]) % 3)}


def streaming(size: int, num_shards: int, buffer_size: int | None = None):
    """A `datasets.IterableDataset` that draws noise in `map`, shuffled through a buffer if `buffer_size` is given."""
    import datasets

    fixed = pieces.NoisyDataset(size)
    columns = {"x": fixed.x.tolist(), "labels": fixed.labels.tolist(), "index": list(range(size))}
    dataset = datasets.Dataset.from_dict(columns).to_iterable_dataset(num_shards=num_shards).with_format("torch")
    if buffer_size is not None:
        dataset = dataset.shuffle(seed=0, buffer_size=buffer_size)
    return dataset.map(add_noise)


def _ddp(name: str, title: str, fixed_by: str | None, arguments: dict | None = None, **options) -> Scenario:
    options = {
        "arguments": {**ARGUMENTS, **(arguments or {})},
        "dataset": noise(*ALL, size=SIZE),
        "model": DROPOUT,
        "num_processes": 2,
        "interrupts": INTERRUPTS,
        "tier": "suite",
        **options,
    }
    return Scenario(f"ddp_{name}", f"DDP: {title}", "distributed", fixed_by, **options)


def _map_style() -> list[Scenario]:
    workers = {"dataset": noise(*ALL, size=SIZE, uses_worker_info=True)}
    two, two_persistent = worker_arguments(2), worker_arguments(2, persistent=True)
    dispatch = {"accelerator_config": {"dispatch_batches": True}}
    return [
        _ddp("dropout", "dropout only", None, dataset=noise(size=SIZE)),
        _ddp("noise", "all noise", PER_STEP, tier="quick"),
        _ddp("noise_3_ranks", "3 ranks, all noise", PER_STEP, THREE, num_processes=3, interrupts=(2, 3, 5, 8)),
        _ddp("reseeded", "resumed with another seed", PIPELINE, seed_before_training=True),
        _ddp("collator", "random collator", PER_STEP, dataset=noise(size=SIZE), make_collator=_noisy_collator),
        _ddp("drop_last", "drop_last", PER_STEP, {"dataloader_drop_last": True}, interrupts=(2, 3, 6, 9)),
        _ddp(
            "accumulation_ragged",
            "accumulation 2, ragged last step",
            PER_STEP,
            {"gradient_accumulation_steps": 2},
            interrupts=(1, 2, 4, 6),
        ),
        _ddp("workers", "2 workers", WORKERS, two, **workers),
        _ddp("workers_persistent", "2 persistent workers", WORKERS, two_persistent, **workers),
        _ddp(
            "workers_3_ranks",
            "3 ranks, 2 workers, accumulation 2",
            WORKERS,
            {**THREE, **two, "gradient_accumulation_steps": 2},
            **workers,
            num_processes=3,
            interrupts=(1, 2, 3, 5),
        ),
        _ddp(
            "unseedable_sampler",
            "unseedable sampler",
            PIPELINE,
            {"accelerator_config": {"use_seedable_sampler": False}},
            dataset=noise(size=SIZE),
        ),
        _ddp(
            "unseedable_noise",
            "unseedable sampler, all noise",
            PIPELINE,
            {"accelerator_config": {"use_seedable_sampler": False}},
        ),
        _ddp(
            "unseedable_workers",
            "unseedable sampler, 2 persistent workers",
            PIPELINE,
            {"accelerator_config": {"use_seedable_sampler": False}, **two_persistent},
            **workers,
        ),
        _ddp(
            "split_batches",
            "split_batches",
            PER_STEP,
            {"accelerator_config": {"split_batches": True}, "per_device_train_batch_size": 4},
        ),
        _ddp("dispatch", "dispatch_batches", DEVICES, dispatch),
        _ddp("dispatch_dropout", "dispatch_batches, dropout only", DEVICES, dispatch, dataset=noise(size=SIZE)),
        _ddp(
            "dispatch_workers",
            "dispatch_batches, 2 workers",
            DEVICES,
            {**dispatch, **two},
            **workers,
        ),
    ]


def _iterable() -> list[Scenario]:
    sharded = {"accelerator_config": {"dispatch_batches": False}}
    # Two passes, as with epochs.
    unsized = {"max_steps": 14}
    stream = {"dataset": partial(NoisyStream, SIZE)}
    sized = {"dataset": partial(SizedNoisyStream, SIZE)}
    return [
        _ddp("iterable", "iterable, dispatched", DEVICES, unsized, **stream),
        _ddp("iterable_sharded", "iterable, sharded", PIPELINE, {**unsized, **sharded}, **stream),
        _ddp("iterable_sized", "iterable with length, dispatched", DEVICES, **sized),
        _ddp("iterable_sized_sharded", "iterable with length, sharded", PIPELINE, sharded, **sized),
        _ddp(
            "streaming",
            "datasets streaming, sharded",
            PIPELINE,
            {**unsized, **sharded},
            dataset=partial(streaming, SIZE, 2),
            requires=("datasets",),
        ),
        _ddp(
            "streaming_dispatched",
            "datasets streaming, dispatched",
            DEVICES,
            unsized,
            dataset=partial(streaming, SIZE, 2),
            requires=("datasets",),
        ),
        _ddp(
            "streaming_shuffled",
            "datasets streaming, shuffle buffer",
            PIPELINE,
            {**unsized, **sharded},
            dataset=partial(streaming, SIZE, 2, 6),
            requires=("datasets",),
        ),
    ]


def _buckets() -> list[Scenario]:
    """Three ranks and more, where DDP arranges its buckets anew."""
    shared = {"dataset": noise(size=SIZE), "num_processes": 3, "interrupts": (1, 2, 3, 5)}

    def scenario(name: str, title: str, model: Callable, arguments: dict | None = None, **options) -> Scenario:
        return _ddp(f"buckets_{name}", title, BUCKETS, arguments, model=model, **{**shared, **options})

    # Not both: PyTorch does not take micro-batches of a static graph whose gradients are not summed up.
    static, accumulate = {"ddp_static_graph": True}, {"gradient_accumulation_steps": 2}
    spare = partial(OrderedModel, has_spare=True, is_checkpointed=True)
    lacks = None if hasattr(TrainingArguments, "ddp_static_graph") else "no argument for a static graph"
    return [
        scenario("one", "3 ranks", OrderedModel, tier="core"),
        scenario("noise", "3 ranks, all noise", OrderedModel, dataset=noise(*ALL, size=SIZE)),
        scenario("several", "4 ranks, 3 buckets", WIDE, {"ddp_bucket_cap_mb": 1}, num_processes=4),
        scenario("accumulation", "3 ranks, another order in each micro-batch", OrderByData, accumulate),
        scenario("checkpointed", "3 ranks, activations computed again", partial(OrderedModel, is_checkpointed=True)),
        scenario("frozen", "3 ranks, frozen parameters", partial(OrderedModel, frozen=True)),
        scenario("adapters", "3 ranks, low-rank adapters", AdaptedModel),
        scenario("by_rank", "3 ranks, another order on each", OrderByRank),
        scenario("static", "3 ranks, static graph, unused parameters", spare, static, lacks=lacks),
        scenario("eight", "8 ranks", OrderedModel, num_processes=8, tier="long"),
    ]


def evaluation() -> dict:
    """Data to evaluate with."""
    return {"eval_dataset": pieces.NoisyDataset(10)}


def _statistics() -> list[Scenario]:
    """Buffers that differ by rank, and are evaluated with, or trained with as DDP does not send those of rank 0."""
    shared = {"model": NormalizedModel, "dataset": noise(size=SIZE), "trainer_options": evaluation}
    arguments = {"eval_strategy": "steps", "eval_steps": 1}
    own = {**arguments, "ddp_broadcast_buffers": False}
    return [
        _ddp("statistics", "batch normalization, those of rank 0", None, arguments, **shared),
        _ddp("own_statistics", "batch normalization, those of each rank", KEPT, own, **shared),
    ]


def _noisy_collator():
    return pieces.noisy_collate


def scenarios() -> list[Scenario]:
    """What is particular to several ranks: how data is dispatched or sharded, and who owns which state."""
    return _map_style() + _buckets() + _statistics() + _iterable()
