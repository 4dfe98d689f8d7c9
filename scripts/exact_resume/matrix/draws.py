"""Say how the RNG draws of a resumed run and of the golden run differ, as far as their recorded states tell."""

from exact_resume.matrix.recording import Event
from exact_resume.matrix.rng_states import MOST_WORDS, STREAMS, words_between

# Names of parts of a state that say little when printed.
WORDS = ("key", "position", "next", "state")


def draws_until(golden: list[Event], resumed: list[Event], event: Event) -> dict[str, str] | None:
    """
    Explain the RNG states that are the next to be recorded when two runs part.

    Args:
        golden: All events of the golden run.
        resumed: The compared events of the resumed run.
        event: The first event of the golden run that the resumed run has with another value.

    Returns:
        By stream, how the state of the resumed run is related to that of the golden run; streams with equal states are
        left out. `None` if no states were recorded there.
    """
    relations = None
    for stream in STREAMS:
        states = [other for other in golden if other.stream == stream and _rank(other) == _rank(event)]
        others = {_key(other): other for other in resumed if other.stream == stream}
        position = next((number for number, state in enumerate(states) if _order(state) >= _order(event)), None)
        if position is None or _key(states[position]) not in others:
            continue
        relations = relations or {}
        want, have = states[position], others[_key(states[position])]
        if want.value != have.value:
            # The runs were the same before; or the state before is that of the checkpoint, or was a little earlier.
            before = states[position - 1] if position else None
            relations[stream] = _relation(before, want, have, states)
    return relations


def _rank(event: Event) -> str:
    """The rank in the event of a run on several ranks."""
    return event.what.partition(" on rank ")[2]


def _key(event: Event) -> tuple:
    return event.step, event.micro_batch, event.what


def _order(event: Event) -> tuple[int, float]:
    return event.step, float("inf") if event.micro_batch is None else event.micro_batch


def _relation(before: Event | None, want: Event, have: Event, states: list[Event]) -> str:
    drawn = [None if before is None else words_between(before.value, event.value) for event in (want, have)]
    parts = []
    if None not in drawn and drawn[0] != drawn[1]:
        parts.append(f"since {_place(before)}, golden drew {drawn[0]} words of 32 bits, resumed {drawn[1]}")
    elif None in drawn and (ahead := words_between(want.value, have.value)):
        parts.append(f"resumed is {ahead} words of 32 bits ahead")
    elif None in drawn and (behind := words_between(have.value, want.value)):
        parts.append(f"resumed is {behind} words of 32 bits behind")
    same = [state for state in states if state.value == have.value and drawn[1] != 0]
    if same:
        nearest = min(same, key=lambda state: abs(state.step - want.step))
        parts.append(f"resumed is where golden was at {_place(nearest)}")
    if not parts:
        names = [name for name in want.value if want.value[name] != have.value.get(name) and name not in WORDS]
        parts = [f"{name} golden {want.value[name]}, resumed {have.value.get(name)}" for name in names]
    unrelated = f"not within {MOST_WORDS} words of each other" if want.value["kind"] == "mt19937" else "not equal"
    return ", ".join(parts) or unrelated


def _place(event: Event) -> str:
    what = event.what.partition(" on rank ")[0].removeprefix("RNG state ")
    at = f"step {event.step}" if event.micro_batch is None else f"step {event.step}, micro-batch {event.micro_batch}"
    return {
        "before the forward pass": f"the forward pass of {at}",
        "after the step": f"the end of {at}",
    }.get(what, "the end of the run")
