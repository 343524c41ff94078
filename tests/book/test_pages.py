"""Checks of the built books that need no browser: what pages load, link to, and show as text."""

import os
import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
BOOKS = {"published": ROOT / "_build" / "html", "quick": ROOT / "_build" / "quick" / "html"}
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}
RAW_TEX = re.compile(r"\$[^$\s][^$\n]*\$|\\(?:frac|sum|mathbb|lVert|text|begin|top|operatorname)\b|\\[(\[]")
BROKEN_MARKUP = re.compile(r":::|```|\{(?:numref|ref|eq|doc|cite:?[a-z]*|math)\}")


@lru_cache
def soup(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text("utf8"), "html.parser")


def pages(book: Path) -> list[Path]:
    return sorted([*book.glob("book/*.html"), *book.glob("notebooks/*.html")])


@pytest.fixture(params=sorted(BOOKS))
def book(request: pytest.FixtureRequest) -> Path:
    folder = BOOKS[request.param]
    if not (folder / "index.html").exists():
        command = "make book" if request.param == "quick" else "make site"
        assert "METAMERLIB_BOOKS_BUILT" not in os.environ, f"{folder} is missing"
        pytest.skip(f"there is no {request.param} book; run `{command}` first")
    return folder


def visible_text(page: Path) -> str:
    """Return the text of the article without code and without what MathJax will typeset."""
    article = BeautifulSoup(str(soup(page).find("article")), "html.parser")
    for element in article.select("pre, code, script, style, .math, .page-end details"):
        element.decompose()
    return article.get_text(" ")


def loaded_addresses(page: Path) -> list[str]:
    """Return every address that a browser fetches by itself when it opens the page."""
    tags = soup(page)
    found = [tag[attribute] for name, attribute in LOADED.items() for tag in tags.find_all(name, **{attribute: True})]
    kinds = ("stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "modulepreload", "manifest")
    found += [tag["href"] for tag in tags.find_all("link", href=True) if set(tag.get("rel", [])) & set(kinds)]
    for style in [*tags.find_all("style"), *tags.find_all(style=True)]:
        found += re.findall(r"url\(['\"]?([^'\")]+)", style.get("style") or style.get_text())
    return found


def local_target(page: Path, address: str) -> Path:
    path = unquote(urlsplit(address).path)
    return (page.parent / path).resolve() if path else page


def is_external(address: str) -> bool:
    return address.startswith("//") or urlsplit(address).scheme in ("http", "https", "ftp", "ws", "wss")


def test_pages_fetch_nothing_from_outside(book):
    outside = {(page.name, a) for page in pages(book) for a in loaded_addresses(page) if is_external(a)}
    assert not outside


def test_style_sheets_fetch_nothing_from_outside(book):
    pattern = re.compile(r"(?:@import|url\()\s*['\"]?(?:https?:)?//[^'\")\s]+")
    outside = {
        (sheet.name, match) for sheet in book.rglob("*.css") for match in pattern.findall(sheet.read_text("utf8"))
    }
    assert not outside


def test_no_page_starts_live_code_from_outside(book):
    assert not [page.name for page in pages(book) if "thebe" in page.read_text("utf8").lower()]


def test_everything_a_page_loads_exists(book):
    missing = {
        (page.name, a)
        for page in pages(book)
        for a in loaded_addresses(page)
        if urlsplit(a).scheme != "data" and not is_external(a) and not local_target(page, a).is_file()
    }
    assert not missing


def test_links_within_the_book_lead_somewhere(book):
    dead = set()
    for page in pages(book):
        for link in soup(page).find_all("a", href=True):
            address = link["href"]
            if is_external(address) or urlsplit(address).scheme or address in ("#", ""):
                continue
            target, anchor = local_target(page, address), unquote(urlsplit(address).fragment)
            anchored = anchor and target.suffix == ".html"
            if not target.is_file() or (anchored and soup(target).find(id=anchor) is None):
                dead.add((page.name, address))
    assert not dead


def test_images_say_what_they_show(book):
    silent = {
        (page.name, image.get("src", "")[:80])
        for page in pages(book)
        for image in soup(page).select("article img")
        if not image.get("alt", "").strip() or image["alt"].startswith("../")
    }
    assert not silent


def test_no_raw_tex_and_no_raw_markup_is_left(book):
    found = {
        (page.name, match.group())
        for page in pages(book)
        for pattern in (RAW_TEX, BROKEN_MARKUP)
        for match in pattern.finditer(visible_text(page))
    }
    assert not found


def test_formulas_are_typeset_from_a_local_copy(book):
    for page in pages(book):
        if soup(page).select("article .math"):
            scripts = [tag["src"] for tag in soup(page).find_all("script", src=True) if "mathjax" in tag["src"]]
            assert scripts, f"{page.name} has formulas and does not load MathJax"
            assert all(local_target(page, a).is_file() for a in scripts)


def test_no_notebook_page_shows_an_error(book):
    shown = [page.name for page in pages(book) if soup(page).select(".traceback, .output.stderr")]
    assert not shown


def test_no_page_names_a_folder_of_this_machine(book):
    folders = {str(ROOT), str(Path.home())} - {"/"}
    assert not [p.name for p in pages(book) for folder in folders if f"{folder}/" in p.read_text("utf8")]


def test_only_the_quick_book_carries_the_banner(book):
    shown = {"computed on this machine" in page.read_text("utf8") for page in pages(book)}
    assert shown == {book == BOOKS["quick"]}


def test_notebook_pages_end_with_rerun_and_citation(book):
    for page in book.glob("notebooks/*.html"):
        end = soup(page).select_one("section.page-end")
        assert end is not None
        assert f"make run NOTEBOOK={page.stem}" in end.get_text()
        assert "DOI: to be assigned at release" in end.get_text()


def test_figures_link_to_their_files(book):
    for page in pages(book):
        for figure in soup(page).select("article figure[id^=fig-]"):
            if (book / "figures" / f"{figure['id']}.csv").exists():
                assert figure.select_one(f'a[href$="figures/{figure["id"]}.csv"]'), figure["id"]


def test_cover_and_citation_carry_metadata_for_indexes(book):
    for name in ("index", "cite"):
        tags = {tag["name"] for tag in soup(book / "book" / f"{name}.html").find_all("meta", attrs={"name": True})}
        assert {"citation_title", "citation_author", "citation_publication_date"} <= tags
