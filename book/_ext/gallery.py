"""A gallery of all published figures: each has a section with a permanent anchor, its files, and how to cite it."""

import json
import re
from html import escape
from pathlib import Path
from typing import Any

import yaml
from cover import picture
from docutils import nodes
from published_figures import FOLDER, file_links
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def first_sentence(caption: str) -> str:
    """Return a caption up to its first full stop that ends a sentence.

    >>> first_sentence("Half of 0.5 stays. The rest goes.")
    'Half of 0.5 stays.'
    """
    return re.split(r"(?<=[.!?])\s+(?=[A-Z])", caption.strip())[0]


def published(srcdir: Path) -> list[dict[str, Any]]:
    """Return what is stored of every published figure, by notebook and id; drawings for narrow screens are left out."""
    stored = [json.loads(path.read_text("utf8")) for path in sorted((srcdir / FOLDER).glob("fig-*.json"))]
    shown = [about for about in stored if not about["id"].endswith("-narrow")]
    return sorted(shown, key=lambda about: (_notebook(about), about["id"]))


def _notebook(about: dict[str, Any]) -> str:
    return Path((about["notebook"] or {}).get("file", "")).stem


def bibtex(about: dict[str, Any], citation: dict[str, Any], year: str) -> str:
    """Return the BibTeX entry of a figure."""
    authors = " and ".join(f"{{{author['name']}}}" for author in citation["authors"])
    note = f"Figure {about['id']} in: {citation['title']}, version {citation['version']}"
    return (
        f"@misc{{metamerlib-{about['id']},\n  author = {{{authors}}},\n"
        f"  title  = {{{first_sentence(about['caption'])}}},\n"
        f"  note   = {{{note}. DOI: to be assigned at release}},\n  year   = {{{year}}}\n}}"
    )


class Gallery(SphinxDirective):
    """One section for each published figure."""

    def run(self) -> list[nodes.Node]:
        srcdir = Path(self.env.srcdir)
        citation = yaml.safe_load((srcdir / "CITATION.cff").read_text("utf8"))
        figures = published(srcdir)
        for about in figures:
            self.env.note_dependency(str(srcdir / FOLDER / f"{about['id']}.json"))
        return [self._section(about, citation) for about in figures]

    def _section(self, about: dict[str, Any], citation: dict[str, Any]) -> nodes.section:
        name, notebook = about["id"], _notebook(about)
        srcdir, docname = Path(self.env.srcdir), self.env.docname
        section = nodes.section("", nodes.title("", name), ids=[name], classes=["gallery-figure"])
        section += nodes.paragraph("", first_sentence(about["caption"]))
        section += nodes.raw(
            "", f'<figure class="published-figure">{picture(srcdir, docname, name)}</figure>', format="html"
        )
        if (srcdir / "notebooks" / f"{notebook}.ipynb").is_file():
            place = f"{'../' * docname.count('/')}notebooks/{notebook}.html#{name}"
            link = nodes.reference("", f"{name} in {notebook}", refuri=place, internal=True)
            section += nodes.paragraph("", "", nodes.Text("Drawn by the notebook: "), link)
        links = file_links(srcdir, docname, name)
        if links is not None:
            section += links
        entry = escape(bibtex(about, citation, self.config.copyright[:4]))
        section += nodes.raw(
            "",
            f'<details class="cite-figure"><summary>Cite {name}</summary>'
            f'<div class="highlight"><pre tabindex="0">{entry}</pre></div></details>',
            format="html",
        )
        return section


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("gallery", Gallery)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
