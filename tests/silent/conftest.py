"""Processes that run places on trees, for all tests of a test process."""

import importlib.util
import os
from pathlib import Path

import pytest

from exact_resume import trees

RELEASE = "5.23.0"
# Another tree than the one of `patches/`, such as one under development.
TREE_VARIABLE = "EXACT_RESUME_SILENT_TREE"


def _load(name: str):
    # The folder is on no path, as other folders of tests have modules of the same names.
    spec = importlib.util.spec_from_file_location(f"silent_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def patched():
    """The patched tree."""
    chosen = os.environ.get(TREE_VARIABLE)
    yield from _serve(Path(chosen) if chosen else trees.build(trees.PATCHED, RELEASE))


@pytest.fixture(scope="session")
def stock():
    """The stock tree."""
    yield from _serve(trees.build(trees.STOCK, RELEASE))


def _serve(tree: Path):
    server = _load("client").Server(tree)
    yield server
    server.close()
