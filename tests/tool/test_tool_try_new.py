"""`try-new` without a network: the newest release of the index or a tree, with the patches of the nearest release."""

import shutil
import zipfile
from pathlib import Path

import pytest

from exact_resume import cli, environments, prove, trees, try_new
from exact_resume.matrix.client import ProcessEnded


def cell(exact, total):
    resumes = [{"at": [step], "exact": step <= exact, "divergence": None} for step in range(1, total + 1)]
    return {"status": "ok", "reason": None, "seconds": 0.1, "golden": "g", "resumes": resumes}


@pytest.fixture
def new(world, tmp_path, monkeypatch):
    """A release like the supported one, with its metadata, in a folder; what was run on it."""
    folder = tmp_path / "new"
    shutil.copytree(world.stages[0] / "src" / "transformers", folder / "transformers")
    (folder / "transformers-9.9.1.dist-info").mkdir()
    (folder / "transformers-9.9.1.dist-info" / "METADATA").write_text("Name: transformers\nVersion: 9.9.1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(try_new.runs, "NEEDED", ())
    monkeypatch.setattr(environments, "python_for_tree", lambda tree: Path("python"))
    made = New(folder)
    monkeypatch.setattr(prove, "run_scenarios", made.run_scenarios)
    monkeypatch.setattr(try_new, "_pip", made.pip)
    return made


class New:
    def __init__(self, folder):
        self.folder = folder
        self.patched = cell(4, 4)
        self.ran = []
        self.commands = []

    def run_scenarios(self, version, folders, python, *, whole, jobs):
        trainers = {name: (tree / "transformers" / "trainer.py").read_text() for name, tree in folders.items()}
        self.ran.append((version, whole, trainers))
        if isinstance(self.patched, Exception):
            raise self.patched
        row = {"name": "noise", "title": "noise", "group": "any", "fixed_by": "some-patch", "guard": False}
        return {
            "release": version,
            "environment": {"python": "3.11.7"},
            "trees": [{"name": name, "title": name} for name in folders],
            "scenarios": [{**row, "cells": {"stock": cell(1, 4), "patched": self.patched}}],
            "started": "2026-01-01",
            "seconds": 1.0,
        }

    def pip(self, what, arguments):
        self.commands.append(arguments)
        if arguments[0] == "download":
            target = Path(arguments[arguments.index("--dest") + 1])
            target.mkdir()
            (version,) = (path.name.split("-")[1].removesuffix(".dist") for path in self.folder.glob("*.dist-info"))
            with zipfile.ZipFile(target / trees.wheel_name(version), "w") as wheel:
                for path in self.folder.rglob("*"):
                    wheel.write(path, path.relative_to(self.folder))
        else:
            shutil.copytree(self.folder, Path(arguments[arguments.index("--target") + 1]))


def run(capsys, *arguments, code=0):
    assert cli.main(["try-new", *map(str, arguments)]) == code
    return capsys.readouterr().out.splitlines(), Path("try-new.md").read_text()


def test_the_newest_release_is_tried_with_the_patches_of_the_nearest(new, capsys):
    lines, text = run(capsys)
    assert lines == ["transformers 9.9.1: fine; wrote try-new.md"]
    assert new.commands[0][-1] == "transformers"
    ((version, whole, trainers),) = new.ran
    assert (version, whole) == ("9.9.1", False)
    assert "save 10" in trainers["patched"] and "save 10" not in trainers["stock"]
    assert text.startswith("# transformers 9.9.1\n\nWith the patches of lane v9.9, as for transformers 9.9.0.\n")
    assert "**patched 4/4 exact, stock 1/4**" in text and "Nothing fails." in text


def test_a_newest_release_that_has_a_lane_need_not_be_tried(new, capsys):
    (new.folder / "transformers-9.9.1.dist-info").rename(new.folder / "transformers-9.9.0.dist-info")
    (new.folder / "transformers-9.9.0.dist-info" / "METADATA").write_text("Name: transformers\nVersion: 9.9.0\n")
    lines, text = run(capsys)
    assert "it has a lane" in text and new.ran == []
    run(capsys, "--tree", new.folder)
    assert len(new.ran) == 1


def test_a_scenario_that_fails_is_a_finding(new, capsys):
    new.patched = cell(3, 4)
    lines, text = run(capsys, code=1)
    assert lines[0].startswith("finding: noise: not exact on patched, 3/4")
    assert "noise: not exact on patched, 3/4" in text and "patches/README.md" in text


def test_a_hunk_that_does_not_fit_is_a_finding(new, capsys):
    trainer = new.folder / "transformers" / "trainer.py"
    trainer.write_text(trainer.read_text().replace("line 60\n", "upstream changed this\n"))
    lines, text = run(capsys, "--tree", new.folder, "--output", "try-new.md", code=1)
    assert lines[0].startswith("finding: the patches do not fit: ")
    assert "trainer.py" in lines[0] and "save-the-sampler-state" in lines[0]
    assert "patches/README.md" in text and new.ran == []


def test_a_tree_that_cannot_be_imported_is_a_finding(new, capsys):
    new.patched = ProcessEnded("ended with exit code 1:\nImportError: no")
    lines, text = run(capsys, code=1)
    assert lines[0] == "finding: ended with exit code 1: ImportError: no"
    assert "\nImportError: no\n" in text


def test_a_checkout_is_built_and_left_as_it_is(new, world, capsys):
    before = world.now()
    run(capsys, "--tree", world.tree)
    assert [(words[0], words[-1]) for words in new.commands] == [("install", str(world.tree))]
    assert world.now() == before and len(new.ran) == 1


def test_a_package_without_its_metadata_is_refused(new, capsys):
    shutil.rmtree(new.folder / "transformers-9.9.1.dist-info")
    assert cli.main(["try-new", "--tree", str(new.folder)]) == 2
    assert "no folder transformers-*.dist-info" in capsys.readouterr().err


def test_a_failed_download_says_why(new, capsys, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(try_new.runs, "NEEDED", ())
    monkeypatch.chdir(new.folder)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert cli.main(["try-new"]) == 2
    assert "the newest release of transformers is not to be had: ERROR: No matching" in capsys.readouterr().err
