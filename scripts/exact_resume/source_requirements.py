"""What a source tree of transformers requires, read from its files without running any of them."""

import ast
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from exact_resume import environments, trees
from exact_resume.errors import UsageError
from exact_resume.series import nearest
from exact_resume.tree import Tree

TABLE = "dependency_versions_table.py"


def requirements(tree: Tree) -> list[str]:
    """
    Return what a tree without metadata requires.

    Which packages: those in `install_requires` of its setup.py, else those of the nearest supported release. Which
    versions: those in its own table of versions, else those of that release.

    Raises:
        UsageError: A requirement has no meaning, or the wheel of that release is needed and not to be had.
    """
    table = {canonicalize_name(name): text for name, text in _versions(tree.root / tree.package / TABLE).items()}
    names = _required_names(tree.root / "setup.py")
    if names is None:
        release = trees.build(trees.STOCK, nearest(tree.release))
        known = {Requirement(text).name: text for text in environments.requirements(release)}
    else:
        known = {name: name for name in names}
    texts = [table.get(canonicalize_name(name), text) for name, text in known.items()]
    try:
        return sorted(str(Requirement(text)) for text in texts)
    except InvalidRequirement as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{tree.root}: what it requires cannot be read: {reason}; correct {TABLE}") from error


def _versions(path: Path) -> dict[str, str]:
    """Return the table of versions, by name; nothing where the file has another form, as importing it will tell."""
    value = _assigned(path, "deps")
    try:
        table = ast.literal_eval(value) if value is not None else {}
    except ValueError:
        return {}
    return {str(name): str(text) for name, text in table.items()} if isinstance(table, dict) else {}


def _required_names(setup: Path) -> list[str] | None:
    """Return the names in `install_requires = [deps["NAME"], ...]`; None where setup.py has another form."""
    match _assigned(setup, "install_requires"):
        case ast.List(elts=entries) if all(map(_name, entries)):
            return list(map(_name, entries))
    return None


def _name(entry: ast.expr) -> str | None:
    match entry:
        case ast.Subscript(value=ast.Name(id="deps"), slice=ast.Constant(value=str(name))):
            return name
    return None


def _assigned(path: Path, name: str) -> ast.expr | None:
    """Return the expression that a module assigns to a name last; None where there is none or it cannot be parsed."""
    try:
        module = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
    found = [
        node.value
        for node in module.body
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets)
    ]
    return found[-1] if found else None
