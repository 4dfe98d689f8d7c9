"""`hashes`: the blob ids of each release in releases.toml, and how that file is written."""

import hashlib
import shutil
import tomllib
from dataclasses import replace

import pytest

from exact_resume import hashes, lint, patching, releases, series
from exact_resume.errors import UsageError
from exact_resume.series import Lane, Release

TRAINER = "src/transformers/trainer.py"
ARGUMENTS = "src/transformers/training_args.py"


def update(*versions, added=(), lane=None, source=None):
    return hashes.update(list(versions), added=list(added), lane=lane, source=source)


def table(world):
    return (world.patches / "releases.toml").read_bytes()


def unpack(world, release):
    """Return a folder with the package of a release."""
    import zipfile

    with zipfile.ZipFile(world.work / "cache" / "wheels" / f"transformers-{release}-py3-none-any.whl") as wheel:
        wheel.extractall(world.work / "unpacked" / release)
    return world.work / "unpacked" / release


def test_the_blob_ids_of_the_base_are_those_of_git_and_a_second_run_changes_no_byte(maintained):
    before = series.load_releases()["9.9.0"]
    assert update() == (["9.9.0: lane v9.9, changed"], [])
    after = series.load_releases()["9.9.0"]
    assert after == replace(before, wheel_sha256=after.wheel_sha256) and len(before.files[TRAINER]) == 4
    written = table(maintained)
    assert update() == (["9.9.0: lane v9.9, as before"], [])
    assert table(maintained) == written


def test_the_hash_of_the_wheel_is_recorded_and_no_other_wheel_is_taken(maintained, tmp_path):
    wheel = maintained.work / "cache" / "wheels" / "transformers-9.9.0-py3-none-any.whl"
    update()
    official = wheel.read_bytes()
    assert series.load_releases()["9.9.0"].wheel_sha256 == hashlib.sha256(official).hexdigest()
    wheel.write_bytes(official + b"x")
    written = table(maintained)
    for command in (("hashes",), ("checkout", "9.9.0", tmp_path / "work"), ("wheel", "9.9.0", "--output", tmp_path)):
        completed = maintained.run(*command)
        assert completed.returncode == 2, completed
        assert "is not the official wheel of transformers 9.9.0: its SHA-256 is" in completed.stderr
        assert "remove it and download it again; nothing was changed" in completed.stderr
    assert table(maintained) == written and not (tmp_path / "work").exists()


def test_damaged_blob_ids_are_put_right(maintained):
    update()
    before = series.load_releases()
    path = maintained.patches / "releases.toml"
    path.write_text(path.read_text().replace(before["9.9.0"].files[ARGUMENTS][1], "1" * 40))
    assert update("9.9.0")[0] == ["9.9.0: lane v9.9, changed"]
    assert series.load_releases() == before


def test_a_release_that_is_added_can_be_patched(maintained):
    completed = maintained.run("hashes", "--add", "9.8.0", "--lane", "v9.9")
    assert completed.returncode == 0, completed
    assert completed.stdout == "9.8.0: lane v9.9, added\n" and completed.stderr == "[1/1] 9.8.0\n"
    assert list(series.load_releases()) == ["9.9.0", "9.8.0"]
    tree = unpack(maintained, "9.8.0")
    patching.apply(tree)
    assert patching.status(tree).exact
    assert (tree / "transformers/trainer.py").read_text().startswith("one\nmore\nline 1\n")
    assert "load all\n" in (tree / "transformers/trainer.py").read_text()


def test_pristine_trees_may_come_from_a_folder(maintained):
    unpack(maintained, "9.9.0")
    tree = unpack(maintained, "9.8.0")
    (tree / "transformers/trainer.py").write_bytes(b"zero\n" + (tree / "transformers/trainer.py").read_bytes())
    update(added=["9.8.0"], lane="v9.9")
    official = series.load_releases()
    update(source=tree.parent)
    assert series.load_releases()["9.8.0"].files[TRAINER] != official["9.8.0"].files[TRAINER]
    assert series.load_releases()["9.9.0"] == official["9.9.0"]


def package(**changed):
    """Return the files of release 9.8.0 with other texts for some modules; None leaves the module out."""
    files = {"__init__": '__version__ = "9.8.0"\n'}
    files |= {name: "".join(f"line {n}\n" for n in range(1, 91)) for name in ("trainer", "training_args")}
    files |= changed
    return {f"src/transformers/{name}.py": text for name, text in files.items() if text is not None}


LINES = package()[TRAINER]


@pytest.mark.parametrize(
    ("changed", "patch", "finding"),
    [
        ({"trainer": LINES.replace("line 60\n", "x\n")}, 0, f"{TRAINER}: hunk 2 does not fit"),
        ({"trainer": LINES.replace("line 11\n", "x\n").replace("line 60\n", "x\n")}, 0, "hunk 1, 2 does not fit"),
        ({"training_args": LINES.replace("line 15\n", "x\n")}, 1, f"{ARGUMENTS}: hunk 1 does not fit"),
        ({"training_args": None}, 1, f"{ARGUMENTS}: the release has no such file"),
        ({"trainer": LINES + LINES}, 0, f"{TRAINER}: hunk 1 fits in more than one place"),
    ],
)
def test_a_lane_that_does_not_fit_is_a_finding_with_release_patch_and_hunk(
    maintained, write_wheel, changed, patch, finding
):
    write_wheel("9.8.0", package(**changed))
    before = table(maintained)
    completed = maintained.run("hashes", "--add", "9.8.0", "--lane", "v9.9")
    assert completed.returncode == 1
    found, said = completed.stdout.splitlines()
    assert found.startswith(f"finding: 9.8.0: {maintained.names[patch]}: ") and finding in found
    assert said == "nothing was changed" and table(maintained) == before


