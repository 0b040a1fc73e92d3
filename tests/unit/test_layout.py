"""How the tree is laid out: `platform` is the standard library's, files are short, what is public is explained."""

import ast
import itertools
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "platform" / "ndm"
MOST_LINES = 400
SOURCES = sorted(path for top in ("platform", "jobs", "analysis") for path in (ROOT / top).rglob("*.py"))
PROGRAM = "import platform; print(platform.machine(), platform.__file__)"


def test_the_source_root_is_no_package():
    """With an __init__.py it would take the place of the standard library's module, for every library that uses it."""
    assert PACKAGE.is_dir()
    assert [path.name for path in (ROOT / "platform").glob("*.py")] == []


@pytest.mark.parametrize("arguments", [["-c", PROGRAM], ["-m", "timeit", "-n1", "-r1", PROGRAM], ["-m", "platform"]])
def test_platform_is_the_standard_librarys_from_the_root_of_the_repository(arguments):
    found = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert platform.machine() in found.stdout
    if PROGRAM in arguments:
        assert str(Path(platform.__file__)) in found.stdout


def test_platform_is_the_standard_librarys_in_pytest():
    assert platform.machine()
    assert ROOT not in Path(platform.__file__).parents


def test_no_file_is_long():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert len(lengths) > 50
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_every_folder_of_the_package_is_one():
    folders = {path.parent for path in SOURCES if PACKAGE in path.parents}
    assert {str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").is_file()} == set()


# Docstrings

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
MODULES = {path: ast.parse(path.read_text()) for path in SOURCES if PACKAGE in path.parents}
CLASSES = [node for tree in MODULES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def members(node: ast.Module | ast.ClassDef) -> Iterator[Definition]:
    """The public classes and functions in a module or a class."""
    for child in node.body:
        if isinstance(child, Definition) and not child.name.startswith("_"):
            yield child


def bases(node: ast.ClassDef) -> set[str]:
    return {ast.unparse(base).rpartition(".")[2].partition("[")[0] for base in node.bases}


def says(node: Definition) -> bool:
    """Whether it has a docstring, or is a record with one below its fields."""
    fields = isinstance(node, ast.ClassDef) and any(isinstance(child, ast.Expr) for child in node.body)
    return fields or ast.get_docstring(node) is not None


DOCUMENTED = {node.name for node in CLASSES if says(node)}
INHERITED = {child.name for node in CLASSES for child in members(node) if ast.get_docstring(child)}
"""Names of methods that some class of the package explains, for those that override them."""
ELSEWHERE = {"build", "forward", "emit"}
"""Explained in ndm.registry, torch.nn.Module and logging.Handler."""


def explained(node: Definition, owner: ast.ClassDef | None) -> bool:
    if says(node):
        return True
    if isinstance(node, ast.ClassDef):
        return bool(bases(node) & DOCUMENTED)
    overrides = owner is not None and bool(owner.bases) and node.name in INHERITED | ELSEWHERE
    return overrides or len(node.body) <= 2  # so little, with a name and types, says what it does


def test_every_module_says_what_it_is():
    assert {str(path.relative_to(ROOT)) for path, tree in MODULES.items() if not ast.get_docstring(tree)} == set()


def test_whatever_is_public_is_explained_where_it_stands_or_where_it_comes_from():
    unexplained = [
        f"{path.relative_to(PACKAGE)}: {'.'.join(n.name for n in (owner, node) if n)}"
        for path, tree in MODULES.items()
        for owner, node in itertools.chain(
            ((None, node) for node in members(tree)),
            ((owner, node) for owner in members(tree) if isinstance(owner, ast.ClassDef) for node in members(owner)),
        )
        if not explained(node, owner)
    ]
    assert unexplained == []
