"""The interpreter in which a tree runs: this one, or one of an environment in the cache.

A tree asks for versions of the packages around it, such as `huggingface-hub<1.0`, that may not be those installed
here. An environment of its own then holds those that differ. Everything else, above all torch with its gigabytes, it
finds in the site-packages of the running interpreter, which come after its own.
"""

import hashlib
import importlib.metadata
import os
import platform
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from functools import partial
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from exact_resume import trees
from exact_resume.errors import UsageError

# What the scenarios need besides a release and torch; a test compares them with setup.cfg.
HARNESS = ("accelerate==1.15.0", "datasets>=4", "numpy", "peft")
REPORTED = ("torch", "accelerate", "huggingface-hub", "tokenizers", "numpy")
MARKER = "exact-resume.txt"


def python_for(release: str) -> Path:
    """
    Return the interpreter for a release's trees, making its environment if the cache does not have it.

    Raises:
        UsageError: The release's wheel or what it requires is not to be had.
    """
    return python_for_tree(trees.build(trees.STOCK, release))


def python_for_tree(tree: Path, title: str | None = None) -> Path:
    """
    As `python_for`, for a tree that has the metadata of its distribution beside the package.

    Args:
        tree: The folder of both.
        title: What messages call the tree; transformers and its version by default.
    """
    title = title or f"{trees.PROJECT} {version_of(tree)}"
    needed = [*requirements(tree), *HARNESS]
    missing = unmet(needed, site_folders())
    if not missing:
        _say(title, "this interpreter", site_folders())
        return Path(sys.executable)
    folder = trees.cache_folder() / "environments" / _key(needed)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    own = sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
    _make_once(folder, python, Path(own), needed, partial(_install, python, tree, title, missing))
    _say(title, "an environment of its own", [own, *site_folders()])
    return python


def version_of(tree: Path) -> str:
    """Return the version that the metadata of a tree tell."""
    return _distribution(tree).version


def requirements(tree: Path) -> list[str]:
    """Return what the release of a tree requires here, without its extras, sorted."""
    parsed = [Requirement(text) for text in _distribution(tree).requires or []]
    return sorted(str(requirement) for requirement in parsed if _applies(requirement))


def _distribution(tree: Path) -> importlib.metadata.Distribution:
    (found,) = importlib.metadata.distributions(name="transformers", path=[str(tree)])
    return found


def site_folders() -> list[str]:
    """Return where the running interpreter finds installed packages."""
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return [folder for folder in (*user, *site.getsitepackages()) if os.path.isdir(folder)]


def unmet(needed: list[str], folders: list[str]) -> list[str]:
    """
    Return the requirements that the distributions in `folders` do not meet.

    Args:
        needed: Requirements. Those of the distributions that meet them are looked at as well, but not those of torch,
            which stays as it is, and of transformers, which comes with the tree.
        folders: Folders of distributions, of which the first that has one counts.
    """
    installed: dict[str, importlib.metadata.Distribution] = {}
    for found in importlib.metadata.distributions(path=folders):
        installed.setdefault(canonicalize_name(found.name), found)
    missing, looked_at, pending = [], {"torch", "transformers"}, [Requirement(text) for text in needed]
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if name == "transformers" or not _applies(requirement):
            continue
        found = installed.get(name)
        if found is None or not requirement.specifier.contains(found.version, prereleases=True):
            missing.append(str(requirement))
        elif name not in looked_at:
            looked_at.add(name)
            pending += [Requirement(text) for text in found.requires or []]
    return missing


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def _key(needed: list[str]) -> str:
    words = [*sorted(needed), platform.python_version(), importlib.metadata.version("torch"), *site_folders()]
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


def _make_once(folder: Path, python: Path, own: Path, needed: list[str], install: Callable[[], None]) -> None:
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        # What the running interpreter has may be another since.
        if (folder / MARKER).is_file() and not unmet(needed, [str(own), *site_folders()]):
            return
        print(f"making the environment {folder}", file=sys.stderr, flush=True)
        # Without its marker, one that was interrupted is made anew. It cannot be moved, as it is, to another place.
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, symlinks=os.name != "nt")
        (own / "exact_resume_parent.pth").write_text("\n".join(site_folders()) + "\n", encoding="utf-8")
        install()
        (folder / MARKER).write_text("\n".join(needed) + "\n", encoding="utf-8")


def _install(python: Path, tree: Path, title: str, missing: list[str]) -> None:
    """Install what the tree requires, and the harness with it, in versions that go together."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--only-binary=:all:", f"{trees.PROJECT}=={version_of(tree)}", *HARNESS]
    # The very build that is there, so that pip never looks for another.
    command.append(f"torch=={importlib.metadata.version('torch')}")
    # pip finds transformers itself in the tree, and so has only what it requires to install.
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        reason = " ".join(" ".join(done.stderr.split("\n")[-4:]).split()) or "no message"
        raise UsageError(
            f"what {title} requires and is not here, {', '.join(missing)}, could not be installed: {reason}; "
            "connect to the package index, or run this in an environment that has it"
        )


def _say(title: str, what: str, folders: list[str]) -> None:
    versions = [
        f"{name} {next(iter(importlib.metadata.distributions(name=name, path=folders))).version}" for name in REPORTED
    ]
    print(f"{title} runs in {what}: {', '.join(versions)}", file=sys.stderr, flush=True)
