"""What `bench` measures, on which trees, and how much of it. Imports no torch."""

from dataclasses import dataclass
from typing import Any

from exact_resume import trees

STOCK, DRAIN, PATCHED, OFF, STATEFUL, IN_BAND = "stock", "drain", "patched", "off", "stateful", "in_band"


@dataclass(frozen=True)
class Variant:
    """
    What is measured against others.

    Args:
        tree: The name of its tree.
        title: What tables call it.
    """

    tree: str
    title: str


VARIANTS = {
    STOCK: Variant(trees.STOCK, "stock"),
    DRAIN: Variant(trees.DRAIN, "drain, then restore"),
    STATEFUL: Variant(trees.STOCK, "`StatefulDataLoader`"),
    IN_BAND: Variant(trees.STOCK, "in-band capture"),
    OFF: Variant(trees.PATCHED, "patched, `off`"),
    PATCHED: Variant(trees.PATCHED, "patched"),
}


@dataclass(frozen=True)
class Group:
    """
    Figures that one process measures together.

    Args:
        title: What tables call it.
        variants: What is measured against each other, the first of which is what the others are compared with.
        rounds: How often.
        options: What `measuring` is told.
        prepares: Whether something, such as checkpoints, has to be made for the rounds.
    """

    title: str
    variants: tuple[str, ...]
    rounds: int
    options: dict[str, Any]
    prepares: bool = False


def groups(quick: bool) -> dict[str, Group]:
    """Return the groups by name, with fewer rounds and smaller sizes if `quick`."""
    return {
        "step": Group(
            "An update step, beside stock",
            (STOCK, PATCHED),
            # Many short runs rather than few long ones: each pair is from much the same time of the machine.
            20 if quick else 100,
            {"steps": 200, "budgets": [(0, 40), (2, 60)]},
        ),
        "calls": Group(
            "An update step, call by call", (PATCHED,), 1 if quick else 5, {"steps": 500 if quick else 3_000}
        ),
        "recording": Group(
            "Recording",
            (STOCK, OFF, PATCHED, STATEFUL, IN_BAND),
            4 if quick else 15,
            # So many that what a process does once, such as to ask the system for memory, does not count.
            {"steps": 200 if quick else 800, "padded_steps": 20, "width": 1200},
        ),
        "memory": Group("Memory", (STOCK, PATCHED), 1, {"steps": 2_000 if quick else 100_000}),
        "resuming": Group(
            "Resuming: from the call of `train` to the first batch",
            (STOCK, DRAIN, STATEFUL, PATCHED),
            2 if quick else 7,
            {
                "sizes": [10_000, 200_000] if quick else [10_000, 1_000_000, 10_000_000],
                "slow_batches": 500 if quick else 10_000,
                "positions": [1_000, 20_000] if quick else [1_000, 100_000],
                "buffered": 10_000 if quick else 100_000,
            },
            prepares=True,
        ),
        "checkpoints": Group("Checkpoints", (STOCK, STATEFUL, PATCHED), 1 if quick else 5, {}),
        "check": Group(
            "The check of a resume", (PATCHED,), 1 if quick else 5, {"layers": 12 if quick else 48, "width": 1024}
        ),
        "scale": Group(
            "Scale",
            (PATCHED,),
            1 if quick else 3,
            {"workers": [1, 2, 8, 32], "ranks": [1, 16, 256] if quick else [1, 8, 64, 512, 4096]},
        ),
        "journal": Group("The journal", (STOCK,), 1 if quick else 5, {"steps": 100 if quick else 400}),
    }
