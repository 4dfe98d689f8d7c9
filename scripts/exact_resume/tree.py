"""Find out what a TREE is: a transformers source checkout, or a folder that holds the installed package."""

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from exact_resume.errors import UsageError

SOURCE_PACKAGE = "src/transformers"
INSTALLED_PACKAGE = "transformers"
MARKS = ("__init__.py", "trainer.py", "training_args.py")
"""A folder with all of these is taken for the package, whatever its name."""
SEARCHED_FOLDERS = 2000
MOST_BYTES = 2**24
"""Far more than the largest file has that the series touches."""
VERSION_LINE = re.compile(r"""^__version__\s*=\s*["']([^"']+)["']""", re.MULTILINE)


@dataclass(frozen=True)
class Tree:
    """A transformers tree on disk.

    Attributes:
        root: the resolved folder that was given.
        package: where the package lies below `root`, with forward slashes.
        release: the value of `__version__`.
    """

    root: Path
    package: str
    release: str

    @property
    def kind(self) -> str:
        """Say in words what kind of tree this is."""
        return "source checkout" if self.package == SOURCE_PACKAGE else "installed package"

    @property
    def init_file(self) -> Path:
        """The file that makes the package one, with no symbolic link in its path."""
        return (self.root / self.package / "__init__.py").resolve()

    def inside(self, series_path: str) -> str | None:
        """Map a path of the patch series to a path below `root`; None when this kind of tree has no place for it."""
        if self.package == SOURCE_PACKAGE:
            return series_path
        if series_path.startswith(SOURCE_PACKAGE + "/"):
            return self.package + series_path.removeprefix(SOURCE_PACKAGE)
        return None

    def locate(self, series_path: str) -> Path:
        """Return the real file behind a path of the series, which may not exist yet.

        Raises:
            UsageError: the path, or a folder on the way, is a link that leads out of the tree.
        """
        relative = self.inside(series_path)
        if relative is None:
            raise ValueError(f"{series_path} has no place in a tree of the kind: {self.kind}")
        try:
            target = (self.root / relative).resolve()
        except (OSError, RuntimeError) as error:  # Python before 3.13 raises a RuntimeError for links in a circle
            raise UsageError(f"{self.root / relative} cannot be followed: {error}; nothing was changed") from error
        if not target.is_relative_to(self.root):
            raise UsageError(
                f"{self.root / relative} leads through a symbolic link to {target}, outside the tree; "
                "give the tree that really holds the file, or install it with copied files; nothing was changed"
            )
        return target

    def read(self, series_path: str) -> bytes | None:
        """Return the bytes of the file behind a path of the series, None when there is no such file.

        Raises:
            UsageError: the path leads out of the tree, is no regular file, or cannot be read.
        """
        target = self.locate(series_path)
        if target.exists() and not target.is_file():
            raise UsageError(f"{target} is not a regular file; restore the tree first; nothing was changed")
        try:
            if target.exists() and target.stat().st_size > MOST_BYTES:
                raise UsageError(f"{target} is too large; restore the tree first; nothing was changed")
            return target.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UsageError(f"cannot read {target}: {error.strerror}; nothing was changed") from error


def find(folder: Path) -> Tree:
    """Return the tree at `folder`.

    Raises:
        UsageError: no such folder, no transformers in it, or no version line in the package.
    """
    try:
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder; give a transformers checkout or a site-packages folder")
        root = folder.resolve()
        packages = [name for name in (SOURCE_PACKAGE, INSTALLED_PACKAGE) if (root / name / "__init__.py").is_file()]
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror or error}; give another folder") from error
    for package in packages:
        return Tree(root, package, _release(root / package / "__init__.py"))
    raise UsageError(
        f"{folder}: not a transformers tree: neither {SOURCE_PACKAGE}/__init__.py "
        f"nor {INSTALLED_PACKAGE}/__init__.py is there; {_hint(root)}"
    )


def _hint(root: Path) -> str:
    """Say which folder to give instead."""
    if root.name == INSTALLED_PACKAGE and (root / "__init__.py").is_file():
        return f"this looks like the package itself, give {holder(root)}"
    packages = _packages(root)
    for package in packages:
        if package.name == INSTALLED_PACKAGE:
            return f"the package is in {package}, give {holder(package)}"
    for package in packages:
        return (
            f"{package} looks like the package under another name, which the patches cannot know; make a link to it "
            f"(ln -s {package.name} {package.parent / INSTALLED_PACKAGE}) and give {package.parent}"
        )
    return "give a transformers checkout or a site-packages folder"


def _packages(root: Path) -> list[Path]:
    """Return the folders from `root` on that look like the package, the nearest first; a large tree is cut off."""
    found = []
    waiting = [root]
    for folder in waiting:
        if all((folder / mark).is_file() for mark in MARKS):
            found.append(folder)
        elif len(waiting) < SEARCHED_FOLDERS:
            with contextlib.suppress(OSError):
                waiting += sorted(
                    entry
                    for entry in folder.iterdir()
                    if entry.is_dir() and not entry.is_symlink() and not entry.name.startswith((".", "__"))
                )
    return found


def holder(package: Path) -> Path:
    """Return the folder to give for a package that has the right name."""
    return package.parent.parent if package.parent.name == "src" else package.parent


def _release(init_file: Path) -> str:
    try:
        with open(init_file, "rb") as stream:
            text = stream.read(MOST_BYTES).decode("utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"cannot read {init_file}: {error.strerror}") from error
    match = VERSION_LINE.search(text)
    if match is None:
        raise UsageError(f'{init_file}: no line __version__ = "..."; the release of this tree cannot be told')
    return match.group(1)
