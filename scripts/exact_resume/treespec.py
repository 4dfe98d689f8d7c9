"""Find the transformers tree that somebody names: a folder, a wheel, a git ref of a clone, or a release."""

import hashlib
import importlib.metadata
import io
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement

from exact_resume import archives, environments, git, repository, trees, unfinished
from exact_resume import tree as trees_on_disk
from exact_resume.errors import UsageError
from exact_resume.repository import RepositoryError
from exact_resume.source_requirements import requirements
from exact_resume.tree import SOURCE_PACKAGE, Tree

FORMS = (
    "a transformers checkout, a folder that holds the package, a wheel, PATH@REF for a git ref of a clone, "
    f"{trees.STOCK}:RELEASE or {trees.PATCHED}:RELEASE"
)
EXPORTED = (SOURCE_PACKAGE, "setup.py")
"""What is taken from a commit, and what of a checkout decides how the tree behaves here."""


@dataclass(frozen=True)
class Source:
    """A tree, ready to be imported.

    Attributes:
        spec: how it was named.
        kind: what that is, in words.
        folder: holds the package `transformers/` and its metadata, and nothing beside them.
        release: the value of `__version__`.
        commit: the git commit, of a ref or a checkout.
        edited: whether a checkout differs from that commit.
        digest: of every file of the package and of the requirements: equal only for trees that behave the same.
        requires: the requirements.
    """

    spec: str
    kind: str
    folder: Path
    release: str
    commit: str | None
    edited: bool
    digest: str
    requires: tuple[str, ...]


def resolve(spec: str) -> Source:
    """Return the tree that a text names.

    A clone is only read from. What has to be unpacked or exported is kept in the cache.

    Raises:
        UsageError: the text names no tree, or what it names cannot be read or is not to be had.
    """
    name, colon, release = spec.partition(":")
    path = _path(spec)
    if path.is_dir():
        tree = trees_on_disk.find(path)
        with unfinished.only_looking(tree.root):
            return _source(spec, tree.kind, tree, *_commit(tree))
    if path.is_file() and path.suffix == ".whl":
        return _source(spec, "wheel", trees_on_disk.find(_unpack(path)))
    if colon and name in (trees.STOCK, trees.PATCHED):
        return _source(spec, f"{name} release", trees_on_disk.find(trees.build(name, release)))
    for place, letter in enumerate(spec):
        clone = _path(spec[:place])
        # A path may have this letter in its name, and so may a ref.
        if letter == "@" and place and clone.is_dir():
            folder, commit = _export(clone, spec[place + 1 :])
            return _source(spec, "git ref", trees_on_disk.find(folder), commit)
    raise UsageError(f"{spec}: there is no such file or folder; give {FORMS}")


def _path(text: str) -> Path:
    try:
        path = Path(text).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # no path at all, or in the home folder of nobody
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{text}: there is no such file or folder: {reason}; give {FORMS}") from error
    return path


def _source(spec: str, kind: str, tree: Tree, commit: str | None = None, edited: bool = False) -> Source:
    package = tree.root / tree.package
    metadata = _metadata(tree)
    key = hashlib.sha256(f"{package}\0{metadata}".encode()).hexdigest()[:16]

    def make(folder: Path) -> None:
        # What lies beside the package, such as the rest of a site-packages folder, must not be imported.
        (folder / trees.PROJECT).symlink_to(package, target_is_directory=True)
        info = folder / f"{trees.PROJECT}-{tree.release}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(metadata, encoding="utf-8")

    folder = trees.cached(f"named/{key}", make)
    try:
        requires = tuple(environments.requirements(folder))
    except InvalidRequirement as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{spec}: what it requires cannot be read: {reason}; correct its metadata") from error
    digest = hashlib.sha256(repr((_files(package), requires)).encode()).hexdigest()[:16]
    return Source(spec, kind, folder, tree.release, commit, edited, digest, requires)


def _metadata(tree: Tree) -> str:
    """Return the metadata of the package: its own, or of a source tree what its files say."""
    if tree.package != SOURCE_PACKAGE:
        found = list(importlib.metadata.distributions(name=trees.PROJECT, path=[str(tree.root)]))
        if len(found) == 1 and (text := found[0].read_text("METADATA")):
            return text
    lines = ["Metadata-Version: 2.1", f"Name: {trees.PROJECT}", f"Version: {tree.release}"]
    return "\n".join([*lines, *(f"Requires-Dist: {text}" for text in requirements(tree))]) + "\n"


def _files(package: Path) -> list[tuple[str, str]]:
    paths = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return [(path.relative_to(package).as_posix(), git.blob_id(path.read_bytes())) for path in sorted(paths)]


def _commit(tree: Tree) -> tuple[str | None, bool]:
    try:
        clone = repository.find(tree)
        commit = clone.ask("rev-parse", "--verify", "HEAD").decode()
        # Without optional locks, as `status` would else write to the index.
        status = clone.ask("--no-optional-locks", "status", "--porcelain", "--", *EXPORTED)
    except (UsageError, RepositoryError):  # a checkout need not have a commit
        return None, False
    return commit, bool(status)


def _unpack(wheel: Path) -> Path:
    try:
        content = wheel.read_bytes()
    except OSError as error:
        raise UsageError(f"{wheel}: cannot be read: {error.strerror or error}") from error

    def make(folder: Path) -> None:
        try:
            archives.unpack(io.BytesIO(content), folder)
        except archives.Unusable as error:
            raise UsageError(f"{wheel}: not a wheel that can be read: {error}; build or download it again") from error

    return trees.cached(f"wheels/{hashlib.sha256(content).hexdigest()[:16]}", make)


def _export(clone: Path, ref: str) -> tuple[Path, str]:
    def ask(*arguments: str) -> bytes:
        done = git.run_in_repository(list(arguments), clone)
        if done.returncode != 0:
            raise UsageError(
                f"{clone}@{ref}: {repository.reason(done.stderr)}; give a ref that the clone has, or fetch it first"
            )
        return done.stdout

    # What begins with a dash is a ref, and not an option.
    commit = ask("rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}").decode().strip()
    entries = ask("ls-tree", "--full-tree", commit, "--", *EXPORTED).decode().splitlines()
    paths = [entry.partition("\t")[2] for entry in entries]
    if SOURCE_PACKAGE not in paths:
        raise UsageError(f"{clone}@{ref}: commit {commit[:12]} has no {SOURCE_PACKAGE}; give a clone of transformers")

    def make(folder: Path) -> None:
        # Told where the repository is, git takes paths from its top, wherever in it `clone` is. In a zip file, a
        # symbolic link is a file that holds its target.
        top = ask("rev-parse", "--absolute-git-dir").decode().strip()
        packed = io.BytesIO(ask(f"--git-dir={top}", "archive", "--format=zip", "-0", commit, "--", *paths))
        try:
            archives.unpack(packed, folder, links_as_files=True)
        except archives.Unusable as error:
            raise UsageError(f"{clone}@{ref}: cannot be exported: {error}; give another commit") from error

    # By the ids of what is in it, so that commits that change something else share a folder.
    return trees.cached(f"exported/{hashlib.sha256(repr(entries).encode()).hexdigest()[:16]}", make), commit
