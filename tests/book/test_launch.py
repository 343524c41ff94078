"""What stands at the end of a notebook page, and the buttons that open the notebook elsewhere."""

import json
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup

from book.tools import pages
from metamerlib.search.metamer import STATUSES

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import page_end  # noqa: E402

NOTEBOOKS = sorted(
    path.stem for path in (ROOT / "notebooks").glob("*.ipynb") if (ROOT / "results" / f"{path.stem}.parquet").is_file()
)
URL = "https://github.com/an-owner-to-be-named/a-repository-to-be-named"


def end_of(name):
    page = ROOT / "_build" / "html" / "notebooks" / f"{name}.html"
    if not page.is_file():
        pytest.skip("there is no published book; run `make site` first")
    return BeautifulSoup(page.read_text("utf8"), "html.parser").select_one("section.page-end")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_page_says_how_it_is_made_and_what_that_took(name):
    end = end_of(name)
    commands = [pre.get_text() for pre in end.select("pre.command")]
    assert f"make full NOTEBOOK={name} && make publish NOTEBOOK={name}" in commands
    runs = pd.concat(
        [pd.read_parquet(path) for path in (ROOT / "results").glob(f"{name}*.runs.parquet")], ignore_index=True
    )
    said = " ".join(end.select_one(".took").get_text().split())
    assert page_end.duration(runs["seconds"].sum()) in said and f"{runs['peak_memory_mb'].max() / 1024:.1f} GiB" in said
    assert runs["date"].max()[:10] in said and all(version in said for version in runs["torch"].unique())
    assert ".." not in end.get_text() and "?." not in end.get_text()


def test_searches_are_counted_and_lead_to_the_list():
    table = pd.read_parquet(ROOT / "results" / "03_binary_features.parquet")
    ended = end_of("03_binary_features").select_one(".ended")
    for status, count in table["status"].value_counts().items():
        assert f"{count} {status}" in ended.get_text()
    assert ended.a["href"] == "../book/browse.html#chapter-03_binary_features"


def test_every_status_of_a_search_is_explained():
    text = (ROOT / "book" / "rerun.md").read_text("utf8")
    rows = text.partition("## When a search does not converge")[2].partition("\n## ")[0]
    explained = {line.split("`")[1] for line in rows.splitlines() if line.startswith("| `")}
    assert explained == {*STATUSES, "unmoved"}


def test_without_an_address_no_button_leads_nowhere():
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf8"))
    assert config["repository"]["url"] == "" and pages.launch_buttons("") == {}
    page = ROOT / "_build" / "html" / "notebooks" / "01_first_metamer.html"
    if page.is_file():
        assert "mybinder" not in page.read_text("utf8")


@pytest.mark.whole
def test_with_an_address_the_buttons_open_the_notebook_itself(tmp_path):
    name = "09_dimension_and_invariance"
    book = pages.Book(tmp_path, tmp_path / "html", ROOT / "notebooks", (), "", only=name)
    pages.stage(book)
    file = book.tree / "_config.yml"
    config = yaml.safe_load(file.read_text("utf8"))
    config["repository"]["url"] = URL
    config["sphinx"]["config"]["own_run"] = ""
    file.write_text(yaml.safe_dump(config | pages.launch_buttons(URL)), "utf8")
    pages.run_jupyter_book(book)
    soup = BeautifulSoup((book.html / "notebooks" / f"{name}.html").read_text("utf8"), "html.parser")
    links = {urlsplit(link["href"]).netloc: link["href"] for link in soup.select(".dropdown-launch-buttons a")}
    assert set(links) == {"mybinder.org", "colab.research.google.com"}
    repository, branch = URL.removeprefix("https://github.com/"), config["repository"]["branch"]
    assert links["mybinder.org"].startswith(f"https://mybinder.org/v2/gh/{repository}/{branch}?")
    for link in links.values():
        place = unquote(link.rpartition(f"{branch}?urlpath=lab/tree/")[2] or "").rpartition(f"/blob/{branch}/")[2]
        assert (ROOT / place).is_file() and place.endswith(f"{name}.ipynb"), link
    cell = soup.select_one(".page-end .elsewhere").find_next("pre").get_text()
    assert f"!git clone --depth 1 --branch {branch} {URL} metamers" in cell and "%cd metamers" in cell


def test_times_are_said_in_their_unit():
    assert [page_end.duration(seconds) for seconds in (0.2, 119, 646.8, 7300)] == ["1 s", "119 s", "11 min", "2.0 h"]


def test_facts_hold_what_each_notebook_took():
    from book.tools.counted import collect_facts

    took = collect_facts(ROOT)["took"]
    assert set(took) == set(NOTEBOOKS) and json.dumps(took)
    runs = pd.read_parquet(ROOT / "results" / "17_expressivity.runs.parquet")
    assert took["17_expressivity"]["peak_memory_mb"] >= round(runs["peak_memory_mb"].max())
