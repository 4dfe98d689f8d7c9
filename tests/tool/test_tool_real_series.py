"""The series that this repository ships."""

import re
from pathlib import Path

import pytest

from exact_resume import lint, series

PATCHES = Path(__file__).resolve().parents[2] / "patches"
LANES = lint.lanes(PATCHES)


def test_the_shipped_patches_have_no_findings():
    figures, findings = lint.check(PATCHES)
    assert findings == []
    assert len([line for line in figures if "changed lines" in line]) == len(LANES) > 0


def test_the_checkout_finds_its_own_patches(monkeypatch):
    monkeypatch.delenv("EXACT_RESUME_PATCHES", raising=False)
    assert series.patches_folder() == PATCHES


@pytest.mark.parametrize("lane", LANES)
def test_each_patch_is_read_completely(lane):
    for place, patch in enumerate(series.load_lane(lane, PATCHES).patches):
        raw = (PATCHES / lane / series.file_name(place, patch.name)).read_bytes()
        assert patch.mail + b"".join(diff.text for diff in patch.diffs) == raw
        assert all(diff.hunks or diff.is_new for diff in patch.diffs)


@pytest.mark.parametrize("release", series.load_releases(PATCHES))
def test_each_supported_release_has_a_series(release):
    assert series.for_release(release, PATCHES).patches


def test_the_hash_of_each_official_wheel_is_recorded():
    known = series.load_releases(PATCHES)
    assert all(re.fullmatch("[0-9a-f]{64}", release.wheel_sha256) for release in known.values())
    assert len({release.wheel_sha256 for release in known.values()}) == len(known)
