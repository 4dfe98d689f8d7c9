"""What the modules of the series import from upstream's is there, in the first and the last release of each lane."""

import ast
from pathlib import Path

import pytest

from exact_resume import trees
from exact_resume.series import load_releases, version_key

RELEASES = sorted(load_releases().values(), key=lambda release: version_key(release.version))
ENDS = {
    release.version
    for lane in {release.lane for release in RELEASES}
    for release in [[each for each in RELEASES if each.lane == lane][end] for end in (0, -1)]
}


def _names(path: Path) -> set[str]:
    """The names that a module defines or imports, under whatever conditions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _missing(package: Path, path: Path) -> list[str]:
    """What a module imports from others of the package that these do not have, but for what it only tries."""
    missing, module = [], ast.parse(path.read_text())
    tried = {id(node) for each in ast.walk(module) if isinstance(each, ast.Try) for node in each.body}
    for node in ast.walk(module):
        if not isinstance(node, ast.ImportFrom) or node.level == 0 or id(node) in tried:
            continue
        folder = path.parents[node.level - 1] / (node.module or "").replace(".", "/")
        for alias in node.names:
            source = folder.with_suffix(".py") if folder.with_suffix(".py").is_file() else folder / "__init__.py"
            if not (folder / f"{alias.name}.py").is_file() and alias.name not in _names(source):
                missing.append(f"{path.relative_to(package)}: {alias.name} of {source.relative_to(package)}")
    return missing


@pytest.mark.parametrize("release", sorted(ENDS, key=version_key))
def test_what_the_series_imports_is_there(release):
    package, stock = (trees.build(tree, release) / "transformers" for tree in (trees.PATCHED, trees.STOCK))
    added = [path for path in sorted(package.rglob("*.py")) if not (stock / path.relative_to(package)).exists()]
    assert added, "the series adds no module"
    assert [line for path in added for line in _missing(package, path)] == []
