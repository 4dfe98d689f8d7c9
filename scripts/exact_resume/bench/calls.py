"""The calls that recording makes in an update step, why each is made, and their table. Imports no torch."""

from dataclasses import dataclass
from typing import Any

from exact_resume import report
from exact_resume.bench.groups import PATCHED
from exact_resume.bench.summary import number

PACKAGE = "transformers.trainer_resume"
MAIN, WITH_WORKERS, WORKER = "main process, 0 workers", "main process, 2 workers", "a worker"
PLACES = (MAIN, WITH_WORKERS, WORKER)
HEAD = ["calls a step", "us a step", "share"]
WITHIN, AROUND = "of timing a call, within it", "of timing a call, in its caller"


@dataclass(frozen=True)
class Call:
    """
    A function that is timed.

    Args:
        module: Where its callers look it up.
        path: Its name there.
        why: What its own time goes into.
    """

    module: str
    path: str
    why: str

    @property
    def title(self) -> str:
        """What tables call it."""
        return f"{self.module.removeprefix(PACKAGE + '.')}.{self.path}"


CALLS = (
    Call(
        f"{PACKAGE}.session",
        "ExactResume.begin_step",
        "Notes the phase, and calls the two below: what a checkpoint within the step needs is of this moment.",
    ),
    Call(f"{PACKAGE}.record", "StepStart.take", "Copies the loss that is summed up in place, into memory it has."),
    Call(f"{PACKAGE}.record", "Sums.of", "Seven values, some of them attributes of the trainer's state, in a tuple."),
    Call(
        f"{PACKAGE}.recorder",
        "Recorder.begin_step",
        "Drops what was kept of the last step, which frees the 625 integers of a Python state.",
    ),
    Call(
        f"{PACKAGE}.fetching",
        "_follow",
        "A generator between the loop and the dataloader, with the gate, twice a batch.",
    ),
    Call(
        f"{PACKAGE}.recorder",
        "Recorder.before_pull",
        "Asks for the snapshot, which is S of the step and F of a batch.",
    ),
    Call(f"{PACKAGE}.generators", "RNGStates.get", "Puts the snapshot together: one dictionary, kept as it is."),
    Call(
        "random",
        "getstate",
        "Builds a tuple of 625 integers; there is no public way to tell that nothing was drawn.",
    ),
    Call(
        f"{PACKAGE}.generators",
        "RNGStates._get_numpy",
        "Compares NumPy's 2.5 KB with those of the last snapshot, and takes its state anew if they differ.",
    ),
    Call("torch", "get_rng_state", "Makes a tensor, and copies the 5 KB of PyTorch's state into it."),
    Call(f"{PACKAGE}.loader_hooks", "IndexSampler._draw", "A generator between the dataloader and its sampler."),
    Call(
        f"{PACKAGE}.recorder", "Recorder.before_draw", "Keeps the snapshot as F of the batch whose indices are drawn."
    ),
    Call(f"{PACKAGE}.recorder", "Recorder.after_draw", "Keeps these indices."),
    Call(f"{PACKAGE}.recorder", "digest_indices", "Adds them to the digest of those drawn so far."),
    Call(
        f"{PACKAGE}.loader_hooks",
        "Collate.__call__",
        "Comes after the collator, and keeps the batch until it is trained on.",
    ),
    Call(
        f"{PACKAGE}.session",
        "ExactResume.event",
        "Notes the phase, and calls the callbacks. About half of it is cold caches: it is "
        "the first Python to run after the optimizer, as the callbacks are on stock.",
    ),
    Call(
        f"{PACKAGE}.loader_hooks",
        "WorkerCollate.__call__",
        "Comes after the collator, the last thing run for a batch.",
    ),
    Call(f"{PACKAGE}.worker_process", "Worker.before_batch", "Nothing, but for the first batch of a resumed run."),
    Call(
        f"{PACKAGE}.worker_process",
        "Worker.after_batch",
        "Calls the report, after the digest where checkpoints are written.",
    ),
    Call(
        f"{PACKAGE}.worker_process", "Worker.report", "Calls those below; frees the last Python state of the worker."
    ),
    Call(
        f"{PACKAGE}.worker_process",
        "pack_host_state_into",
        "Packs the three states into 7.5 KB of shared memory, 625 integers of Python's first.",
    ),
    Call(f"{PACKAGE}.worker_process", "pack_state", "Packs what the pipeline owns, if it owns anything."),
    Call(
        f"{PACKAGE}.worker_process",
        "WorkerRing.write",
        "Finds the place in shared memory, and puts two numbers beside it.",
    ),
)


def calls_title(place: str, call: Call) -> str:
    """The title of how often a call is made."""
    return f"{place}: calls of {call.title}"


def time_title(place: str, call: Call) -> str:
    """The title of what a call takes."""
    return f"{place}: {call.title}"


def table(group: dict[str, Any]) -> list[str]:
    """Return the lines of a Markdown table with a row for each call, and what the timing of a call takes itself."""
    medians = {figure["title"]: figure["summary"][PATCHED]["median"] for figure in group["figures"]}
    rows = []
    for place in PLACES:
        taken = {call: medians[time_title(place, call)] for call in CALLS if time_title(place, call) in medians}
        total = sum(taken.values())
        for call, time in taken.items():
            count = number(medians[calls_title(place, call)])
            rows.append([place, f"`{call.title}`", call.why, count, number(time), f"{time / total:.0%}"])
        rows.append([place, "**all**", "", "", number(total), "100%"])
    within, around = number(medians[WITHIN]), number(medians[AROUND])
    return [
        *report.markdown_table(["in", "call", "what its own time goes into", *HEAD], rows, left=3),
        "",
        f"To time a call takes about {within} us within it and {around} us in its caller; both are taken off.",
    ]
