"""Notebook pages in the order of a reader: answer and figure first, code folded, tables that fit, and print whole."""

import base64
import csv
import io
import json
import sys
from functools import cache
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html" / "notebooks"
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import reading  # noqa: E402
import tables  # noqa: E402
from docutils import nodes  # noqa: E402

# A notebook that was not published yet has no outputs that a page could show.
NOTEBOOKS = sorted(
    path for path in (ROOT / "notebooks").glob("*.ipynb") if (ROOT / "results" / f"{path.stem}.parquet").is_file()
)
PANDAS = """<table border="1" class="dataframe"><thead>
<tr><th></th><th></th>{heads}</tr><tr><th>graph</th><th>layer</th>{empty}</tr></thead><tbody>
<tr><th rowspan="2">Cora</th><th>1</th>{one}</tr><tr><th>2</th>{two}</tr>
<tr><th>Actor</th><th>1</th>{one}</tr></tbody></table>"""


def pandas_table(*names):
    cells = {"heads": [f"<th>{name}</th>" for name in names], "empty": ["<th></th>" for _ in names]}
    cells |= {
        "one": [f"<td>1.{i}</td>" for i, _ in enumerate(names)],
        "two": [f"<td>2.{i}</td>" for i, _ in enumerate(names)],
    }
    return PANDAS.format(**{key: "".join(value) for key, value in cells.items()})


@cache
def page(path):
    file = HTML / f"{path.stem}.html"
    if not file.is_file():
        pytest.skip("there is no published book; run `make site` first")
    return BeautifulSoup(file.read_text("utf8"), "html.parser")


class TestTable:
    def test_spans_are_filled_and_names_joined(self):
        columns = tables.parse(pandas_table("relative_error", "S_feat"))
        assert [column.name for column in columns] == ["graph", "layer", "relative error", "S_feat"]
        assert columns[0].cells == ("Cora", "Cora", "Actor") and columns[3].cells == ("1.1", "2.1", "1.1")

    def test_the_verdict_comes_first_and_what_finds_little_is_left_out(self):
        names = ["runs", "test accuracy", "chance", "a", "b", "c", "S_feat", "relative error", "share of verdicts"]
        shown, alike = tables.split(tables.parse(pandas_table(*names)))
        assert [column.name for column in shown][:3] == ["graph", "layer", "share of verdicts"]
        assert len(shown) == tables.MOST and not alike
        assert {"S_feat", "relative error"} <= {column.name for column in shown}
        assert "runs" not in {column.name for column in shown}

    def test_a_column_that_belongs_to_a_hidden_one_is_hidden(self):
        names = ["a", "b", "c", "d", "e", "f", "at start", "S_feat", "at start"]
        shown, _ = tables.split(tables.parse(pandas_table(*names)))
        assert [column.name for column in shown].count("at start") == 1 and shown[-2].name == "S_feat"

    def test_what_is_the_same_in_all_rows_goes_into_the_caption(self):
        html = pandas_table("S_feat").replace("Actor", "Cora")
        written = BeautifulSoup(tables.rewritten(html, "Who?", "table-who"), "html.parser")
        assert "Who? In all rows: graph Cora." in written.caption.get_text()
        assert [head.get_text() for head in written.thead.select("th")] == ["layer", "S_feat"]

    def test_nothing_is_lost(self):
        names = [f"column {i}" for i in range(11)]
        html = pandas_table(*names)
        written = BeautifulSoup(tables.rewritten(html, "Title", "table-title"), "html.parser")
        whole = tables.parse(str(written.select_one("details table")).replace('<th scope="row"', "<th"))
        assert [column.cells for column in whole] == [column.cells for column in tables.parse(html)]
        link = written.select_one("a[download]")
        text = base64.b64decode(link["href"].partition("base64,")[2]).decode()
        lines = list(csv.reader(io.StringIO(text)))
        assert lines[0] == ["graph", "layer", *names] and lines[2][:3] == ["Cora", "2", "2.0"]

    def test_a_table_without_rows_says_so(self):
        assert "has no rows" in tables.rewritten(
            '<table class="dataframe"><thead></thead><tbody></tbody></table>', "T", "t"
        )


