"""Iterable data: with and without length, several passes, workers, `datasets` streaming."""

from functools import partial
from typing import Any

from exact_resume.matrix import iterable_pieces, pieces, stateful_pieces
from exact_resume.matrix.scenarios.base import ALL, DROPOUT, PIPELINE, Scenario, worker_arguments

STREAM, SIZED = iterable_pieces.Stream, iterable_pieces.SizedStream
# Without a length, the number of steps says when to stop: here, after three passes and a half.
STEPS = {"max_steps": 20}


def _scenario(name: str, title: str, dataset, fixed_by: str | None = PIPELINE, **fields) -> Scenario:
    return Scenario(
        name, title, "iterable", fixed_by, dataset=dataset, **{"model": DROPOUT, "tier": "suite", **fields}
    )


def _workers(num_workers: int, persistent: bool) -> Scenario:
    kind = "persistent" if persistent else "fresh"
    return _scenario(
        f"stream_{num_workers}_{kind}_workers",
        f"{num_workers} {kind} workers, ragged shards, no length",
        partial(STREAM, 22, ALL, ragged=True),
        arguments={**STEPS, **worker_arguments(num_workers, persistent=persistent)},
        interrupts=(1, 3, 5, 7, 8, 12, 13, 17),
    )


def scenarios() -> list[Scenario]:
    """What an iterable dataset can be, and how it can be read."""
    no_dispatch: dict[str, Any] = {"accelerator_config": {"dispatch_batches": False}}
    streaming = iterable_pieces.streaming
    return [
        _scenario("stream", "no length, several passes", partial(STREAM, 22, ALL), arguments=STEPS, tier="core"),
        _scenario("stream_sized", "with a length", partial(SIZED, 22, ALL), tier="quick"),
        _scenario(
            "stream_sharded", "no length, not dispatched", partial(STREAM, 22, ALL), arguments={**STEPS, **no_dispatch}
        ),
        _scenario(
            "stream_accumulation",
            "no length, accumulation 2, batches left over",
            partial(STREAM, 18, ALL),
            arguments={"max_steps": 9, "gradient_accumulation_steps": 2},
        ),
        _scenario(
            "stream_buffer",
            "shuffle buffer, seeded by epoch",
            partial(STREAM, 22, ALL, buffer_size=8),
            arguments=STEPS,
        ),
        _scenario(
            "stream_collator",
            "seeded collator",
            partial(SIZED, 22),
            make_collator=partial(stateful_pieces.LazyCollator, "torch"),
        ),
        _scenario("stream_position", "with a state_dict", partial(iterable_pieces.PositionedStream, 22, ALL)),
        *[_workers(num_workers, persistent) for num_workers in (1, 2, 3) for persistent in (False, True)],
        _scenario(
            "stream_sized_workers",
            "2 persistent workers, with a length",
            partial(SIZED, 22, ALL),
            arguments=worker_arguments(2, persistent=True),
            interrupts=(1, 4, 6, 8, 11),
        ),
        _scenario(
            "stream_collator_workers",
            "2 persistent workers, random collator, ragged last batches",
            partial(SIZED, 22, ALL),
            make_collator=lambda: pieces.noisy_collate,
            arguments=worker_arguments(2, persistent=True),
            interrupts=(1, 4, 6, 8, 12),
        ),
        _scenario("streaming", "datasets, noise in map", streaming, arguments=STEPS, tier="suite"),
        _scenario(
            "streaming_shuffled", "datasets, shuffle buffer", partial(streaming, shuffled=True), arguments=STEPS
        ),
        _scenario(
            "streaming_interleaved", "datasets, interleaved", partial(streaming, interleaved=True), arguments=STEPS
        ),
        _scenario(
            "streaming_interleaved_shuffled",
            "datasets, interleaved, shuffle buffer",
            partial(streaming, interleaved=True, shuffled=True),
            arguments=STEPS,
        ),
        _scenario(
            "streaming_workers",
            "datasets, 2 persistent workers, shuffle buffer",
            partial(streaming, shuffled=True),
            arguments={**STEPS, **worker_arguments(2, persistent=True)},
            interrupts=(1, 3, 5, 7, 8, 12, 13, 17),
        ),
    ]
