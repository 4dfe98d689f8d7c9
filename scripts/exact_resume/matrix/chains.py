"""Which chains of interrupts are tried: a resumed run is interrupted, too, and what it passes on is resumed from."""

import math
from itertools import combinations, pairwise

SINGLE, THINNED, ALL = "single", "thinned", "all"
"""Kinds of choices, from the fewest to the most."""


def chains_of(interrupts: list[int], num_processes: int = 1) -> list[list[int]]:
    """Every single interrupt, then resumes of resumed runs: twice in one epoch, across an epoch, and three times."""
    chains = [[step] for step in interrupts]
    if num_processes > 1:
        # Of the few interrupts, the first two are neighbours.
        chains.append([interrupts[0], interrupts[1], interrupts[-1]])
    elif len(interrupts) > 5:
        first, second, last = interrupts[0], interrupts[1], interrupts[-1]
        chains += [[first, second], [first, last], [first, second, last]]
    return chains


def epoch_ends(steps: list[int], epochs: list[float]) -> set[int]:
    """Those of `steps` that end an epoch, from the epoch that the trainer counts at each of them."""
    numbers = [math.ceil(epoch) for epoch in epochs]
    # An epoch that is stopped early ends with the last step that counts for it.
    ends = {step for step, number, following in zip(steps, numbers, numbers[1:], strict=False) if following > number}
    return ends | {step for step, epoch in zip(steps, epochs, strict=True) if float(epoch).is_integer()}


def longer_chains(kind: str, steps: list[int], ends: set[int], repeats: int = 0) -> list[list[int]]:
    """
    Chains of two interrupts and of three.

    Args:
        kind: `THINNED`, which leaves out most, or `ALL`: every pair, and every three steps around the ends of epochs.
        steps: The steps after which a run may be interrupted, in order.
        ends: Those that end an epoch.
        repeats: How often a run may be interrupted again at the step that it was resumed from.
    """
    # What happens once an epoch, or ends with one, is lost around its end, if it is lost.
    near = [step for step in steps if {step - 1, step, step + 1} & ends or step in (steps[0], steps[-1])]
    if kind == ALL:
        chains = [*combinations(steps, 2), *combinations(near, 3)]
    else:
        chains = [*pairwise(near), *zip(near, near[2:], near[4:], strict=False)]
        # The first and the last step of an epoch, also of one that is neither the first nor the last.
        chains += [(near[0], near[-1]), *zip(near[:-3:3], near[3::3], strict=False)]
    repeated = [(step,) * (times + 1) for times in range(1, repeats + 1) for step in (steps if times == 1 else near)]
    rising = [chain for chain in chains if len({*chain}) == len(chain)]
    return [list(chain) for chain in dict.fromkeys([*rising, *repeated])]
