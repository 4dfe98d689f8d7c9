"""Companions: every combination of them is applied, told and taken back, and is what git makes of the commits."""

import json
import shutil
from itertools import combinations as subsets_of
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exact_resume import checkout, combinations, created, export, hashes, lint, mbox, patching, series, wheel
from exact_resume.errors import SeriesError, UsageError
from exact_resume.git import blob_id

TRAINER = "src/transformers/trainer.py"
ARGUMENTS = "src/transformers/training_args.py"
STATE = "src/transformers/resume/state.py"
ALPHA = "src/transformers/alpha.py"
NAMES = ("alpha", "beta", "gamma")
SUBSETS = [subset for size in range(4) for subset in subsets_of(NAMES, size)]


def lines(count, **replaced):
    return "".join(replaced.get(f"x{n}", f"x{n} = {n}") + "\n" for n in range(1, count + 1))


PRISTINE = {
    "src/transformers/__init__.py": '__version__ = "9.9.0"\n',
    TRAINER: lines(90),
    ARGUMENTS: lines(30),
}
CORE = {"x10": "save = 10", "x60": "save = 60"}
ADDED = {
    "alpha": {"x20": "x20 = 20\nalpha = 1"},
    "beta": {"x40": "beta = 40"},
    "gamma": {"x70": "x70 = 70\ngamma = 1"},
}
STATES = {"beta": {"x5": "beta = 5"}, "gamma": {"x15": "gamma = 15"}}


def trainer(*names):
    return lines(90, **CORE, **{line: text for name in names for line, text in ADDED[name].items()})


def state(*names):
    return lines(20, **{line: text for name in names for line, text in STATES.get(name, {}).items()})


STEPS = [
    ("Save", {TRAINER: lines(90, x10="save = 10")}),
    ("Load", {TRAINER: trainer(), STATE: state(), "tests/trainer/test_load.py": "load = 1\n"}),
    ("Alpha", {TRAINER: trainer("alpha"), ALPHA: "alpha = 1\n"}, "companion"),
    ("Beta", {TRAINER: trainer("alpha", "beta"), STATE: state("beta"), ARGUMENTS: lines(30, x9="b = 9")}, "companion"),
    ("Gamma", {TRAINER: trainer(*NAMES), STATE: state("beta", "gamma")}, "companion"),
]


@pytest.fixture(scope="module")
def companion_series(tmp_path_factory, make_lane, git, snapshot):
    """The series, and what git makes of the commits of each combination."""
    work = tmp_path_factory.mktemp("companion-series")
    names, trees = make_lane(work, work / "patches" / "v9.9", PRISTINE, STEPS)
    origin = work / "origin"
    commits = dict(zip(NAMES, git(origin, "rev-list", "--reverse", "HEAD~3..HEAD").decode().split(), strict=True))
    made = {}
    for subset in SUBSETS:
        git(origin, "checkout", "--quiet", "--detach", "main~3")
        for name in subset:
            git(origin, "cherry-pick", commits[name])
        made[subset] = {path: held for path, held in snapshot(origin).items() if not path.startswith(".git")}
    write_combinations(work / "patches" / "releases.toml", made)
    return work / "patches", names, trees, made


def write_combinations(table, made):
    """Add the blob ids to releases.toml that those after each patch do not have."""
    others = {STATE: ("gamma",), TRAINER: ("beta", "gamma", "alpha+gamma", "beta+gamma")}
    lane, release = (
        "".join(f"{json.dumps(key)} = {json.dumps(blob_id(made[tuple(key.split('+'))][path][0]))}\n" for key in keys)
        for path, keys in others.items()
    )
    head, _, rest = table.read_text().partition("\n\n")
    lane = f'[lanes."v9.9".combinations."{STATE}"]\n{lane}'
    release = f'[releases."9.9.0".combinations."{TRAINER}"]\n{release}'
    table.write_text(f"{head}\n{lane}\n{rest}{release}")


