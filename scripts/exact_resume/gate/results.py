"""The result object of a gate: read it from a file that may hold anything, merge those of shards, and judge it."""

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

from exact_resume.errors import EXIT_FINDING, EXIT_FINE, EXIT_OWN_FAULT, UsageError
from exact_resume.gate import verdicts
from exact_resume.gate.verdicts import BASE, HEAD

SCHEMA = 1
FILE = "results.json"
MOST_SCENARIOS, MOST_RESUMES, MOST_CHARACTERS = 2000, 1000, 4000
MOST_BYTES = 2**26
NAME = re.compile(r"[A-Za-z0-9_.+-]{1,120}")

Results = dict[str, Any]


class Malformed(ValueError):
    """The text is no result object of a gate."""


def exit_code(results: Results) -> int:
    """Return the exit code that a result object stands for."""
    kinds = tally(results)
    if kinds[verdicts.NEWLY_BROKEN]:
        return EXIT_FINDING
    # Of one shard among several, the others may have had what there is to compare.
    if results["same"] or compared(results) or results["shard"][1] > 1:
        return EXIT_FINE
    return EXIT_OWN_FAULT


def tally(results: Results) -> Counter:
    """Return how many scenarios have each kind of verdict."""
    return Counter(verdict.kind for _, verdict in verdicts.judge_all(results))


def compared(results: Results) -> int:
    """Return for how many scenarios base and head could be compared."""
    kinds = tally(results)
    return kinds[verdicts.SAME] + kinds[verdicts.NEWLY_EXACT] + kinds[verdicts.NEWLY_BROKEN]


def read(folder: Path) -> Results:
    """Read the result object that a gate wrote into a folder.

    Raises:
        UsageError: there is none, or it is damaged.
    """
    try:
        with open(folder / FILE, "rb") as stream:
            return parse(stream.read(MOST_BYTES + 1))
    except OSError as error:
        raise UsageError(f"{folder / FILE}: cannot be read: {error.strerror}; give folders of --output") from error
    except Malformed as error:
        raise UsageError(f"{folder / FILE}: {error}; run that shard again") from error


def parse(data: bytes) -> Results:
    """Build a result object from JSON, keeping nothing that is not of the expected form.

    Raises:
        Malformed: something is missing, of another type, or too large.
    """
    try:
        if len(data) > MOST_BYTES:
            raise ValueError("too large")
        return _results(json.loads(data))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise Malformed(f"not the result of a gate: {type(error).__name__}: {error}") from error


def merge(parts: list[Results]) -> Results:
    """Merge the result objects of all shards of one gate.

    Raises:
        UsageError: a shard is missing or there twice, or one is of another gate.
    """
    first = parts[0]
    count = first["shard"][1]
    for part in parts:
        for what, value in _identity(part).items():
            if value != _identity(first)[what]:
                raise UsageError(f"the shards are not of one gate: they differ in {what}; merge those of one run")
    numbers = Counter(part["shard"][0] for part in parts)
    for number in range(1, count + 1):
        if numbers[number] != 1:
            what = "is missing" if not numbers[number] else "is there twice"
            raise UsageError(f"shard {number}/{count} {what}; give the folder of each shard once")
    for part in parts:
        names = [row["name"] for row in part["scenarios"]]
        if names != share(part["planned"], *part["shard"]) and not part["same"]:
            raise UsageError(f"shard {part['shard'][0]}/{count} has not run what it should; run that shard again")
    rows = {row["name"]: row for part in parts for row in part["scenarios"]}
    trees = [
        {**tree, "environment": next((part["trees"][place]["environment"] for part in parts if _ran(part, place)), {})}
        for place, tree in enumerate(first["trees"])
    ]
    return {
        **first,
        "started": min(part["started"] for part in parts),
        "seconds": round(sum(part["seconds"] for part in parts), 1),
        "shard": [1, 1],
        "trees": trees,
        "scenarios": [rows[name] for name in first["planned"] if name in rows],
    }


def share(names: list[str], number: int, count: int) -> list[str]:
    """Return the names that belong to shard `number`, from 1, of `count`."""
    return names[number - 1 :: count]


