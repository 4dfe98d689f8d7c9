"""
What tests in several folders share.

Set for the tests that draw examples:

- `EXACT_RESUME_EXAMPLES`: how many are drawn, multiplied or shared out by tests; 24 without it, 200 is the long form.
- `EXACT_RESUME_RANDOM=1`: draw others in each run; without it, they are always the same.
"""

import os

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "exact-resume",
    max_examples=int(os.environ.get("EXACT_RESUME_EXAMPLES", "24")),
    deadline=None,
    derandomize=os.environ.get("EXACT_RESUME_RANDOM") != "1",
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    # A training takes as long as it takes, and a fixture of a module is the same for all examples.
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("exact-resume")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder for all test processes of a run."""
    # Those of pytest-xdist have folders of their own below one of the whole run.
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def one_thread():
    """Sums that are not split in another way on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
