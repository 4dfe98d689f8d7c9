"""
Do no harm: what works on stock works on the patched Trainer, with the same files, messages, bits and calls.

Each workflow is run on stock and, without and with `exact_resume="off"`, on the patched tree, and what was observed is
compared. What may differ is in `allowed.toml`; without "off", messages and calls of ours are declared with a workflow.
`EXACT_RESUME_TWICE=1` runs each workflow twice on stock, instead of every tenth.
"""

import ast
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


def _load(name: str):
    # The folder is on no path, as other folders of tests have modules of the same names.
    spec = importlib.util.spec_from_file_location(f"harmless_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


comparing = _load("comparing")


def _workflows() -> Iterator[tuple[str, bool]]:
    """The names in the sources, and whether each is also run with "strict"; importing them would import a Trainer."""
    for path in sorted((FOLDER / "workflows").glob("*.py")):
        for function in ast.parse(path.read_text(encoding="utf-8")).body:
            for decorator in getattr(function, "decorator_list", ()):
                if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", None) == "workflow":
                    given = {keyword.arg: keyword.value for keyword in decorator.keywords}
                    each = ast.literal_eval(given["each"]) if "each" in given else None
                    is_strict = "strict" in given and ast.literal_eval(given["strict"])
                    for name in [function.name] if each is None else [f"{function.name}[{value}]" for value in each]:
                        yield name, is_strict


NAMES = dict(_workflows())
CASES = [(name, mode) for name, strict in NAMES.items() for mode in ("default", "off", "strict")[: 3 if strict else 2]]


@pytest.mark.parametrize(("name", "mode"), CASES, ids=[f"{name}-{mode}" for name, mode in CASES])
def test_works_as_on_stock(observations, name, mode):
    stock, patched = observations.of(name, "stock"), observations.of(name, mode)
    assert "died" not in stock, f"on stock: {stock['died']}\n{stock['said']}"
    found = comparing.differences(name, mode, stock, patched)
    if found:
        rest = f"\n({len(found) - 1} more: {'; '.join(found[1:4])})" if len(found) > 1 else ""
        pytest.fail(f"{stock['title']}\n{found[0]}{rest}", pytrace=False)


@pytest.mark.parametrize("name", list(NAMES)[:: 1 if os.environ.get("EXACT_RESUME_TWICE") == "1" else 10])
def test_is_the_same_twice_on_stock(observations, name):
    """Otherwise a difference would say nothing."""
    once, twice = observations.of(name, "stock"), observations.anew(name, "stock")
    assert "died" not in once, f"{once['died']}\n{once['said']}"
    found = comparing.differences(name, "off", once, twice)
    assert not found, found[0]


def test_every_allowed_difference_has_a_reason():
    assert all(comparing.ALLOWED["files"].values())
    for entry in comparing.ALLOWED.get("difference", ()):
        assert entry.keys() == {"workflow", "mode", "what", "reason"} and entry["reason"]


def test_every_allowed_difference_is_in_the_readme():
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    listed = {line.split("|")[1].strip().strip("`") for line in readme.splitlines() if line.startswith("| `")}
    assert listed == {entry["workflow"].replace("[[]", "[") for entry in comparing.ALLOWED["difference"]}
