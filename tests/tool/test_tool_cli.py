"""The command line as a process of its own: what it prints, its exit codes, and what it never imports."""

import os
import shutil
import subprocess
import sys

import pytest

from exact_resume import cli, patching
from exact_resume.errors import Finding, SeriesError

TRAINER = "src/transformers/trainer.py"


def assert_refused(world, completed, *said):
    """Exit code 2, one line on stderr with everything in `said`, no traceback, nothing changed."""
    assert completed.returncode == 2, completed
    assert completed.stdout == ""
    assert completed.stderr.startswith("exact-resume: ") and completed.stderr.count("\n") == 1
    assert "Traceback" not in completed.stderr
    for words in said:
        assert str(words) in completed.stderr


def test_the_whole_way_there_and_back(world):
    completed = world.run("apply", world.tree)
    assert completed.returncode == 0 and completed.stderr == ""
    lines = completed.stdout.splitlines()
    assert lines[0] == f"transformers 9.9.0 (source checkout) at {world.tree}, lane v9.9"
    assert lines[1] == f"applied: {world.names[0]}  Save the sampler state"
    assert lines[-1] == "done: 4 patches applied, 6 files changed"
    assert world.now() == world.stage(4)
    completed = world.run("status", world.tree)
    assert completed.returncode == 0 and "touched files: exact" in completed.stdout
    assert f"applied  {world.names[3]}" in completed.stdout
    completed = world.run("revert", world.tree)
    assert completed.returncode == 0
    assert completed.stdout.splitlines()[-1] == "done: 4 patches taken back, 6 files changed"
    assert world.now() == world.stage(0)


def test_apply_upto_and_check(world):
    completed = world.run("apply", world.tree, "--upto", world.names[0], "--check")
    assert completed.returncode == 0
    assert completed.stdout.splitlines()[1:] == [
        f"would be applied: {world.names[0]}  Save the sampler state",
        "check only, nothing was changed: 1 patch would be applied, 2 files",
    ]
    assert world.now() == world.stage(0)
    assert world.run("apply", world.tree, "--upto", world.names[0]).returncode == 0
    assert world.now() == world.stage(1)


def test_the_mailbox_of_a_release_is_its_mails(world):
    completed = world.run("mbox", "9.9.0")
    assert completed.returncode == 0
    assert completed.stdout == "".join((world.patches / "v9.9" / name).read_text() for name in world.files)
    assert_refused(world, world.run("mbox", "9.7.0"), "transformers 9.7.0 has no patch series", "9.9.0")


def test_list_names_releases_lanes_and_titles(world):
    completed = world.run("list")
    assert completed.returncode == 0
    assert completed.stdout.splitlines()[0] == "transformers 9.9.0: lane v9.9"
    assert f"  {world.names[3]}  Check the état on load" in completed.stdout.splitlines()


def test_list_gives_releases_to_other_programs(world):
    for which in ("all", "boundaries"):
        completed = world.run("list", "--json", which)
        assert (completed.returncode, completed.stdout) == (0, '["9.9.0"]\n')


def test_a_terminal_without_the_letters_of_a_title_is_no_reason_to_fail(world):
    completed = world.run("list", PYTHONIOENCODING="ascii")
    assert completed.returncode == 0 and "\\xe9tat" in completed.stdout


def test_status_of_a_half_applied_tree_is_a_finding(world):
    world.edit(TRAINER, "line 10\n", "save 10\n")
    completed = world.run("status", world.tree)
    assert completed.returncode == 1 and completed.stderr == ""
    assert f"problem: half-applied: {TRAINER} has hunk 1 of {world.names[0]} but not hunk 2" in completed.stdout


def test_status_of_local_edits_elsewhere_is_no_finding(world):
    world.edit(TRAINER, "line 45\n", "forked\n")
    completed = world.run("status", world.tree)
    assert completed.returncode == 0
    assert completed.stdout.splitlines()[-1] == f"touched files: with local edits: {TRAINER}"


