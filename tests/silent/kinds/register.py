"""The register of kinds of state: each makes a function that returns another float in [0, 1) at every call."""

from collections.abc import Callable

KINDS: dict[str, Callable[[], Callable[[], float]]] = {}
# How many values a counter has.
ROOM = 97


def kind(make: Callable) -> Callable:
    """Register a kind; its docstring goes on with "... has", and says what is hidden in what."""
    if make.__name__ in KINDS:
        raise ValueError(f"two kinds are called {make.__name__}")
    KINDS[make.__name__] = make
    return make
