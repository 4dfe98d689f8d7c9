"""Archives that hold what they should not: nothing of them is unpacked, wherever one is read."""

import io
import os
import stat
import zipfile

import pytest

from exact_resume import archives, trees, treespec
from exact_resume.errors import UsageError


def packed(*members, compression=zipfile.ZIP_DEFLATED):
    """An archive of (name, content, file mode)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content, mode in members:
            entry = zipfile.ZipInfo("x")
            entry.filename = entry.orig_filename = name
            entry.external_attr = mode << 16
            entry.compress_type = compression
            archive.writestr(entry, content)
    return buffer.getvalue()


FILE, LINK, PIPE, FOLDER = (kind | 0o644 for kind in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFDIR))
HOSTILE = {
    "above": ([("../above", b"", FILE)], "no plain path"),
    "far above": ([("a/../../above", b"", FILE)], "no plain path"),
    "absolute": ([("/tmp/absolute", b"", FILE)], "no plain path"),
    "here": ([("a/./b", b"", FILE)], "no plain path"),
    "no name": ([("", b"", FILE)], "no plain path"),
    "nameless": ([("a//b", b"", FILE)], "no plain path"),
    "backslash": ([("a\\b", b"", FILE)], "no plain path"),
    "drive": ([("c:a", b"", FILE)], "no plain path"),
    "long part": ([("a" * 256, b"", FILE)], "no plain path"),
    "long name": ([("a/" * 600 + "b", b"", FILE)], "no plain path"),
    "folder above": ([("../a/", b"", FOLDER)], "no plain path"),
    "link": ([("link", b"/etc", LINK), ("link/passwd", b"", FILE)], "is a link"),
    "pipe": ([("pipe", b"", PIPE)], "is a link or another special file"),
    "twice": ([("a", b"1", FILE), ("a", b"2", FILE)], "in it 2 times"),
    "file and folder": ([("a", b"", FILE), ("a/b", b"", FILE)], "is a file and a folder"),
}


def with_size(data, size):
    """Let the directory of an archive of one member claim another size."""
    at = data.rindex(b"PK\x01\x02")
    return data[: at + 24] + size.to_bytes(4, "little") + data[at + 28 :]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("members", "said"), HOSTILE.values(), ids=HOSTILE)
def test_an_archive_that_is_not_harmless_is_refused(tmp_path, members, said):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(archives.Unusable, match=said):
        archives.unpack(io.BytesIO(packed(*members)), folder)
    assert os.listdir(tmp_path) == ["folder"] and os.listdir(folder) == []


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 2)
    with pytest.raises(archives.Unusable, match="it has 3 members, more than 2"):
        archives.unpack(io.BytesIO(packed(*((name, b"", FILE) for name in "abc"))), tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_bomb_is_refused(tmp_path):
    bomb = packed(("bomb", bytes(10_000_000), FILE))
    assert len(bomb) < 20_000
    with pytest.raises(archives.Unusable, match="it holds 4000000000 bytes, more than"):
        archives.unpack(io.BytesIO(with_size(bomb, 4_000_000_000)), tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_bomb_that_claims_to_be_small_is_not_unpacked_further_than_that(tmp_path):
    bomb = with_size(packed(("bomb", bytes(10_000_000), FILE)), 1000)
    with pytest.raises(archives.Unusable):
        archives.unpack(io.BytesIO(bomb), tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "encrypted"])
def test_a_damaged_archive_is_refused(tmp_path, damage):
    good = packed(("a", b"content", FILE), compression=zipfile.ZIP_STORED)
    at = good.rindex(b"PK\x01\x02") + 8
    data = {
        "cut": good[:-5],
        "flipped": good.replace(b"content", b"Content"),
        "empty": b"",
        "encrypted": good[:6] + b"\x01" + good[7:at] + b"\x01" + good[at + 1 :],
    }[damage]
    with pytest.raises(archives.Unusable):
        archives.unpack(io.BytesIO(data), tmp_path)


def test_a_harmless_archive_is_unpacked(tmp_path):
    members = [("a/", b"", FOLDER), ("a/b.py", b"b", FILE), ("c", b"c", 0)]
    archives.unpack(io.BytesIO(packed(*members)), tmp_path)
    assert (tmp_path / "a/b.py").read_bytes() == b"b" and (tmp_path / "c").read_bytes() == b"c"


def test_a_link_of_a_git_ref_becomes_a_file(tmp_path):
    archives.unpack(io.BytesIO(packed(("link", b"/etc/passwd", LINK))), tmp_path, links_as_files=True)
    assert not (tmp_path / "link").is_symlink() and (tmp_path / "link").read_bytes() == b"/etc/passwd"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EXACT_RESUME_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "wheels").mkdir(parents=True)
    return tmp_path / "cache"


def test_a_wheel_that_is_not_harmless_is_refused_where_trees_are_named_and_built(cache, tmp_path):
    bad = packed(("../above", b"", FILE))
    for path in (tmp_path / "bad.whl", cache / "wheels" / "transformers-1.2.3-py3-none-any.whl"):
        path.write_bytes(bad)
    for make in (lambda: treespec.resolve(str(tmp_path / "bad.whl")), lambda: treespec.resolve("stock:1.2.3")):
        with pytest.raises(UsageError, match="'../above' is no plain path below the folder it is unpacked into"):
            make()
    assert [path.name for path in cache.rglob("*") if path.name == "above" or path.suffix == ".part"] == []


@pytest.mark.parametrize("release", ["../../x", "-r", "", "5/../..", "--help", " 5", "5\n"])
def test_what_is_no_number_of_a_release_is_not_looked_for(cache, release):
    for kind in (trees.STOCK, trees.PATCHED):
        with pytest.raises(UsageError, match="is not the number of a release"):
            treespec.resolve(f"{kind}:{release}")


def test_what_a_killed_process_left_in_the_cache_is_removed(cache):
    left = cache / "unpacked" / "key.part"
    left.mkdir(parents=True)
    (left / "half").write_text("half")

    def make(folder):
        assert os.listdir(folder) == []
        (folder / "whole").write_text("whole")

    assert os.listdir(trees.cached("key", make)) == ["whole"]
    assert not left.exists()
