"""Find the first point at which a resumed run differs from the golden one."""

import struct
from typing import Any

from exact_resume.matrix.recording import Event

FORMATS = {"torch.float32": "f", "torch.float64": "d", "torch.int64": "q", "torch.int32": "i", "torch.uint8": "B"}


def first_divergence(golden: list[Event], resumed: list[Event], after_step: int) -> dict[str, Any] | None:
    """
    Compare a resumed run with the golden run from where it was resumed.

    Args:
        golden: Events of the uninterrupted run.
        resumed: Events of the run resumed after `after_step`.
        after_step: The update step at whose end the checkpoint was taken.

    Returns:
        `None` if every event is equal, else `{"step", "micro_batch", "stream", "message"}` of the first that is not.
    """
    expected = [event for event in golden if event.step > after_step]
    resumed = [event for event in resumed if event.step > after_step]
    for want, have in zip(expected, resumed, strict=False):
        if (want.step, want.micro_batch, want.what) != (have.step, have.micro_batch, have.what):
            return _divergence(want, f"golden run has {_place(want)}, resumed run has {_place(have)}")
        if want.value != have.value:
            return _divergence(want, f"{want.what}: {_detail(want, have) or 'not equal'}")
    if len(expected) != len(resumed):
        longer = max(expected, resumed, key=len)
        event = longer[min(len(expected), len(resumed))]
        name = "resumed" if longer is expected else "golden"
        return _divergence(event, f"the {name} run ends before {_place(event)}")
    return None


def _place(event: Event) -> str:
    micro_batch = "" if event.micro_batch is None else f", micro-batch {event.micro_batch}"
    return f"{event.what} of step {event.step}{micro_batch}"


def _divergence(event: Event, message: str) -> dict[str, Any]:
    return {"step": event.step, "micro_batch": event.micro_batch, "stream": event.stream, "message": message}


def _detail(want: Event, have: Event) -> str:
    """The first differing element of a micro-batch, a loss or the logged values."""
    if isinstance(want.value, dict):
        for name in want.value:
            if want.value[name] != have.value.get(name):
                return f"{name}{_element(want.value[name], have.value.get(name))}"
    return _element(want.value, have.value)


def _element(want: Any, have: Any) -> str:
    tensors = all(isinstance(value, list) and len(value) == 3 and value[0] in FORMATS for value in (want, have))
    if not tensors or want[:2] != have[:2]:
        readable = all(isinstance(value, str) and "0x" in value for value in (want, have))
        return f" golden {float.fromhex(want)!r}, resumed {float.fromhex(have)!r}" if readable else ""
    values = [struct.iter_unpack("<" + FORMATS[value[0]], bytes.fromhex(value[2])) for value in (want, have)]
    for position, ((golden,), (resumed,)) in enumerate(zip(*values, strict=True)):
        if golden != resumed:
            return f"[{', '.join(map(str, _index(position, want[1])))}] golden {golden!r}, resumed {resumed!r}"
    return ""


def _index(position: int, shape: list[int]) -> list[int]:
    index = []
    for size in reversed(shape):
        index.append(position % size)
        position //= size
    return index[::-1]
