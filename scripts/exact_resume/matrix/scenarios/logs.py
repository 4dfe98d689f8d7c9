"""What is logged: every value of the log history, whatever the intervals."""

from exact_resume.matrix.scenarios.base import ALL, DROPOUT, POSITION, Scenario, noise
from exact_resume.matrix.scenarios.stops import with_evaluation


def scenarios() -> list[Scenario]:
    """Logging intervals that do not divide the interval of saving, and the summary of the run."""
    cases = [
        ("logs_by_4_steps", "logged every 4 steps", {"logging_steps": 4}),
        ("logs_by_epoch", "logged by epoch", {"logging_strategy": "epoch"}),
        (
            "logs_accumulation",
            "logged every 3 steps, accumulation 2",
            {"logging_steps": 3, "gradient_accumulation_steps": 2, "logging_first_step": True},
        ),
        (
            "logs_saves_evaluates",
            "logged every 5, saved every 2, evaluated every 3 steps",
            {"logging_steps": 5, "save_steps": 2, "eval_strategy": "steps", "eval_steps": 3},
        ),
        (
            "logs_evaluates_by_epoch",
            "logged every 4 steps, evaluated by epoch",
            {"logging_steps": 4, "eval_strategy": "epoch"},
        ),
    ]
    return [
        Scenario(
            name,
            title,
            "logs",
            POSITION,
            dataset=noise(*ALL),
            model=DROPOUT,
            arguments=arguments,
            trainer_options=with_evaluation,
            controls=(2, 6),
            compares_summary=True,
            tier="core" if name == "logs_by_4_steps" else "suite",
        )
        for name, title, arguments in cases
    ]
