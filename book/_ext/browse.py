"""The page of all published metamers: a count for each table, which needs no script, and a list that one filters."""

import csv
import json
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from facts import number, table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FILE = "results/public/metamers.csv"
SCRIPT = "book/_static/metamers-listed.js"
VERDICTS = ("metamer", "matched, not different", "not matched", "error at most 5 %", "error above 5 %")
BOX = """<link rel="stylesheet" href="../_static/browse.css">
<div data-browse data-chapters="{chapters}"><p>The list itself needs JavaScript. Without it, the same rows are in
<a href="../metamers.csv">metamers.csv</a>.</p></div>
<script src="../_static/metamers-listed.js"></script>
<script src="../_static/browse.js"></script>"""


def counted(rows: list[dict[str, str]]) -> list[list[str]]:
    """Return for each table its name, the number of its metamers, and how many have each verdict."""
    tables: dict[str, Counter[str]] = {}
    for row in rows:
        tables.setdefault(row["table"], Counter())[row["verdict"]] += 1
    lines = [*sorted(tables.items()), ("all", sum(tables.values(), Counter()))]
    return [
        [name, number(found.total()), ", ".join(f"{number(found[each])} {each}" for each in VERDICTS if found[each])]
        for name, found in lines
    ]


class Metamers(SphinxDirective):
    """The list of all published metamers, or their `counts`."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        srcdir = Path(self.env.srcdir)
        self.env.note_dependency(str(srcdir / FILE))
        with (srcdir / FILE).open(encoding="utf8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        chapters = sorted(path.stem for path in (srcdir / "notebooks").glob("*.ipynb"))
        if self.arguments == ["counts"]:
            shown = table(["table", "metamers", "of these"], counted(rows))
            # Where a link to the metamers of one chapter leads without a script: the first of its tables.
            lines = {line.children[0].astext(): line for line in list(shown.findall(nodes.row))[1:-1]}
            for chapter in chapters:
                first = next((name for name in lines if name.startswith(chapter)), None)
                if first is not None:
                    lines[first]["ids"] = [f"chapter-{chapter}"]
            return [shown]
        text = BOX.format(chapters=escape(json.dumps(chapters), quote=True))
        return [nodes.raw("", text, format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("metamers", Metamers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
