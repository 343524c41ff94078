"""Figures with a permanent id: show one anywhere, and link each to its files and its data.

A notebook publishes a figure as `results/public/figures/<id>.{svg,pdf,png,csv,json}`. The site copies that
folder, so `figures/<id>.svg` is an address that stays.
"""

import json
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FOLDER = "results/public/figures"
KINDS = {"svg": "SVG", "pdf": "PDF", "png": "PNG", "csv": "data", "json": "provenance"}


def file_links(srcdir: Path, docname: str, name: str) -> nodes.raw | None:
    """Return one line of links to the files that a figure has, or None if it has none."""
    root = "../" * docname.count("/")
    found = [kind for kind in KINDS if (srcdir / FOLDER / f"{name}.{kind}").is_file()]
    if not found:
        return None
    links = " ".join(f'<a href="{root}figures/{name}.{kind}">{KINDS[kind]}</a>' for kind in found)
    text = f'<p class="figure-files"><code>{name}</code> {links}</p>'
    return nodes.raw("", text, format="html")


class PublishedFigure(SphinxDirective):
    """Show a published figure by its id, or say which notebook is still to draw it."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"notebook": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        about = Path(self.env.srcdir) / FOLDER / f"{name}.json"
        self.env.note_dependency(str(about))
        if not about.is_file():
            text = f"The figure {name} is drawn by the notebook {self.options.get('notebook', '')}."
            return [nodes.container("", nodes.paragraph("", text), classes=["figure-to-come"])]
        alt = json.loads(about.read_text("utf8"))["alt"]
        figure = nodes.figure("", nodes.image(uri=f"/{FOLDER}/{name}.svg", alt=alt))
        figure["classes"].append("published-figure")
        caption = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, caption)
        legend = nodes.legend("", *caption.children)
        links = file_links(Path(self.env.srcdir), self.env.docname, name)
        figure += legend
        if links is not None:
            legend += links
        return [figure]


def _add_links(app: Sphinx, doctree: nodes.document) -> None:
    for figure in doctree.findall(nodes.figure):
        for name in figure["ids"]:
            links = file_links(Path(app.srcdir), app.env.docname, name)
            if links is not None:
                figure += nodes.legend("", links)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("published-figure", PublishedFigure)
    app.connect("doctree-read", _add_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
