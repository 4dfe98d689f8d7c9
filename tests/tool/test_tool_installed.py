"""Installed copies: found without being imported, noted, and still in order for pip."""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import venv

import pytest

from exact_resume import installed, patching
from exact_resume.errors import Finding, UsageError

COUNT = 4
NOTE = "exact_resume-installed.json"
DIST_INFO = "transformers-9.9.0.dist-info"
PACKAGE_FILES = ("resume/__init__.py", "resume/state.py", "trainer.py", "training_args.py")


def record_line(site, path):
    content = (site / path).read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return f"{path},sha256={digest},{len(content)}"


def add_metadata(site, end="\r\n"):
    """Write the metadata of an installed distribution, with line ends as pip (or another installer) writes them."""
    info = site / DIST_INFO
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 9.9.0\n")
    (info / "INSTALLER").write_text("pip\n")
    paths = sorted(path.relative_to(site).as_posix() for path in (site / "transformers").rglob("*.py"))
    lines = [record_line(site, path) for path in (*paths, f"{DIST_INFO}/METADATA", f"{DIST_INFO}/INSTALLER")]
    lines += [
        "../../../bin/transformers,,",
        "transformers/__pycache__/trainer.cpython-311.pyc,,",
        f"{DIST_INFO}/RECORD,,",
    ]
    (info / "RECORD").write_bytes("".join(line + end for line in lines).encode())
    return info / "RECORD"


@pytest.fixture
def site(world):
    """A site-packages folder as pip leaves it."""
    folder = world.installed()
    # Importing it would be noticed.
    (folder / "transformers" / "__init__.py").write_text('__version__ = "9.9.0"\nraise SystemExit("imported")\n')
    add_metadata(folder)
    return folder


