"""Files that may hold anything, where something reads them: each is read, or refused in words, and nothing else."""

import argparse
import copy
import io
import json
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exact_resume import (
    archives,
    cli,
    journal_file,
    patchfile,
    readme_table,
    series,
    support_table,
    treespec,
    wheelfile,
)
from exact_resume.errors import Finding, SeriesError, UsageError
from exact_resume.gate import command, render
from exact_resume.gate import results as gate_results
from exact_resume.journal_file import Header, Writer

EXAMPLES = settings.default.max_examples
SETTINGS = settings(max_examples=3 * EXAMPLES)
PATCHES = Path(__file__).resolve().parents[2] / "patches"

HOSTILE_TEXTS = ["", "\x1b[2J", "\ud800", "a\nb", "../..", "<script>", "]]>", "`|@all", "1e999", "x" * 300, "base"]
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 2**70)
    | st.floats()
    | st.sampled_from(HOSTILE_TEXTS)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "name", "\x00"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@st.composite
def mangled(draw, whole):
    """A JSON value of which some parts are replaced, left out, or there twice."""
    whole = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        holder, key, part = None, None, whole
        while isinstance(part, dict | list) and part and (holder is None or draw(st.integers(0, 4))):
            keys = list(part) if isinstance(part, dict) else range(len(part))
            holder, key = part, draw(st.sampled_from(keys))
            part = holder[key]
        if holder is None:
            return draw(values)
        what = draw(st.sampled_from(["replace", "replace", "remove", "double"]))
        if what == "replace":
            holder[key] = draw(values)
        elif what == "remove":
            del holder[key]
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(part))
    return whole


