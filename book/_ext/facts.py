"""Show facts about how the book is checked, which are counted when the pages are staged."""

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FILE = "results/public/checks.json"


def table(heads: list[str], rows: list[list[str]]) -> nodes.table:
    """Return a table of texts."""
    whole = nodes.table()
    group = nodes.tgroup("", *[nodes.colspec(colwidth=1) for _ in heads], cols=len(heads))
    for kind, lines in ((nodes.thead, [heads]), (nodes.tbody, rows)):
        cells = [[nodes.entry("", nodes.paragraph("", text)) for text in line] for line in lines]
        group += kind("", *[nodes.row("", *line) for line in cells])
    whole += group
    return whole


def number(count: float) -> str:
    """Return a whole number with thin spaces between thousands."""
    return f"{round(count):,}".replace(",", "\u202f")


def overview(facts: dict[str, Any]) -> list[list[str]]:
    """Return rows of what was counted and the count."""
    verdicts = ", ".join(f"{number(count)} {verdict}" for verdict, count in facts["verdicts"].items() if count)
    day = [facts[name][:10] for name in ("first_run", "last_run")]
    return [
        ["published run", f"computed from {day[0]} to {day[1]}"],
        *[[f"version of {name}", ", ".join(held)] for name, held in facts["versions"].items()],
        ["test functions", number(facts["tests"])],
        ["lines of examples in the library's own documentation, all run as tests", number(facts["examples"])],
        ["tables, with rows in all", f"{number(facts['tables'])}, {number(facts['rows'])} rows"],
        ["points computed, each by its parameters", number(facts["points"])],
        ["published figures", number(facts["figures"])],
        ["claims", f"{number(facts['claims'])}: {verdicts}"],
        ["claims that state how well the searches behind them matched", number(facts["certified"])],
    ]


def compute(facts: dict[str, Any]) -> list[list[str]]:
    """Return rows of notebook, machine, points and seconds, with the sum at the end."""
    names = ("points", "seconds")
    rows = [[each["notebook"], each["device"], *[number(each[name]) for name in names]] for each in facts["compute"]]
    total = [sum(each[name] for each in facts["compute"]) for name in names]
    return [*rows, ["all", "", *[number(each) for each in total]]]


def reliability(facts: dict[str, Any]) -> list[list[str]]:
    """Return rows of what was tried and how it ended, with the sum at the end."""
    names = ("cases", "passed", "failed", "skipped")
    tried = facts["reliability"]["rows"]
    rows = [[each["what"], *[number(each[name]) for name in names]] for each in tried]
    return [*rows, ["all", *[number(sum(each[name] for each in tried)) for name in names]]]


class Facts(SphinxDirective):
    """A table of facts: `overview`, `compute` or `reliability`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir) / FILE
        self.env.note_dependency(str(path))
        facts = json.loads(path.read_text("utf8"))
        if self.arguments[0] == "compute":
            return [table(["notebook", "device", "points", "seconds"], compute(facts))]
        if self.arguments[0] == "reliability":
            when = facts["reliability"]["date"] or "not run yet"
            said = nodes.paragraph("", f"Last run: {when}.")
            heads = ["what is tried", "cases", "passed", "failed", "left out"]
            return [table(heads, reliability(facts)), said]
        return [table(["what", "how many or when"], overview(facts))]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("facts", Facts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
