"""Show the claims of the notebooks in tables, from the one file that holds them: nothing here is typed by hand.

The directive `claims` takes ids, or patterns of ids with `*`. A pattern without a claim is a warning, and so fails
the build, unless the option `not-tested` says that none is there yet. The option `rest` shows all claims that no
directive before it on the page has shown. The role `effect` puts the effect of one claim, with its interval, into a
sentence.
"""

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

FILE = "results/public/claims.json"
HEADS = ("verdict", "statement", "effect", "of", "the paper says", "certificate", "shown in")
WIDTHS = (10, 26, 12, 18, 14, 20, 10)


def effect_of(claim: dict[str, Any]) -> str:
    """Return effect and interval as text, "" where there is none."""
    numbers = [claim[name] for name in ("effect", "low", "high")]
    if numbers[0] is None:
        return ""
    text = [f"{number:.3g}" for number in numbers if number is not None]
    return text[0] if len(text) < 3 else f"{text[0]} [{text[1]}, {text[2]}]"


def chosen(claims: list[dict[str, Any]], patterns: list[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the claims that fit one of the patterns, each once, and the patterns that fit none."""
    ids = [claim["id"] for claim in claims]
    empty = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in ids)]
    return [claim for claim in claims if any(fnmatchcase(claim["id"], pattern) for pattern in patterns)], empty


class Claims(SphinxDirective):
    """A table of claims with the verdict first."""

    optional_arguments = 100
    final_argument_whitespace = False
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"not-tested": directives.flag, "rest": directives.flag}

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir) / FILE
        self.env.note_dependency(str(path))
        claims = json.loads(path.read_text("utf8")) if path.is_file() else []
        before = self.env.temp_data.setdefault("claims", set())
        if "rest" in self.options:
            rows = [claim for claim in claims if claim["id"] not in before]
        else:
            rows, empty = chosen(claims, self.arguments)
            if empty and claims and "not-tested" not in self.options:
                text = f"no notebook makes a claim {', '.join(empty)}; mend the id or add :not-tested:"
                return [self.state.document.reporter.warning(text, line=self.lineno)]
        before.update(claim["id"] for claim in rows)
        if rows:
            return [self._table(rows)]
        said = nodes.container(classes=["not-tested"])
        self.state.nested_parse(self.content, self.content_offset, said)
        if not self.content and "rest" not in self.options:
            said += nodes.paragraph("", "Not tested.")
        return [said]

    def _table(self, rows: list[dict[str, Any]]) -> nodes.table:
        table = nodes.table(classes=["claims"])
        group = nodes.tgroup("", *[nodes.colspec(colwidth=width) for width in WIDTHS], cols=len(HEADS))
        head = nodes.row("", *[nodes.entry("", nodes.paragraph("", text)) for text in HEADS])
        group += nodes.thead("", head)
        group += nodes.tbody("", *[self._row(claim) for claim in rows])
        table += group
        return table

    def _row(self, claim: dict[str, Any]) -> nodes.row:
        verdict = nodes.inline("", claim["verdict"], classes=["verdict", claim["verdict"].replace(" ", "-")])
        certificate = [nodes.paragraph("", claim["certificate"])]
        if claim["reconsider"]:
            certificate.append(nodes.paragraph("", f"Would change it: {claim['reconsider']}"))
        cells = [
            [nodes.paragraph("", "", verdict)],
            [nodes.paragraph("", claim["statement"])],
            [nodes.paragraph("", effect_of(claim))],
            [nodes.paragraph("", claim["effect_means"])],
            [nodes.paragraph("", claim["paper_says"] or "(our own)")],
            certificate,
            [nodes.paragraph("", "", self._link(claim))],
        ]
        return nodes.row("", *[nodes.entry("", *cell) for cell in cells], ids=[f"claim-{claim['id']}"])

    def _link(self, claim: dict[str, Any]) -> nodes.reference:
        """Link the figure of a claim, or the page whose table it rests on."""
        root = "../" * self.env.docname.count("/")
        place = f"#{claim['figure']}" if claim["figure"] else ""
        page = f"{root}notebooks/{claim['notebook']}.html{place}"
        return nodes.reference("", claim["figure"] or claim["notebook"], refuri=page, internal=True)


class Effect(SphinxRole):
    """The effect of a claim with its interval, in a sentence: {effect}`structure-exist`."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        path = Path(self.env.srcdir) / FILE
        self.env.note_dependency(str(path))
        claims = json.loads(path.read_text("utf8")) if path.is_file() else []
        rows, empty = chosen(claims, [self.text])
        if empty and claims:
            text = f"no notebook makes a claim {self.text}; mend the id"
            return [], [self.inliner.document.reporter.warning(text, line=self.lineno)]
        return [nodes.inline("", (effect_of(rows[0]) if rows else "") or "(not tested)")], []


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("claims", Claims)
    app.add_role("effect", Effect())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