@pytest.fixture
def companions(companion_series, World, tmp_path, monkeypatch):
    """A world with three companions; `of` has the files of each combination."""
    patches, names, trees, made = companion_series
    patches = shutil.copytree(patches, tmp_path / "patches")
    monkeypatch.setenv("EXACT_RESUME_PATCHES", str(patches))
    world = World(patches, names, trees, shutil.copytree(trees[0], tmp_path / "tree"), tmp_path)
    world.of = made
    return world


def without(subset):
    return [name for name in NAMES if name not in subset]


def words(world):
    return dict(patching.status(world.tree).patches)


def test_the_recorded_blob_ids_are_what_the_patches_give(companions):
    assert lint.check()[1] == []
    loaded = series.load_lane("v9.9")
    assert created.combined(loaded.patches) == loaded.combinations == series.load_lanes()["v9.9"].combinations
    tree = companions.stages[0]
    files, others = hashes.work_out("9.9.0", loaded, tree)
    assert (files, others) == (series.load_releases()["9.9.0"].files, series.load_releases()["9.9.0"].combinations)


@pytest.mark.parametrize("subset", SUBSETS)
def test_every_combination_is_applied_told_and_taken_back(companions, subset):
    result = patching.apply(companions.tree, without=without(subset))
    assert list(result.patches) == ["save", "load", *subset]
    assert companions.now() == companions.of[subset]
    status = patching.status(companions.tree)
    assert status.exact
    assert dict(status.patches) == {
        **dict.fromkeys(("save", "load", *subset), "applied"),
        **dict.fromkeys(without(subset), "left out"),
    }
    again = patching.apply(companions.tree, without=without(subset))
    assert not again.changed and "already applied" in again.lines[-1]
    taken_back = patching.revert(companions.tree).patches
    assert taken_back[-2:] == ("load", "save") and set(taken_back[:-2]) == set(subset)
    assert companions.now() == companions.stage(0)


@pytest.mark.parametrize(("before", "after"), [pair for pair in permutations(SUBSETS, 2) if {*pair[0]} < {*pair[1]}])
def test_companions_can_be_added_later_in_any_order(companions, before, after):
    patching.apply(companions.tree, without=without(before))
    result = patching.apply(companions.tree, without=without(after))
    assert set(result.patches) == {*after} - {*before}
    assert companions.now() == companions.of[after]
    patching.revert(companions.tree)
    assert companions.now() == companions.stage(0)


@pytest.mark.parametrize(
    ("before", "after"), [pair for pair in permutations(SUBSETS, 2) if not {*pair[0]} <= {*pair[1]}]
)
def test_what_is_in_cannot_be_left_out_any_more(companions, before, after):
    patching.apply(companions.tree, without=without(before))
    name = next(name for name in before if name not in after)
    with pytest.raises(UsageError, match=f"{name} is applied already; to leave it out, revert and apply again with"):
        patching.apply(companions.tree, without=without(after))
    assert companions.now() == companions.of[before]


def test_each_combination_with_edits_elsewhere(companions):
    for subset in SUBSETS:
        companions.edit(TRAINER, "x30 = 30\n", "mine = 30\n")
        edited = companions.now()
        patching.apply(companions.tree, without=without(subset))
        found = patching.status(companions.tree)
        assert found.clean and found.edited == (TRAINER,)
        assert {name for name, word in found.patches if word == "applied"} == {"save", "load", *subset}
        patching.revert(companions.tree)
        assert companions.now() == edited
        companions.edit(TRAINER, "mine = 30\n", "x30 = 30\n")


def test_a_fork_leaves_out_the_companion_whose_lines_it_has_changed(companions):
    companions.edit(TRAINER, "x40 = 40\n", "mine = 40\n")
    before = companions.now()
    with pytest.raises(UsageError, match=f"{TRAINER}: hunk 1 of beta cannot be applied: locally edited lines there"):
        patching.apply(companions.tree)
    with pytest.raises(UsageError, match="hunk 1 of beta cannot be applied"):
        patching.apply(companions.tree, without=["alpha"])
    assert companions.now() == before
    patching.apply(companions.tree, without=["beta"])
    assert words(companions) == {**dict.fromkeys(("save", "load", "alpha", "gamma"), "applied"), "beta": "left out"}
    assert not (companions.tree / ARGUMENTS).read_text().count("b = 9")
    patching.revert(companions.tree)
    assert companions.now() == before


