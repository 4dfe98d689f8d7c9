"""Find the first point at which a resumed run differs from the golden one, and say what differs there."""

import math
import re
from typing import Any

import numpy as np
import torch

from exact_resume.matrix.draws import draws_until
from exact_resume.matrix.recording import DIGEST, Event
from exact_resume.matrix.rng_states import STREAMS

HEX_FLOAT = re.compile(r"-?0x[01]\.[0-9a-f]*p[+-]\d+")
# Names that a message lists.
MOST_NAMES = 4
# Where a difference may come from draws. Where it may not, nothing is said of RNG states that are equal.
FED_BY_RNG = ("sampler", "data", "model")


def first_divergence(golden: list[Event], resumed: list[Event], after_step: int) -> dict[str, Any] | None:
    """
    Compare a resumed run with the golden run from where it was resumed.

    Args:
        golden: Events of the uninterrupted run.
        resumed: Events of the run resumed after `after_step`.
        after_step: The update step at whose end the checkpoint was taken.

    Returns:
        `None` if every event is equal, else `{"step", "micro_batch", "stream", "message"}` of the first that is not.
        Where they can be told, it has as well: `element`, such as "hidden.weight[0, 3]", with its values `golden` and
        `resumed` as text; and `draws`, by stream, what the RNG draws of the runs show from the last state that they
        have in common to the next that was recorded.
    """
    expected = [event for event in golden if event.step > after_step]
    compared = [event for event in resumed if event.step > after_step]
    for want, have in zip(expected, compared, strict=False):
        if (want.step, want.micro_batch, want.what) != (have.step, have.micro_batch, have.what):
            return _divergence(want, f"golden run has {_place(want)}, resumed run has {_place(have)}")
        if want.value != have.value:
            return _explain(golden, compared, want, have)
    if len(expected) != len(compared):
        longer = max(expected, compared, key=len)
        event = longer[min(len(expected), len(compared))]
        name = "resumed" if longer is expected else "golden"
        return _divergence(event, f"the {name} run ends before {_place(event)}")
    return None


def _place(event: Event) -> str:
    micro_batch = "" if event.micro_batch is None else f", micro-batch {event.micro_batch}"
    return f"{event.what} of step {event.step}{micro_batch}"


def _divergence(event: Event, message: str, **details) -> dict[str, Any]:
    place = {"step": event.step, "micro_batch": event.micro_batch, "stream": event.stream}
    return {**place, "message": message, **details}


def _explain(golden: list[Event], resumed: list[Event], want: Event, have: Event) -> dict[str, Any]:
    text, details = ("", {}) if want.stream in STREAMS else _difference(want.value, have.value)
    draws = draws_until(golden, resumed, want)
    said = [text, *(f"{stream}: {relation}" for stream, relation in (draws or {}).items())]
    if draws:
        details["draws"] = draws
    elif draws is not None and want.stream in FED_BY_RNG:
        said.append("the RNG states of the main process are equal")
    return _divergence(want, f"{want.what}: {'; '.join(filter(None, said)) or 'not equal'}", **details)


def _difference(want: Any, have: Any) -> tuple[str, dict[str, str]]:
    """How two values differ, in words, and the `element`, `golden` and `resumed` that the words are about."""
    if not isinstance(want, dict) or not isinstance(have, dict):
        return _element("", want, have)
    for run, value, other in (("golden", want, have), ("resumed", have, want)):
        if names := [name for name in value if name not in other]:
            more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            return f"only the {run} run has {', '.join(names[:MOST_NAMES])}{more}", {}
    names = [name for name in want if want[name] != have[name]]
    text, details = _element(names[0], want[names[0]], have[names[0]])
    return f"{text}; {len(names)} of {len(want)} entries differ" if len(names) > 1 else text, details


def _element(name: str, want: Any, have: Any) -> tuple[str, dict[str, str]]:
    if not (_is_tensor(want) and _is_tensor(have)) or want[:2] != have[:2]:
        return _found(name, _readable(want), _readable(have))
    dtype, shape, _ = want
    if DIGEST in want[2] + have[2]:
        return f"{name} differs, {_readable(want)}, too large for the record to keep its elements".lstrip(), {}
    golden, resumed = (np.frombuffer(bytes.fromhex(data), np.uint8) for *_, data in (want, have))
    golden, resumed = (data.reshape(math.prod(shape), -1) for data in (golden, resumed))
    differ = (golden != resumed).any(axis=1)
    first = int(differ.argmax())
    index = ", ".join(str(number) for number in np.unravel_index(first, shape))
    text, details = _found(
        f"{name}[{index}]" if shape else name, _value(dtype, golden[first]), _value(dtype, resumed[first])
    )
    return f"{text} ({differ.sum()} of {len(differ)} elements)" if len(differ) > 1 else text, details


def _found(element: str, golden: str, resumed: str) -> tuple[str, dict[str, str]]:
    details = {"element": element, "golden": golden, "resumed": resumed}
    return f"{element} golden {golden}, resumed {resumed}".lstrip(), details


def _is_tensor(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and isinstance(value[1], list) and isinstance(value[2], str)


def _readable(value: Any) -> str:
    if _is_tensor(value):
        return f"{value[0]} {value[1]}"
    is_float = isinstance(value, str) and HEX_FLOAT.fullmatch(value)
    return repr(float.fromhex(value) if is_float else value)


def _value(dtype: str, data: np.ndarray) -> str:
    """An element as text, with its bytes if it is not a number: there are several such."""
    if dtype.startswith("torch."):
        value = torch.from_numpy(data.copy()).view(getattr(torch, dtype.removeprefix("torch."))).item()
    else:
        value = data.view(dtype).item()
    return f"{value!r} (bytes {data.tobytes().hex()})" if value != value else repr(value)
