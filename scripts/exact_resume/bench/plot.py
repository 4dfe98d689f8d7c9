"""The picture of what `bench` measured, as an SVG."""

import io
from collections.abc import Callable
from typing import Any

from exact_resume.bench.groups import VARIANTS

# Colours that stay apart for every common kind of colour blindness; the markers say it without colour.
STYLES = {
    "stock": ("#5b6773", "o"),
    "drain": ("#b0457b", "X"),
    "stateful": ("#dd8f0d", "s"),
    "in_band": ("#c2410c", "D"),
    "off": ("#7cb0dc", "v"),
    "patched": ("#1f66a5", "^"),
}
WIDTH, ROW, PANEL = 9.0, 0.34, 1.1
Place = Callable[[dict[str, Any]], dict[str, float] | None]


def _itself(summary: dict[str, Any]) -> dict[str, float]:
    return summary


def _compared(summary: dict[str, Any]) -> dict[str, float] | None:
    return summary["compared"]


def _panels(results: dict[str, Any]) -> list[tuple[str, str, list[dict[str, Any]], Place]]:
    """Title, scale, figures and what is shown of each, of every panel for which there are results."""
    wanted = (
        ("An update step, as a multiple of stock", "linear", "recording", "ms", _compared),
        ("Resuming: milliseconds to the first batch", "log", "resuming", "ms", _itself),
        ("Bytes that a checkpoint grows by, beside stock", "linear", "checkpoints", "bytes", _compared),
    )
    panels = []
    for title, scale, name, unit, place in wanted:
        figures = [
            figure for figure in results["groups"].get(name, {"figures": ()})["figures"] if figure["unit"] == unit
        ]
        if figures:
            panels.append((title, scale, figures, place))
    return panels


def draw(results: dict[str, Any]) -> str | None:
    """Return the SVG, with the median and the quartiles of each variant, or None where nothing of it was measured."""
    panels = _panels(results)
    if not panels:
        return None
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    # Text as text, and nothing in the file that another run of the same figures would change.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "exact-resume", "font.size": 9}):
        heights = [PANEL + ROW * len(figures) for _, _, figures, _ in panels]
        picture = Figure(figsize=(WIDTH, sum(heights) + 0.5), layout="constrained")
        all_axes = picture.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
        for axes, (title, scale, figures, place) in zip(all_axes, panels, strict=True):
            axes.set_title(title, loc="left", fontweight="bold")
            axes.set_xscale(scale)
            axes.set_yticks(range(len(figures)), [figure["title"] for figure in figures])
            axes.invert_yaxis()
            axes.grid(axis="x", color="#d5dbe1", clip_on=False)  # clip paths would be named anew each time
            axes.set_axisbelow(True)
            for row, figure in enumerate(figures):
                shown = [(name, place(summary)) for name, summary in figure["summary"].items() if place(summary)]
                for position, (name, spread) in enumerate(shown):
                    colour, marker = STYLES[name]
                    y = row + 0.6 * ((position + 0.5) / len(shown) - 0.5)
                    axes.plot([spread["q1"], spread["q3"]], [y, y], color=colour, linewidth=1.5, clip_on=False)
                    axes.plot([spread["median"]], [y], color=colour, marker=marker, markersize=5, clip_on=False)
        used = [name for name in VARIANTS if any(name in group["variants"] for group in results["groups"].values())]
        handles = [Line2D([], [], color=STYLES[n][0], marker=STYLES[n][1], label=_label(n)) for n in used]
        picture.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
        content = io.StringIO()
        picture.savefig(content, format="svg", metadata={"Date": None, "Creator": None, "Title": "What it costs"})
    # Trailing spaces would not pass a check of the repository.
    return "\n".join(line.rstrip() for line in content.getvalue().splitlines()) + "\n"


def _label(variant: str) -> str:
    return VARIANTS[variant].title.replace("`", "")
