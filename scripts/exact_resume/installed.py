"""The installed transformers of an interpreter, and what is written down beside it when it is patched.

An upgrade by pip takes the patches away without a word. So a note that pip does not know says that they were there.
"""

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from exact_resume import record, tree
from exact_resume.diagnosis import Problem
from exact_resume.errors import UsageError
from exact_resume.install import Change

PROBE = Path(__file__).with_name("probe.py")
NOTE = "exact_resume-installed.json"


@dataclass(frozen=True)
class Note:
    """What `apply` has written down.

    Attributes:
        version: the `__version__` of the package that was patched.
        patches: the names of the patches that were in.
        record: the lines of RECORD before that, as in the module `record`.
    """

    version: str
    patches: tuple[str, ...]
    record: record.Kept


@dataclass(frozen=True)
class Installed:
    """An installed transformers.

    Attributes:
        folder: the folder to patch: site-packages, or the source checkout of an editable installation.
        site: the folder that holds the metadata; the note is put there.
        record: the RECORD that lists the files of the package; None where no RECORD does.
    """

    folder: Path
    site: Path
    record: Path | None

    @property
    def note_file(self) -> Path:
        """Where the note is."""
        return self.site / NOTE

    def note(self) -> Note | None:
        """Return the note; None without one.

        Raises:
            UsageError: it is damaged.
        """
        try:
            entry = json.loads(_real(self.note_file, self.site).read_bytes())
            kept = {str(path): None if line is None else str(line) for path, line in entry["record"].items()}
            return Note(str(entry["version"]), tuple(map(str, entry["patches"])), kept)
        except FileNotFoundError:
            return None
        # Nested too deeply, JSON leads to a RecursionError.
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(
                f"{self.note_file} cannot be read ({type(error).__name__}); remove it, and reinstall transformers "
                "if `pip check` complains; nothing was changed"
            ) from error

    def lost(self, version: str, applied: int | None) -> Problem | None:
        """Say if the patches that the note tells of are not there any more.

        Args:
            version: the `__version__` of the package.
            applied: how many patches are in now; None where that cannot be told.
        """
        note = self.note()
        if note is None:
            return None
        count = len(note.patches)
        if note.version == version and (applied is None or applied >= count):
            return None
        return Problem(
            f"apply --installed had applied {count} patch{'es' * (count > 1)} to transformers {note.version} here; "
            f"now this is transformers {version} with {applied or 'none'} of them: it was upgraded or reinstalled",
            f"apply --installed again, or forget them with revert --installed, or remove {self.note_file}",
        )

    def notes_to_take(self, changes: list[Change], version: str, patches: tuple[str, ...]) -> list[Change]:
        """Return the changes of the note and of RECORD that go with changes of the package.

        Args:
            changes: the changes of the package.
            version: its `__version__`.
            patches: the patches that are in afterwards; none when all are taken back.
        """
        note = self.note()
        if note and note.version != version:
            note = None
        kept = dict(note.record) if note else {}
        found = []
        if self.record:
            path = _real(self.record, self.site)
            old = path.read_bytes()
            names = {change.target.relative_to(self.folder.resolve()).as_posix(): change for change in changes}
            before = {name: change.before for name, change in names.items()}
            after = {name: change.after for name, change in names.items() if change.after is not None}
            try:
                if patches:
                    new, replaced = record.updated(old, before, after)
                    kept = {**replaced, **kept}
                else:
                    new = record.restored(old, kept, before)
            except (ValueError, csv.Error) as error:
                raise UsageError(
                    f"{path} cannot be read: {error}; reinstall transformers; nothing was changed"
                ) from error
            found.append(Change(path, old, new))
        content = json.dumps({"version": version, "patches": patches, "record": kept}, indent=1).encode() + b"\n"
        return [*found, *self.note_change(content if patches else None)]

    def note_change(self, content: bytes | None) -> list[Change]:
        """Return the change that writes the note, or removes it for None; nothing if it is so already."""
        path = _real(self.note_file, self.site)
        before = path.read_bytes() if path.exists() else None
        return [] if before == content else [Change(path, before, content)]


def _real(path: Path, site: Path) -> Path:
    try:
        found = path.resolve()
    except RuntimeError:  # of Python before 3.13, for links in a circle
        found = None
    if found is None or not found.is_relative_to(site.resolve()):
        raise UsageError(
            f"{path} is a link that leads out of {site}; reinstall transformers with copied files; nothing was changed"
        )
    return found


def find(python: Path | None = None) -> Installed:
    """Find the transformers of an interpreter without importing it.

    Args:
        python: the interpreter; the one that runs this without it.

    Raises:
        UsageError: the interpreter does not run, or has no transformers.
    """
    # Not the current folder, in which there may be a checkout. An interpreter that is named is asked without the
    # settings that are meant for this one.
    command = [str(python), "-I"] if python else [sys.executable, "-P"]
    try:
        done = subprocess.run([*command, str(PROBE)], capture_output=True, text=True, check=False)
    except OSError as error:
        raise UsageError(f"{python} cannot be run: {error.strerror}; give a Python interpreter") from error
    try:
        answer = json.loads(done.stdout) if done.returncode == 0 else ""
    except ValueError:
        answer = ""
    if answer is None:
        raise UsageError(
            f"transformers is not installed for {command[0]}; install it there, choose another interpreter with "
            "--python, or give the folder that holds it as TREE"
        )
    if not answer:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UsageError(f"{command[0]} does not say where its transformers is: {said}; give a Python interpreter")
    package = Path(answer["package"])
    site = Path(answer["site"])
    listed = answer["record"] and package.parent.resolve() == site.resolve()
    return Installed(tree.holder(package), site, Path(answer["record"]) if listed else None)
