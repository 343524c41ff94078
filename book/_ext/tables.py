"""Tables of notebooks for readers: at most seven columns with the verdict first, all of them below, a caption, a CSV.

pandas writes tables as wide as their data, so that what they find may lie outside the page. Here each is written anew:
what is the same in every row goes into the caption, the columns that say most are shown, and the whole table unfolds
below and can be downloaded. Nothing is rounded, and no number changes.
"""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import re
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

from bs4 import BeautifulSoup, Tag

CLAIMS = Path(__file__).parents[2] / "results" / "claims.json"

MOST = 7
# What a reader asks first, in this order, where a table has more columns than fit.
FINDINGS = (
    r"verdict|^metamers$|none: a metamer",
    r"^relative error$|^L_act$|^error\b|largest error",
    r"^kept|^transfer|^farthest$|^free$|^bound$|^total$|^change$|, stable$|isomorphic|difference|invisible evidence",
    r"^S_feat$|^S_feat at the end$|Jaccard|overlap|edges in common|edge jaccard|visible likeness|cosine",
    r"S_match|class stays|class kept|keep their class|^rise",
    r"^S_feat at start$|expected|null.space",
    r"accuracy$",
)
LAST = re.compile(r"^(runs|seeds|nodes|pairs|graphs|edges|failed|steps.*|degree)$")
# Such a column belongs to the one before it, and says nothing where that is not shown.
BELONGS = re.compile(r"^(at start|at the end|after|by chance|chance|shuffled|on \w+.*|within|by count)$")
KEEP_UNDERSCORE = re.compile(r"\b(S_feat|S_match|S_struct|L_act)\b")


@dataclass(frozen=True)
class Column:
    """One column: its name, its cells, and whether it names the rows."""

    name: str
    cells: tuple[str, ...]
    names_rows: bool


def parse(html: str) -> list[Column]:
    """Return the columns of a table that pandas wrote, spans resolved and levels of names joined."""
    table = BeautifulSoup(html, "html.parser").table
    if not isinstance(table, Tag):
        return []
    heads = _grid(table.select("thead tr"))
    rows = _grid(table.select("tbody tr"))
    if not heads or not rows:
        return []
    first = table.select_one("tbody tr")
    index = sum(int(str(cell.get("colspan", 1))) for cell in first.find_all("th")) if first else 0
    columns = []
    for place in range(len(rows[0])):
        parts = [line[place] for line in heads]
        # The last line of heads has the names of the index, the others those of the columns, level by level.
        parts = parts[-1:] if place < index else [part for part in parts if part]
        name = ", ".join(dict.fromkeys(part for part in parts if part))
        columns.append(Column(_words(name), tuple(row[place] for row in rows), place < index))
    return columns


def _grid(lines: list[Tag]) -> list[list[str]]:
    """Return the texts of a table's cells with every span filled."""
    filled: dict[tuple[int, int], str] = {}
    for i, line in enumerate(lines):
        j = 0
        for cell in line.find_all(["td", "th"]):
            while (i, j) in filled:
                j += 1
            for down in range(int(str(cell.get("rowspan", 1)))):
                for right in range(int(str(cell.get("colspan", 1)))):
                    filled[i + down, j + right] = cell.get_text(" ", strip=True)
            j += int(str(cell.get("colspan", 1)))
    width = max((j for _, j in filled), default=-1) + 1
    return [[filled.get((i, j), "") for j in range(width)] for i in range(len(lines))]


def _words(name: str) -> str:
    """Return a name with spaces for underscores, but for the symbols of the book."""
    kept = KEEP_UNDERSCORE.sub(lambda found: found[0].replace("_", "\0"), name)
    return kept.replace("_", " ").replace("\0", "_")


def split(columns: list[Column]) -> tuple[list[Column], list[Column]]:
    """Return the columns that are shown, verdict first after what names the rows, and those that name but one thing."""
    alike = [column for column in columns if column.names_rows and column.cells[1:] and len(set(column.cells)) == 1]
    left = [column for column in columns if column not in alike]
    names = [column for column in left if column.names_rows]
    data = [column for column in left if not column.names_rows]
    ranks = {id(column): _rank(column.name) for column in data}
    for before, column in itertools.pairwise(data):
        if BELONGS.match(column.name):
            ranks[id(column)] = max(ranks[id(before)] + 1, 5) if ranks[id(before)] < 5 else len(FINDINGS) + 2
    chosen = sorted(data, key=lambda column: ranks[id(column)])[: max(MOST - len(names), 2)]
    first = [column for column in chosen if ranks[id(column)] == 0]
    return [*names, *first, *(column for column in data if column in chosen and column not in first)], alike


