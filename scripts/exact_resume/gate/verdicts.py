"""Compare the cells of a scenario on base and on head."""

from dataclasses import dataclass
from typing import Any

from exact_resume import report

SAME, NEWLY_EXACT, NEWLY_BROKEN = "same", "newly exact", "newly broken"
ERRORED, NOT_DETERMINISTIC, SKIPPED = "errored", "not deterministic", "skipped"
KINDS = (NEWLY_BROKEN, NEWLY_EXACT, SAME, ERRORED, NOT_DETERMINISTIC, SKIPPED)
"""What can be said of a scenario; the last three say nothing of the change."""

BASE, HEAD = "base", "head"
# How the reason of a cell begins whose two golden runs differ; see `matrix.running.NotDeterministic`.
TWO_GOLDEN_RUNS_DIFFER = "NotDeterministic: "

Cell = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What the change did to a scenario.

    Attributes:
        kind: one of `KINDS`.
        why: the reason in a line; empty where there is nothing to say.
        golden_changed: whether the uninterrupted runs of base and head differ.
    """

    kind: str
    why: str = ""
    golden_changed: bool = False


def judge(base: Cell, head: Cell) -> Verdict:
    """Return the verdict on a scenario from its cells; see `matrix.running.run_scenario` for what these are."""
    if base["status"] == "error" and _reason(base).startswith(TWO_GOLDEN_RUNS_DIFFER):
        return Verdict(NOT_DETERMINISTIC, f"on base: {_without_type(base)}")
    was, is_now = _exact(base), _exact(head)
    # What trained before and cannot be trained now got worse, whether it was exact or not.
    if base["resumes"] and head["status"] == "error":
        return Verdict(NEWLY_BROKEN, f"error on head: {_without_type(head)}")
    if was and head["status"] == "skipped":
        return Verdict(NEWLY_BROKEN, f"no longer run on head: {_without_type(head)}")
    changed = bool(base["golden"] and head["golden"] and base["golden"] != head["golden"])
    lost, gained = [at for at in was if at not in is_now], [at for at in is_now if at not in was]
    if lost:
        return Verdict(NEWLY_BROKEN, _loss(lost, was, head), changed)
    if gained:
        return Verdict(NEWLY_EXACT, f"{len(gained)} of {len(head['resumes'])} interrupts", changed)
    for name, cell in ((BASE, base), (HEAD, head)):
        if cell["status"] == "error":
            return Verdict(ERRORED, f"error on {name}: {_without_type(cell)}")
    for name, cell in ((BASE, base), (HEAD, head)):
        if cell["status"] == "skipped":
            return Verdict(SKIPPED, f"on {name}: {_without_type(cell)}")
    if not base["resumes"]:
        return Verdict(ERRORED, "no resume was measured on base")
    return Verdict(SAME, "", changed)


def judge_all(results: dict[str, Any]) -> list[tuple[dict[str, Any], Verdict]]:
    """Return the scenarios of a result object, each with the verdict on it."""
    return [(row, judge(row["cells"][BASE], row["cells"][HEAD])) for row in results["scenarios"]]


def _exact(cell: Cell) -> list[list[int]]:
    return [resume["at"] for resume in cell["resumes"] if resume["exact"]] if cell["status"] == "ok" else []


def _loss(lost: list[list[int]], was: list[list[int]], head: Cell) -> str:
    share = f"{len(lost)} of {len(was)} interrupts that were exact"
    for resume in head["resumes"]:
        if resume["at"] in lost:
            return f"{share}; {report.interrupts(resume)}: {report.difference(resume['divergence'])}"
    return f"{share}; head took no checkpoint after step {', then '.join(map(str, lost[0]))}"


def _reason(cell: Cell) -> str:
    return cell["reason"] or "no reason given"


def _without_type(cell: Cell) -> str:
    return report.one_line(_reason(cell).removeprefix(TWO_GOLDEN_RUNS_DIFFER))
