"""
Random configurations: resumed along a random chain of interrupts, each is exact on the patched tree.

`EXACT_RESUME_FEATURES` in the environment are features, with commas, that are drawn though
`random_configurations.FEATURES` has them off. `tests/conftest.py` has what else can be set there.

A failing example is shrunk and printed as `Configuration(...)`. To keep it, give it a name in `scenarios/kept.py`.
"""

import json
import random
from collections import Counter

import pytest
from hypothesis import Phase, find, given, settings

from exact_resume.matrix.random_configurations import (
    COLLATORS,
    DATA,
    EVALUATION,
    EVENTS,
    FEATURES,
    LOGGING,
    SAMPLERS,
    SAVING,
    SUBSETS,
    configurations,
    enabled_features,
)
from exact_resume.matrix.scenarios import SCENARIOS
from exact_resume.matrix.scenarios.configurations import Configuration
from exact_resume.trees import PATCHED, STOCK

EXAMPLES = settings.default.max_examples
ONLY_DRAW = settings(phases=[Phase.generate])
# Shrinking takes up to five minutes.
TIMEOUT = pytest.mark.timeout(600 + 5 * EXAMPLES)

CONTROLS = [
    Configuration(noise=("torch",), interrupts=(1,)),
    Configuration(sampler="lazy", batch_size=2, interrupts=(1, 3), size=7),
    Configuration(noise=("python",), workers=2, persistent=True, size=7, interrupts=(2, 9)),
    Configuration(
        data="datasets", noise=("numpy",), sampler="length_grouped", size=9, accumulation=2, interrupts=(3,)
    ),
]


def _run(matrix, tree, configuration):
    cell = matrix.client(tree).run_configuration(configuration.to_json())
    assert cell["status"] == "ok", cell["reason"]
    return cell


def _divergence(matrix, tree, configuration):
    """The first divergence of a chain of resumes, or `None`."""
    (resume,) = _run(matrix, tree, configuration)["resumes"]
    return resume["divergence"]


@TIMEOUT
@settings(max_examples=max(1, EXAMPLES // 2))
@given(configuration=configurations(workers=(0,)))
def test_resume_is_exact_when_the_main_process_loads(matrix, configuration):
    assert _divergence(matrix, PATCHED, configuration) is None


@TIMEOUT
@settings(max_examples=max(1, EXAMPLES // 3))
@given(configuration=configurations(workers=(1, 2, 3)))
def test_resume_is_exact_when_workers_load(matrix, configuration):
    assert _divergence(matrix, PATCHED, configuration) is None


@TIMEOUT
@settings(max_examples=max(1, EXAMPLES // 6))
@given(configuration=configurations(features=frozenset(FEATURES)))
def test_an_uninterrupted_run_is_the_same_with_and_without_the_patch(matrix, configuration):
    """Of every feature, also of those that no patch makes exact yet."""
    patched, stock = _run(matrix, PATCHED, configuration), _run(matrix, STOCK, configuration)
    assert patched["golden"] == stock["golden"]


@pytest.mark.parametrize("configuration", CONTROLS, ids=repr)
def test_a_known_configuration_is_exact_on_the_patched_tree_only(matrix, configuration):
    assert _divergence(matrix, STOCK, configuration) is not None
    assert _divergence(matrix, PATCHED, configuration) is None


def test_the_strategy_finds_by_itself_what_stock_gets_wrong(matrix):
    found = find(
        configurations(workers=(0,)),
        lambda configuration: _divergence(matrix, STOCK, configuration) is not None,
        settings=settings(ONLY_DRAW, max_examples=20),
        random=random.Random(0),
    )
    assert _divergence(matrix, PATCHED, found) is None


def _drawn(features=None, count=400):
    drawn = []

    @settings(ONLY_DRAW, max_examples=count)
    @given(configuration=configurations(features=features))
    def draw(configuration):
        drawn.append(configuration)

    draw()
    return drawn


def test_every_feature_and_every_choice_is_drawn():
    drawn = _drawn(frozenset(FEATURES))
    counts = Counter(feature for configuration in drawn for feature in configuration.features())
    assert counts.keys() == FEATURES.keys()
    assert {feature: count for feature, count in counts.items() if count < 8} == {}
    choices = {
        "data": [data for data, _ in DATA],
        "workers": [0, 1, 2, 3],
        "prefetch": [1, 2, 4],
        "sampler": SAMPLERS,
        "collator": COLLATORS,
        "noise": SUBSETS,
        "owned": SUBSETS,
        "model_noise": SUBSETS,
        "accumulation": [1, 2, 3, 4],
        "drop_last": [False, True],
        "epochs": [1, 2, 3],
        "saving": [saving for saving, _ in SAVING],
        "logging": [logging for logging, _ in LOGGING],
        "evaluation": [evaluation for evaluation, _ in EVALUATION],
        "event": EVENTS,
    }
    for name, values in choices.items():
        assert {getattr(configuration, name) for configuration in drawn} == set(values), name
    assert {len(configuration.interrupts) for configuration in drawn} == {1, 2, 3}
    assert any(configuration.num_batches % configuration.accumulation for configuration in drawn)


def test_only_features_that_are_on_are_drawn():
    enabled = enabled_features()
    drawn = _drawn()
    assert all(configuration.features() <= enabled for configuration in drawn)
    assert {feature for configuration in drawn for feature in configuration.features()} == enabled


def test_features_may_be_switched_on_in_the_environment(monkeypatch):
    monkeypatch.setitem(FEATURES, "stored-position", False)
    monkeypatch.delenv("EXACT_RESUME_FEATURES", raising=False)
    assert "stored-position" not in enabled_features()
    monkeypatch.setenv("EXACT_RESUME_FEATURES", "stored-position")
    assert enabled_features() == {name for name, is_on in FEATURES.items() if is_on} | {"stored-position"}
    monkeypatch.setenv("EXACT_RESUME_FEATURES", "all")
    assert enabled_features() == FEATURES.keys()
    monkeypatch.setenv("EXACT_RESUME_FEATURES", "none-such")
    with pytest.raises(ValueError, match="no feature none-such"):
        enabled_features()


@settings(ONLY_DRAW, max_examples=50)
@given(configuration=configurations(features=frozenset(FEATURES)))
def test_a_configuration_survives_json_and_its_own_representation(configuration):
    assert Configuration.from_json(json.loads(json.dumps(configuration.to_json()))) == configuration
    assert eval(repr(configuration), {"Configuration": Configuration}) == configuration


def test_a_kept_configuration_is_a_scenario_of_the_matrix():
    configuration = Configuration(noise=("torch",), save_steps=2, interrupts=(2,))
    scenario = configuration.scenario("a_name", "a title", fixed_by="per-step-rng-checkpoints", tier="suite")
    assert (scenario.name, scenario.title, scenario.group) == ("a_name", "a title", "kept")
    assert (scenario.fixed_by, scenario.tier, scenario.interrupts) == ("per-step-rng-checkpoints", "suite", (2, 4, 6))
    assert "random" not in SCENARIOS
