"""Where a run stops: epoch ends, evaluation, saving strategies, the handler of SIGTERM, and callbacks that draw."""

from functools import partial

from transformers import EarlyStoppingCallback, Trainer

from exact_resume.matrix import iterable_pieces, pieces, run_state_pieces
from exact_resume.matrix.scenarios.base import (
    ALL,
    COMPLETE,
    DROPOUT,
    KEPT,
    PER_STEP,
    PIPELINE,
    POSITION,
    WORKERS,
    Scenario,
    noise,
    worker_arguments,
)

BY_EPOCH = {"eval_strategy": "epoch"}
BY_STEPS = {"eval_strategy": "steps", "eval_steps": 2}
EVENTS = (
    "on_train_begin",
    "on_epoch_begin",
    "on_step_begin",
    "on_pre_optimizer_step",
    "on_optimizer_step",
    "on_step_end",
    "on_log",
    "on_prediction_step",
    "on_evaluate",
    "on_save",
    "on_epoch_end",
)


def with_evaluation() -> dict:
    """Makes the options of a trainer that evaluates."""
    return {"eval_dataset": pieces.NoisyDataset(6)}


def with_two_evaluations() -> dict:
    """Makes the options of a trainer that evaluates on two datasets."""
    return {"eval_dataset": {"first": pieces.NoisyDataset(6), "second": pieces.NoisyDataset(5)}}


class LaterEvaluationTrainer(Trainer):
    """Evaluates on its first dataset only, and now and then on the second: workers start at different times."""

    def evaluate(self, eval_dataset=None, *args, **kwargs):
        """As that of `Trainer`."""
        if eval_dataset is None:
            names = ["first", *(["second"] if self.state.global_step in (10, 16) else [])]
            return {key: value for name in names for key, value in self.evaluate(name, *args, **kwargs).items()}
        return super().evaluate(eval_dataset, *args, **kwargs)


class EvaluationInStepTrainer(Trainer):
    """Evaluates in the middle of an update step, and logs nothing of it."""

    def training_step(self, *args, **kwargs):
        """As that of `Trainer`."""
        if self.state.global_step == 1:
            self.evaluation_loop(self.get_eval_dataloader(), "Evaluation")
        return super().training_step(*args, **kwargs)


def _scenario(name: str, title: str, fixed_by: str | None, **fields) -> Scenario:
    return Scenario(name, title, "stops", fixed_by, **{"model": DROPOUT, "tier": "suite", **fields})