def _identity(results: Results) -> dict[str, Any]:
    base, head = (tree["digest"] for tree in results["trees"])
    return {
        BASE: base,
        HEAD: head,
        "their selection": results["selection"],
        "their scenarios": results["planned"],
        "their number": results["shard"][1],
        "what there was to do": results["same"],
    }


def _ran(results: Results, place: int) -> bool:
    return bool(results["trees"][place]["environment"])


def _results(raw: dict) -> Results:
    if raw["schema"] != SCHEMA or raw["kind"] != "gate":
        raise ValueError(f"schema {raw['schema']!r}")
    rows, planned = _list(raw["scenarios"], MOST_SCENARIOS), _list(raw["planned"], MOST_SCENARIOS)
    number, count = map(_count, _list(raw["shard"], 2))
    if not 1 <= number <= count:
        raise ValueError(f"shard {number}/{count}")
    trees = [_tree(tree) for tree in _list(raw["trees"], 2)]
    if [tree["name"] for tree in trees] != [BASE, HEAD]:
        raise ValueError("trees")
    return {
        "schema": SCHEMA,
        "kind": "gate",
        "command": _text(raw["command"]),
        "started": _text(raw["started"]),
        "seconds": _seconds(raw["seconds"]),
        "selection": {
            "tier": _text_or_none(raw["selection"]["tier"]),
            "only": [_name(name) for name in _list(raw["selection"]["only"], MOST_SCENARIOS)],
        },
        "shard": [number, count],
        "planned": [_name(name) for name in planned],
        "same": _flag(raw["same"]),
        "trees": trees,
        "scenarios": [_row(row) for row in rows],
    }


def _tree(raw: dict) -> dict[str, Any]:
    texts = {name: _text(raw[name]) for name in ("name", "title", "spec", "kind", "release", "digest")}
    return {
        **texts,
        "commit": _text_or_none(raw["commit"]),
        "edited": _flag(raw["edited"]),
        "requires": [_text(text) for text in _list(raw["requires"], 200)],
        "environment": {_name(name): _text(text) for name, text in list(raw["environment"].items())[:50]},
    }


def _row(raw: dict) -> dict[str, Any]:
    texts = {name: _text(raw[name]) for name in ("title", "group")}
    cells = {side: _cell(raw["cells"][side]) for side in (BASE, HEAD)}
    return {"name": _name(raw["name"]), **texts, "guard": _flag(raw["guard"]), "cells": cells}


def _cell(raw: dict) -> dict[str, Any]:
    if raw["status"] not in ("ok", "error", "skipped"):
        raise ValueError(f"status {raw['status']!r}")
    return {
        "status": raw["status"],
        "reason": _text_or_none(raw["reason"]),
        "seconds": _seconds(raw["seconds"]),
        "golden": _text_or_none(raw["golden"]),
        "resumes": [_resume(resume) for resume in _list(raw["resumes"], MOST_RESUMES)],
    }


def _resume(raw: dict) -> dict[str, Any]:
    divergence = raw["divergence"]
    return {
        "at": [_count(step) for step in _list(raw["at"], 20)],
        "exact": _flag(raw["exact"]),
        "divergence": None if divergence is None else _divergence(divergence),
    }


def _divergence(raw: dict) -> dict[str, Any]:
    texts = {name: _text(raw[name]) for name in ("stream", "message")}
    micro_batch = None if raw["micro_batch"] is None else _count(raw["micro_batch"])
    details = {name: _text(raw[name]) for name in ("element", "golden", "resumed") if name in raw}
    draws = {"draws": {_name(name): _text(text) for name, text in raw["draws"].items()}} if "draws" in raw else {}
    return {"step": _count(raw["step"]), "micro_batch": micro_batch, **texts, **details, **draws}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is of another type")
    return value[:MOST_CHARACTERS]


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError("a name has other characters or is too long")
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**9:
        raise ValueError("a number is of another type or too large")
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
        raise ValueError("a time is of another type")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("a flag is of another type")
    return value


def _list(value: Any, most: int) -> list:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError("a list is of another type or too long")
    return value
