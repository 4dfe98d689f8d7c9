"""The scenario matrix: what is trained, how a run is recorded, and how a resumed run is compared."""

TIERS = ("core", "quick", "suite", "long")
"""How often a scenario is run: "core" in the proof of every release, "quick" by `verify`, "suite" by the tests, "long"
only when it is named. Where one tier is run, those before it are, too."""


def tiers_upto(last: str) -> tuple[str, ...]:
    """Return the tiers that are run where `last` is."""
    return TIERS[: TIERS.index(last) + 1]
