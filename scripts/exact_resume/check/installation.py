"""Which transformers was trained with, and whether the patch series is in it. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path

from exact_resume import patching, state
from exact_resume.check.runs import Check
from exact_resume.errors import UsageError
from exact_resume.tree import SOURCE_PACKAGE

STOCK, PATCHED = "stock", "patched"


@dataclass(frozen=True)
class Installation:
    """
    A transformers package.

    Args:
        version: Its release.
        folder: The checkout, or the folder that holds the package.
        patches: How much of the series it has, in words: `STOCK`, `PATCHED`, or something between.
        advice: What would bring in the patches it lacks; `None` if it lacks none or it cannot be told.
    """

    version: str
    folder: Path
    patches: str
    advice: str | None

    @property
    def title(self) -> str:
        """What a report calls it."""
        return f"transformers {self.version} ({self.patches}) at {self.folder}"


def of(check: Check, *, installed: bool) -> Installation:
    """
    Say how much of the series the package has that a check was made with.

    Args:
        check: The check.
        installed: Whether it is the package of this interpreter, for the advice.
    """
    environment = check.golden.environment
    return inspect(Path(environment["package"]), environment["transformers"], installed=installed)


def inspect(package: Path, version: str, *, installed: bool) -> Installation:
    """As `of`, from the folder of the package and its release."""
    above = package.resolve().parent
    folder = above.parent if (above.parent / SOURCE_PACKAGE).resolve() == package.resolve() else above
    try:
        status = patching.status(folder)
    except UsageError:
        return Installation(version, folder, "not known to the patch series", None)
    if not status.clean:
        return Installation(version, folder, "half-patched, see `status`", None)
    applied, missing, left_out = (
        [name for name, word in status.patches if word == wanted]
        for wanted in (state.APPLIED, state.NOT_APPLIED, state.LEFT_OUT)
    )
    patches = PATCHED if not left_out else f"{PATCHED} without {', '.join(left_out)}"
    if missing:
        patches = f"patched up to {applied[-1]}" if applied else STOCK
    advice = _advice(folder, installed) if missing or left_out else None
    return Installation(version, folder, patches + ", edited" * bool(status.edited), advice)


def _advice(folder: Path, installed: bool) -> str | None:
    try:
        would = patching.apply(folder, check=True)
    except UsageError as error:
        return f"this transformers lacks patches of the series, and they do not fit: {error}"
    tree = "--installed" if installed else str(folder)
    return (
        f"this transformers lacks patches of the series: `python -m exact_resume apply {tree}` would apply "
        f"{len(would.patches)} patches and change {', '.join(would.files)}"
    )
