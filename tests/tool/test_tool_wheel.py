"""A patched wheel: what is in it, that it is always the same, and which official wheels are refused."""

import base64
import csv
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from exact_resume import cli, wheelfile
from exact_resume.errors import UsageError

RELEASE = "9.9.0"
INFO = f"transformers-{RELEASE}.dist-info"
OFFICIAL = f"transformers-{RELEASE}-py3-none-any.whl"
METADATA = f"Metadata-Version: 2.4\nName: transformers\nVersion: {RELEASE}\nSummary: Fake\n\nVersion: {RELEASE}\n"
MOMENT = (2026, 3, 4, 5, 6, 8)
FINISHED = (2026, 3, 4, 5, 6, 10)


def record_of(files, name=f"{INFO}/RECORD"):
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        rows.writerow([path, f"sha256={digest}", len(content)])
    rows.writerow([name, "", ""])
    return text.getvalue().encode()


def entry(name, moment=MOMENT, mode=0o100644):
    info = zipfile.ZipInfo(name, moment)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = mode << 16
    info.create_system = 3
    return info


def write_wheel(path, files, record=None):
    """Write a wheel with these files by path, and a RECORD that fits unless another one is given."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(entry(name), content)
        archive.writestr(entry(f"{INFO}/RECORD", FINISHED, 0o100664), record_of(files) if record is None else record)
    return path


@pytest.fixture
def files(world):
    """The files of the official wheel, but RECORD; not in the order of the alphabet, as in the real one."""
    source = world.stages[0] / "src"
    package = {path.relative_to(source).as_posix(): path.read_bytes() for path in sorted(source.rglob("*.py"))}
    first = {name: package.pop(name) for name in ("transformers/__init__.py", "transformers/untouched.py")}
    metadata = {
        f"{INFO}/METADATA": METADATA.encode(),
        f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    return {**first, **package, **metadata}


@pytest.fixture
def official(world, files):
    return write_wheel(world.work / OFFICIAL, files)


@pytest.fixture
def build(world, official, capsys):
    """Run `wheel` on a wheel, the official one without it, and return the path of the patched one."""

    def run(source=official, output="out"):
        output = world.work / output
        code = cli.main(["wheel", RELEASE, "--from", str(source), "--output", str(output)])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        (target,) = output.iterdir()
        assert str(target) in printed.out.splitlines()[0]
        return target

    return run


def contents(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_what_the_series_makes_and_a_record_that_fits(world, files, build):
    target = build()
    version = re.fullmatch(r"transformers-(9\.9\.0\+exactresume\.s[0-9a-f]{8})-py3-none-any\.whl", target.name)[1]
    info = f"transformers-{version}.dist-info"
    found = contents(target)
    source = world.stages[4] / "src"
    package = {path.relative_to(source).as_posix(): path.read_bytes() for path in source.rglob("*.py")}
    assert {name: content for name, content in found.items() if name.startswith("transformers/")} == package
    old = [name for name in files if name.startswith("transformers/")]
    new = ["transformers/resume/__init__.py", "transformers/resume/state.py"]
    assert list(found) == [*old, *new, f"{info}/METADATA", f"{info}/WHEEL", f"{info}/RECORD"]
    record = found.pop(f"{info}/RECORD")
    assert record == record_of(found, f"{info}/RECORD")
    # Only the header: the description may have such a line as well.
    assert found[f"{info}/METADATA"].decode() == METADATA.replace(RELEASE, version, 1)
    assert found[f"{info}/WHEEL"] == files[f"{INFO}/WHEEL"]


def test_the_version_is_normalised_and_satisfies_a_pin_of_the_release(build):
    text = build().name.split("-")[1]
    assert str(Version(text)) == text
    assert Requirement(f"transformers=={RELEASE}").specifier.contains(text)


def test_a_series_that_makes_other_files_gets_another_label(world, build, lane_maker):
    before = build().name
    stage = world.stages[0]
    pristine = {str(path.relative_to(stage)): path.read_text() for path in stage.rglob("*") if path.is_file()}
    shutil.rmtree(world.tree)
    lane_maker(pristine, [("Another", {"src/transformers/training_args.py": "another\n"})])
    assert build(output="another").name != before


def test_times_and_modes_come_from_the_official_wheel(build):
    with zipfile.ZipFile(build()) as archive:
        seen = {info.filename: (info.date_time, info.external_attr >> 16) for info in archive.infolist()}
    assert seen["transformers/untouched.py"] == (MOMENT, 0o100644)
    assert seen["transformers/trainer.py"] == (FINISHED, 0o100644)
    assert seen["transformers/resume/state.py"] == (FINISHED, 0o100644)
    assert seen.popitem()[1] == (FINISHED, 0o100664)


def test_the_same_input_gives_the_same_bytes_whatever_zlib_and_the_umask(build, monkeypatch):
    first = build().read_bytes()

    def other_zlib(*arguments, **options):
        raise AssertionError("compressed with the zlib of this machine")

    monkeypatch.setattr(zlib, "compressobj", other_zlib)
    umask = os.umask(0o077)
    try:
        assert build(output="again").read_bytes() == first
    finally:
        os.umask(umask)


def test_members_that_stay_keep_their_compressed_bytes(official, build):
    def packed(path):
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo("transformers/untouched.py")
        assert info.compress_type == zipfile.ZIP_DEFLATED
        start = info.header_offset + 30 + len(info.filename)
        return path.read_bytes()[start : start + info.compress_size]

    assert packed(build()) == packed(official)


def test_a_wheel_that_is_read_and_packed_is_the_same_file(official):
    members = wheelfile.read(official, "transformers", RELEASE)
    assert wheelfile.pack(list(members.values())) == official.read_bytes()


def test_an_archive_written_to_a_stream_gives_the_same_files(files, build, world):
    class Stream(io.RawIOBase):
        """Cannot seek, so that sizes come after the bytes."""

        def __init__(self):
            self.written = bytearray()

        def writable(self):
            return True

        def write(self, data):
            self.written += data
            return len(data)

    stream = Stream()
    write_wheel(stream, files)
    streamed = world.work / "streamed.whl"
    streamed.write_bytes(stream.written)
    assert contents(build(streamed)) == contents(build(output="from-file"))


def test_an_equal_wheel_is_left_alone_and_another_is_replaced(world, official, build, capsys):
    target = build()
    before = target.stat()
    assert cli.main(["wheel", RELEASE, "--from", str(official), "--output", str(target.parent)]) == 0
    assert capsys.readouterr().out.startswith("already built: ")
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    good = target.read_bytes()
    target.write_bytes(b"stale")
    assert build().read_bytes() == good


def test_a_failed_write_leaves_what_was_there(official, build, monkeypatch, capsys):
    target = build()
    target.write_bytes(b"stale")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert cli.main(["wheel", RELEASE, "--from", str(official), "--output", str(target.parent)]) == 2
    assert f"cannot write {target}: No space left on device" in capsys.readouterr().err
    assert [path.read_bytes() for path in target.parent.iterdir()] == [b"stale"]


def test_an_output_that_is_a_file_is_refused(official, world, capsys):
    assert cli.main(["wheel", RELEASE, "--from", str(official), "--output", str(official)]) == 2
    assert "cannot write" in capsys.readouterr().err


@pytest.fixture
def refused(world, capsys):
    """Run `wheel` on a wheel that it has to refuse: one line, nothing written."""

    def run(source, *said, release=RELEASE):
        assert cli.main(["wheel", release, "--from", str(source), "--output", str(world.work / "out")]) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1
        for words in said:
            assert words in printed.err
        assert not (world.work / "out").exists()

    return run


@pytest.mark.parametrize(
    "name",
    ["../evil.py", "transformers/../evil.py", "/evil.py", "transformers\\evil.py", "transformers//a.py", "C:a.py"],
)
def test_a_name_that_leads_elsewhere_is_refused(world, files, refused, name):
    path = write_wheel(world.work / "bad.whl", {**files, name: b""})
    refused(path, "bad.whl", repr(name), "no plain path", "download the wheel again")


def test_a_link_is_refused(world, official, refused):
    with zipfile.ZipFile(official, "a") as archive:
        archive.writestr(entry("transformers/link.py", mode=0o120777), "trainer.py")
    refused(official, "transformers/link.py", "is a link")


def test_a_name_that_is_there_twice_is_refused(official, refused):
    with zipfile.ZipFile(official, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(entry("transformers/trainer.py"), "other\n")
    refused(official, "transformers/trainer.py' is in it 2 times")


def test_another_method_of_compression_is_refused(official, refused):
    with zipfile.ZipFile(official, "a", zipfile.ZIP_LZMA) as archive:
        archive.writestr("transformers/other.py", "other\n")
    refused(official, "transformers/other.py' is compressed by a method")


def test_what_record_does_not_say_is_refused(world, files, refused):
    bad, record = world.work / "bad.whl", record_of(files)
    trainer = "transformers/trainer.py"
    other = files[trainer].replace(b"1", b"2")
    refused(write_wheel(bad, {**files, trainer: other}, record), f"{trainer} does not have the hash and the size")
    more = {**files, "transformers/more.py": b""}
    refused(write_wheel(bad, more, record), "transformers/more.py is not in its RECORD")
    refused(write_wheel(bad, files, record_of(more)), "transformers/more.py is in its RECORD but not in the wheel")
    refused(write_wheel(bad, files, b"\xff"), "RECORD cannot be read")
    refused(write_wheel(bad, files, b"one,two\n"), "RECORD cannot be read")


def test_a_wheel_without_metadata_or_record_is_refused(world, files, refused):
    bad = world.work / "bad.whl"
    del files[f"{INFO}/METADATA"]
    refused(write_wheel(bad, files), "METADATA does not say Name: transformers")
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr(f"{INFO}/METADATA", METADATA)
    refused(bad, f"no {INFO}/RECORD")
    with zipfile.ZipFile(bad, "w"):
        pass
    refused(bad, "no .dist-info folder")


def test_another_project_or_release_is_refused(world, files, build, refused):
    bad = world.work / "bad.whl"
    other = {name.replace(INFO, "torch-9.9.0.dist-info"): content for name, content in files.items()}
    refused(write_wheel(bad, other), "not the wheel of transformers 9.9.0: ", "torch-9.9.0.dist-info")
    metadata = {f"{INFO}/METADATA": METADATA.replace("Version: 9.9.0", "Version: 9.9.1").encode()}
    refused(write_wheel(bad, {**files, **metadata}), "METADATA does not say Version: 9.9.0")
    init = {"transformers/__init__.py": b'__version__ = "9.9.1"\n'}
    refused(write_wheel(bad, {**files, **init}), "not as in the official wheel of transformers 9.9.0", *init)


def test_a_wheel_that_is_patched_already_is_refused(world, build, refused):
    patched = build().rename(world.work / "patched.whl")
    (world.work / "out").rmdir()
    refused(patched, "not the wheel of transformers 9.9.0: transformers-9.9.0+exactresume.s")


def test_files_of_another_release_are_refused_although_record_fits(world, files, refused):
    changed = {"transformers/trainer.py": b"forked\n", "transformers/resume/state.py": b"mine\n"}
    refused(write_wheel(world.work / "bad.whl", {**files, **changed}), ", ".join(changed), "give the official wheel")


def test_a_release_without_a_series_is_refused_before_the_wheel_is_looked_for(world, refused):
    refused(world.work / "nowhere.whl", "transformers 1.2.3 has no patch series", release="1.2.3")


def test_a_file_that_cannot_be_read_is_refused(world, refused):
    refused(world.work / "nowhere.whl", "cannot read", "nowhere.whl", "No such file")
    refused(world.work, "cannot read", "Is a directory")


def test_a_damaged_archive_is_refused(official, refused):
    whole = official.read_bytes()
    for damaged in (b"", b"no archive", whole[:-1], whole[: len(whole) // 2]):
        official.write_bytes(damaged)
        refused(official, "it is damaged", "download the wheel again")


def test_no_flipped_byte_changes_what_is_read(official):
    def read():
        members = wheelfile.read(official, "transformers", RELEASE)
        return {member.name: member.content for member in members.values()}

    whole, good, unnoticed = official.read_bytes(), read(), 0
    for place in range(len(whole)):
        official.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            assert read() == good
            unnoticed += 1
        except UsageError:
            pass
    # Those are times, modes, and numbers that zip has in two places.
    assert unnoticed < len(whole) / 2


def test_without_from_the_wheel_comes_from_the_cache(world, official):
    cache = world.work / "cache"
    (cache / "wheels").mkdir(parents=True)
    official.rename(cache / "wheels" / OFFICIAL)
    completed = world.run("wheel", RELEASE, "--output", world.work / "out", EXACT_RESUME_CACHE=str(cache))
    assert completed.returncode == 0 and completed.stderr == ""
    lines = completed.stdout.splitlines()
    (target,) = (world.work / "out").iterdir()
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    assert lines[:2] == [f"built: {target}", f"sha256: {digest}"]
    assert lines[3:] == [
        f"transformers @ file://{str(target).replace('+', '%2B')} --hash=sha256:{digest}",
        f"transformers=={target.name.split('-')[1]} --hash=sha256:{digest}",
    ]


def test_without_a_package_index_the_error_says_where_to_put_the_wheel(world):
    cache = world.work / "cache"
    completed = world.run("wheel", RELEASE, EXACT_RESUME_CACHE=str(cache), PIP_NO_INDEX="1", PIP_FIND_LINKS="")
    assert completed.returncode == 2 and completed.stdout == ""
    assert completed.stderr.startswith(f"downloading {OFFICIAL}\n")
    assert f"put {OFFICIAL} into {cache / 'wheels'}" in completed.stderr
    assert list((cache / "wheels").iterdir()) == []


def test_the_standard_library_is_enough(world, official):
    command = [
        sys.executable,
        "-S",
        "-m",
        "exact_resume",
        "wheel",
        RELEASE,
        "--from",
        official,
        "--output",
        world.work,
    ]
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(cli.__file__))}
    completed = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert completed.returncode == 0, completed.stderr


def test_pip_installs_the_pinned_wheel_and_takes_all_of_it_away(world, build):
    target = build()
    version, digest = target.name.split("-")[1], hashlib.sha256(target.read_bytes()).hexdigest()
    folder = world.work / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (python,) = [*folder.glob("bin/python"), *folder.glob("Scripts/python.exe")]
    (site,) = [*folder.glob("lib/python3*/site-packages"), *folder.glob("Lib/site-packages")]
    before = sorted(folder.rglob("*"))

    def pip(*arguments):
        command = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", *arguments]
        completed = subprocess.run(command, capture_output=True, text=True)
        assert completed.returncode == 0, completed
        return completed.stdout

    pins = world.work / "pins.txt"
    for requirement in (f"transformers @ {target.as_uri()}", f"transformers=={version}"):
        pins.write_text(f"{requirement} --hash=sha256:{digest}\n")
        pip("install", "--no-index", "--no-compile", "--find-links", target.parent, "--require-hashes", "-r", pins)
        assert "already satisfied" in pip("install", "--no-index", f"transformers=={RELEASE}")
        assert world.run("status", site).stdout.endswith("touched files: exact\n")
        assert world.run("revert", site).returncode == 0
        pristine = world.stages[0] / "src/transformers/trainer.py"
        assert (site / "transformers/trainer.py").read_bytes() == pristine.read_bytes()
        pip("uninstall", "--yes", "transformers")
        assert sorted(folder.rglob("*")) == before
