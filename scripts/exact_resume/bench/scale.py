"""What many ranks write and read: measured sizes, and times on a shared file system under stated assumptions."""

from typing import Any

from exact_resume import report
from exact_resume.bench.groups import PATCHED
from exact_resume.bench.summary import number

# Of a shared file system of middling size; `seconds` tells how they are used.
OPERATIONS_A_SECOND = 10_000
BYTES_A_SECOND = 10e9
BYTES_A_SECOND_OF_A_RANK = 1e9
SECONDS_OF_AN_OPERATION = 0.001
OPERATIONS_TO_SAVE = 2  # make a file under another name, and rename it
OPERATIONS_TO_LOAD = 1

HEAD = ["ranks", "workers of each", "a rank", "in all", "files", "to save", "to load", "written here", "read here"]


def state_title(workers: int) -> str:
    """The title of the size of a rank's state file."""
    return f"state of a rank, {workers} workers"


def write_title(ranks: int, workers: int) -> str:
    """The title of the time to write the files of all ranks into a local folder."""
    return f"{ranks} ranks of {workers} workers, written"


def read_title(ranks: int, workers: int) -> str:
    """The title of the time to read them."""
    return f"{ranks} ranks of {workers} workers, read"


def seconds(ranks: int, size: float, operations: int) -> float:
    """
    Return how long ranks take that save or load at once, on the assumed file system.

    Args:
        ranks: The number of ranks, each with one file.
        size: Bytes of a file.
        operations: Operations on names, of a file.
    """
    alone = operations * SECONDS_OF_AN_OPERATION + size / BYTES_A_SECOND_OF_A_RANK
    return max(alone, ranks * operations / OPERATIONS_A_SECOND, ranks * size / BYTES_A_SECOND)


def table(group: dict[str, Any]) -> list[str]:
    """Return the lines of a Markdown table, a row for each number of ranks and of workers."""
    medians = {figure["title"]: figure["summary"][PATCHED]["median"] for figure in group["figures"]}
    rows = []
    for ranks in group["options"]["ranks"]:
        for workers in group["options"]["workers"]:
            size = medians[state_title(workers)]
            model = [seconds(ranks, size, operations) for operations in (OPERATIONS_TO_SAVE, OPERATIONS_TO_LOAD)]
            here = [medians.get(title(ranks, workers)) for title in (write_title, read_title)]
            rows.append(
                [
                    str(ranks),
                    str(workers),
                    f"{size / 1000:.0f} kB",
                    f"{ranks * size / 1e6:.3g} MB",
                    str(ranks),
                    *(f"{number(1000 * time)} ms" for time in model),
                    *("-" if time is None else f"{number(1000 * time)} ms" for time in here),
                ]
            )
    return report.markdown_table(HEAD, rows, left=0)