def test_a_paragraph_is_cut_after_its_third_sentence():
    parts = [nodes.Text("One is 0.5 of it. Two ("), nodes.literal("", "x.y"), nodes.Text(") ends. Three. Four.")]
    assert reading.shortened(nodes.paragraph("", "", *parts)).astext() == "One is 0.5 of it. Two (x.y) ends. Three."
    assert reading.shortened(nodes.paragraph("", "Only one.")).astext() == "Only one."


def test_a_main_figure_is_drawn_by_its_own_notebook():
    assert set(reading.MAIN) <= {path.stem for path in NOTEBOOKS} and len(NOTEBOOKS) >= 18
    for name, figure in reading.MAIN.items():
        about = json.loads((ROOT / "results" / "public" / "figures" / f"{figure}.json").read_text("utf8"))
        assert about["notebook"]["file"] == f"{name}.ipynb"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestPage:
    def test_the_main_figure_comes_before_all_code_and_code_is_folded(self, path):
        article = page(path).article
        first = article.select_one("div.answer, div.cell")
        assert "answer" in first["class"] and first.select_one("figure.main img")["alt"]
        target = first.select_one("figure.main a")["href"]
        assert article.select_one(target) is not None and target == f"#{reading.MAIN.get(path.stem, target[1:])}"
        assert not [code for code in article.select("div.cell_input") if code.find_parent("details") is None]
        names = [fold.summary.p.get_text() for fold in article.select("details.hide")]
        assert len(set(names)) == len(names) and names[0] == "Parameters of this notebook"
        assert not article.select("summary[aria-label]")

    def test_tables_are_named_and_at_most_seven_columns_wide(self, path):
        article = page(path).article
        found = [table for table in article.select("table.dataframe") if not table.find_parent("details")]
        assert found
        for table in found:
            assert table.get("id", "").startswith("table-") and table.caption.get_text(strip=True)
            assert len(table.select("thead tr:last-child th")) <= tables.MOST
            assert table.tbody.select("td")
        assert len({table["id"] for table in found}) == len(found)

    def test_checks_are_counted_in_one_line(self, path):
        article = page(path).article
        lines = [line for pre in article.select("details.checks pre") for line in pre.get_text().splitlines()]
        saved = json.loads(path.read_text("utf8"))["cells"]
        texts = ["".join(output["text"]) for cell in saved for output in cell.get("outputs", []) if "text" in output]
        wanted = [line for text in texts for line in text.splitlines() if line.startswith(reading.HOLDS)]
        assert sorted(line for line in lines if line.startswith(reading.HOLDS)) == sorted(wanted) and wanted
        assert not [pre for pre in article.select("div.output.stream") if reading.HOLDS in pre.get_text()]


def test_printing_cuts_nothing(browser):
    """On paper of A4 no table, code or text is wider than the page, and what is folded is open."""
    context = browser.new_context(viewport={"width": 718, "height": 1000})
    tab, found = context.new_page(), []
    for name in ("05_exact_metamers", "02_feature_metamers"):
        if not (HTML / f"{name}.html").is_file():
            pytest.skip("there is no published book; run `make site` first")
        tab.goto((HTML / f"{name}.html").as_uri())
        tab.emulate_media(media="print")
        tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert tab.evaluate("[...document.querySelectorAll('article details')].every(fold => fold.open)")
        found += tab.evaluate(
            """() => [...document.querySelectorAll('article :is(.table-scroll, pre, table, p, figure)')]
            .filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0
                      || e.getBoundingClientRect().right > innerWidth + 1)
            .map(e => `${e.tagName}.${e.className} ${e.id}: ${e.textContent.trim().slice(0, 60)}`)"""
        )
        tab.evaluate("dispatchEvent(new Event('afterprint'))")
        assert tab.evaluate("document.querySelectorAll('article details[open]').length") == 0
    context.close()
    assert not found, "\n".join(found)