def _rank(name: str) -> int:
    if LAST.match(name):
        return len(FINDINGS) + 1
    return next((i for i, pattern in enumerate(FINDINGS) if re.search(pattern, name)), len(FINDINGS))


def write(columns: list[Column], caption: str = "", name: str = "") -> str:
    """Return a table; a cell that names several rows in turn spans them."""
    head = "".join(f'<th scope="col">{escape(column.name)}</th>' for column in columns)
    lines = []
    names = [column for column in columns if column.names_rows]
    for row in range(len(columns[0].cells)):
        cells = []
        for place, column in enumerate(columns):
            text = column.cells[row]
            if not column.names_rows:
                kind = ' class="text-right"' if re.fullmatch(r"[-+±\u2212\d., e%x\[\]]+|nan|inf", text) else ""
                cells.append(f"<td{kind}>{escape(text)}</td>")
                continue
            before = names[: place + 1]
            if row and all(each.cells[row] == each.cells[row - 1] for each in before):
                continue
            span = 1
            while row + span < len(column.cells) and all(each.cells[row + span] == each.cells[row] for each in before):
                span += 1
            spans = f' rowspan="{span}"' if span > 1 else ""
            cells.append(f'<th scope="row"{spans}>{escape(text)}</th>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    about = _captioned(caption, name)
    return (
        f'<table class="dataframe"{f" id={chr(34)}{name}{chr(34)}" if name else ""}>{about if caption else ""}'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )


def _captioned(caption: str, name: str) -> str:
    return f'<caption>{caption} <a class="headerlink" href="#{name}" title="Link to this table">#</a></caption>'


@cache
def _claims_of_the_book() -> set[str]:
    """Return the ids that the page of claims knows; a run on other graphs makes claims of its own."""
    return {claim["id"] for claim in json.loads(CLAIMS.read_text("utf8"))} if CLAIMS.is_file() else set()


def as_csv(columns: list[Column]) -> str:
    """Return the table as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    writer.writerows(zip(*(column.cells for column in columns), strict=True))
    return stream.getvalue()


def write_claims(columns: list[Column], caption: str, name: str, *, alone: bool) -> str:
    """Return a table of claims: the verdict first, the id below the statement, sentences that may be broken."""
    held = {column.name: column.cells for column in columns}
    heads = [head for head in held if head != "id"]
    known = set() if alone else _claims_of_the_book()
    lines = []
    for row, key in enumerate(held["id"]):
        place = f"<code>{escape(key)}</code>"
        link = f'<a href="../book/claims.html#claim-{escape(key)}">{place}</a>' if key in known else place
        cells = {head: escape(held[head][row]) for head in heads}
        cells["verdict"] = f'<span class="verdict {cells["verdict"].replace(" ", "-")}">{cells["verdict"]}</span>'
        cells["statement"] += f" {link}"
        lines.append(f"<tr>{''.join(f'<td>{cells[head]}</td>' for head in heads)}</tr>")
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in heads)
    about = _captioned(caption, name)
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<table class="dataframe brief-claims" id="{name}">{about}{body}</table>'


def rewritten(html: str, title: str, name: str, *, alone: bool = False) -> str:
    """Return a table of pandas for readers.

    Args:
        html: What pandas wrote.
        title: Title of the section in which it stands.
        name: Its id.
        alone: Whether the page stands without the book, whose page of claims it then cannot link.
    """
    columns = parse(html)
    heads = {column.name for column in columns}
    about = f"{escape(title.rstrip('.'))}"
    about += "" if about.endswith(("?", "!")) else "."
    if not columns:
        return (
            f'<table class="dataframe" id="{name}"><caption>{about}</caption>'
            "<tbody><tr><td>This table has no rows.</td></tr></tbody></table>"
        )
    if {"id", "verdict", "statement"} <= heads:
        return write_claims(columns, about, name, alone=alone)
    shown, alike = split(columns)
    if alike:
        about += f" In all rows: {escape(', '.join(f'{column.name} {column.cells[0]}' for column in alike))}."
    hidden = len(columns) - len(alike) - len(shown)
    table = write(shown, about, name)
    content = base64.b64encode(as_csv(columns).encode()).decode()
    link = (
        f'<a href="data:text/csv;charset=utf-8;base64,{content}" download="{name}.csv" '
        f'aria-label="CSV of the table {escape(title, quote=True)}">CSV</a>'
    )
    if not hidden:
        return f'{table}<p class="table-files">{link}</p>'
    return (
        f'{table}<details class="whole-table"><summary>All {len(columns)} columns: {escape(title)}</summary>'
        f"{write(columns)}</details>"
        f'<p class="table-files">{len(shown)} of {len(columns)} columns. All of them: unfold, or {link}</p>'
    )