@pytest.mark.parametrize("command", ["apply", "revert", "status"])
def test_a_folder_that_does_not_exist_is_refused(world, command):
    assert_refused(world, world.run(command, world.work / "nowhere"), "no such folder", world.work / "nowhere")


@pytest.mark.parametrize("command", ["apply", "revert", "status"])
def test_a_folder_without_transformers_is_refused(world, command):
    folder = world.work / "empty"
    folder.mkdir()
    said = ("not a transformers tree", "src/transformers/__init__.py", "transformers/__init__.py", folder)
    assert_refused(world, world.run(command, folder), *said)


@pytest.mark.parametrize("command", ["apply", "revert", "status"])
def test_a_release_without_a_lane_is_refused_with_the_supported_ones(world, command):
    init = world.tree / "src/transformers/__init__.py"
    init.write_text('__version__ = "1.2.3"\n')
    assert_refused(world, world.run(command, world.tree), "transformers 1.2.3 has no patch series", "9.9.0")


def test_a_package_without_a_version_line_is_refused(world):
    init = world.tree / "src/transformers/__init__.py"
    init.write_text("")
    assert_refused(world, world.run("apply", world.tree), init, "no line __version__")


def test_a_locally_edited_hunk_is_refused_with_file_and_number(world):
    world.edit(TRAINER, "line 60\n", "forked 60\n")
    before = world.now()
    assert_refused(world, world.run("apply", world.tree), f"{TRAINER}: hunk 2 of {world.names[0]}", "undo the edits")
    assert world.now() == before


@pytest.mark.parametrize("command", ["apply", "revert"])
def test_a_half_applied_tree_is_refused(world, command):
    shutil.copy(world.stages[4] / TRAINER, world.tree / TRAINER)
    before = world.now()
    assert_refused(world, world.run(command, world.tree), "half-applied", f"{TRAINER} is at {world.names[3]}")
    assert world.now() == before


def test_more_than_upto_is_refused(world):
    world.run("apply", world.tree)
    completed = world.run("apply", world.tree, "--upto", world.names[0])
    assert_refused(world, completed, f"more than {world.names[0]} is applied already")
    assert world.now() == world.stage(4)


def test_an_unknown_upto_is_refused_with_the_known_ones(world):
    assert_refused(world, world.run("apply", world.tree, "--upto", "x"), "no patch x", *world.names)


def test_a_read_only_tree_is_refused(world):
    folder = world.tree / "src/transformers"
    folder.chmod(0o555)
    try:
        assert_refused(world, world.run("apply", world.tree), folder, "read-only")
    finally:
        folder.chmod(0o755)
    assert world.now() == world.stage(0)


def test_a_missing_git_is_refused(world):
    assert_refused(world, world.run("apply", world.tree, PATH="/nowhere"), "git was not found", "install git")
    assert world.now() == world.stage(0)
    assert world.run("status", world.tree, PATH="/nowhere").returncode == 0


def test_a_new_file_with_other_content_is_refused(world):
    (world.tree / "tests/trainer/test_resume.py").write_text("mine\n")
    before = world.now()
    assert_refused(world, world.run("apply", world.tree), "tests/trainer/test_resume.py exists with other content")
    assert world.now() == before


def test_crlf_line_ends_are_refused(world):
    target = world.tree / TRAINER
    target.write_bytes(target.read_bytes().replace(b"\n", b"\r\n"))
    assert_refused(world, world.run("apply", world.tree), f"{TRAINER} has CRLF line ends")


def test_a_link_out_of_the_tree_is_refused(world):
    (world.tree / TRAINER).rename(world.work / "outside.py")
    (world.tree / TRAINER).symlink_to(world.work / "outside.py")
    assert_refused(world, world.run("apply", world.tree), "symbolic link", world.work / "outside.py")


