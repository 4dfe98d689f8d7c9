"""Tell whether a resume was exact, named or silent. Imports no torch."""

import re
import time
from typing import Any

# What a message has to say to name a resume that is not exact.
NAMES = re.compile(r"bit-exact|not exact|resumed exactly|cannot be told|cannot be vouched")
OURS = "transformers.trainer_resume"


def texts(run: dict[str, Any]) -> list[str]:
    """What loggers of ours said in a run."""
    return [text for _, name, text in run["said"] if name.startswith(OURS)]


def judge(golden: dict[str, Any], resumed: dict[str, Any], step: int) -> dict[str, Any]:
    """
    What became of a resume.

    Args:
        golden: the uninterrupted run: its `events`, each with its step, micro-batch, stream, name, value, and the time
            at which it was trained on; what was `said`, each with its time, logger and message; and the `error` that
            ended it.
        resumed: the same of the resumed run.
        step: of the checkpoint.

    Returns:
        `outcome` and `detail`, what differs first, and what was `said`.
    """
    # Of the uninterrupted run, what was said before the checkpoint was written.
    begin = next((event[5] for event in golden["events"] if event[0] > step), float("inf"))
    said = [*resumed["said"], *(message for message in golden["said"] if message[0] < begin)]
    names = [when for when, name, text in said if name.startswith(OURS) and NAMES.search(text)]
    answer = {"said": [*texts(golden), *texts(resumed)]}
    error = resumed["error"]
    if error is not None and not error.startswith("ExactResumeError"):
        return {**answer, "outcome": "error", "detail": error}
    found = _first_difference(golden["events"], resumed["events"], step, has_ended=error is None)
    if found is None:
        return {**answer, "outcome": "exact" if error is None else "named", "detail": error or ""}
    detail, when = found
    if any(name < when for name in names):
        return {**answer, "outcome": "named", "detail": detail}
    # An error, too, came after what differs was trained on.
    return {**answer, "outcome": "silent" if error is None and not names else "later", "detail": detail}


def _first_difference(golden: list, resumed: list, step: int, has_ended: bool) -> tuple[str, float] | None:
    """The first event after a step that differs, in words, and when it was trained on."""
    expected = [event for event in golden if event[0] > step]
    compared = [event for event in resumed if event[0] > step]
    for want, have in zip(expected, compared, strict=False):
        if want[:5] != have[:5]:
            what = want[3] if want[:4] == have[:4] else f"{want[3]} against {have[3]}"
            return f"step {want[0]}: {want[2]}: {what}", have[5]
    if has_ended and len(expected) != len(compared):
        return f"{len(compared)} events, and {len(expected)} without interruption", time.monotonic()
    return None