def test_a_fork_in_git_leaves_out_the_companion_that_conflicts(companions, git):
    companions.edit(TRAINER, "x40 = 40\n", "mine = 40\n")
    git(companions.tree, "init")
    git(companions.tree, "add", ".")
    git(companions.tree, "commit", "-m", "fork")
    blob = PRISTINE[TRAINER]
    (companions.work / "pristine").write_text(blob)
    git(companions.tree, "hash-object", "-w", str(companions.work / "pristine"))
    before = (companions.tree / TRAINER).read_bytes()
    with pytest.raises(UsageError, match="conflict: .*, line 40: .* beta changes it; .*or apply with --without beta"):
        patching.apply(companions.tree)
    assert (companions.tree / TRAINER).read_bytes() == before
    patching.apply(companions.tree, without=["beta"])
    status = patching.status(companions.tree)
    assert status.clean and dict(status.patches)["beta"] == "left out"
    with pytest.raises(UsageError, match="conflict: "):
        patching.apply(companions.tree)
    patching.revert(companions.tree)
    assert (companions.tree / TRAINER).read_bytes() == before


def test_a_companion_that_is_there_in_part_is_not_taken_for_left_out(companions):
    patching.apply(companions.tree, without=["beta"])
    (companions.tree / ARGUMENTS).write_text(lines(30, x9="b = 9"))
    before = companions.now()
    assert any("half-applied" in problem for problem in patching.status(companions.tree).problems)
    for options in ({}, {"without": ["beta"]}):
        with pytest.raises(UsageError, match="half-applied"):
            patching.apply(companions.tree, **options)
    assert companions.now() == before


def test_the_patches_in_order_and_upto(companions):
    patching.apply(companions.tree, upto="load")
    assert words(companions)["alpha"] == "left out"
    patching.apply(companions.tree, upto="gamma", without=["beta"])
    assert companions.now() == companions.of["alpha", "gamma"]
    patching.revert(companions.tree)
    patching.apply(companions.tree, upto="save")
    assert words(companions) == {"save": "applied", **dict.fromkeys(("load", *NAMES), "not applied")}
    with pytest.raises(UsageError, match="beta cannot be left out and be the last patch"):
        patching.apply(companions.tree, upto="beta", without=["04-beta.patch"])


def test_what_is_no_companion_is_refused(companions):
    completed = companions.run("apply", companions.tree, "--without", "load")
    assert completed.returncode == 2
    assert "load is part of the core" in completed.stderr
    assert "only companions can be left out: alpha, beta, gamma; nothing was changed" in completed.stderr
    completed = companions.run("apply", companions.tree, "--without", "delta")
    assert completed.returncode == 2 and "no patch delta in lane v9.9; known patches: save, load" in completed.stderr
    assert companions.now() == companions.stage(0)


def test_the_command_line_says_what_is_left_out(companions):
    completed = companions.run("apply", companions.tree, "--without", "alpha", "--without", "gamma")
    assert completed.returncode == 0, completed
    assert "left out: alpha, gamma" in completed.stdout.splitlines()
    completed = companions.run("status", companions.tree)
    assert completed.returncode == 0 and "left out  alpha" in completed.stdout and "applied   beta" in completed.stdout
    assert "  alpha  Alpha (companion)" in companions.run("list").stdout.splitlines()


def test_an_installed_package(companions, snapshot):
    site = companions.installed()
    patching.apply(site, without=["beta"])
    expected = {path.removeprefix("src/"): held for path, held in companions.of["alpha", "gamma"].items()}
    assert snapshot(site).items() <= expected.items()
    patching.apply(site)
    assert all(word == "applied" for _, word in patching.status(site).patches)