def scenarios() -> list[Scenario]:
    """Every place at which a checkpoint can be taken."""
    noisy = {"dataset": noise(*ALL)}
    evaluates = {"trainer_options": with_evaluation}
    return [
        _scenario(
            "evaluate_by_epoch",
            "save by steps, evaluate by epoch",
            POSITION,
            controls=(6, 12),
            arguments=BY_EPOCH,
            tier="core",
            **evaluates,
        ),
        _scenario("evaluate_by_steps", "save and evaluate by steps", None, arguments=BY_STEPS, **evaluates),
        _scenario(
            "evaluate_and_save_by_epoch",
            "save and evaluate by epoch",
            None,
            controls=(6, 12),
            arguments={**BY_EPOCH, "save_strategy": "epoch"},
            **evaluates,
        ),
        _scenario(
            "save_best",
            "save_strategy best",
            PER_STEP,
            controls=(1, 13),
            arguments={
                **BY_STEPS,
                "eval_steps": 1,
                "save_strategy": "best",
                "metric_for_best_model": "loss",
                "learning_rate": 0.1,
            },
            saves_when_resumed=True,
            **noisy,
            **evaluates,
        ),
        _scenario(
            "load_best_model_at_end",
            "load_best_model_at_end",
            PER_STEP,
            arguments={**BY_STEPS, "eval_steps": 1, "load_best_model_at_end": True},
            saves_when_resumed=True,
            **noisy,
            **evaluates,
        ),
        _scenario(
            "early_stopping",
            "early stopping, callback states restored",
            PER_STEP,
            controls=(1, 2),
            arguments={
                **BY_STEPS,
                "eval_steps": 1,
                "load_best_model_at_end": True,
                "learning_rate": 0.3,
                "restore_callback_states_from_checkpoint": True,
            },
            callbacks=(partial(EarlyStoppingCallback, 2),),
            saves_when_resumed=True,
            **noisy,
            **evaluates,
        ),
        _scenario(
            "early_stopping_ended",
            "ended by early stopping, callback states not restored",
            KEPT,
            # Of the first of these, the run goes on for two evaluations; at the second, it has ended.
            interrupts=(2, 3),
            controls=(3,),
            arguments={**BY_STEPS, "eval_steps": 1, "load_best_model_at_end": True, "learning_rate": 0.3},
            callbacks=(partial(EarlyStoppingCallback, 2),),
            saves_when_resumed=True,
            **noisy,
            **evaluates,
        ),
        _scenario(
            "evaluate_on_start",
            "eval_on_start",
            KEPT,
            arguments={"eval_on_start": True},
            tier="quick",
            **noisy,
            **evaluates,
        ),
        *[
            _scenario(f"own_{name}", f"{title} with a generator", KEPT, tier=tier, **noisy, **fields)
            for name, title, tier, fields in (
                (
                    "model",
                    "model with a buffer that is not saved, and",
                    "core",
                    {"model": run_state_pieces.OwnNoiseModel},
                ),
                ("trainer", "trainer", "suite", {"trainer_class": run_state_pieces.OwnNoiseTrainer}),
                ("callback", "callback", "suite", {"callbacks": (run_state_pieces.OwnNoiseCallback,)}),
            )
        ],
        _scenario(
            "sigterm_batch_norm",
            "batch normalization, checkpoint by the handler of SIGTERM within a step",
            KEPT,
            arguments={"gradient_accumulation_steps": 2},
            model=run_state_pieces.NormalizedModel,
            interrupt_event="on_pre_optimizer_step",
            interrupts=(1, 3, 4),
            **noisy,
        ),
        _scenario(
            "evaluate_persistent_workers",
            "evaluation with persistent workers",
            WORKERS,
            arguments={**worker_arguments(2, persistent=True), **BY_STEPS},
            interrupts=(1, 3, 6, 8),
            **evaluates,
        ),
        *[
            _scenario(
                f"chain_{name}",
                f"persistent workers, {title}",
                fixed_by,
                arguments={**worker_arguments(2, persistent=True), **arguments},
                interrupts=interrupts,
                controls=interrupts,
                **fields,
            )
            # In chains, a run has to pass on what it did not do itself: the last epoch evaluates once.
            for name, title, fixed_by, arguments, interrupts, fields in (
                ("by_epoch", "evaluation by epoch", POSITION, BY_EPOCH, (13, 14), evaluates),
                (
                    "by_steps",
                    "two datasets, evaluation by steps",
                    WORKERS,
                    {**BY_STEPS, "eval_steps": 4},
                    (9, 13),
                    {"trainer_options": with_two_evaluations},
                ),
                (
                    "later",
                    "a dataset that is evaluated later and seldom",
                    WORKERS,
                    BY_STEPS,
                    (11, 13),
                    {"trainer_options": with_two_evaluations, "trainer_class": LaterEvaluationTrainer},
                ),
                (
                    "noise",
                    "noise, evaluation by epoch, four epochs",
                    WORKERS,
                    {**BY_EPOCH, "num_train_epochs": 4},
                    (7, 19),
                    {"dataset": noise(*ALL, uses_worker_info=True), **evaluates},
                ),
            )
        ],
        _scenario(
            "finished_run",
            "resumed after the last step, evaluate by epoch",
            POSITION,
            arguments=BY_EPOCH,
            interrupts=(12, 18),
            **evaluates,
        ),
        _scenario(
            "max_steps",
            "max_steps within an epoch",
            POSITION,
            arguments={**BY_EPOCH, "max_steps": 9},
            interrupts=(4, 6, 8, 9),
            **evaluates,
        ),
        _scenario(
            "epoch_stopped",
            "should_epoch_stop",
            POSITION,
            callbacks=(partial(pieces.StopEpochAfter, 4),),
            tier="quick",
        ),
        _scenario(
            "epoch_stopped_noise",
            "should_epoch_stop, persistent workers",
            WORKERS,
            dataset=noise(*ALL, uses_worker_info=True),
            arguments=worker_arguments(2, persistent=True),
            callbacks=(partial(pieces.StopEpochAfter, 4),),
        ),
        _scenario(
            "ignore_data_skip",
            "ignore_data_skip, at epoch ends",
            None,
            arguments={"ignore_data_skip": True},
            interrupts=(6, 12),
        ),
        _scenario(
            "auto_find_batch_size",
            "auto_find_batch_size",
            PER_STEP,
            dataset=noise(*ALL, size=12),
            arguments={"auto_find_batch_size": True},
            trainer_class=pieces.OutOfMemoryTrainer,
        ),
        _scenario(
            "seeded_elsewhere",
            "seeded before train() when resumed",
            PIPELINE,
            seed_before_training=True,
        ),
        _scenario(
            "random_callbacks",
            "callbacks draw at every event",
            POSITION,
            arguments={**BY_EPOCH, "gradient_accumulation_steps": 2},
            callbacks=(partial(pieces.RandomAt, *EVENTS),),
            saves_when_resumed=True,
            tier="quick",
            **noisy,
            **evaluates,
        ),
        *[
            _scenario(
                f"random_{event}",
                f"a callback draws in {event}",
                POSITION,
                callbacks=(partial(pieces.RandomAt, event),),
                saves_when_resumed=True,
                interrupts=(2, 6, 7, 12),
            )
            for event in ("on_save", "on_epoch_end")
        ],
        _scenario(
            "interrupted_save",
            "ended in the middle of a save",
            COMPLETE,
            interrupts=(2, 7),
            interrupts_save=True,
            tier="core",
            **noisy,
        ),
        *[
            _scenario(
                f"sigterm_{event}",
                f"checkpoint by the handler of SIGTERM in {event}",
                fixed_by,
                arguments={**BY_EPOCH, "gradient_accumulation_steps": 2},
                callbacks=(partial(pieces.RandomAt, event),),
                interrupt_event=event,
                interrupts=interrupts,
                **noisy,
                **evaluates,
            )
            for event, fixed_by, interrupts in (
                ("on_step_begin", PER_STEP, (1, 3, 4)),
                ("on_pre_optimizer_step", PER_STEP, (1, 3, 4)),
                ("on_step_end", POSITION, (1, 2, 3, 6)),
                ("on_epoch_end", POSITION, (3, 6)),
            )
        ],
        *[
            _scenario(
                f"sigterm_again_{event}",
                f"2 persistent workers, checkpoints by the handler of SIGTERM in {event}, again and again",
                WORKERS,
                arguments={**BY_EPOCH, **worker_arguments(2, persistent=True), "gradient_accumulation_steps": 2},
                callbacks=(partial(pieces.RandomAt, event),),
                interrupt_event=event,
                interrupts_again=True,
                interrupts=interrupts,
                **noisy,
                **evaluates,
            )
            for event, interrupts in (
                ("on_step_begin", (1, 3, 4)),
                ("on_pre_optimizer_step", (1, 3, 4)),
                ("on_step_end", (1, 2, 3, 6)),
                ("on_epoch_end", (3, 6)),
            )
        ],
        *[
            _scenario(
                f"sigterm_epoch_stopped{suffix}",
                f"{title}, the handler of SIGTERM in on_step_end, where the epoch is then stopped",
                WORKERS,
                dataset=noise(*ALL, uses_worker_info=True),
                arguments=worker_arguments(2, persistent=persistent),
                callbacks=(partial(pieces.StopEpochAfter, 4),),
                tier=tier,
                interrupt_event="on_step_end",
                interrupts=(3, 4, 8),
                controls=(3, 8),
            )
            for suffix, title, persistent, tier in (
                ("", "2 workers", False, "core"),
                ("_persistent", "2 persistent workers", True, "suite"),
            )
        ],
        _scenario(
            "sigterm_evaluates",
            "2 persistent workers, evaluation in a step, then the handler of SIGTERM in it",
            WORKERS,
            arguments=worker_arguments(2, persistent=True),
            trainer_class=EvaluationInStepTrainer,
            interrupt_event="on_pre_optimizer_step",
            interrupts=(1, 2),
            **noisy,
            **evaluates,
        ),
        *[
            _scenario(
                f"sigterm_saves_{name}",
                f"{title}: a checkpoint by the handler of SIGTERM, then by the run that is resumed from it",
                fixed_by,
                arguments={"gradient_accumulation_steps": 2, **arguments},
                interrupt_event="on_step_end",
                **{"interrupts": (1, 2, 3, 6), **noisy, **fields},
            )
            for name, title, fixed_by, arguments, fields in (
                ("workers", "2 persistent workers", WORKERS, worker_arguments(2, persistent=True), {}),
                (
                    "by_epoch",
                    "2 persistent workers, saved by epoch",
                    WORKERS,
                    {**worker_arguments(2, persistent=True), "save_strategy": "epoch"},
                    {},
                ),
                (
                    "stream",
                    "an iterable dataset with a state_dict",
                    PIPELINE,
                    {},
                    {"dataset": partial(iterable_pieces.PositionedStream, 22, ALL)},
                ),
                (
                    "stream_workers",
                    "an iterable dataset, 2 persistent workers",
                    PIPELINE,
                    {**worker_arguments(2, persistent=True), "max_steps": 9},
                    {"dataset": partial(iterable_pieces.SizedStream, 22, ALL)},
                ),
                ("max_steps", "max_steps within an epoch", POSITION, {"max_steps": 4}, {"interrupts": (2, 4)}),
            )
        ],
    ]
