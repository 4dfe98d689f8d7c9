"""README's table of the supported releases and their recorded proofs."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from exact_resume import proofs, report
from exact_resume.series import Release, load_lane, load_releases

BEGIN, END = "<!-- support table -->", "<!-- end of support table -->"
HEAD = ["releases", "lane", "patches", "proven", "patched", "stock", "skipped", "with"]
NOT_PROVEN = ["**not proven**", "-", "-", "", ""]
EARLIER = "of earlier patches"
COMMAND = "`python3 -m exact_resume prove`"


def table(folder: Path | None = None) -> str:
    """
    Return a Markdown table, newest first, with a row for each run of releases of a lane that have equal proofs.

    Args:
        folder: The folder of the patches.
    """
    patches = {}
    rows = []
    for (lane, *figures), group in groupby(
        load_releases(folder).values(), lambda one: (one.lane, *_figures(one, folder))
    ):
        if lane not in patches:
            patches[lane] = len(load_lane(lane, folder).patches)
        rows.append([_names(group), lane, str(patches[lane]), *figures])
    note = (
        f"Proven by {COMMAND}: the core scenarios or the whole matrix; x/y: x of y resumes are exact. "
        f"A proof counts for the patches that it was made with; one {EARLIER} has to be made again."
    )
    return "\n".join([*report.markdown_table(HEAD, rows, left=2), "", note, ""])


def _figures(release: Release, folder: Path | None) -> list[str]:
    """The cells of a row after its number of patches."""
    if release.proof is None:
        return NOT_PROVEN
    proof = release.proof
    tier = proof["tier"] if proofs.is_fresh(release, folder) else f"{proof['tier']}, {EARLIER}"
    versions = f"Python {proof['python']}, torch {proof['torch']}, accelerate {proof['accelerate']}"
    return [tier, proof["patched"], proof["stock"], str(proof["skipped"] or ""), versions]


def _names(group: Iterable[Release]) -> str:
    versions = [release.version for release in group]
    return versions[0] if len(versions) == 1 else f"{versions[-1]} to {versions[0]} ({len(versions)})"
