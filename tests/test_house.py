"""The plan of the library: few names at the top, no private name across modules, every module mirrored by a test."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "metamerlib"
MODULES = sorted(path for path in LIBRARY.rglob("*.py") if path.name != "__init__.py")
WINGS = sorted(path.parent for path in LIBRARY.glob("*/__init__.py"))


def test_the_top_reads_like_a_table_of_contents():
    names = {path.name for path in LIBRARY.iterdir()} - {"__pycache__"}
    wings = {"graphs", "models", "probing", "search", "exact", "manifold", "metrics", "certificates", "report"}
    files = {
        "__init__.py",
        "__init__.pyi",
        "__main__.py",
        "checks.py",
        "plain.py",
        "typing.py",
        "writing.py",
        "py.typed",
    }
    assert names == wings | files


@pytest.mark.parametrize("wing", WINGS, ids=lambda wing: wing.name)
def test_every_wing_opens_with_what_it_is_for_and_what_it_may_import(wing):
    text = ast.get_docstring(ast.parse((wing / "__init__.py").read_text()))
    assert text is not None and 5 <= len(text.splitlines()) <= 14
    for word in ("Noun", "Order of data", "mport"):
        assert word in text, f"{wing.name} does not say: {word}"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_no_private_name_crosses_a_module_and_none_is_too_long(module):
    text = module.read_text()
    taken = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("metamerlib")
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]
    assert not taken
    assert len(text.splitlines()) <= 350
