"""The built books in a real browser: every page, light and dark, opened as a file and from a server."""

import functools
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).resolve().parents[2]
BOOKS = {"published": ROOT / "_build" / "html", "quick": ROOT / "_build" / "quick" / "html"}
READY = """async () => {
  for (const image of document.images) image.loading = 'eager';
  if (window.MathJax?.startup?.promise) await MathJax.startup.promise;
  await document.fonts.ready;
  await Promise.all([...document.images].map(image => image.decode().catch(() => null)));
}"""
SEEN = r"""() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const tex = /\\[(\[\])]|\$\$|\$[^$\s][^$\n]*\$|\\(begin|end|frac|sum|lVert|mathbb|text|operatorname)\b/;
  const raw = [];
  while (walker.nextNode()) {
    const text = walker.currentNode;
    if (!text.parentElement.closest('pre, code, script, style, mjx-container') && tex.test(text.data))
      raw.push(text.data.trim().slice(0, 60));
  }
  const bare = [...document.querySelectorAll('.math')].filter(m => !m.querySelector('mjx-container'));
  const errors = [...document.querySelectorAll('mjx-merror, [data-mjx-error]')];
  return {
    theme: document.documentElement.dataset.theme,
    tex: raw.concat(bare.concat(errors).map(element => element.textContent.slice(0, 60))),
    images: [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.currentSrc || i.src),
    links: [...new Set([...document.links].map(link => link.href))],
    ids: [...document.querySelectorAll('[id], a[name]')].flatMap(element => [element.id, element.name]),
  };
}"""
Problems = defaultdict[str, set[str]]


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(params=sorted(BOOKS))
def book(request: pytest.FixtureRequest) -> Path:
    folder = BOOKS[request.param]
    if not (folder / "index.html").exists():
        assert "METAMERLIB_BOOKS_BUILT" not in os.environ, f"{folder} is missing"
        pytest.skip(f"there is no {request.param} book; run `make {'book' if request.param == 'quick' else 'site'}`")
    return folder


@pytest.fixture(params=["file", "server"])
def address(request: pytest.FixtureRequest, book: Path) -> Iterator[str]:
    """Yield the address of a book's folder, with a slash at its end."""
    if request.param == "file":
        yield f"{book.as_uri()}/"
        return
    handler = functools.partial(QuietHandler, directory=str(book))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def visit(page: Any, url: str, scheme: str, problems: Problems, axe: Any) -> dict[str, Any]:
    """Open one page, note what is wrong with it, and return what was seen."""
    name = f"{url.rsplit('/', 1)[-1]} ({scheme})"
    page.goto(url, wait_until="load")
    page.evaluate(READY)
    seen = page.evaluate(SEEN)
    if seen["theme"] != scheme:
        problems["colour scheme"].add(f"{name}: {seen['theme']}")
    for kind, label in (("images", "broken image"), ("tex", "raw TeX")):
        problems[label] |= {f"{name}: {item}" for item in seen[kind]}
    if axe is not None:
        problems["axe"] |= {f"{name}: {barrier}" for barrier in barriers(page, axe)}
    return seen


def barriers(page: Any, axe: Any) -> set[str]:
    """Return what axe calls a serious or critical barrier to people with disabilities, with its place."""
    violations = axe.run(page, options={"preload": False, "resultTypes": ["violations"]}).response["violations"]
    grave = [violation for violation in violations if violation["impact"] in ("serious", "critical")]
    return {f"{violation['id']}: {node['target']}" for violation in grave for node in violation["nodes"]}


def watch(page: Any, address: str, problems: Problems) -> None:
    """Note requests to other hosts, files that are missing, and errors of scripts."""

    def request(request: Any) -> None:
        if not request.url.startswith((address, "data:", "blob:")):
            problems["outside request"].add(f"{page.url.rsplit('/', 1)[-1]}: {request.url[:200]}")

    def response(response: Any) -> None:
        if response.status >= 400:
            problems["missing file"].add(response.url)

    def failed(request: Any) -> None:
        # A page that is left while it loads its icon breaks that off itself.
        if request.failure != "net::ERR_ABORTED":
            problems["missing file"].add(f"{request.url[:200]}: {request.failure}")

    page.on("request", request)
    page.on("response", response)
    page.on("requestfailed", failed)
    page.on("pageerror", lambda error: problems["script error"].add(str(error)[:300]))
    page.on("console", lambda said: said.type == "error" and problems["console error"].add(said.text[:300]))


def dead_links(seen: dict[str, dict[str, Any]], address: str, book: Path) -> set[str]:
    """Return links within the book whose page, file or anchor is not there."""
    dead = set()
    for url, page in seen.items():
        for link in page["links"]:
            target, anchor = urldefrag(link)
            if not target.startswith(address) or target == address:
                continue
            path = book / unquote(target.removeprefix(address)).partition("?")[0]
            known = seen.get(target)
            if not path.is_file() or (anchor and known is not None and unquote(anchor) not in known["ids"]):
                dead.add(f"{url.removeprefix(address)}: {link.removeprefix(address)}")
    return dead


def written_pages(book: Path) -> list[Path]:
    """Return every page but the one that only leads to the cover."""
    found = sorted(path for path in book.rglob("*.html") if "_static" not in path.parts)
    return [path for path in found if path != book / "index.html"]


def test_the_first_address_leads_to_the_cover(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}index.html")
    page.wait_for_url(f"{address}book/index.html", timeout=5000)
    page.close()


def test_every_page_is_whole(browser: Any, book: Path, address: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    pages = written_pages(book)
    problems: Problems = defaultdict(set)
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900})
        page = context.new_page()
        watch(page, address, problems)
        # What axe finds does not depend on where the page comes from, and both books have the same colours.
        axe = Axe() if address.startswith("http:") and (scheme == "light" or book != BOOKS["quick"]) else None
        urls = [address + path.relative_to(book).as_posix() for path in pages]
        seen = {url: visit(page, url, scheme, problems, axe) for url in urls}
        problems["dead link"] |= dead_links(seen, address, book)
        context.close()
    listing = [f"{kind}: {item}" for kind, found in sorted(problems.items()) for item in sorted(found)]
    assert not listing, "\n".join(listing)


def test_every_page_fits_on_a_phone(browser: Any, book: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(viewport={"width": 390, "height": 844})
    page, found = context.new_page(), []
    axe = Axe() if book != BOOKS["quick"] else None  # the same boxes in both books
    for path in written_pages(book):
        page.goto(path.as_uri(), wait_until="load")
        page.evaluate(READY)
        width = page.evaluate("document.documentElement.scrollWidth")
        found += [f"{path.name}: {width} pixels wide"] * (width > 390)
        found += [f"{path.name}: {barrier}" for barrier in sorted(barriers(page, axe) if axe is not None else [])]
    context.close()
    assert not found, "\n".join(found)
