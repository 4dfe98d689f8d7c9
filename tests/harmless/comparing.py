"""Compare what was observed of a workflow on the patched tree with stock. Imports nothing but the standard library."""

import fnmatch
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

ALLOWED = tomllib.loads(Path(__file__).with_name("allowed.toml").read_text(encoding="utf-8"))
RNG_FILE = re.compile(r"rng_state(_\d+)?\.pth")


def differences(name: str, mode: str, stock: dict[str, Any], patched: dict[str, Any]) -> list[str]:
    """What is different and not allowed, a line each, what matters most first."""
    found = _outcome(stock, patched)
    if not found:
        found = [
            *_files(stock, patched, mode),
            *_messages(stock, patched, mode),
            *_bits(stock, patched, mode),
            *_calls(stock, patched, mode),
            *_time(stock, patched),
        ]
    return [line for line in found if not _is_allowed(name, mode, line)]


def _is_allowed(name: str, mode: str, line: str) -> bool:
    return any(
        fnmatch.fnmatchcase(name, entry["workflow"]) and entry["mode"] == mode and entry["what"] in line
        for entry in ALLOWED.get("difference", ())
    )


def _outcome(stock: dict[str, Any], patched: dict[str, Any]) -> list[str]:
    if "died" in patched:
        return [f"outcome: {patched['died']}, where stock {_say(stock)}\n{patched['said']}"]
    if stock["outcome"] != patched["outcome"]:
        said = f"\n{patched['said']}" if "raised" in patched["outcome"] else ""
        return [f"outcome: {_say(patched)}, where stock {_say(stock)}{said}"]
    return []


def _say(observed: dict[str, Any]) -> str:
    ((verb, value),) = observed["outcome"].items()
    return f"{verb} {value}"


def _files(stock: dict[str, Any], patched: dict[str, Any], mode: str) -> Iterator[str]:
    ours = () if mode == "off" else ALLOWED["files"]
    for path in sorted(stock["files"].keys() | patched["files"].keys()):
        before, after = stock["files"].get(path), patched["files"].get(path)
        if after is None:
            yield f"files: {path} is gone"
        elif before is None:
            if PurePosixPath(path).name not in ours:
                yield f"files: {path} is new"
        elif before.keys() - {"bytes", "entries"} != after.keys() - {"bytes", "entries"} or (
            before.get("link") != after.get("link")
        ):
            yield f"files: {path} was {before} and is {after}"
        elif mode == "off" or not stock["resumed_bits"]:
            yield from _content(path, before, after, mode, is_same_rng=not patched["other_rng"])
    if mode == "off":
        yield from _first(stock["changes"], patched["changes"], "operations on files")


def _content(path: str, before: dict, after: dict, mode: str, is_same_rng: bool) -> Iterator[str]:
    if mode == "off" or not RNG_FILE.fullmatch(PurePosixPath(path).name):
        if before.get("bytes") != after.get("bytes"):
            yield f"content: {path} has other bytes"
        return
    entries = after.get("entries", {})
    for name, value in before.get("entries", {}).items():
        if name not in entries:
            yield f"content: {path} lacks {name!r}"
        elif entries[name] != value and is_same_rng:
            yield f"content: {path} has another value of {name!r}"


def _first(before: list[Any], after: list[Any], what: str) -> Iterator[str]:
    """The first entry that only one of two sorted lists has."""
    missing, extra = list(before), []
    for entry in after:
        if entry in missing:
            missing.remove(entry)
        else:
            extra.append(entry)
    if missing:
        yield f"{what}: without {missing[0]!r}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
    if extra:
        yield f"{what}: also {extra[0]!r}" + (f" and {len(extra) - 1} more" if len(extra) > 1 else "")


def _messages(stock: dict[str, Any], patched: dict[str, Any], mode: str) -> Iterator[str]:
    ours = {} if mode == "off" else {**patched["may_say"], **patched["must_say"]}
    said = [
        line for line in patched["messages"] if line in stock["messages"] or not any(part in line for part in ours)
    ]
    yield from _first(stock["messages"], said, "messages")
    if mode != "off":
        for part, reason in patched["must_say"].items():
            if not any(part in line for line in patched["messages"]):
                yield f"messages: none says {part!r}, though {reason}"


def _bits(stock: dict[str, Any], patched: dict[str, Any], mode: str) -> Iterator[str]:
    for number, (before, after) in enumerate(zip(stock["bits"], patched["bits"], strict=True)):
        for name in before:
            if before[name] != after[name]:
                yield f"bits of uninterrupted run {number}: {name} was {before[name]} and is {after[name]}"
    exact = [_end(bits) for bits in patched["bits"]]
    for number, (before, after) in enumerate(zip(stock["resumed_bits"], patched["resumed_bits"], strict=True)):
        if mode != "off" and _end(after) in exact:
            continue
        # What is logged on a resume, and the RNG states after it, are what the series makes exact.
        for name in before if mode == "off" else ("step", "epoch", "parameters"):
            is_right = mode != "off" and name == "parameters" and patched["other_parameters"]
            if before[name] != after[name] and not is_right:
                yield f"bits of resumed run {number}: {name} was {before[name]} and is {after[name]}"


def _end(bits: dict[str, Any]) -> tuple[Any, ...]:
    return bits["step"], bits["epoch"], bits["parameters"]


def _calls(stock: dict[str, Any], patched: dict[str, Any], mode: str) -> Iterator[str]:
    limits = {} if mode == "off" else patched["at_most"]
    for name in sorted(stock["calls"].keys() | patched["calls"].keys()):
        before, after = stock["calls"].get(name, 0), patched["calls"].get(name, 0)
        if name in limits:
            if after > limits[name]:
                yield f"calls: {after} of {name}, at most {limits[name]} are right and stock has {before}"
        elif before != after:
            yield f"calls: {after} of {name}, and stock has {before}"
    if mode == "off" and patched["num_fsyncs"] > stock["num_fsyncs"]:
        yield f"calls: {patched['num_fsyncs']} of os.fsync, and stock has {stock['num_fsyncs']}"
    for name in stock["offers"]:
        if name not in patched["offers"]:
            yield f"names: {name} is gone"


def _time(stock: dict[str, Any], patched: dict[str, Any]) -> Iterator[str]:
    ratio = patched["time_ratio"]
    if ratio is not None and patched["seconds"] > ratio * stock["seconds"] + 0.5:
        yield f"time: {patched['seconds']:.2f} s, more than {ratio:g} times the {stock['seconds']:.2f} s of stock"
