"""The mails of a lane without this tool in the way: git and quilt make of a release what `apply` makes of it."""

import os
import shutil
import subprocess

import pytest

from exact_resume import mbox, patching, series, trees

NEWEST, OLDEST = "5.23.0", "4.52.1"
"""The first is what its lane is written against, the second is not."""
PATCHES = series.patches_folder()
# Commands of patches/README.md.
APPLY = "cat PATCHES/LANE/*.patch | GIT_DIR=/dev/null git apply -p2 --include='transformers/*'"
TAKE_BACK = (
    "for mail in $(ls -r PATCHES/LANE/*.patch); "
    "do GIT_DIR=/dev/null git apply -R -p2 --include='transformers/*' $mail; done"
)


@pytest.fixture(scope="module", params=[NEWEST, OLDEST])
def release(request):
    return request.param


@pytest.fixture(scope="module")
def lane(release):
    return PATCHES / series.load_releases()[release].lane


@pytest.fixture(scope="module")
def pristine(release):
    return trees.build(trees.STOCK, release) / "transformers"


@pytest.fixture(scope="module")
def expected(pristine, tmp_path_factory):
    """What `apply` makes of the sources."""
    tree = copied(pristine, tmp_path_factory.mktemp("expected") / "src" / "transformers")
    patching.apply(tree.parents[1])
    return contents(tree.parents[1])


@pytest.fixture
def sources(pristine, tmp_path):
    """The sources of the release, as an sdist has them."""
    return copied(pristine, tmp_path / "sources" / "src" / "transformers").parents[1]


@pytest.fixture
def fork(sources):
    """The same, committed."""
    for arguments in (["init"], ["add", "--all", "--force"], ["commit", "--message", "release"]):
        git(sources, *arguments)
    return sources


def copied(package, target):
    return shutil.copytree(package, target, ignore=shutil.ignore_patterns("__pycache__"))


def contents(tree):
    paths = [path for path in tree.rglob("*") if path.is_file()]
    return {
        name: path.read_bytes()
        for path in paths
        if not (name := path.relative_to(tree).as_posix()).startswith((".git/", ".pc/"))
    }


def run(command, folder, **variables):
    # None of the settings of whoever runs this.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "QUILT"))}
    environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C.UTF-8", **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def git(folder, *arguments):
    done = run(["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments], folder)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
    return done.stdout


def shell(folder, line, **variables):
    done = run(["bash", "-e", "-o", "pipefail", "-c", line], folder, **variables)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]


def mails(lane):
    """The files as a shell gives them."""
    return sorted(map(str, lane.glob("*.patch")))


@pytest.mark.parametrize("options", [[], ["-3"]], ids=["am", "am-3"])
def test_git_am(fork, lane, release, expected, options):
    git(fork, "am", *options, *mails(lane))
    assert contents(fork) == expected
    assert git(fork, "status", "--porcelain") == ""
    titles = git(fork, "log", "--reverse", "--format=%s").splitlines()[1:]
    assert titles == [patch.title for patch in series.for_release(release).patches]


@pytest.mark.parametrize("options", [[], ["-3"]], ids=["am", "am-3"])
def test_the_mailbox_of_a_release(fork, release, expected, tmp_path, options):
    (tmp_path / "series.mbox").write_bytes(mbox.mailbox(release))
    git(fork, "am", *options, str(tmp_path / "series.mbox"))
    assert contents(fork) == expected


def test_quilt(sources, lane, expected):
    if shutil.which("quilt") is None:
        pytest.skip("quilt is not installed")
    shell(sources, "quilt push -a", QUILT_PATCHES=str(lane), QUILTRC="/dev/null")
    assert contents(sources) == expected


def test_patch(sources, lane, expected):
    if shutil.which("patch") is None:
        pytest.skip("patch is not installed")
    shell(sources, f"for mail in {lane}/*.patch; do patch -p1 --no-backup-if-mismatch < $mail; done")
    assert contents(sources) == expected


def test_git_apply(sources, lane, expected):
    before = contents(sources)
    shell(sources, f"cat {lane}/*.patch | git apply")
    assert contents(sources) == expected
    shell(sources, f"for mail in $(ls -r {lane}/*.patch); do git apply -R $mail; done")
    assert contents(sources) == before


@pytest.mark.parametrize("inside_a_repository", [False, True])
def test_an_installed_package(pristine, lane, expected, tmp_path, inside_a_repository):
    site = tmp_path / "project" / "venv" / "site-packages"
    copied(pristine, site / "transformers")
    if inside_a_repository:
        # There git apply alone reports success and does nothing.
        (tmp_path / "project" / ".gitignore").write_text("venv\n")
        git(tmp_path / "project", "init")
    before = contents(site)
    shell(site, APPLY.replace("PATCHES/LANE", str(lane)))
    package = {path.removeprefix("src/"): held for path, held in expected.items() if path.startswith("src/")}
    assert contents(site) == package
    shell(site, TAKE_BACK.replace("PATCHES/LANE", str(lane)))
    assert contents(site) == before


@pytest.mark.parametrize("line", [APPLY, TAKE_BACK])
def test_the_commands_for_an_installed_package_are_those_that_are_documented(line):
    assert line in (PATCHES / "README.md").read_text()


def test_the_core_alone(fork, lane, release):
    names = series.for_release(release).companions
    git(fork, "am", *(mail for mail in mails(lane) if mail.rpartition("/")[2][3:-6] not in names))
    status = dict(patching.status(fork).patches)
    assert {name for name, word in status.items() if word == "left out"} == set(names)
    assert set(status.values()) <= {"applied", "left out"}


def test_a_later_patch_of_the_core_alone_fails_and_changes_nothing(fork, lane, release):
    before = contents(fork)
    core = [patch for patch in series.for_release(release).patches if not patch.is_companion]
    # One that only creates files, such as tests, needs no other to apply.
    changing = [place for place, patch in enumerate(core) if place and not all(diff.is_new for diff in patch.diffs)]
    for place in changing:
        done = run(["git", "-c", "user.name=A", "-c", "user.email=a@b", "am", mails(lane)[place]], fork)
        assert done.returncode != 0, core[place].name
        git(fork, "am", "--abort")
        assert contents(fork) == before
        assert git(fork, "status", "--porcelain") == ""
