"""The arithmetic of `bench`: medians, quartiles, and comparisons within rounds, and how a number is written."""

import statistics
from collections.abc import Sequence

Figure = dict
"""`title`, `unit`, `values` (a list by variant, a value a round) and, once summarized, `summary`."""

TIMES = ("us", "ms", "s")


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the `median` and the quartiles `q1` and `q3` of at least one value."""
    if len(values) == 1:
        return dict.fromkeys(("q1", "median", "q3"), values[0])
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return {"q1": q1, "median": median, "q3": q3}


def collect(rounds: Sequence[dict[str, list[tuple[str, str, float]]]]) -> list[Figure]:
    """
    Put together what was measured.

    Args:
        rounds: Of each round, by variant, the title, unit and value of each figure.

    Returns:
        The figures, in the order in which they first appear, with the values of each variant that has them.
    """
    figures: dict[str, Figure] = {}
    for measured in rounds:
        for variant, entries in measured.items():
            for title, unit, value in entries:
                figure = figures.setdefault(title, {"title": title, "unit": unit, "values": {}})
                figure["values"].setdefault(variant, []).append(value)
    return list(figures.values())


def summarize(figure: Figure, baseline: str) -> dict[str, dict]:
    """
    Return by variant its `spread` and, but for the baseline, what it is `compared` with the baseline.

    Times are compared by their ratio, everything else by its difference; both within each round, where what else the
    machine had to do was most alike, and then as a spread. `compared` is None where the baseline has no such figure.

    Args:
        figure: The figure.
        baseline: The variant that the others are compared with.
    """
    base = figure["values"].get(baseline)
    summary = {}
    for variant, values in figure["values"].items():
        compared = None
        if base is not None and variant != baseline:
            pairs = list(zip(values, base, strict=True))
            compared = spread([a / b for a, b in pairs] if figure["unit"] in TIMES else [a - b for a, b in pairs])
        summary[variant] = {**spread(values), "compared": compared}
    return summary


def number(value: float) -> str:
    """Write a number with three digits, or all of those before the point."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"
