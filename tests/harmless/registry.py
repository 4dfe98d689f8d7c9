"""The list of workflows: what a user does with a stock Trainer, each in a process of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Workflow:
    """
    Something that works on stock, and so has to work on the patched tree.

    Args:
        name: what the test is called.
        function: gets a `Run`, and what it is one `each` of.
        argument: the latter, or `None`.
        strict: whether it is run with `exact_resume="strict"` as well: there is nothing to complain of.
        may_say: parts of messages of ours that are right here unless the mode is "off", each with the reason.
        must_say: the same for messages that have to come.
        other_rng: why, unless the mode is "off", RNG states in checkpoints are not those of the moment, as on stock.
        other_parameters: why, unless the mode is "off", a resume need be neither as on stock nor exact.
        at_most: for calls that the series may make of its own, by name: how many, unless the mode is "off".
        time_ratio: how many times as long as on stock it may take; half a second more is always allowed for.
        timeout: seconds after which it hangs.
    """

    name: str
    function: Callable[..., Any]
    argument: Any = None
    strict: bool = False
    may_say: Mapping[str, str] = field(default_factory=dict)
    must_say: Mapping[str, str] = field(default_factory=dict)
    other_rng: str = ""
    other_parameters: str = ""
    at_most: Mapping[str, int] = field(default_factory=dict)
    time_ratio: float | None = None
    timeout: float = 60.0

    def expectations(self) -> dict[str, Any]:
        """What a comparison has to know."""
        names = ("may_say", "must_say", "other_rng", "other_parameters", "at_most", "time_ratio")
        return {"title": (self.function.__doc__ or "").strip(), **{name: getattr(self, name) for name in names}}


WORKFLOWS: dict[str, Workflow] = {}


def workflow(*, each: Sequence[Any] | None = None, **options: Any) -> Callable:
    """
    Register a function; its docstring is the title.

    The names are read from the source, without importing it, so `each` and `strict` have to be literals.

    Args:
        each: makes one workflow of each of these; the function gets it as second argument.
        options: those of `Workflow`.
    """

    def register(function: Callable) -> Callable:
        for name, argument in names_of(function.__name__, each):
            if name in WORKFLOWS:
                raise ValueError(f"two workflows are called {name}")
            WORKFLOWS[name] = Workflow(name, function, argument, **options)
        return function

    return register


def names_of(function: str, each: Sequence[Any] | None) -> list[tuple[str, Any]]:
    """The names of the workflows that a function makes, with what each is of."""
    return [(function, None)] if each is None else [(f"{function}[{argument}]", argument) for argument in each]
