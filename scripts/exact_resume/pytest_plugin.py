"""The fixtures for pytest, which finds this module through its entry point. Imports no torch before one is used."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest


@pytest.fixture
def exact_resume_check(tmp_path: Path) -> Callable[..., None]:
    """`exact_resume.testing.assert_exact_resume`, whose runs write below `tmp_path`; call it with your function."""
    from exact_resume.testing import assert_exact_resume

    return partial(assert_exact_resume, folder=tmp_path)
