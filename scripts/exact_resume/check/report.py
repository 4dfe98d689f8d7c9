"""Say what came of a check: as text, as Markdown and as JSON."""

from dataclasses import asdict
from typing import Any

from exact_resume.check import cures
from exact_resume.check.installation import Installation
from exact_resume.check.runs import EXACT, NOT_DETERMINISTIC, Check, Outcome, told, word

HEADINGS = ("resumed after", "result", "first divergence")


def text(check: Check, installation: Installation) -> list[str]:
    """The report for a terminal, line by line."""
    lines = _heading(check, installation)
    if check.resumes:
        rows = [HEADINGS, *_rows(check)]
        widths = [max(len(row[column]) for row in rows) for column in range(2)]
        lines += ["", *(f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}".rstrip() for row in rows)]
    lines += ["", _verdict(check)]
    for title, entries in _help(check, installation):
        lines += [f"{title}:", *(f"- {entry}" for entry in entries)]
    return lines


def markdown(check: Check, installation: Installation) -> str:
    """The report as Markdown."""
    lines = ["# Does it resume exactly?", "", *(f"{line}  " for line in _heading(check, installation)), ""]
    if check.resumes:
        lines += [f"| {' | '.join(HEADINGS)} |", "| --: | :-- | :-- |"]
        lines += [f"| {' | '.join(_cell(entry) for entry in row)} |" for row in _rows(check)]
        lines.append("")
    verdict, *details = _verdict(check).split("\n")
    lines += [f"**{verdict}**", ""]
    if details:
        lines += ["```", *details, "```", ""]
    for title, entries in _help(check, installation):
        lines += [f"{title[0].upper()}{title[1:]}:", "", *(f"- {entry}" for entry in entries), ""]
    return "\n".join(lines)


def as_json(check: Check, installation: Installation) -> dict[str, Any]:
    """The report as what JSON keeps; a change of its form gets another `schema`."""
    return {
        "schema": 1,
        "target": check.target,
        "verdict": check.verdict,
        "steps": check.golden.steps,
        "checkpoints": check.golden.checkpoints,
        "forced": check.forced,
        "transformers": {
            "version": installation.version,
            "folder": str(installation.folder),
            "patches": installation.patches,
        },
        "environment": check.golden.environment,
        "again": _outcome(check.again),
        "resumes": [{"at": step, **_outcome(outcome)} for step, outcome in check.resumes.items()],
        "help": dict(_help(check, installation)),
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    kept = ("divergence", "only_logs", "error", "warnings", "seconds")
    return {"same": outcome.same, **{name: value for name, value in asdict(outcome).items() if name in kept}}


def _heading(check: Check, installation: Installation) -> list[str]:
    where = check.golden.environment
    lines = [
        f"{check.target}: {check.golden.steps} update steps on {where['device']}, "
        f"{where['num_workers']} dataloader workers",
        f"{installation.title}, torch {where['torch']}, Python {where['python']}",
    ]
    if not check.forced and 0 < len(check.resumes) < len(check.usable_checkpoints):
        lines.append(
            f"{len(check.resumes)} of {len(check.usable_checkpoints)} checkpoints were tried; "
            f"choose others with --interrupt-at STEP[,STEP...]"
        )
    return lines


def _rows(check: Check) -> list[tuple[str, str, str]]:
    return [(f"step {step}", word(outcome), _short(check, outcome)) for step, outcome in check.resumes.items()]


def _short(check: Check, outcome: Outcome) -> str:
    if outcome.error is not None:
        return outcome.error.splitlines()[0]
    return "" if outcome.divergence is None else _where(check, outcome.divergence)


def _where(check: Check, divergence: dict[str, Any]) -> str:
    """Step, micro-batch and stream of a divergence."""
    step, micro_batch = divergence["step"], divergence["micro_batch"]
    place = f"step {step}" if step <= check.golden.steps else f"after the last step, {check.golden.steps}"
    return f"{place}{'' if micro_batch is None else f', micro-batch {micro_batch}'}, {divergence['stream']}"


def _verdict(check: Check) -> str:
    """The verdict in a sentence, and more lines for what a run raised."""
    if check.verdict == EXACT:
        steps = list(check.resumes)
        every = not check.forced and len(steps) == len(check.usable_checkpoints)
        return f"exact from every checkpoint{'' if every else ' that was tried'} ({told(steps)})"
    step, outcome = check.culprit
    if check.verdict == NOT_DETERMINISTIC:
        start = "not deterministic: two runs that were not interrupted differ, so nothing can be said about a resume. "
        if outcome.error is not None:
            return f"{start}The second failed: {outcome.error}"
        # The comparison names the two runs after what they usually are.
        message = outcome.divergence["message"].replace("golden", "first").replace("resumed", "second")
        return f"{start}They first differ at {_where(check, outcome.divergence)}: {message}"
    start = "not exact: the run that was resumed after"
    if outcome.error is not None:
        return f"{start} step {step} failed: {outcome.error}"
    what = "differs first at" if not outcome.only_logs else "differs in nothing but logged values, first at"
    return f"{start} step {step} {what} {_where(check, outcome.divergence)}: {outcome.divergence['message']}"


def _help(check: Check, installation: Installation) -> list[tuple[str, list[str]]]:
    """Titles with what may be of help; none if everything is exact."""
    if check.culprit is None:
        return []
    step, outcome = check.culprit
    found = []
    warnings = [warning for warning in outcome.warnings if warning not in check.golden.warnings]
    if warnings and step is not None:
        found.append(("the Trainer warned", warnings))
    if installation.advice is not None and step is not None:
        found.append(("first of all", [installation.advice]))
    if outcome.divergence is not None:
        stream = outcome.divergence["stream"]
        title = f"usual cures of a divergence that is first seen in the stream {stream}"
        found.append((title, cures.of(stream, is_resume=step is not None)))
    return found


def _cell(entry: str) -> str:
    return entry.replace("|", "\\|")
