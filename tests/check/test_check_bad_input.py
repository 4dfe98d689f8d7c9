"""What `check` refuses: exit code 2 and one line that helps, with the user's own traceback after it at most."""

import pytest

from exact_resume import cli

FILE = """
import transformers
number = 3
def needs_two(output_dir, size): pass
def keyword(*, folder): assert isinstance(folder, str); raise KeyError("a", folder)
def positional(folder, /, size=1): raise LookupError(folder)
def leaving(): raise SystemExit(3)
def returns_nothing(output_dir): pass
def returns_a_model(output_dir): return transformers.TrainingArguments
class Maker:
    def make_trainer(): raise OSError("deep")
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "made.py").write_text(FILE)
    (tmp_path / "broken.py").write_text("def f():\n    return undefined\n\n\nf()\n")
    (tmp_path / "needy.py").write_text("import no_such_thing\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("made:", "'made:' does not name a function; give MODULE:FUNCTION"),
        (":made", "does not name a function"),
        ("no_such:f", "no module no_such; run the command in the folder that holds it"),
        ("no_such.py:f", "no_such.py: no such file"),
        ("made.py:make", "made.py has no make; there is keyword, leaving, needs_two, positional, returns_a_model, "),
        ("made.py:number", "made.py:number is of type int, not a function"),
        (
            "made.py:needs_two",
            "needs output_dir, size; it may need the folder for the output (output_dir) and nothing",
        ),
        ("made.py:returns_nothing", "has to return a transformers.Trainer, and returned nothing; does it lack a `ret"),
        ("made.py:returns_a_model", "has to return a transformers.Trainer, and returned a type"),
    ],
)
def test_what_is_no_function_that_makes_a_trainer(check_here, file, name, said):
    code, out, err = check_here(name)
    lines = [line for line in err.splitlines() if line != "golden run"]
    assert (code, out, len(lines)) == (2, "", 1)
    assert lines[0].startswith("exact-resume: ") and said in lines[0]


@pytest.mark.parametrize(
    ("name", "said", "frame"),
    [
        ("broken.py:f", "importing broken.py raised NameError: name 'undefined' is not defined", "in f"),
        ("broken:f", "importing broken raised NameError", "in f"),
        ("needy:f", "importing needy raised ModuleNotFoundError: No module named 'no_such_thing'", "in <module>"),
        ("made.py:keyword", "made.py:keyword raised KeyError: ('a', '", "in keyword"),
        ("made.py:positional", "made.py:positional raised LookupError: ", "in positional"),
        ("made.py:leaving", "made.py:leaving raised SystemExit: 3", "in leaving"),
        ("made.py:Maker.make_trainer", "made.py:Maker.make_trainer raised OSError: deep", "in make_trainer"),
        ("failing", "the run that is not interrupted failed: training raised ValueError: a bad batch", "own_trainers"),
    ],
)
def test_errors_of_the_user_are_told_as_such(check_here, file, monkeypatch, name, said, frame):
    monkeypatch.syspath_prepend(file)
    code, out, err = check_here(name)
    lines = [line for line in err.splitlines() if line != "golden run"]
    assert (code, out) == (2, "")
    assert said in lines[0] and any(frame in line for line in lines[1:])
    assert len(lines) <= 9 and all(line.startswith("  ") for line in lines[1:])
    assert "exact_resume/check" not in err and "importlib" not in err


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("never_saving", [], 'the trainer never saves, so there is no checkpoint to resume from; set save_strategy="'),
        ("saving_last", [], "saves only after the last of its 8 steps"),
        ("too_short", ["--interrupt-at", "1"], "training has 1 update step, and to interrupt it takes at least 2"),
        ("stopping_at_once", [], "training has 1 update step, "),
        (
            "noisy",
            ["--interrupt-at", "3,8,9"],
            "8 update steps, so there is nothing to resume after steps 8, 9; choos",
        ),
        ("noisy", ["--tree", "."], "not a transformers tree"),
        ("noisy", ["--output", "made.py"], "cannot write to made.py: File exists; choose another --output"),
        ("noisy", ["--output", "made.py/out"], "cannot write to made.py/out: Not a directory"),
    ],
)
def test_what_cannot_be_checked(check_here, file, name, options, said):
    code, out, err = check_here(name, *options)
    lines = [line for line in err.splitlines() if line != "golden run"]
    assert (code, out, len(lines)) == (2, "", 1)
    assert said in lines[0]


def test_a_checkpoint_that_is_not_where_it_belongs_is_missed(check_here, monkeypatch):
    monkeypatch.setattr("transformers.Trainer._save_checkpoint", lambda *args, **kwargs: None)
    code, _, err = check_here("noisy", "--interrupt-at", "3")
    assert code == 2 and "no checkpoint was found at step 3 although one was asked for" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--interrupt-at", "0"], "'0' is not a list of steps from 1"),
        (["--interrupt-at", "2,x"], "'2,x' is not a list of steps"),
        (["--timeout", "-1"], "'-1' is not a positive number of seconds"),
        (["--timeout", "soon"], "'soon' is not a positive number of seconds"),
        (["--installed", "--tree", "."], "not allowed with argument --installed"),
    ],
)
def test_options_that_make_no_sense(capsys, options, said):
    assert cli.main(["check", "a:b", *options]) == 2
    assert said in capsys.readouterr().err
