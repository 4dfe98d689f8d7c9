"""Draw the heat map of a report as a standalone SVG, small enough to be part of a README."""

from html import escape
from itertools import groupby

WIDTH, PADDING, LABEL_WIDTH, COLUMN_GAP, COUNT_GAP = 900, 16, 216, 14, 8
BAR_HEIGHT, LINE_HEIGHT, ROW_HEIGHT = 10, 12, 18
LABEL_LENGTH, CHARACTER_WIDTH = 35, 7.5
KINDS = ["exact", "diverged", "error", "skipped"]

# An image cannot take the colours of the page around it, so it brings its own ground in both schemes.
# Blue and orange stay apart for every common kind of colour blindness; the crosses say it without colour.
STYLE = """
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,sans-serif;fill:#1f2933}
.ground{fill:#fff;stroke:#d5dbe1}.title{font-size:14px}.title,.head,.alarm,.group{font-weight:600}
.alarm,.count{text-anchor:end}.quiet,.count,.group{fill:#5b6773}.group{font-size:10.5px;letter-spacing:.06em}
path{fill:none}.rule{stroke:#d5dbe1}.exact{stroke:#2a78b8}.diverged{stroke:#dd5f0d}.error{stroke:#1f2933}
.sign{stroke:#fff;stroke-width:1}.skipped{stroke:#7a8794;stroke-dasharray:2 1.5}
@media(prefers-color-scheme:dark){text{fill:#e6ebf0}.ground{fill:#14191f;stroke:#37414b}
.quiet,.count,.group{fill:#9aa7b4}.rule{stroke:#37414b}.exact{stroke:#4b9fe0}.diverged{stroke:#ee7f2d}
.error{stroke:#e6ebf0}.sign{stroke:#14191f}.skipped{stroke:#8b98a5}}
""".strip()


def draw(summary: str, trees: list[tuple[str, str]], groups: list[dict]) -> str:
    """Return the SVG of a heat map.

    ``summary`` is what a screen reader says, ``trees`` holds the title and the total of each column, and
    ``groups`` is what ``report.heat_groups`` returns.
    """
    cells = [cell for group in groups for row in group["rows"] for cell in row["heat"]]
    longest = max([len(cell["marks"]) for cell in cells] + [1])
    # Words stand beside one mark at most, so only the counts need room of their own.
    count_width = CHARACTER_WIDTH * max([len(cell["text"]) for cell in cells if "/" in cell["text"]] + [5])
    column = (WIDTH - 2 * PADDING - LABEL_WIDTH) // max(len(trees), 1)
    strip = int(column - count_width - COUNT_GAP - COLUMN_GAP)
    # A strip stays on one line where its marks can still be told apart, and wraps where they could not.
    pitch = min(max(strip // longest, 5), 9)
    per_line = max(strip // pitch, 1)
    lefts = [WIDTH - PADDING - column * (len(trees) - index) + COLUMN_GAP for index in range(len(trees))]

    parts = [text(PADDING, 30, "Resumed runs that equal the uninterrupted run, bit for bit", "title")]
    top, left = 54, PADDING
    for kind in KINDS:
        parts += [strip_of([kind], left, top - 9, pitch, 1), text(left + pitch + 5, top, kind, "quiet")]
        left += pitch + 22 + 7 * len(kind)
    parts.append(text(WIDTH - PADDING, top, "one mark per resume, in the order of the interrupts", "count"))
    top += 30
    for left, (name, total) in zip(lefts, trees, strict=True):
        parts += [text(left, top, name, "head"), text(left, top + 15, f"{total} exact", "quiet")]
    top += 24
    for group in groups:
        parts.append(f'<path class="rule" d="M{PADDING} {top}h{WIDTH - 2 * PADDING}"/>')
        parts.append(text(PADDING, top + 16, group["title"].upper(), "group"))
        top += 23
        for row in group["rows"]:
            parts.append(text(PADDING, top + BAR_HEIGHT, shortened(row["title"]), ""))
            lines = 1
            for left, cell in zip(lefts, row["heat"], strict=True):
                kinds = [mark["kind"] for mark in cell["marks"]]
                lines = max(lines, -(-len(kinds) // per_line))
                parts.append(strip_of(kinds, left, top, pitch, per_line))
                style = "alarm" if cell["kind"] in ("diverged", "error", "empty") else "count"
                parts.append(text(left + column - COLUMN_GAP, top + BAR_HEIGHT, cell["text"], style))
            top += (lines - 1) * LINE_HEIGHT + ROW_HEIGHT
        top += 4
    height = top + 8
    bars = f".exact,.diverged,.error{{stroke-width:{BAR_HEIGHT};stroke-dasharray:{pitch - 1} 1}}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="summary">\n'
        f'<title id="summary">{escape(summary, quote=False)}</title>\n<style>{STYLE}\n{bars}</style>\n'
        f'<rect class="ground" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>\n'
        + "\n".join(part for part in parts if part)
        + "\n</svg>\n"
    )


def strip_of(kinds: list[str], left: int, top: int, pitch: int, per_line: int) -> str:
    """Return the marks of one cell, with signs on them that tell the kinds apart without colour.

    Neighbours of one kind are one dashed line whose dashes are the marks: that halves the file.
    """
    bar, paths, signs = pitch - 1, {}, ""
    places = [(kind, *divmod(index, per_line)) for index, kind in enumerate(kinds)]
    for (kind, line), run in groupby(places, key=lambda place: place[:2]):
        starts = [position * pitch for _, _, position in run]
        y = line * LINE_HEIGHT
        if kind == "skipped":
            path = "".join(f"M{x} {y}h{bar}v{BAR_HEIGHT}h-{bar}z" for x in starts)
        else:
            path = f"M{starts[0]} {y + BAR_HEIGHT // 2}h{len(starts) * pitch - 1}"
        paths[kind] = paths.get(kind, "") + path
        if kind == "diverged":
            signs += "".join(f"M{x} {y + 2}l{bar} 6m0-6l-{bar} 6" for x in starts)
        if kind == "error":
            signs += "".join(f"M{x + bar / 2:g} {y + 2}v6" for x in starts)
    drawn = [f'<path class="{kind}" d="{path}"/>' for kind, path in paths.items()]
    drawn += [f'<path class="sign" d="{signs}"/>'] if signs else []
    return f'<g transform="translate({left} {top})">{"".join(drawn)}</g>' if drawn else ""


def shortened(title: str) -> str:
    """Cut a title to what the label column holds."""
    return title if len(title) <= LABEL_LENGTH else title[: LABEL_LENGTH - 1].rstrip() + "…"


def text(x: int, y: int, content: str, style: str) -> str:
    """Return one SVG text element."""
    style = f' class="{style}"' if style else ""
    return f'<text x="{x}" y="{y}"{style}>{escape(content, quote=False)}</text>'