def test_a_release_that_has_a_file_which_the_series_creates_is_a_finding(maintained, write_wheel):
    write_wheel("9.8.0", package(**{"resume/state": "theirs\n"}))
    _, findings = update(added=["9.8.0"], lane="v9.9")
    (finding,) = findings
    assert finding.startswith("9.8.0: src/transformers/resume/state.py: ") and "has it already" in finding


def test_a_lane_that_was_written_against_other_files_of_its_base_is_a_finding(maintained, write_wheel):
    write_wheel("9.9.0", package(trainer=LINES + "more\n"))
    _, (finding,) = update("9.9.0")
    assert finding == f"9.9.0: {maintained.names[0]}: {TRAINER}: lane v9.9 was not written against this file"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"versions": ["9.8.0"]}, "no release 9.8.0"),
        ({"lane": "v1.0"}, "no lane v1.0; there are: v9.9"),
        ({"added": ["9.8.0"]}, "--lane"),
        ({"added": ["9.8.0"], "lane": "v9.9", "versions": ["9.9.0"]}, "--add"),
    ],
)
def test_wrong_requests_are_refused(maintained, arguments, said):
    with pytest.raises(UsageError, match=said):
        update(*arguments.pop("versions", ()), **arguments)


def test_only_the_releases_of_a_lane(maintained):
    update(added=["9.8.0"], lane="v9.9")
    known = series.load_releases()
    releases.save(
        maintained.patches,
        {"v9.9": Lane("9.9.0"), "v9.8": Lane("9.8.0")},
        [known["9.9.0"], Release("9.8.0", "v9.8", known["9.8.0"].files)],
    )
    assert [line.partition(":")[0] for line in update(lane="v9.9")[0]] == ["9.9.0"]


def test_a_proof_is_kept_unless_the_release_moves_to_another_lane(maintained):
    proof = {"python": "3.11.7", "scenarios": 3}
    update(added=["9.8.0"], lane="v9.9")
    known = series.load_releases()
    proven = [Release(v, "v9.9" if v == "9.9.0" else "v9.8", known[v].files, proof) for v in known]
    releases.save(maintained.patches, {"v9.9": Lane("9.9.0"), "v9.8": Lane("9.8.0")}, proven)
    update("9.9.0")
    update(added=["9.8.0"], lane="v9.9")
    assert {v: release.proof for v, release in series.load_releases().items()} == {"9.9.0": proof, "9.8.0": None}


def test_a_lane_whose_last_release_moves_away_is_removed(maintained):
    update(added=["9.8.0"], lane="v9.9")
    known = series.load_releases()
    shutil.copytree(maintained.patches / "v9.9", maintained.patches / "v9.8")
    lanes = {"v9.9": Lane("9.9.0"), "v9.8": Lane("9.8.0")}
    releases.save(maintained.patches, lanes, [known["9.9.0"], replace(known["9.8.0"], lane="v9.8")])
    assert (maintained.patches / "v9.8" / "series").exists()
    update(added=["9.8.0"], lane="v9.9")
    assert not (maintained.patches / "v9.8").exists()
    assert series.load_lanes() == {"v9.9": Lane("9.9.0")} and series.load_releases() == known
    assert lint.check()[1] == []


def test_releases_toml_is_written_newest_first_whatever_the_order(tmp_path):
    files = {"b.py": ("1" * 40, "2" * 40), "a.py": ("3" * 40,)}
    proof = {"python": "3.11", "passed": True, "seconds": 1.5, "by step": [1, 2], "a": {"b": 'quoted "ä"\n'}}
    others = {"a.py": {"c": "4" * 40}}
    versions, lanes_of = ("1.9.0", "1.10.0", "1.2.0"), ("v1.2", "v1.10", "v1.10")
    rows = [Release(v, lane, files, proof, None, others) for v, lane in zip(versions, lanes_of, strict=True)]
    lanes = {"v1.2": Lane("1.9.0"), "v1.10": Lane("1.10.0", {"a.py": {"b+c": "3" * 40}})}
    for number, order in enumerate((rows, rows[::-1])):
        (tmp_path / str(number)).mkdir()
        releases.save(tmp_path / str(number), dict(sorted(lanes.items(), reverse=bool(number))), order)
    written = [(tmp_path / str(number) / "releases.toml").read_text() for number in range(2)]
    assert written[0] == written[1]
    assert list(tomllib.loads(written[0])["lanes"]) == ["v1.10", "v1.2"]
    assert list(tomllib.loads(written[0])["releases"]) == ["1.10.0", "1.9.0", "1.2.0"]
    read = series.load_releases(tmp_path / "0")
    assert list(read.values()) == sorted(rows, key=lambda row: series.version_key(row.version), reverse=True)
    assert list(read["1.2.0"].files) == ["a.py", "b.py"]
    assert series.load_lanes(tmp_path / "0") == lanes