@pytest.fixture
def python(site, tmp_path):
    """An interpreter that has the folder among its packages."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    own = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    (own / "site.pth").write_text(f"{site}\n")
    return tmp_path / "venv" / "bin" / "python"


def here(site):
    return installed.Installed(site, site, site / DIST_INFO / "RECORD")


def check_record(site):
    """Every line that has a hash is right, and every file of the package has a line."""
    lines = (site / DIST_INFO / "RECORD").read_text().splitlines()
    for line in lines:
        if ",sha256=" in line:
            assert line == record_line(site, line.split(",")[0])
    listed = {line.split(",")[0] for line in lines}
    assert listed >= {path.relative_to(site).as_posix() for path in (site / "transformers").rglob("*.py")}
    assert len(listed) == len(lines)


def test_the_command_line_goes_there_and_back(world, site, python, snapshot):
    before = snapshot(site)
    arguments = ("--installed", "--python", python)
    completed = world.run("apply", *arguments)
    assert completed.returncode == 0 and completed.stderr == ""
    assert completed.stdout.splitlines()[0] == f"transformers 9.9.0 (installed package) at {site}, lane v9.9"
    assert completed.stdout.splitlines()[-1] == "done: 3 patches applied, 4 files changed"
    check_record(site)
    assert world.run("status", *arguments).returncode == 0
    assert "already applied" in world.run("apply", *arguments).stdout
    assert world.run("revert", *arguments).returncode == 0
    assert snapshot(site) == before
    assert "no patch is applied; nothing to do" in world.run("revert", *arguments).stdout


def test_without_another_interpreter_it_is_the_one_that_runs_the_tool(world, site, monkeypatch):
    scripts = str(installed.PROBE.parents[1])
    # Not a checkout in the current folder, although Python looks there first.
    monkeypatch.chdir(world.tree / "src")
    completed = world.run("status", "--installed", PYTHONPATH=f"{scripts}:{site}")
    assert completed.stdout.startswith(f"transformers 9.9.0 (installed package) at {site}, lane")


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("final", [True, False])
def test_record_comes_back_byte_for_byte(site, snapshot, end, final):
    shutil.rmtree(site / DIST_INFO)
    record = add_metadata(site, end)
    if not final:
        record.write_bytes(record.read_bytes().rstrip())
    before = snapshot(site)
    patching.apply(site, installed=here(site), upto="01-save-the-sampler-state.patch")
    check_record(site)
    patching.apply(site, installed=here(site))
    check_record(site)
    assert {line[-2:] == b"\r\n" for line in record.read_bytes().splitlines(keepends=True)[:-1]} == {end == "\r\n"}
    patching.revert(site, installed=here(site))
    assert snapshot(site) == before


def test_a_line_that_was_wrong_before_comes_back_too(site, snapshot):
    trainer = site / "transformers/trainer.py"
    trainer.write_text(trainer.read_text().replace("line 45\n", "mine 45\n"))
    before = snapshot(site)
    patching.apply(site, installed=here(site))
    check_record(site)
    patching.revert(site, installed=here(site))
    assert snapshot(site) == before


def test_files_that_record_does_not_list_are_left_so(site, snapshot):
    record = site / DIST_INFO / "RECORD"
    lines = record.read_bytes().splitlines(keepends=True)
    lines = [line for line in lines if b"training_args" not in line]
    lines = [b"transformers/trainer.py,,\r\n" if b"/trainer.py" in line else line for line in lines]
    record.write_bytes(b"".join(lines))
    before = snapshot(site)
    patching.apply(site, installed=here(site))
    text = record.read_text()
    assert "transformers/trainer.py,,\n" in text and "training_args" not in text and "resume/state.py,sha256" in text
    patching.revert(site, installed=here(site))
    assert snapshot(site) == before


def test_a_copy_without_record_is_patched_and_noted(site, snapshot):
    (site / DIST_INFO / "RECORD").unlink()
    before = snapshot(site)
    where = installed.Installed(site, site, None)
    patching.apply(site, installed=where)
    assert (site / NOTE).exists()
    patching.revert(site, installed=where)
    assert snapshot(site) == before


def test_check_writes_neither_note_nor_record(site, snapshot):
    before = snapshot(site)
    patching.apply(site, installed=here(site), check=True)
    assert snapshot(site) == before


def test_a_refused_write_of_the_note_takes_the_patches_back(site, snapshot):
    (site / NOTE).mkdir()
    before = snapshot(site)
    with pytest.raises(UsageError):
        patching.apply(site, installed=here(site))
    assert snapshot(site) == before


def upgrade(world, site, version="9.9.0"):
    """Do what pip does to the files when it installs another release, or the same one again."""
    for path in (site / "transformers", site / DIST_INFO):
        shutil.rmtree(path)
    shutil.copytree(world.stages[0] / "src" / "transformers", site / "transformers")
    (site / "transformers" / "__init__.py").write_text(f'__version__ = "{version}"\n')
    add_metadata(site)


def test_an_upgrade_that_took_the_patches_away_is_a_finding(world, site, python):
    patching.apply(site, installed=here(site))
    upgrade(world, site)
    completed = world.run("status", "--installed", "--python", python)
    assert completed.returncode == 1 and completed.stderr == ""
    said = completed.stdout.splitlines()[-1]
    assert said.startswith("problem: apply --installed had applied 3 patches to transformers 9.9.0 here; now this is ")
    assert "with none of them: it was upgraded or reinstalled; apply --installed again" in said
    patching.apply(site, installed=here(site))
    assert patching.status(site, installed=here(site)).clean
    check_record(site)


def test_patches_that_an_upgrade_took_away_can_be_forgotten(world, site, snapshot):
    patching.apply(site, installed=here(site))
    upgrade(world, site)
    note = (site / NOTE).read_bytes()
    (site / NOTE).unlink()
    expected = snapshot(site)
    (site / NOTE).write_bytes(note)
    assert "would be forgotten" in patching.revert(site, installed=here(site), check=True).lines[-1]
    assert not patching.status(site, installed=here(site)).clean
    assert "; forgotten: an earlier apply" in patching.revert(site, installed=here(site)).lines[-1]
    assert snapshot(site) == expected and patching.status(site, installed=here(site)).clean


def test_an_upgrade_to_a_release_that_nothing_serves_is_a_finding_too(world, site):
    patching.apply(site, installed=here(site))
    upgrade(world, site, "12.0.0")
    with pytest.raises(Finding, match="now this is transformers 12.0.0 .* transformers 12.0.0 has no patch series"):
        patching.status(site, installed=here(site))
    with pytest.raises(UsageError, match="transformers 12.0.0 has no patch series"):
        patching.apply(site, installed=here(site))


def test_patches_that_somebody_took_back_by_hand_are_missed(site):
    patching.apply(site, installed=here(site))
    patching.revert(site)
    assert not patching.status(site, installed=here(site)).clean
    # What a plain apply puts in again is what was noted.
    patching.apply(site)
    assert patching.status(site, installed=here(site)).clean


@pytest.mark.parametrize("damage", ["{", "[]", '{"version": "9.9.0"}'])
def test_a_damaged_note_is_refused(site, snapshot, damage):
    (site / NOTE).write_text(damage)
    before = snapshot(site)
    for action in (patching.apply, patching.status):
        with pytest.raises(UsageError, match=f"{NOTE} cannot be read .*; remove it"):
            action(site, installed=here(site))
    patching.apply(site)
    with pytest.raises(UsageError, match=f"{NOTE} cannot be read .*; remove it"):
        patching.revert(site, installed=here(site))
    patching.revert(site)
    assert snapshot(site) == before


def test_an_editable_installation_leads_to_its_checkout(world, python):
    own = next((world.work / "venv").glob("lib/python*/site-packages"))
    (own / "site.pth").write_text(f"{world.tree / 'src'}\n")
    info = own / DIST_INFO
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 9.9.0\n")
    (info / "RECORD").write_text(f"site.pth,,\n{DIST_INFO}/METADATA,,\n{DIST_INFO}/RECORD,,\n")
    before = (info / "RECORD").read_bytes()
    completed = world.run("apply", "--installed", "--python", python)
    assert completed.stdout.startswith(f"transformers 9.9.0 (source checkout) at {world.tree}, lane")
    assert world.now() == world.stage(COUNT)
    assert json.loads((own / NOTE).read_text())["record"] == {} and (info / "RECORD").read_bytes() == before
    world.run("revert", "--installed", "--python", python)
    assert world.now() == world.stage(0) and not (own / NOTE).exists()


def test_pip_finds_everything_in_order_and_uninstalls_all_of_it(site, world, python):
    own = next((world.work / "venv").glob("lib/python*/site-packages"))
    (own / "site.pth").unlink()
    shutil.copytree(site / "transformers", own / "transformers")
    add_metadata(own)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    assert world.run("apply", "--installed", "--python", python).returncode == 0
    checked = subprocess.run([*pip, "check"], capture_output=True, text=True)
    assert checked.returncode == 0 and "No broken requirements" in checked.stdout, checked
    gone = subprocess.run([*pip, "uninstall", "--yes", "transformers"], capture_output=True, text=True)
    assert gone.returncode == 0 and "Successfully uninstalled" in gone.stdout, gone
    assert [path.name for path in own.iterdir()] == [NOTE]
    completed = world.run("status", "--installed", "--python", python)
    assert completed.returncode == 2 and "transformers is not installed for" in completed.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--installed", "--python", "/nowhere/python"), "/nowhere/python cannot be run: No such file or directory"),
        (("--installed", "--python", "/bin/false"), "/bin/false does not say where its transformers is"),
        (("--installed", "--python", "/bin/echo"), "/bin/echo does not say where its transformers is"),
        (("TREE", "--python", "python3"), "--python chooses whose installed transformers is meant"),
        (("TREE", "--installed"), "not allowed with argument"),
        ((), "one of the arguments TREE --installed is required"),
    ],
)
def test_wrong_ways_to_ask_are_refused(world, arguments, said):
    completed = world.run("status", *arguments)
    assert completed.returncode == 2 and said in completed.stderr and "Traceback" not in completed.stderr


def test_an_interpreter_without_transformers_is_told_so(world, python):
    next((world.work / "venv").glob("lib/python*/site-packages/site.pth")).unlink()
    completed = world.run("apply", "--installed", "--python", python)
    assert completed.returncode == 2 and completed.stderr.count("\n") == 1
    assert f"transformers is not installed for {python}; install it there" in completed.stderr