def test_commits_of_a_companion_that_is_added_later(companions, git):
    git(companions.tree, "init")
    git(companions.tree, "config", "user.name", "A")
    git(companions.tree, "config", "user.email", "a@example.org")
    git(companions.tree, "add", ".")
    git(companions.tree, "commit", "-m", "fork")
    patching.apply(companions.tree, commit=True, without=["alpha"])
    patching.apply(companions.tree, commit=True)
    subjects = git(companions.tree, "log", "--reverse", "--format=%s").decode().split()
    assert subjects == ["fork", "Save", "Load", "Beta", "Gamma", "Alpha"]
    assert git(companions.tree, "status", "--porcelain") == b""
    held = {path: held for path, held in companions.now().items() if not path.startswith(".git")}
    assert held == companions.of[NAMES]


@pytest.mark.parametrize("subset", SUBSETS)
def test_a_mailbox_and_the_mails_themselves_give_every_combination(companions, git, subset):
    box = companions.work / "box"
    box.write_bytes(mbox.mailbox("9.9.0", without(subset)))
    files = [companions.patches / "v9.9" / f"{n:02}-{name}.patch" for n, name in enumerate(companions.names, 1)]
    chosen = [str(path) for path in files if path.stem[3:] not in without(subset)]
    git(companions.tree, "init")
    git(companions.tree, "add", ".")
    git(companions.tree, "commit", "-m", "fork")
    for mails in ([str(box)], chosen):
        git(companions.tree, "checkout", "--quiet", "--detach", "main")
        git(companions.tree, "am", "-3", *mails)
        held = {path: held for path, held in companions.now().items() if not path.startswith(".git")}
        assert held == companions.of[subset]


def test_a_reduced_series_knows_its_own_combinations(companions):
    for subset in SUBSETS:
        reduced = combinations.without(series.for_release("9.9.0"), without(subset))
        assert reduced.companions == list(subset)
        combinations.check_recorded(reduced, "9.9.0")
        patching.apply(companions.tree, series=reduced)
        assert companions.now() == companions.of[subset]
        patching.revert(companions.tree)


def test_a_wheel_without_a_companion(companions, monkeypatch):
    asked = []
    monkeypatch.setattr(wheel, "_patched", lambda members, found: asked.append(found.names) or {})
    monkeypatch.setattr(wheel.wheelfile, "read", lambda *arguments: {})
    monkeypatch.setattr(wheel, "_refuse_unofficial", lambda *arguments: None)
    monkeypatch.setattr(wheel, "_rewritten", lambda *arguments: [])
    monkeypatch.setattr(wheel.wheelfile, "pack", lambda members: b"")
    path = companions.work / "any.whl"
    path.write_bytes(b"")
    wheel.build("9.9.0", path, ["beta"])
    assert asked == [["save", "load", "alpha", "gamma"]]


def test_missing_blob_ids_of_a_combination_are_our_own_fault(companions):
    table = companions.patches / "releases.toml"
    table.write_text(table.read_text().replace('"alpha+gamma"', '"gamma+alpha"'))
    (finding,) = lint.check()[1]
    assert finding.startswith(f"releases.toml: release 9.9.0: {TRAINER}: blob ids of the combinations")
    with pytest.raises(SeriesError, match="no blob ids of some combinations; run hashes"):
        patching.apply(companions.tree, without=["beta"])
    assert companions.now() == companions.stage(0)


def test_combinations_of_created_files_that_the_mails_do_not_give(companions):
    table = companions.patches / "releases.toml"
    known = series.load_lanes()["v9.9"].combinations[STATE]["gamma"]
    table.write_text(table.read_text().replace(known, "1" * 40))
    assert lint.check()[1] == ["releases.toml: lane v9.9: other combinations than its mails give; run export"]


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({STATE: state().replace("x10 = 10\n", "x10 = 10\nsecond = 1\n")}, None),
        (
            {STATE: state("first").replace("x5 = 5\n", "x5 = 5\nfirst = 1\nsecond = 1\n")},
            "second on the core: does not",
        ),
        ({ALPHA: "alpha = 2\n"}, "second on the core: does not apply"),
    ],
)
def test_a_companion_that_needs_another_one_is_a_finding(lane_maker, files, found):
    first = {STATE: state().replace("x5 = 5\n", "x5 = 5\nfirst = 1\n"), ALPHA: "alpha = 1\n"}
    second = {
        path: text.replace("x5 = 5\n", "x5 = 5\nfirst = 1\n", "first" not in text) for path, text in files.items()
    }
    steps = [*STEPS[:2], ("First", first, "companion"), ("Second", second, "companion")]
    lane_maker(PRISTINE, steps)
    (finding,) = lint.check()[1]
    if found is None:
        assert "run export" in finding  # only the recorded blob ids are missing
    else:
        assert finding.startswith("v9.9: ") and found in finding
        assert finding.endswith("a companion must do without any other; move what it needs into the core")


