"""
Nothing silent: whatever keeps state wherever, a resume is exact, or named before it trains on another batch. Where no
batch shows it, it is named when the first step that shows it has ended.

Set for more:

- `EXACT_RESUME_ALL_MODES=1`: every place in all modes and from all checkpoints, which takes twenty minutes;
- `EXACT_RESUME_EXAMPLES`: how many combinations are drawn, times two; 24 without it;
- `EXACT_RESUME_SILENT_TREE`: a folder that holds another patched package `transformers/`, such as a checkout's `src`.
"""

import importlib.util
import os
import tomllib
import zlib
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

FOLDER = Path(__file__).parent
IS_ALL = os.environ.get("EXACT_RESUME_ALL_MODES") == "1"
EXPECTED = tomllib.loads((FOLDER / "expected.toml").read_text(encoding="utf-8"))
# Of the places that are silent on stock: how many of a hundred, at least.
MOST = 90


def _load(name: str):
    # The folder is on no path, as other folders of tests have modules of the same names.
    spec = importlib.util.spec_from_file_location(f"silent_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


modes = _load("modes")


def _cases(kind: str) -> list[tuple[str, str]]:
    return [
        (name, mode)
        for name, owner in EXPECTED["owners"][kind].items()
        for mode in modes.modes_of(name, owner, IS_ALL)
    ]


def _not_allowed(name: str, owner: str, outcomes: dict[str, dict]) -> list[str]:
    return [
        f"{found['outcome']} from checkpoint {at}: {found['detail']}; it said {found['said']}"
        for at, found in outcomes.items()
        if found["outcome"] not in ("exact", "named") and modes.reasons().of(name, owner, found["outcome"]) is None
    ]


@pytest.mark.parametrize(("name", "mode"), _cases("place"))
def test_resume_is_exact_or_named(name, mode, patched):
    outcomes = patched.run(name, mode, at=modes.checkpoints_of(name, mode, IS_ALL))
    owner, title = patched.listed["place"][name]
    assert not _not_allowed(name, owner, outcomes), title


@pytest.mark.parametrize(("name", "mode"), _cases("ordinary"))
def test_ordinary_is_exact_without_a_word(name, mode, patched):
    at = modes.checkpoints_of(name, mode, IS_ALL)
    outcomes = patched.run(name, mode, kind="ordinary", exact_resume="strict", at=at)
    wrong = {at: found for at, found in outcomes.items() if found["outcome"] != "exact" or found["said"]}
    assert not wrong, patched.listed["ordinary"][name][1]


@settings(max_examples=max(1, settings.default.max_examples // 2), phases=[Phase.explicit, Phase.generate])
@given(data=st.data())
def test_combination_is_exact_or_named(patched, data):
    """Any kind of state in any owner, made at any moment, in any mode."""
    parts = [data.draw(st.sampled_from(patched.listed[each])) for each in ("owners", "kinds", "moments")]
    name, mode = "-".join(parts), data.draw(st.sampled_from(modes.ALL_MODES))
    exact_resume = data.draw(st.sampled_from(["warn", "warn", "strict"]))
    at = [data.draw(st.sampled_from(["first", "end", "second"]))]
    outcomes = patched.run(name, mode, kind="combination", exact_resume=exact_resume, at=at)
    assert not _not_allowed(name, modes.OWNERS.get(parts[0], parts[0]), outcomes)


STOCK_CASES = sorted(EXPECTED["stock"], key=lambda case: zlib.crc32(case.encode()))


@pytest.mark.parametrize("case", STOCK_CASES if IS_ALL else STOCK_CASES[:12])
def test_stock_does_as_expected(case, stock):
    """The places hide something: on stock, resumes are silent."""
    name, mode = case.split()
    outcomes = stock.run(name, mode, at=list(EXPECTED["stock"][case]))
    assert {at: found["outcome"] for at, found in outcomes.items()} == EXPECTED["stock"][case]


def test_most_places_are_silent_on_stock():
    silent = {case.split()[0] for case, found in EXPECTED["stock"].items() if "silent" in found.values()}
    assert 100 * len(silent) >= MOST * len(EXPECTED["owners"]["place"])


def test_lists_are_complete(stock):
    """`run.py --tree STOCK --write` writes the list of places, and what becomes of each on stock."""
    for kind in ("place", "ordinary"):
        assert {name: owner for name, (owner, _) in stock.listed[kind].items()} == EXPECTED["owners"][kind]
    owners = {*EXPECTED["owners"]["place"].values(), *stock.listed["owners"]}
    assert set(modes.reasons().names()) <= {*stock.listed["place"], *stock.listed["kinds"], *owners}
    assert all(title for kind in ("place", "ordinary") for _, title in stock.listed[kind].values())