def test_a_patches_variable_that_leads_nowhere_is_refused(world):
    assert_refused(world, world.run("list", EXACT_RESUME_PATCHES="/nowhere"), "EXACT_RESUME_PATCHES=/nowhere")


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("apply",), ("apply", ".", "--nonsense")])
def test_wrong_arguments_exit_2_with_the_usage(world, arguments):
    completed = world.run(*arguments)
    assert completed.returncode == 2
    assert completed.stderr.startswith("usage: exact-resume") and "Traceback" not in completed.stderr


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("apply", "--help")])
def test_help_and_version_exit_0(world, arguments):
    assert world.run(*arguments).returncode == 0


def test_a_damaged_series_is_a_fault_of_this_tool(own_patches, world):
    (own_patches / "series").unlink()
    completed = world.run("apply", world.tree)
    assert completed.returncode == 70
    assert completed.stderr.count("\n") == 1 and "EXACT_RESUME_DEBUG=1" in completed.stderr
    completed = world.run("apply", world.tree, EXACT_RESUME_DEBUG="1")
    assert completed.returncode == 70 and "Traceback" in completed.stderr


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (RuntimeError("boom\nsecond line"), 70, "RuntimeError: boom second line (set EXACT_RESUME_DEBUG=1"),
        (SeriesError("bad"), 70, "SeriesError: bad"),
        (Finding("found"), 1, "found"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_each_kind_of_exception_has_its_exit_code_and_one_line(world, monkeypatch, capsys, raised, code, said):
    def fail(*arguments, **options):
        raise raised

    monkeypatch.setattr(patching, "apply", fail)
    assert cli.main(["apply", str(world.tree)]) == code
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and "Traceback" not in err


def test_a_reader_that_goes_away_causes_no_noise(world):
    read_end, write_end = os.pipe()
    os.close(read_end)
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(cli.__file__))}
    completed = subprocess.run(
        [sys.executable, "-m", "exact_resume", "list"], stdout=write_end, stderr=subprocess.PIPE, env=environment
    )
    os.close(write_end)
    assert completed.returncode == 141 and completed.stderr == b""


def test_no_command_but_verify_imports_what_training_needs(own_patches, world):
    poisoned = world.work / "poisoned"
    for name in ("torch", "transformers", "numpy", "accelerate", "filelock", "rich", "unidiff"):
        (poisoned / name).mkdir(parents=True)
        (poisoned / name / "__init__.py").write_text("raise SystemExit('imported what it must not')\n")
    # A verify module that cannot be imported must not be in the way either.
    hook = "import sys\nsys.modules['exact_resume.verify'] = None\n"
    (poisoned / "sitecustomize.py").write_text(hook)
    path = os.pathsep.join([str(poisoned), os.path.dirname(os.path.dirname(cli.__file__))])
    on_tree = (["status", world.tree], ["apply", world.tree], ["revert", world.tree])
    for arguments in (*on_tree, ["mbox", "9.9.0"], ["list"], ["--help"]):
        completed = world.run(*arguments, PYTHONPATH=path)
        assert completed.returncode == 0, completed
    work, pristine = world.work / "work", world.work / "pristine"
    pristine.mkdir()
    world.tree.rename(pristine / "9.9.0")
    for arguments in (
        ["lint"],
        ["checkout", "9.9.0", work, "--pristine-from", pristine / "9.9.0"],
        ["export", work],
        ["hashes", "--pristine-from", pristine],
    ):
        completed = world.run(*arguments, PYTHONPATH=path)
        assert completed.returncode == 0, completed
    assert_refused(world, world.run("verify", PYTHONPATH=path), "verify is not available")


def test_verify_is_handed_its_parser_and_its_arguments(monkeypatch):
    import types

    fake = types.ModuleType("exact_resume.verify")
    fake.add_arguments = lambda parser: parser.add_argument("--level", type=int)
    fake.run = lambda parsed: parsed.level
    monkeypatch.setitem(sys.modules, "exact_resume.verify", fake)
    monkeypatch.setattr("exact_resume.verify", fake, raising=False)
    assert cli.main(["verify", "--level", "1"]) == 1
    assert cli.main(["verify", "--level", "0"]) == 0
