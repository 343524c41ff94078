"""A reference of the library, read from its source: signatures and docstrings, without importing it or torch.

`api` has the names at the top of the library in full; `api WING` says what a wing is for and has one line for each
further name that it exports.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

Definition = ast.FunctionDef | ast.ClassDef
HEADS = ("Args", "Returns", "Yields", "Raises", "Attributes", "Example", "Examples", "Note")
HEAD = re.compile(rf"^({'|'.join(HEADS)}):$", re.MULTILINE)
INLINE = re.compile(r":math:`([^`]+)`|``([^`]+)``|`([^`]+)`")
ITEM = re.compile(r"^(\*{0,2}[\w.\[\]]+(?:, \*{0,2}[\w.\[\]]+)*): ?(.*)", re.DOTALL)


@cache
def package() -> Path:
    """Return the folder of the library's source, without importing it."""
    found = find_spec("metamerlib")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("metamerlib is not installed; run make install")
    return Path(found.submodule_search_locations[0])


@cache
def module(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf8"))


def source(dotted: str) -> Path:
    """Return the file of a module given by its name, such as `metamerlib.search.find`."""
    place = package().joinpath(*dotted.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def exports(wing: str) -> dict[str, str]:
    """Return the names that a wing exports, each with the module that holds it; a module that it exports is its own."""
    call = next(node for node in ast.walk(module(source(f"metamerlib.{wing}"))) if isinstance(node, ast.Call))
    held = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    names = {name: f"metamerlib.{wing}.{part}" for part, all_ in held.get("submod_attrs", {}).items() for name in all_}
    return names | {name: f"metamerlib.{wing}.{name}" for name in held.get("submodules", [])}


def top() -> dict[str, str]:
    """Return the wing of each name at the top of the library."""
    tree = ast.parse((package() / "__init__.pyi").read_text("utf8"))
    found = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.name: str(node.module) for node in found for alias in node.names}


def definition(name: str, dotted: str) -> Definition | None:
    """Return where a name is defined, in a module or where that takes it from; None if no function or class."""
    for node in module(source(dotted)).body:
        if isinstance(node, Definition) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("metamerlib."):
            taken = {alias.asname or alias.name: alias.name for alias in node.names}
            if name in taken:
                return definition(taken[name], node.module)
    return None


def signature(node: Definition) -> str:
    """Return the call of a function, or of a class by its `__init__` or, for a dataclass, its name alone."""
    if isinstance(node, ast.FunctionDef):
        arguments = ast.unparse(node.args)
        return f"{node.name}({arguments})" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")
    init = next((each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"), None)
    return f"class {node.name}" + (f"({ast.unparse(init.args).removeprefix('self').lstrip(', ')})" if init else "")


def inline(text: str) -> list[nodes.Node]:
    """Return text with its code and formulas as nodes."""
    parts: list[nodes.Node] = []
    end = 0
    for found in INLINE.finditer(text):
        parts.append(nodes.Text(text[end : found.start()]))
        formula, code = found[1], found[2] or found[3]
        parts.append(nodes.math("", formula) if formula else nodes.literal("", code))
        end = found.end()
    return [*parts, nodes.Text(text[end:])]


def blocks(text: str) -> Iterator[str]:
    """Yield the paragraphs of a text, what is indented below one with it."""
    for part in re.split(r"\n\s*\n(?=\S)", text.strip("\n")):
        if part.strip():
            yield part.rstrip()


def prose(text: str) -> list[nodes.Node]:
    """Return paragraphs, formulas and examples of a docstring as nodes."""
    shown: list[nodes.Node] = []
    for block in blocks(text):
        if block.startswith(".. math::"):
            formula = inspect.cleandoc(block.removeprefix(".. math::"))
            shown.append(nodes.math_block(formula, formula, nowrap=False, number=None, label=None, docname=""))
        elif block.lstrip().startswith(">>>"):
            code = nodes.literal_block(block, inspect.cleandoc(block))
            code["language"] = "pycon"
            shown.append(code)
        else:
            shown.append(nodes.paragraph("", "", *inline(" ".join(block.split()))))
    return shown


def items(text: str) -> list[nodes.Node]:
    """Return a list of names and what they mean, or prose if it is none."""
    parts = re.split(r"\n(?=\S)", inspect.cleandoc(text))
    found = [ITEM.match(part) for part in parts]
    if not all(found):
        return prose(inspect.cleandoc(text))
    listed = nodes.bullet_list()
    for each in found:
        if each:
            text = inline(" " + " ".join(each[2].split()))
            listed += nodes.list_item("", nodes.paragraph("", "", nodes.literal("", each[1]), *text))
    return [listed]


def described(docstring: str) -> list[nodes.Node]:
    """Return a docstring as nodes: its text, then its parts, each under its name."""
    lead, *rest = HEAD.split(docstring)
    shown = prose(lead)
    for head, text in zip(rest[::2], rest[1::2], strict=True):
        shown.append(nodes.paragraph("", "", nodes.strong("", head), classes=["api-part"]))
        listed = head in ("Args", "Raises", "Attributes")
        shown += items(text) if listed else prose(inspect.cleandoc(text))
    return shown


class Api(SphinxDirective):
    """Names at the top of the library, or those of one wing."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        if not self.arguments:
            homes = top()
            return [self._entry(name, exports(wing)[name]) for name, wing in homes.items()]
        wing = self.arguments[0]
        about = prose(ast.get_docstring(module(source(f"metamerlib.{wing}"))) or "")
        held = {name: home for name, home in exports(wing).items() if name not in top()}
        return [*about, nodes.bullet_list("", *[self._line(name, home) for name, home in sorted(held.items())])]

    def _line(self, name: str, home: str) -> nodes.list_item:
        """Name and first sentence of a function, a class, or a module."""
        self.env.note_dependency(str(source(home)))
        found = definition(name, home)
        text = ast.get_docstring(found or module(source(home))) or ""
        first = " ".join(text.split("\n\n")[0].split())
        return nodes.list_item("", nodes.paragraph("", "", nodes.literal("", name), *inline(f": {first}")))

    def _entry(self, name: str, home: str) -> nodes.section:
        self.env.note_dependency(str(source(home)))
        title = nodes.title("", "", nodes.literal("", name))
        section = nodes.section("", title, ids=[f"metamerlib-{name.replace('_', '-').lower()}"], classes=["api"])
        if home.endswith(f".{name}") and not definition(name, home):
            tree = module(source(home))
            section += described(ast.get_docstring(tree) or "")
            public = [node for node in tree.body if isinstance(node, Definition) and node.name[0] != "_"]
        else:
            found = definition(name, home)
            public = [found] if found else []
        for node in public:
            code = nodes.literal_block("", signature(node), classes=["api-signature"])
            code["language"] = "python"
            section += [code, *described(ast.get_docstring(node) or "")]
            section += self._methods(node)
        return section

    def _methods(self, node: Definition) -> list[nodes.Node]:
        """Public methods of a class with a docstring, in one line each."""
        if isinstance(node, ast.FunctionDef):
            return []
        listed = nodes.bullet_list()
        for each in node.body:
            text = ast.get_docstring(each) if isinstance(each, ast.FunctionDef) else None
            if text and isinstance(each, ast.FunctionDef) and each.name[0] != "_":
                first = " ".join(text.split("\n\n")[0].split())
                listed += nodes.list_item(
                    "", nodes.paragraph("", "", nodes.literal("", each.name), *inline(f": {first}"))
                )
        return [nodes.paragraph("", "", nodes.strong("", "Methods")), listed] if len(listed) else []


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("api", Api)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
