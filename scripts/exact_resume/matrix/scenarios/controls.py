"""Scenarios for the tests of the harness itself."""

from exact_resume.matrix import pieces
from exact_resume.matrix.scenarios.base import Scenario


def scenarios() -> list[Scenario]:
    """What shows that the harness can fail."""
    return [
        Scenario(
            "not_deterministic",
            "control: no two runs are alike",
            "control",
            None,
            model=pieces.UnseededModel,
            tier="long",
        )
    ]
