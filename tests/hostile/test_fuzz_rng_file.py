"""RNG files that may hold anything: a patched Trainer loads them or calls them damaged, and runs nothing of them."""

import builtins
import importlib
import io
import os
import pickle
import pickletools
import random
import resource
import subprocess
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from exact_resume import trees

RELEASE = "5.23.0"
PACKAGE = "transformers.trainer_resume"
NAMES = {"python", "numpy", "cpu", "exact_resume", "checksum"}
EXAMPLES = settings.default.max_examples
SETTINGS = settings(max_examples=10 * EXAMPLES)
pytestmark = [
    pytest.mark.skipif(transformers.__version__ != RELEASE, reason=f"transformers {RELEASE} is not installed"),
    pytest.mark.filterwarnings("ignore:Detected pickle protocol"),
]


@pytest.fixture(scope="module")
def loader():
    """What reads RNG files, which only a patched tree has, beside the modules of the installed release."""
    patched = str(trees.build(trees.PATCHED, RELEASE) / "transformers")
    importlib.import_module("transformers.trainer_utils")  # which may put another module in the place of the package
    before, package = set(sys.modules), sys.modules["transformers"]
    package.__path__.append(patched)
    modules = {
        name: importlib.import_module(f"{PACKAGE}.{name}") for name in ("files", "generators", "errors", "pipeline")
    }
    yield types.SimpleNamespace(
        load_rng_file=modules["files"].load_rng_file,
        add_checksum=modules["files"].add_checksum,
        ExactResumeError=modules["errors"].ExactResumeError,
        pack_rng_state=modules["generators"].pack_rng_state,
        get_rng_state=modules["generators"].RNGStates(modules["pipeline"].PipelineState()).get,
    )
    package.__path__.remove(patched)
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and sys.modules[name].__file__.startswith(patched):
            del sys.modules[name]


@pytest.fixture(scope="module")
def good(loader, tmp_path_factory):
    """The bytes of an RNG file, with records such as a checkpoint has."""
    state = loader.get_rng_state()
    record = {"version": 1, "fetch_states": {0: loader.pack_rng_state(state)}, "index_batches": {0: [1, 2]}}
    path = tmp_path_factory.mktemp("good") / "rng_state.pth"
    torch.save(loader.add_checksum({**state, "exact_resume": record}), path)
    return path.read_bytes()


def current():
    return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()


def load(loader, path, data):
    """Load an RNG file in every mode; return what the default mode gives."""
    path.write_bytes(data)
    before = current()
    try:
        strict = loader.load_rng_file(str(path), "strict")
    except loader.ExactResumeError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        strict = None
    found = loader.load_rng_file(str(path), "warn")
    assert (found is None) == (strict is None) and isinstance(found, dict | None)
    # As stock does, which need not say it in our words.
    try:
        loader.load_rng_file(str(path), "off")
    except Exception as error:
        assert found is None or not isinstance(error, pickle.UnpicklingError)
    assert current() == before
    return found


def test_what_was_saved_is_loaded(loader, good, tmp_path):
    assert load(loader, tmp_path / "rng_state.pth", good).keys() == NAMES


@SETTINGS
@given(data=st.data())
def test_any_bytes_are_loaded_or_called_damaged(loader, good, tmp_path, data):
    torn = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(torn)))
        end = data.draw(st.sampled_from([start, start + 1, start + 8, start + 700, len(torn)]))
        torn[start:end] = data.draw(st.binary(max_size=9) | st.just(bytes(len(torn[start:end]))))
    load(loader, tmp_path / "rng_state.pth", bytes(torn))


@pytest.mark.parametrize("size", [0, 1, 4, 100, 4000, -22, -1])
def test_a_file_that_was_cut_is_called_damaged(loader, good, tmp_path, size):
    assert load(loader, tmp_path / "rng_state.pth", good[:size]) is None


@SETTINGS
@given(opcodes=st.lists(st.sampled_from([ord(opcode.code) for opcode in pickletools.opcodes]), max_size=30))
def test_any_pickle_is_called_damaged(loader, good, tmp_path, opcodes):
    program = b"\x80\x02" + bytes(opcodes) + b"."
    for data in (program, in_archive(good, program)):
        assert load(loader, tmp_path / "rng_state.pth", data) is None


def in_archive(good, program):
    """Put another pickle into an RNG file."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as archive, zipfile.ZipFile(packed, "w") as other:
        for entry in archive.infolist():
            other.writestr(entry.filename, program if entry.filename.endswith("data.pkl") else archive.read(entry))
    return packed.getvalue()


class Calls:
    """Pickled, it calls a function when it is loaded."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


FUNCTIONS = {
    "system": lambda mark: Calls(os.system, f"touch {mark}"),
    "open": lambda mark: Calls(builtins.open, mark, "w"),
    "eval": lambda mark: Calls(builtins.eval, f"open({mark!r}, 'w')"),
    "exec": lambda mark: Calls(builtins.exec, f"open({mark!r}, 'w')"),
    "getattr": lambda mark: Calls(getattr, Calls(__import__, "os"), "system"),
    "popen": lambda mark: Calls(subprocess.Popen, ["touch", mark]),
    "mkdir": lambda mark: Calls(os.mkdir, mark),
    "torch": lambda mark: Calls(torch.save, 1, mark),
    "numpy": lambda mark: Calls(np.savetxt, mark, [1]),
}


@pytest.mark.parametrize("form", ["pickle", "archive", "inside"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_nothing_of_a_file_is_executed(loader, good, tmp_path, function, protocol, form):
    mark = tmp_path / "mark"
    call = FUNCTIONS[function](str(mark))
    program = pickle.dumps(call if form != "inside" else {"python": call, "exact_resume": [call]}, protocol)
    data = program if form == "pickle" else in_archive(good, program)
    assert load(loader, tmp_path / "rng_state.pth", data) is None
    assert not mark.exists()
    # The same file does it where it is not loaded as data only.
    pickle.loads(program)
    assert mark.exists() or function in ("getattr", "popen")


def test_a_small_file_does_not_take_much_memory(loader, good, tmp_path):
    """Compressed, and with a tensor in it that claims to be large."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as other:
        for entry in archive.infolist():
            more = bytes(200_000_000) if entry.filename.endswith("data/0") else b""
            other.writestr(entry.filename, archive.read(entry) + more)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(packed.getvalue()) < 1_000_000
    assert load(loader, tmp_path / "rng_state.pth", packed.getvalue()) is None
    state = loader.get_rng_state()
    torch.save({**state, "cpu": state["cpu"][:1].expand(2**33)}, tmp_path / "large")
    assert load(loader, tmp_path / "rng_state.pth", (tmp_path / "large").read_bytes()) is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
