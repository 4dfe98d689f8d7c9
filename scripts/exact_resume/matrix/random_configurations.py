"""A hypothesis strategy that draws configurations, of what the patch series makes exact so far."""

import os
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations
from typing import Any

from hypothesis import strategies as st

from exact_resume.matrix.scenarios.base import ALL
from exact_resume.matrix.scenarios.configurations import Configuration

FEATURES_VARIABLE = "EXACT_RESUME_FEATURES"

# Everything that a configuration can exercise (see `Configuration.features`), and whether a resume of it is exact on
# the patched tree. The patch that makes one exact switches it on here.
FEATURES = {
    "global-noise": True,
    "model-noise": True,
    "global-sampling": True,
    "worker-processes": True,
    "persistent-workers": True,
    "accumulation": True,
    "intervals": True,
    "evaluation": True,
    "callbacks": True,
    "persistent-evaluation": False,
    "stored-position": True,
    "logged-values": True,
    "pipeline-generators": True,
    "iterable-datasets": True,
    "lazy-samplers": True,
}

# Of all choices, the simplest comes first, as that is what an example is shrunk to.
SUBSETS = tuple(subset for count in range(len(ALL) + 1) for subset in combinations(ALL, count))
# Without a length, the data need a number of steps.
DATA = (("map", None), ("batched", None), ("datasets", None), ("sized_iterable", None), ("iterable", 4))
SAMPLERS = (
    "seedable",
    "sequential",
    "unseedable",
    "length_grouped",
    "weighted",
    "subset",
    "unprepared",
    "lazy",
    "owned",
    "owned_loader",
)
COLLATORS = ("plain", "noisy", "owned")
SAVING = (("steps", 1), ("steps", 2), ("steps", 3), ("epoch", 1))
LOGGING = (*SAVING, ("no", 1))
EVALUATION = (("no", 1), *SAVING)
EVENTS = (
    None,
    "on_train_begin",
    "on_epoch_begin",
    "on_step_begin",
    "on_substep_end",
    "on_pre_optimizer_step",
    "on_optimizer_step",
    "on_step_end",
    "on_log",
    "on_evaluate",
    "on_prediction_step",
    "on_save",
    "on_epoch_end",
)


def enabled_features() -> frozenset[str]:
    """The features that are switched on, and those that `$EXACT_RESUME_FEATURES` lists, with commas, or "all"."""
    named = {name for name in os.environ.get(FEATURES_VARIABLE, "").split(",") if name}
    if named == {"all"}:
        return frozenset(FEATURES)
    if unknown := sorted(named - FEATURES.keys()):
        raise ValueError(f"{FEATURES_VARIABLE}: no feature {', '.join(unknown)}; there are: {', '.join(FEATURES)}")
    return frozenset(named | {name for name, is_on in FEATURES.items() if is_on})


@st.composite
def configurations(draw, workers: tuple[int, ...] = (0, 1, 2, 3), features: frozenset[str] | None = None):
    """
    Draws a `Configuration`.

    Args:
        workers: Numbers of worker processes.
        features: What it may exercise; `enabled_features()` by default.
    """
    features = enabled_features() if features is None else features
    configuration = Configuration(workers=workers[0])

    def choose(values: Iterable[Any], *names: str) -> None:
        """Draw the fields `names` from those of `values` that go with what was drawn before."""
        nonlocal configuration
        rows = [dict(zip(names, value if len(names) > 1 else (value,), strict=True)) for value in values]
        candidates = [replace(configuration, **row) for row in rows]
        configuration = draw(st.sampled_from([c for c in candidates if c.is_valid and c.features() <= features]))

    choose(DATA, "data", "max_steps")
    choose(workers, "workers")
    choose((1, 2, 3), "batch_size")
    choose(range(configuration.batch_size, 6 * configuration.batch_size + 1), "size")
    choose(SAMPLERS, "sampler")
    choose((False, True), "drop_last")
    choose((1, 2, 3, 4), "accumulation")
    choose((2, 1, 3), "epochs")
    choose((configuration.max_steps, *range(2, 9)), "max_steps")
    choose(SUBSETS, "noise")
    choose(SUBSETS, "owned")
    choose(COLLATORS, "collator")
    choose((0.0, 0.5), "dropout")
    choose(SUBSETS, "model_noise")
    choose((2, 1, 4), "prefetch")
    choose((False, True), "persistent")
    choose((False, True), "worker_info")
    choose(SAVING, "saving", "save_steps")
    steps = st.sampled_from(configuration.saved_steps)
    chain = draw(st.lists(steps, min_size=1, max_size=3, unique=True))
    configuration = replace(configuration, interrupts=tuple(sorted(chain)))
    choose(LOGGING, "logging", "logging_steps")
    choose(EVALUATION, "evaluation", "eval_steps")
    choose(EVENTS, "event")
    return configuration
