"""The side for tests of others: `assert_exact_resume` and the plugin for pytest."""

import configparser
import functools
import importlib.util
import sys

import pytest

from exact_resume import testing, trees
from exact_resume.check import command, installation
from exact_resume.errors import UsageError
from exact_resume.series import for_release

NUM_PATCHES = sum(any(diff.path.startswith("src/") for diff in one.diffs) for one in for_release("5.23.0").patches)
CHECKOUT = command.PACKAGE_PARENT.parent
ON_PATCHED = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import own_trainers
from exact_resume.testing import assert_exact_resume
for name in sys.argv[1:]:
    try:
        assert_exact_resume(getattr(own_trainers, name), in_this_process=True)
        print(name, "exact")
    except AssertionError as error:
        print(name, next(line for line in str(error).splitlines() if line.startswith("not exact")))
"""


@pytest.fixture(scope="module")
def own_trainers():
    """The module, under a name by which only its file can be found."""
    path = CHECKOUT / "tests" / "check" / "own_trainers.py"
    spec = importlib.util.spec_from_file_location("trainers_of_this_test", path)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_a_patched_trainer_is_exact(run_python, patched):
    folder = CHECKOUT / "tests" / "check"
    names = ["best_of_epochs", "with_a_model_that_counts"]
    done = run_python("-c", ON_PATCHED, folder, *names, folder=folder, path=[patched])
    assert done.returncode == 0, done.stderr
    # The second is the control: on a patched tree, too, the comparison can fail.
    first, second = done.stdout.splitlines()
    assert first == "best_of_epochs exact"
    assert second.startswith(f"{names[1]} not exact: the run that was resumed after step 2 differs first at step 3, ")
    assert ", micro-batch 0, model: loss: " in second


def test_the_report_is_the_text_of_the_error(own_trainers, tmp_path, capsys):
    def make_trainer(output_dir):
        assert str(output_dir).startswith(str(tmp_path))
        return own_trainers.noisy(output_dir)

    with pytest.raises(AssertionError) as caught:
        testing.assert_exact_resume(make_trainer, 3, folder=tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("make_trainer: 8 update steps on cpu, 0 dataloader workers")
    assert "step 3         not exact  step 4, micro-batch 0, data" in lines
    assert "- a random generator that no checkpoint has" in str(caught.value)
    assert "[1/1] resumed after step 3: not exact" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_several_interrupts_are_tried_in_order(own_trainers):
    with pytest.raises(AssertionError, match=r"(?s)\nstep 1 .*\nstep 5 .*differs first at step 2"):
        testing.assert_exact_resume(own_trainers.never_saving, interrupt_at=[5, 1, 5], in_this_process=True)


def test_what_cannot_be_checked_is_a_usage_error(own_trainers):
    with pytest.raises(UsageError, match="never_saving: the trainer never saves"):
        testing.assert_exact_resume(own_trainers.never_saving, in_this_process=True)


def test_only_what_another_process_finds_gets_one(own_trainers, monkeypatch):
    assert testing._target_of(own_trainers.noisy) == f"{own_trainers.__file__}:noisy"
    assert testing._target_of(testing.assert_exact_resume) == "exact_resume.testing:assert_exact_resume"
    assert testing._target_of(lambda: None) is None
    assert testing._target_of(functools.partial(own_trainers.build, save_steps=1)) is None
    monkeypatch.setattr(own_trainers, "noisy", own_trainers.plain)
    assert testing._target_of(own_trainers.plain) == f"{own_trainers.__file__}:plain"
    with pytest.raises(ValueError, match="cannot be found by another process"):
        testing.assert_exact_resume(lambda: None, in_this_process=False)


def test_the_plugin_is_found_and_needs_no_torch(tmp_path, run_python):
    """As where the project is installed, in an environment without torch."""
    setup = configparser.RawConfigParser()
    setup.read(CHECKOUT / "setup.cfg", encoding="utf-8")
    info = tmp_path / "exact_resume_of_this_test-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: exact-resume-of-this-test\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[pytest11]\n{setup['options.entry_points']['pytest11'].strip()}\n")
    for name in ("torch", "transformers", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported what it must not')\n")
    (tmp_path / "test_it.py").write_text("def test_it(exact_resume_check):\n    assert callable(exact_resume_check)\n")
    done = run_python("-m", "pytest", "-q", "-p", "no:cacheprovider", folder=tmp_path, path=[tmp_path])
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


def test_how_much_of_the_series_a_tree_has(patched, tmp_path):
    stock = trees.build(trees.STOCK, "5.23.0")
    found = installation.inspect(stock / "transformers", "5.23.0", installed=False)
    assert found.patches == "stock" and f"apply {stock}` would apply {NUM_PATCHES} patches and change " in found.advice
    found = installation.inspect(patched / "transformers", "5.23.0", installed=True)
    assert (found.patches, found.advice) == ("patched", None)
    assert found.title == f"transformers 5.23.0 (patched) at {patched}"
    package = tmp_path / "src" / "transformers"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "1.2.3"\n')
    found = installation.inspect(package, "1.2.3", installed=True)
    assert (found.patches, found.advice, found.folder) == ("not known to the patch series", None, tmp_path)


def test_a_tree_without_companions():
    companions = for_release("5.23.0").companions
    tree = trees.build(trees.PATCHED, "5.23.0", without=companions)
    found = installation.inspect(tree / "transformers", "5.23.0", installed=True)
    assert found.patches == f"patched without {', '.join(companions)}"
    assert f"apply --installed` would apply {len(companions)} patch" in found.advice


def test_a_tree_with_the_first_patches_only():
    tree = trees.build(trees.PATCHED, "5.23.0", upto="restore-order")
    found = installation.inspect(tree / "transformers", "5.23.0", installed=True)
    assert found.patches == "patched up to restore-order"
    assert f"apply --installed` would apply {NUM_PATCHES - 1} patches and change " in found.advice
