"""The list of all published metamers: complete, one row each, and a page that filters and links without a server."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from book.tools import listing
from tests.helpers.browser import watched

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"
PAGE = ROOT / "_build" / "html" / "book" / "browse.html"


@pytest.fixture(scope="module")
def rows():
    return listing.collect_metamers(RESULTS)


@pytest.fixture
def page(browser):
    if not PAGE.is_file():
        pytest.skip("there is no published book; run `make site` first")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    seen = watched(page)
    yield page
    context.close()
    assert not [line for line in seen if not line.startswith(("console: [PST]", "console: [togglebutton]"))]


def shown(page):
    """Return the rows of the table as dicts of texts, with the id of each."""
    script = """all => all.map(row => ({id: row.querySelector('a').name, ...Object.fromEntries(
      [...row.cells].map(cell => [cell.dataset.label, cell.textContent]))}))"""
    return page.eval_on_selector_all("table.browse tbody tr", script)


def opened(page, anchor=""):
    page.goto(f"{PAGE.as_uri()}{anchor}")
    page.wait_for_selector("[data-browse][data-ready=true]")
    return shown(page)


def test_every_result_table_is_listed_or_left_out_with_a_reason():
    tables = {path.stem for path in RESULTS.glob("*.parquet") if not path.name.endswith(".runs.parquet")}
    listed = {source.table for source in listing.SOURCES}
    assert tables <= listed | listing.LEFT_OUT.keys(), "name the table in SOURCES or, with a reason, in LEFT_OUT"
    assert len(tables) > 50 and not listed & listing.LEFT_OUT.keys()


def test_a_row_says_what_its_table_says(rows):
    table = pd.read_parquet(RESULTS / "02_feature_metamers.parquet").set_index("key")
    own = rows[rows["table"] == "02_feature_metamers"].set_index("id")
    assert sorted(own.index) == sorted(table.index)
    table = table.loc[own.index]
    assert np.array_equal(own["error"], table["relative_error"]) and np.array_equal(own["seed"], table["seed"])
    assert np.array_equal(own["likeness"], table["feature_cosine"])
    assert ((own["verdict"] == "metamer") == table["is_metamer"].astype(bool)).all()
    assert own["verdict"].nunique() > 1


@pytest.mark.parametrize(
    "name", sorted({source.table for source in listing.SOURCES if (RESULTS / f"{source.table}.parquet").is_file()})
)
def test_no_row_is_lost_or_stands_for_no_metamer(rows, name):
    table = pd.read_parquet(RESULTS / f"{name}.parquet")
    own = rows[rows["table"] == name]
    assert set(own["id"].str.partition("-")[0]) <= set(table["key"]) and len(own) > 0
    assert own["error"].ge(0).all() and own["likeness"].dropna().between(-1, 1).all()
    assert (own[["graph", "model", "layer", "varies", "verdict"]] != "").all(axis=None)
    if name in ("10_graph_metamers", "07_volume_change_found", "09_dimension_and_invariance", "12_mitigations"):
        assert len(own) == len(table)


def test_two_metamers_never_share_an_id(rows, tmp_path, monkeypatch):
    assert rows["id"].is_unique
    monkeypatch.setattr(listing, "SOURCES", (listing.Source("12_mitigations", layer="place"),))
    with pytest.raises(ValueError, match="share the id"):
        listing.collect_metamers(RESULTS)


def test_the_packed_list_unpacks_to_the_rows_and_is_small(rows, tmp_path):
    listing.write_metamers(RESULTS, tmp_path / "list.csv", tmp_path / "list.js")
    text = (tmp_path / "list.js").read_text("utf8")
    packed = json.loads(text.removeprefix("window.METAMERS_LISTED=").removesuffix(";\n"))
    assert len(text) < 600_000 and packed["rows"] == len(rows)
    columns = packed["columns"]
    for name in ("graph", "verdict", "table", "seed"):
        assert [columns[name]["values"][code] for code in columns[name]["codes"]] == rows[name].tolist()
    assert columns["error"] == pytest.approx(rows["error"].tolist(), rel=6e-3)
    assert len(pd.read_csv(tmp_path / "list.csv")) == len(rows)


def test_an_empty_store_has_no_metamers(tmp_path):
    assert listing.collect_metamers(tmp_path).empty


def test_filters_orders_and_pages_live_in_the_address(page, rows):
    assert len(opened(page)) == 25
    page.locator("[name=graph]").select_option("Cora")
    page.locator("[name=verdict]").select_option("not matched")
    wanted = rows[(rows["graph"] == "Cora") & (rows["verdict"] == "not matched")]
    assert f"{len(wanted)} of {len(rows)} metamers" in page.locator(".browse-said").text_content()
    page.get_by_role("button", name="relative error").click()
    found = shown(page)
    assert [row["id"].removeprefix("metamer-") for row in found] == wanted.sort_values("error")["id"].tolist()[:25]
    address = page.url.partition("#")[2]
    assert opened(page, f"#{address}") == found
    page.locator("[name=most]").fill("1e-12")
    page.locator("[name=most]").press("Tab")
    assert shown(page) == [] and "Ask for less" in page.locator(".browse-said").text_content()
    page.get_by_role("button", name="Show all").click()
    page.get_by_role("button", name="Next").click()
    assert "rows 26 to 50" in page.locator(".browse-said").text_content()


def test_a_permanent_link_opens_a_metamer_and_its_code_reads_it(page, rows, monkeypatch):
    own = rows[rows["table"] == "10_graph_metamers"].iloc[700]
    opened(page, f"#metamer-{own['id']}")
    detail = page.locator(".browse-detail")
    assert own["id"] in detail.locator("h2").text_content() and own["model"] in detail.text_content()
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    *lines, last = detail.locator("pre").text_content().strip().splitlines()
    exec("\n".join(lines), names)
    assert len(eval(last, names)) > 0
    page.get_by_role("button", name="Close").click()
    assert detail.is_hidden() and "#" not in page.url
    page.locator("table.browse tbody a").first.click()
    assert page.url.endswith(f"#{shown(page)[0]['id']}") and detail.is_visible()
    opened(page, "#metamer-0000000000000000")
    assert "No published metamer" in detail.text_content()


def test_a_chapter_stands_for_all_of_its_tables(page, rows):
    opened(page, "#chapter-02_feature_metamers")
    wanted = rows["table"].str.startswith("02_feature_metamers").sum()
    assert f"{wanted} of {len(rows)} metamers" in page.locator(".browse-said").text_content()


def test_the_list_fits_on_a_phone_and_page_and_list_stay_small(page):
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, "#varies=edges")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    cell = page.locator("table.browse tbody td").nth(1)
    assert cell.evaluate("cell => getComputedStyle(cell, '::before').content") != "none"
    static = PAGE.parents[1] / "_static"
    assert sum(path.stat().st_size for path in (PAGE, static / "metamers-listed.js", static / "browse.js")) < 2_000_000