@pytest.fixture
def work(companions):
    """A work tree with a commit for each patch."""
    checkout.checkout("9.9.0", companions.work / "work", companions.stages[0])
    return companions.work / "work"


def test_export_writes_the_blob_ids_of_every_combination(companions, work):
    before = series.load_releases(), series.load_lanes(), series.load_lane("v9.9")
    (companions.patches / "releases.toml").write_text("lanes = {}\nreleases = {}\n")
    export.export(work, "v9.9")
    assert (series.load_releases(), series.load_lanes(), series.load_lane("v9.9")) == before
    assert lint.check()[1] == []


@pytest.mark.parametrize(("path", "line"), [(STATE, "beta = 5\n"), (TRAINER, "beta = 40\n")])
def test_export_refuses_a_companion_that_needs_another_one(companions, work, git, snapshot, path, line):
    text = (work / path).read_text()
    (work / path).write_text(text.replace(line, f"{line}needs = 1\n"))
    git(work, "commit", "-am", "Needs\n\nWhy.\n\nGroup: companion\n")
    before = snapshot(companions.patches)
    with pytest.raises(UsageError, match=f"{path}: needs on the core: does not apply; .*; nothing was changed"):
        export.export(work)
    assert snapshot(companions.patches) == before


places = st.tuples(st.sampled_from([TRAINER, ARGUMENTS, STATE, ALPHA]), st.integers(0, 92), st.booleans())
edits = st.lists(st.tuples(places, st.sampled_from(["mine = 1\n", "", "alpha = 1\n", "beta = 40\n", "x20 = 20\n"])))
chosen = st.sampled_from(SUBSETS)


def edit(world, made):
    for (name, place, replaces), text in made:
        path = world.tree / name
        if path.exists():
            kept = path.read_text().splitlines(keepends=True)
            kept[place : place + replaces] = [text]
            path.write_text("".join(kept))


def attempt(world, command, **options):
    """Run a command; return whether it did something. Refused, it has changed nothing."""
    before = world.now()
    try:
        command(world.tree, **options)
    except UsageError:
        assert world.now() == before
        return False
    return True


@pytest.mark.timeout(600 + 20 * settings.default.max_examples)
@settings(max_examples=settings.default.max_examples)
@given(first=edits, subset=chosen, then=edits, more=chosen)
def test_random_edits_and_combinations(companions, first, subset, then, more):
    shutil.rmtree(companions.tree)
    shutil.copytree(companions.stages[0], companions.tree)
    edit(companions, first[:3])
    before = companions.now()
    if not attempt(companions, patching.apply, without=without(subset)):
        return
    found = patching.status(companions.tree)
    assert found.clean and {name for name, word in found.patches if word == "applied"} == {"save", "load", *subset}
    after = companions.now()
    assert attempt(companions, patching.apply, without=without(subset)) and companions.now() == after
    if attempt(companions, patching.apply, without=without(more)):
        assert {name for name, word in patching.status(companions.tree).patches if word == "applied"} == {
            "save",
            "load",
            *more,
        }
    assert attempt(companions, patching.revert) and companions.now() == before
    attempt(companions, patching.apply, without=without(subset))
    edit(companions, then[:2])
    words(companions)
    attempt(companions, patching.apply, without=without(more))
    attempt(companions, patching.revert)
