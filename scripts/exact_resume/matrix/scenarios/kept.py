"""Configurations that are kept by name, because no other scenario has what they combine."""

from exact_resume.matrix.scenarios.base import ALL, PER_STEP, WORKERS, Scenario
from exact_resume.matrix.scenarios.configurations import Configuration


def scenarios() -> list[Scenario]:
    """What random configurations found, or came closest to."""
    noisy = {"size": 11, "batch_size": 2, "accumulation": 2, "epochs": 3, "noise": ALL, "dropout": 0.5}
    # Noise of evaluation data moves the RNGs on between two update steps.
    evaluated = {**noisy, "evaluation": "steps", "eval_steps": 2, "event": "on_evaluate"}
    grouped = {**noisy, "data": "datasets", "sampler": "length_grouped", "collator": "noisy"}
    kept = [
        ("kept_noisy_evaluation", "noisy evaluation by steps", PER_STEP, Configuration(**evaluated)),
        ("kept_noisy_evaluation_workers", "the same, 2 workers", WORKERS, Configuration(**evaluated, workers=2)),
        ("kept_length_grouped", "group_by_length, random transform and collator", PER_STEP, Configuration(**grouped)),
    ]
    return [
        configuration.scenario(name, title, fixed_by=fixed_by, tier="suite")
        for name, title, fixed_by, configuration in kept
    ]
