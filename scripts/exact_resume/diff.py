"""`diff`: find the first step at which two real runs part, from the journals that they left."""

import argparse
from pathlib import Path

from exact_resume.errors import EXIT_FINDING, EXIT_FINE, UsageError
from exact_resume.journal_file import Journal, read

RNG = {"python", "numpy", "torch", "device"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `diff`."""
    for name in ("a", "b"):
        text = "folder that RNGJournal wrote, or one file of it"
        parser.add_argument(name, metavar=name.upper(), type=Path, help=text)
    parser.epilog = "exit codes: 0 the same in all common steps, 1 parted, 2 unreadable or not comparable"
    parser.add_argument("--all", action="store_true", help="list every step that differs, not only the first")


def run(parsed: argparse.Namespace) -> int:
    """Compare two journals; returns the exit code. Raises UsageError if they cannot be compared."""
    journals_a, journals_b = _journals(parsed.a), _journals(parsed.b)
    pairs = list(zip(journals_a, journals_b, strict=False))
    _check_comparable(parsed.a, parsed.b, pairs)
    for name, path, journals in (("A", parsed.a, journals_a), ("B", parsed.b, journals_b)):
        _print_by_rank(f"{name}: {path}, ", [(journal, [_summary(journal)]) for journal in journals])
    _print_notes(*pairs[0])
    parted = [_parted(a, b) for a, b in pairs]
    results = [(a, _result(a, b, steps, parsed.all)) for (a, b), steps in zip(pairs, parted, strict=True)]
    _print_by_rank("", results)
    return EXIT_FINDING if any(parted) else EXIT_FINE


def _print_by_rank(before: str, results: list[tuple[Journal, list[str]]]) -> None:
    """Print lines for each rank, those of several ranks that are alike once."""
    ranks: dict[tuple[str, ...], list[int]] = {}
    for journal, lines in results:
        ranks.setdefault(tuple(lines), []).append(journal.header.rank)
    for lines, alike in ranks.items():
        of = "" if len(results) == 1 else f"rank {', '.join(map(str, alike))}: "
        print(f"{before}{of}{lines[0]}", *lines[1:], sep="\n  ")


def _journals(path: Path) -> list[Journal]:
    """The journal in a file, or those of all ranks in a folder, by rank."""
    if not path.is_dir():
        return [read(path)]
    journals = sorted(map(read, path.glob("rank-*.journal")), key=lambda journal: journal.header.rank)
    if not journals:
        raise UsageError(f"{path} holds no journal: no file is named rank-N.journal")
    sizes = sorted({journal.header.world_size for journal in journals})
    if len(sizes) > 1:
        raise UsageError(
            f"{path} holds journals of runs with {' and '.join(map(str, sizes))} processes: keep one run's"
        )
    missing = set(range(journals[0].header.world_size)) - {journal.header.rank for journal in journals}
    if missing:
        ranks = ", ".join(map(str, sorted(missing)))
        raise UsageError(
            f"{path} lacks the journal of rank {ranks}: put the files of all ranks there, or name two files"
        )
    return journals


def _check_comparable(path_a: Path, path_b: Path, pairs: list[tuple[Journal, Journal]]) -> None:
    if path_a.is_dir() != path_b.is_dir():
        raise UsageError(f"one of {path_a} and {path_b} is a folder and one is not: name two folders or two files")
    for a, b in pairs:
        for name, what in (("fields", "fields"), ("world_size", "number of processes"), ("rank", "rank")):
            in_a, in_b = getattr(a.header, name), getattr(b.header, name)
            if in_a != in_b:
                raise UsageError(f"{a.path} and {b.path} cannot be compared: their {what} is {in_a} and {in_b}")
        if not a.steps.keys() & b.steps.keys():
            raise UsageError(f"no step is in both: {a.path} has {_summary(a)}; {b.path} has {_summary(b)}")


def _summary(journal: Journal) -> str:
    if not journal.steps:
        return "no steps"
    parts = [f"{_steps(len(journal.steps))} from {min(journal.steps)} to {max(journal.steps)}"]
    for resume in journal.resumes:
        text = f"resumed after step {resume.step}" if resume.step else "started once more"
        if resume.repeated:
            same = "which came out the same" if resume.parted is None else f"which differ from step {resume.parted} on"
            text += f" and repeated {_steps(resume.repeated)}, {same}"
        parts.append(text)
    if journal.num_torn:
        parts.append(f"torn records at the end, ignored: {journal.num_torn}")
    return ", ".join(parts)


def _steps(number: int) -> str:
    return "1 step" if number == 1 else f"{number} steps"


def _print_notes(a: Journal, b: Journal) -> None:
    for name in ("seed", "transformers", "torch"):
        in_a, in_b = getattr(a.header, name), getattr(b.header, name)
        if in_a != in_b:
            print(f"note: {name} is {in_a} in A and {in_b} in B")


def _parted(a: Journal, b: Journal) -> list[int]:
    return [step for step in sorted(a.steps.keys() & b.steps.keys()) if a.steps[step] != b.steps[step]]


def _result(a: Journal, b: Journal, parted: list[int], every_step: bool) -> list[str]:
    """Say of the journals of a rank where they part."""
    common = sorted(a.steps.keys() & b.steps.keys())
    if not parted:
        return [f"the same in {_steps(len(common))} that both have, from {common[0]} to {common[-1]}"]
    first = parted[0]
    differing, text = _differing(a, b, first)
    before = max((step for step in common if step < first), default=0)
    lines = [
        f"parted at step {first}: {text}",
        _hint(differing, before, first),
        f"last common step: {before or 'none'}",
    ]
    for name, journal in (("A", a), ("B", b)):
        resumes = [resume.step for resume in journal.resumes if before <= resume.step < first]
        lines += [f"in between, {name} was resumed after step {step}" for step in resumes]
    later = parted[1:] if every_step else []
    return lines + [f"step {step}: {_differing(a, b, step)[1]}" for step in later]


def _differing(a: Journal, b: Journal, step: int) -> tuple[set[str], str]:
    """The fields in which a step differs, and a text that names them and the others."""
    in_a, in_b = a.digests(step), b.digests(step)
    fields = [name for name in a.header.fields if name in in_a or name in in_b]
    differing = [name for name in fields if in_a.get(name) != in_b.get(name)]
    same = [name for name in fields if name not in differing]
    return set(differing), f"different: {', '.join(differing)}" + (f"; the same: {', '.join(same)}" if same else "")


def _hint(differing: set[str], before: int, first: int) -> str:
    """Where to look, by what differs in the first step that does, if the step before it is known to be the same."""
    if before < first - 1:
        return (
            "the step before is not in both journals, so that the runs may have parted earlier, and by something else"
        )
    if differing & RNG and "batch" in differing:
        return "the RNG state was another before the data were drawn, or was restored at another draw"
    if differing & RNG:
        return "something drew more or less than in the other run: while data were fetched ahead, or in a callback"
    if "batch" in differing:
        return "the RNG states of the main process are the same: look at samplers, workers and generators of the data"
    hint = "look at kernels that are not deterministic, at parameters that are not sampled"
    if "loss" not in differing:
        hint = "look at kernels that are not deterministic, at the optimizer and its schedule"
    return hint if before else f"{hint}, and at what the runs began with"