@st.composite
def torn(draw, data):
    """Bytes of which some are others, missing, or there twice."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.sampled_from([start, start + 1, start + 4, start + 60, len(data)]))
        data[start:end] = draw(
            st.binary(max_size=8) | st.just(bytes(end - start)) | st.just(bytes(data[start:end]) * 2)
        )
    return bytes(data)


def journal(folder, **changes):
    details = {"fields": ("torch", "loss"), "world_size": 1, "rank": 0, "seed": 1, "every": 1}
    path = folder / "rank-0.journal"
    path.unlink(missing_ok=True)
    writer = Writer(path, Header(**{**details, "transformers": "5.23.0", "torch": "2.13.0", **changes}), 0)
    for step in range(1, 6):
        writer.write(step, [b"12345678", bytes([step] * 8)])
    writer.close()
    return path.read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("readers")


def compare(folder, data, capsys):
    """Compare a journal with a good one, alone and in a folder; return what was printed."""
    good, odd = folder / "good", folder / "odd"
    for one in (good, odd):
        one.mkdir(exist_ok=True)
    journal(good)
    (odd / "rank-0.journal").write_bytes(data)
    for a, b in ((good, odd), (odd, good), (good / "rank-0.journal", odd / "rank-0.journal")):
        assert cli.main(["diff", str(a), str(b), "--all"]) in (0, 1, 2)
    said = capsys.readouterr()
    text = said.out + said.err
    assert all(char.isprintable() or char == "\n" for char in text)
    return text


@SETTINGS
@given(data=st.data())
def test_any_bytes_of_a_journal_are_read_or_refused(folder, capsys, data):
    compare(folder, data.draw(torn(journal(folder))), capsys)


@SETTINGS
@given(data=st.data())
def test_any_header_of_a_journal_is_read_or_refused(folder, capsys, data):
    _, header, records = journal(folder).split(b"\n", 2)
    odd = json.dumps(data.draw(mangled(json.loads(header)))).encode()
    compare(folder, journal_file.MAGIC + odd + b"\n" + records, capsys)


@pytest.mark.parametrize(
    "changes",
    [
        {"world_size": 10**9},
        {"rank": -1},
        {"world_size": True},
        {"fields": ["\x1b[2J", "loss"]},
        {"fields": [1, 2]},
        {"torch": "\n"},
        {"seed": []},
        {"every": 1.5},
    ],
    ids=str,
)
def test_a_header_that_no_run_writes_is_refused(folder, capsys, changes):
    _, header, records = journal(folder).split(b"\n", 2)
    odd = json.dumps({**json.loads(header), **changes}).encode()
    assert "is no journal of a run" in compare(folder, journal_file.MAGIC + odd + b"\n" + records, capsys)


def test_a_header_that_is_nested_too_deeply_is_refused(folder, capsys):
    assert "is no journal of a run" in compare(folder, journal_file.MAGIC + b"[" * 100_000 + b"\n", capsys)


@SETTINGS
@given(data=st.data())
def test_any_journal_is_continued_or_refused(folder, data):
    path = folder / "continued"
    path.write_bytes(data.draw(torn(journal(folder))))
    before = path.read_bytes()
    try:
        Writer(path, journal_file.read(folder / "rank-0.journal").header, 5).close()
    except UsageError:
        assert path.read_bytes() == before
    else:
        if before:
            assert path.read_bytes()[:-28].startswith(before[: path.stat().st_size - 28 - 28])


def gate(number=1, count=1):
    """What a gate wrote, or one shard of it."""
    divergence = {"step": 4, "micro_batch": 0, "stream": "data", "message": "x", "draws": {"torch": "1"}}
    resumes = [{"at": [1], "exact": True, "divergence": None}, {"at": [2], "exact": False, "divergence": divergence}]
    cell = {"status": "ok", "reason": None, "seconds": 1.5, "golden": "g", "resumes": resumes}
    other = {"status": "error", "reason": "why", "seconds": 1, "golden": None, "resumes": []}
    row = {"title": "t", "group": "g", "guard": False}
    tree = {"title": "t", "spec": "s", "kind": "k", "release": "5.23.0", "commit": None, "edited": False}
    tree |= {"requires": ["numpy"], "environment": {"python": "3.11.7"}}
    planned = [f"scenario_{n}" for n in range(4)]
    return {
        "schema": 1,
        "kind": "gate",
        "command": "c",
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 12.5,
        "selection": {"tier": "quick", "only": []},
        "shard": [number, count],
        "planned": planned,
        "same": False,
        "trees": [{**tree, "name": name, "digest": name} for name in ("base", "head")],
        "scenarios": [
            {**row, "name": name, "cells": {"base": cell, "head": cell if place % 3 else other}}
            for place, name in enumerate(planned)
            if place % count == number - 1
        ],
    }


def merge(folder, shards):
    for number, shard in enumerate(shards):
        (folder / f"shard-{number}").mkdir(exist_ok=True)
        text = shard if isinstance(shard, bytes) else json.dumps(shard).encode()
        (folder / f"shard-{number}" / gate_results.FILE).write_bytes(text)
    paths = [folder / f"shard-{number}" for number in range(len(shards))]
    return command.run(argparse.Namespace(merge=paths, output=folder / "merged"))


@SETTINGS
@given(data=st.data())
def test_hostile_shards_are_merged_or_refused(folder, capsys, data):
    shards = [gate(1, 2), gate(2, 2)]
    place = data.draw(st.integers(0, 1))
    shards[place] = data.draw(mangled(shards[place]))
    try:
        code = merge(folder, shards)
    except UsageError as error:
        assert str(folder) in str(error) or "shard" in str(error)
        return
    assert code in (0, 1, 70)
    # A rendering that cannot be read back would be one that somebody has broken out of.
    assert gate_results.read(folder / "merged")["planned"] == gate()["planned"]
    assert "\x1b" not in capsys.readouterr().out
    page = (folder / "merged" / render.FILES[2]).read_text(encoding="utf-8")
    assert page.count("<script") == 0


@SETTINGS
@given(data=torn(json.dumps(gate()).encode()))
def test_any_bytes_of_a_shard_are_merged_or_refused(folder, data):
    try:
        assert merge(folder, [data]) in (0, 1, 70)
    except UsageError:
        pass


@pytest.mark.parametrize("data", [b"[" * 100_000, b"9" * 5000, b'{"schema": NaN}', b" " * (2**26 + 1)], ids=range(4))
def test_a_shard_that_is_too_deep_or_too_large_is_refused(folder, data):
    with pytest.raises(UsageError, match="run that shard again"):
        merge(folder, [data])


VERIFY = {
    "command": "python -m exact_resume verify",
    "selection": {"all": True, "only": []},
    "scenarios": [
        {"name": "a", "title": "t", "group": "noise", "fixed_by": None, "cells": gate()["scenarios"][1]["cells"]}
    ],
}
VERIFY["scenarios"][0]["cells"] = {tree: VERIFY["scenarios"][0]["cells"]["base"] for tree in ("stock", "patched")}


@SETTINGS
@given(results=mangled(VERIFY))
def test_any_results_make_a_table_or_are_refused(folder, monkeypatch, results):
    # That of the supported releases takes seconds.
    monkeypatch.setattr(support_table, "table", lambda: "")
    path, readme = folder / "results.json", folder / "README.md"
    path.write_text(json.dumps(results))
    readme.write_text((PATCHES.parent / "README.md").read_text())
    try:
        readme_table.run(argparse.Namespace(results=path, readme=readme, check=False, support=False, partial=True))
    except (UsageError, Finding):
        pass


def wheel():
    """A good little wheel."""
    moment = (2026, 1, 2, 3, 4, 6)
    texts = {"a/__init__.py": b"x = 1\n" * 9, "a-1.dist-info/METADATA": b"Name: a\nVersion: 1\n\n"}
    members = [wheelfile.new_member(name, text, moment) for name, text in texts.items()]
    name = "a-1.dist-info/RECORD"
    return wheelfile.pack([*members, wheelfile.new_member(name, wheelfile.record(members, name), moment)])


@SETTINGS
@given(data=torn(wheel()))
def test_any_bytes_of_an_archive_are_unpacked_or_refused(tmp_path_factory, data):
    top = tmp_path_factory.mktemp("archive")
    (top / "folder").mkdir()
    try:
        archives.unpack(io.BytesIO(data), top / "folder")
    except archives.Unusable:
        pass
    assert os.listdir(top) == ["folder"]
    (top / "a-1-py3-none-any.whl").write_bytes(data)
    try:
        members = wheelfile.read(top / "a-1-py3-none-any.whl", "a", "1")
    except UsageError:
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {name: member.content for name, member in members.items()} == {
            name: archive.read(name) for name in archive.namelist()
        }


PATCH = (PATCHES / "v5.3" / "01-restore-order.patch").read_bytes()


@SETTINGS
@given(data=torn(PATCH[:3000]))
def test_any_bytes_of_a_patch_are_read_or_refused(data):
    try:
        patch = patchfile.parse("any", data)
    except SeriesError:
        return
    for diff in patch.diffs:
        assert not Path(diff.path).is_absolute() and ".." not in Path(diff.path).parts


RELEASES = (PATCHES / "releases.toml").read_bytes()
TABLE = RELEASES[: RELEASES.index(b'[releases."5.22.2"]')]


@SETTINGS
@given(data=torn(TABLE))
def test_any_bytes_of_releases_toml_are_read_or_refused(folder, data):
    (folder / "releases.toml").write_bytes(data)
    try:
        series.load_releases(folder)
        series.load_lanes(folder)
    except SeriesError:
        pass


# Not the number of a release, which would be looked for on the index.
SPECS = ["stock:", "patched:", "@", "/", "..", "~", "~nobody-of-that-name", "HEAD", "-", "\x00", "\n", ".whl", ":"]
OPTIONS = ["--jobs", "--shard", "--timeout", "--only", "1/2", "2/1", "0/1", "1/0", "1e9"]


@SETTINGS
@given(parts=st.lists(st.sampled_from([*SPECS, "x" * 300]) | st.text(max_size=3), max_size=5))
def test_any_name_of_a_tree_is_known_or_refused(folder, monkeypatch, parts):
    monkeypatch.setenv("EXACT_RESUME_CACHE", str(folder / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError):
        treespec.resolve("".join(parts))


@SETTINGS
@given(words=st.lists(st.sampled_from([*SPECS, *OPTIONS]), max_size=4))
def test_any_arguments_of_gate_are_refused_in_words(folder, monkeypatch, capsys, words):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("EXACT_RESUME_CACHE", str(folder / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    words = [word.replace("\x00", "") for word in words]
    assert cli.main(["gate", "--base", "".join(words), "--head", "x", *words]) == 2
    assert capsys.readouterr().err
