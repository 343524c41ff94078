"""The cover's picture and the findings of the ten-minute path, from what the notebooks stored.

`hero` shows a published figure with its stored caption, and another drawing of it on narrow screens. `finding` shows
one claim: its statement, verdict, effect with interval, how sure we are, and where to read on.
"""

import json
from html import escape
from pathlib import Path
from typing import Any, ClassVar

from claims import FILE, chosen, effect_of
from docutils import nodes
from docutils.parsers.rst import directives
from published_figures import FOLDER, file_links
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def picture(srcdir: Path, docname: str, name: str, *, narrow: str = "", link: bool = False) -> str:
    """Return the markup of a published figure's picture; `narrow` is drawn in its place on a phone."""
    root = "../" * docname.count("/")
    alt = escape(json.loads((srcdir / FOLDER / f"{name}.json").read_text("utf8"))["alt"], quote=True)
    image = f'<img src="{root}figures/{name}.svg" alt="{alt}" loading="lazy">'
    if narrow and (srcdir / FOLDER / f"{narrow}.svg").is_file():
        source = f'<source media="(max-width: 600px)" srcset="{root}figures/{narrow}.svg">'
        image = f"<picture>{source}{image}</picture>"
    return f'<a href="{root}book/gallery.html#{name}" aria-label="{name} in the gallery">{image}</a>' if link else image


class Hero(SphinxDirective):
    """A published figure with its stored caption."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"narrow": directives.unchanged, "notebook": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        srcdir, name = Path(self.env.srcdir), self.arguments[0]
        about = srcdir / FOLDER / f"{name}.json"
        self.env.note_dependency(str(about))
        if not about.is_file():
            text = f"The figure {name} is drawn by the notebook {self.options['notebook']}."
            return [nodes.container("", nodes.paragraph("", text), classes=["figure-to-come"])]
        caption = escape(json.loads(about.read_text("utf8"))["caption"])
        image = picture(srcdir, self.env.docname, name, narrow=self.options.get("narrow", ""))
        page = f"{'../' * self.env.docname.count('/')}notebooks/{self.options['notebook']}.html"
        links = file_links(srcdir, self.env.docname, name)
        text = (
            f'<figure class="published-figure hero">{image}<figcaption><p>{caption} '
            f'<a href="{page}">How it was made</a>.</p>{links.astext() if links else ""}</figcaption></figure>'
        )
        return [nodes.raw("", text, format="html")]


class Finding(SphinxDirective):
    """One claim: the first that fits a pattern; its content stands in where none does yet."""

    required_arguments = 1
    optional_arguments = 20
    final_argument_whitespace = False
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"figure": directives.flag}

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir) / FILE
        self.env.note_dependency(str(path))
        claims = json.loads(path.read_text("utf8")) if path.is_file() else []
        found = next((rows[0] for each in self.arguments if (rows := chosen(claims, [each])[0])), None)
        box = nodes.container(classes=["finding"])
        if found is None:
            if not self.content:
                text = f"no notebook makes a claim {' or '.join(self.arguments)}; mend the id or say so in the content"
                return [self.state.document.reporter.warning(text, line=self.lineno)]
            self.state.nested_parse(self.content, self.content_offset, box)
            return [box]
        box += self._said(found)
        if "figure" in self.options:
            box += self._shown(found)
        return [box]

    def _said(self, claim: dict[str, Any]) -> list[nodes.Node]:
        verdict = nodes.inline("", claim["verdict"], classes=["verdict", claim["verdict"].replace(" ", "-")])
        number = effect_of(claim)
        line = nodes.paragraph("", "", verdict, nodes.Text(": "), nodes.strong("", claim["statement"]))
        root = "../" * self.env.docname.count("/")
        place = f"{root}book/claims.html#claim-{claim['id']}"
        where = nodes.reference("", f"claim {claim['id']}", refuri=place, internal=True)
        page = nodes.reference("", claim["notebook"], refuri=f"{root}notebooks/{claim['notebook']}.html", internal=True)
        number = nodes.inline("", number, classes=["effect"])
        numbers = nodes.paragraph("", "", number, nodes.Text(f" {claim['effect_means']}. "), classes=["numbers"])
        numbers += [page, nodes.Text(", "), where, nodes.Text(".")]
        return [line, numbers]

    def _shown(self, claim: dict[str, Any]) -> list[nodes.Node]:
        sure = " ".join(
            text
            for text in (claim["certificate"], claim["reconsider"] and f"Would change it: {claim['reconsider']}")
            if text
        )
        shown: list[nodes.Node] = [nodes.paragraph("", f"How sure: {sure}")] if sure else []
        srcdir = Path(self.env.srcdir)
        if claim["figure"] and (srcdir / FOLDER / f"{claim['figure']}.json").is_file():
            image = picture(srcdir, self.env.docname, claim["figure"], link=True)
            shown.append(nodes.raw("", f'<figure class="published-figure">{image}</figure>', format="html"))
        return shown


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("hero", Hero)
    app.add_directive("finding", Finding)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
