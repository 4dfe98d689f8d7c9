"""One configuration of a training run as plain data: how a data pipeline, intervals and interrupts are combined."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any

from exact_resume.matrix import configured_pieces, pieces
from exact_resume.matrix.scenarios.base import Scenario, sampling_arguments, worker_arguments

EVAL_SIZE = 3


@dataclass(frozen=True, repr=False)
class Configuration:
    """
    A training run and where it is interrupted; the defaults are the plainest run.

    Args:
        data: "map", "batched" (`__getitems__`), "datasets" (a transform), "iterable" or "sized_iterable".
        size: Number of samples.
        noise: The global RNGs drawn from in each sample.
        owned: Kinds of generator objects that the dataset owns and draws from, any of "torch", "numpy", "python".
        sampler: "seedable", "unseedable", "sequential", "length_grouped", "weighted", "subset", "lazy" (draws index by
            index from global RNGs), "owned" (has a generator of its own); "unprepared" and "owned_loader" (has a
            generator) are dataloaders that the user makes.
        collator: "plain", "noisy" (draws from global RNGs), or "owned" (from a generator of its own).
        dropout: Dropout probability of the model.
        model_noise: The global RNGs that the model draws from.
        workers: Number of worker processes, and with them `prefetch` and `persistent`.
        worker_info: Whether samples depend on id and seed of the worker.
        max_steps: Ends the training instead of `epochs`.
        logging: "steps", every `logging_steps`, "epoch" or "no"; likewise `saving` and `evaluation`.
        event: The event, such as "on_step_end", at which a callback draws from the global RNGs.
        interrupts: A chain: the steps at which the run, the run resumed from there, and so on, are interrupted.
    """

    data: str = "map"
    size: int = 4
    noise: tuple[str, ...] = ()
    owned: tuple[str, ...] = ()
    sampler: str = "seedable"
    collator: str = "plain"
    dropout: float = 0.0
    model_noise: tuple[str, ...] = ()
    workers: int = 0
    prefetch: int = 2
    persistent: bool = False
    worker_info: bool = False
    batch_size: int = 1
    drop_last: bool = False
    accumulation: int = 1
    epochs: int = 2
    max_steps: int | None = None
    saving: str = "steps"
    save_steps: int = 1
    logging: str = "steps"
    logging_steps: int = 1
    evaluation: str = "no"
    eval_steps: int = 1
    event: str | None = None
    interrupts: tuple[int, ...] = ()

    def __repr__(self) -> str:
        """What to write to get this configuration again."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        differing = [
            f"{field.name}={values[field.name]!r}" for field in fields(self) if values[field.name] != field.default
        ]
        return f"Configuration({', '.join(differing)})"

    def _repr_pretty_(self, printer, cycle: bool) -> None:
        # Hypothesis would write out every field.
        printer.text(repr(self))

    def to_json(self) -> dict[str, Any]:
        """A form that JSON keeps."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Configuration":
        """Inverse of `to_json`."""
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    @property
    def num_batches(self) -> int:
        """Batches of an epoch; of iterable data, when it is one process that makes them."""
        size = len(self.subset()) if self.sampler == "subset" else self.size
        return size // self.batch_size if self.drop_last else -(-size // self.batch_size)

    @property
    def updates_per_epoch(self) -> int:
        """Update steps of an epoch."""
        return -(-self.num_batches // self.accumulation)

    @property
    def saved_steps(self) -> list[int]:
        """The steps at which there is a checkpoint and the training is not over."""
        total = self.max_steps or self.epochs * self.updates_per_epoch
        stride = self.save_steps if self.saving == "steps" else self.updates_per_epoch
        return list(range(stride, total, stride)) if stride else []

    @property
    def is_valid(self) -> bool:
        """Whether the options go together, and the run can be interrupted."""
        iterable = self.data in ("iterable", "sized_iterable")
        return bool(self.saved_steps) and not (
            (iterable and (self.sampler != "seedable" or self.drop_last))
            # Each worker rounds up its share of the data, so that there are more batches than the length says.
            or (self.data == "sized_iterable" and self.workers > 1)
            # Without a length, a pass of fewer batches never completes an update step, and the training never ends.
            or (self.data == "iterable" and self.num_batches < self.accumulation)
            # Without a length there are no epochs to count by.
            or (
                self.data == "iterable"
                and (self.max_steps is None or "epoch" in (self.saving, self.logging, self.evaluation))
            )
            or (self.data == "datasets" and self.owned)
            or (self.workers == 0 and (self.persistent or self.worker_info or self.prefetch != 2))
            or (self.event in ("on_evaluate", "on_prediction_step") and self.evaluation == "no")
            or (self.event == "on_log" and self.logging == "no")
        )

    def features(self) -> set[str]:
        """What a resume of this run has to reproduce; see `random_configurations.FEATURES`."""
        at_epoch_end = any(step % self.updates_per_epoch == 0 for step in self.interrupts)
        # Saved in the last step of an epoch, before what happens at its end; saved by epochs, after that.
        before_epoch_end = at_epoch_end and self.saving == "steps"
        persistent_evaluation = self.evaluation != "no" and self.persistent
        uses = {
            "global-noise": bool(self.noise or self.collator == "noisy"),
            "model-noise": bool(self.dropout or self.model_noise),
            "global-sampling": self.sampler
            in ("unseedable", "weighted", "subset", "length_grouped", "lazy", "unprepared"),
            "worker-processes": self.workers > 0,
            "persistent-workers": self.persistent,
            "accumulation": self.accumulation > 1,
            "intervals": self.save_steps > 1 or self.saving == "epoch",
            "evaluation": self.evaluation != "no",
            # The workers that evaluate go on where those of the last evaluation stopped.
            "persistent-evaluation": persistent_evaluation and bool(self.noise or self.collator != "plain"),
            "callbacks": self.event is not None,
            # Only the first evaluation of a run draws a seed for persistent workers.
            "stored-position": self.event == "on_save"
            or persistent_evaluation
            or (before_epoch_end and (self.event == "on_epoch_end" or "epoch" in (self.evaluation, self.logging))),
            "logged-values": (self.logging == "steps" and any(step % self.logging_steps for step in self.interrupts))
            or (self.logging == "epoch" and any(step % self.updates_per_epoch for step in self.interrupts)),
            "pipeline-generators": bool(self.owned)
            or self.collator == "owned"
            or self.sampler in ("owned", "owned_loader"),
            "iterable-datasets": self.data in ("iterable", "sized_iterable"),
            "lazy-samplers": self.sampler == "lazy" and self.workers > 0,
        }
        return {name for name, used in uses.items() if used}

    def scenario(self, name: str = "random", title: str = "", group: str = "kept", **details) -> Scenario:
        """
        The scenario that trains like this.

        Args:
            name: Its name, and `title` and `group` for tables.
            details: Further arguments of `Scenario`, such as `fixed_by` and `tier`.
        """
        # Chains of the matrix need the checkpoint of every step, unless there are few interrupts.
        interrupts = None if (self.saving, self.save_steps) == ("steps", 1) else tuple(self.saved_steps[:5])
        fixed: dict[str, Any] = {
            "fixed_by": None,
            "interrupts": interrupts,
            "saves_when_resumed": self.event == "on_save",
        }
        return Scenario(
            name,
            title or repr(self),
            group,
            dataset=self._dataset,
            model=partial(pieces.TinyModel, self.dropout, self.model_noise),
            arguments=self._arguments(),
            make_collator=self._collator,
            callbacks=() if self.event is None else (configured_pieces.drawing_callback(self.event),),
            trainer_class=type("ConfiguredTrainer", (configured_pieces.OwnPipelineTrainer,), {"configuration": self}),
            trainer_options=self._trainer_options,
            **{**fixed, **details},
        )

    def _arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "per_device_train_batch_size": self.batch_size,
            "per_device_eval_batch_size": 2,
            "dataloader_drop_last": self.drop_last,
            "gradient_accumulation_steps": self.accumulation,
            "num_train_epochs": self.epochs,
            "max_steps": self.max_steps or -1,
            "save_strategy": self.saving,
            "save_steps": self.save_steps,
            "logging_strategy": self.logging,
            "logging_steps": self.logging_steps,
            "eval_strategy": self.evaluation,
            "eval_steps": self.eval_steps,
        }
        if self.workers:
            arguments |= worker_arguments(self.workers, self.prefetch, self.persistent, "fork")
        if self.sampler == "unseedable":
            arguments["accelerator_config"] = {"use_seedable_sampler": False}
        if self.sampler in ("length_grouped", "sequential"):
            names = {"length_grouped": "group_by_length", "sequential": "sequential"}
            arguments |= sampling_arguments(names[self.sampler])
        return arguments

    def _dataset(self) -> Any:
        if self.data == "datasets":
            return configured_pieces.datasets_with_lengths(self.size, self.noise)
        kinds = {
            "map": configured_pieces.Samples,
            "batched": configured_pieces.BatchedSamples,
            "iterable": configured_pieces.Stream,
            "sized_iterable": configured_pieces.SizedStream,
        }
        return kinds[self.data](self)

    def _trainer_options(self) -> dict[str, Any]:
        # Its noise moves the global RNGs on, and with them everything after an evaluation.
        if self.evaluation == "no":
            return {}
        return {"eval_dataset": configured_pieces.Samples(replace(self, size=EVAL_SIZE, owned=()))}

    def _collator(self) -> Callable:
        return configured_pieces.Collator(self.collator)

    def subset(self) -> range:
        """The indices that the sampler \"subset\" draws from."""
        return range(0, self.size, 2)


def run_configuration(configuration: dict[str, Any], chains: list[list[int]] | None = None) -> dict[str, Any]:
    """
    Run a configuration on the installed transformers, with its own chain of interrupts.

    Args:
        configuration: What `Configuration.to_json` returned.
        chains: Other chains of interrupts than its own.

    Returns:
        The cell of a result, as `running.run_scenario` returns it.
    """
    from exact_resume.matrix.running import run_scenario  # which imports the scenarios, some of which are from here
    from exact_resume.matrix.scenarios import SCENARIOS

    restored = Configuration.from_json(configuration)
    scenario = restored.scenario()
    SCENARIOS[scenario.name] = scenario
    try:
        return run_scenario(scenario.name, chains=chains or [list(restored.interrupts)])
    finally:
        del SCENARIOS[scenario.name]
