"""The scenarios: each says what is trained, and which trees are expected to resume it exactly."""

from exact_resume.matrix.scenarios import (
    basic,
    controls,
    devices,
    distributed,
    engines,
    generators,
    iterables,
    kept,
    logs,
    models,
    samplers,
    stops,
    workers,
)
from exact_resume.matrix.scenarios.base import Scenario

MODULES = (
    basic,
    samplers,
    workers,
    generators,
    iterables,
    stops,
    logs,
    models,
    distributed,
    engines,
    kept,
    devices,
    controls,
)
SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for module in MODULES for scenario in module.scenarios()}

__all__ = ["SCENARIOS", "Scenario"]
