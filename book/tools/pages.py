"""Stage a tree of pages and build it: the same steps for the published book and for the quick one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from book.tools.counted import collect_facts
from book.tools.listing import write_metamers
from book.tools.project import (
    BUILD,
    NOTEBOOKS,
    ROOT,
    BuildError,
    read_json,
    relative,
    say,
    tree_fingerprint,
    write_json,
)

if TYPE_CHECKING:
    from book.tools.own import OwnRun

BANNER = "Quick profile, embedded data, computed on this machine. Numbers differ from the published ones."
WIDGET = [ROOT / "metamerlib" / "search" / name for name in ("page.js", "page.css")]  # the explorer's own files
LAUNCH = {
    "notebook_interface": "jupyterlab",
    "binderhub_url": "https://mybinder.org",
    "colab_url": "https://colab.research.google.com",
}
LEFT_OUT = shutil.ignore_patterns("tools", "__pycache__", ".*")


@dataclass(frozen=True)
class Book:
    """One of the two books, or the page of one run: where it is made, its finished pages, its inputs, its command."""

    work: Path
    html: Path
    notebooks: Path
    public: tuple[Path, ...]
    banner: str
    only: str = ""
    command: str = ""

    @property
    def tree(self) -> Path:
        return self.work / "tree"


PUBLISHED = Book(BUILD / "site", BUILD / "html", NOTEBOOKS, (ROOT / "results" / "public",), "")


def quick_book(notebooks: Path, public: tuple[Path, ...]) -> Book:
    return Book(BUILD / "quick", BUILD / "quick" / "html", notebooks, public, BANNER)


def _is_written(page: dict[str, Any], tree: Path) -> bool:
    written = any((tree / f"{page['file']}{suffix}").is_file() for suffix in (".md", ".ipynb"))
    if not written:
        say(f"  left out: {page['file']}, which _toc.yml names and which is not there yet")
    return written


def _contents(book: Book) -> dict[str, Any]:
    """Return the table of contents, of one page or of all that are written."""
    if book.only:
        return {"format": "jb-book", "root": f"notebooks/{book.only}"}
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text("utf8"))
    for part in contents["parts"]:
        part["chapters"] = [page for page in part["chapters"] if _is_written(page, book.tree)]
    contents["parts"] = [part for part in contents["parts"] if part["chapters"]]
    return contents


def launch_buttons(repository: str) -> dict[str, Any]:
    """Return the setting that adds buttons for Binder and Colab, or none where the repository has no address yet."""
    return {"launch_buttons": LAUNCH} if repository else {}


def stage(book: Book) -> None:
    """Copy pages, notebooks, public files and configuration into a fresh tree."""
    shutil.rmtree(book.tree, ignore_errors=True)
    shutil.copytree(ROOT / "book", book.tree / "book", ignore=LEFT_OUT)
    for path in WIDGET:
        shutil.copy(path, book.tree / "book" / "_static" / f"metamers{path.suffix}")
    shutil.copy(ROOT / "CITATION.cff", book.tree)
    (book.tree / "notebooks").mkdir()
    for path in sorted(book.notebooks.glob("*.ipynb")):
        shutil.copy(path, book.tree / "notebooks")
    public = book.tree / "results" / "public"
    public.mkdir(parents=True)
    for folder in book.public:
        if folder.is_dir():
            shutil.copytree(folder, public, dirs_exist_ok=True, ignore=LEFT_OUT)
    for name in ("claims.json", "claims-before.json"):
        if (ROOT / "results" / name).is_file():
            shutil.copy(ROOT / "results" / name, public)
    (public / "benchmarks").mkdir()
    for path in sorted((ROOT / "benchmarks").glob("*.csv")):
        shutil.copy(path, public / "benchmarks")
    write_json(public / "checks.json", collect_facts(ROOT))
    write_metamers(ROOT / "results", public / "metamers.csv", book.tree / "book" / "_static" / "metamers-listed.js")
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf8"))
    config["html"]["announcement"] = book.banner
    config["sphinx"]["config"]["own_run"] = book.command
    if not book.only:  # a run of one's own is in no repository
        config |= launch_buttons(config["repository"]["url"])
    (book.tree / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False), "utf8")
    (book.tree / "_toc.yml").write_text(yaml.safe_dump(_contents(book), sort_keys=False), "utf8")


def run_jupyter_book(book: Book) -> None:
    out = book.work / "out"
    shutil.rmtree(out, ignore_errors=True)
    log = book.work / "build.log"
    command = [
        str(Path(sys.executable).parent / "jupyter-book"),
        "build",
        str(book.tree),
        "--path-output",
        str(out),
    ]
    # A page on its own refers to pages that are not there.
    flags = [] if book.only else ["-W", "-n", "--keep-going"]
    with log.open("w", encoding="utf8") as stream:
        code = subprocess.run(
            [*command, *flags],
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=book.tree,
        ).returncode
    if code:
        text = re.sub(r"\x1b\[[\d;]*m", "", log.read_text("utf8"))
        lines = [line for line in text.splitlines() if "WARNING" in line or "ERROR" in line]
        shown = "\n  ".join(line.replace(f"{book.tree}/", "") for line in lines[:20])
        raise BuildError(f"the book did not build; all of it is in {relative(log)}\n  {shown}")
    shutil.rmtree(book.html, ignore_errors=True)
    (out / "_build" / "html").replace(book.html)
    shutil.rmtree(out)


def build(book: Book) -> None:
    """Build a book unless its pages are already those of its staged tree; print where to open it."""
    start = time.perf_counter()
    stage(book)
    stamp = book.work / "pages.json"
    fingerprint = tree_fingerprint(book.tree, Path(__file__).parent)
    if read_json(stamp).get("tree") == fingerprint and (book.html / "index.html").exists():
        say("The pages are up to date.")
    else:
        say("Building the pages: about 10 seconds")
        stamp.unlink(missing_ok=True)
        run_jupyter_book(book)
        write_json(stamp, {"tree": fingerprint})
        say(f"Built in {time.perf_counter() - start:.0f} s")
    say(f"Open {(book.html / 'index.html').as_uri()}")


def build_alone(notebook: Path, run: OwnRun) -> Path:
    """Build the notebook of a run of one's own as a book of a single page, with its figures; return that page."""
    name = notebook.stem
    work = run.folder / "build"
    banner = f"A run of your own, {time.strftime('%Y-%m-%d')}: {escape(run.command)}. None of it is published."
    book = Book(work, run.folder / "page", run.folder, (run.store / "public",), banner, only=name, command=run.command)
    stage(book)
    _unlink_chapters(book.tree / "notebooks" / f"{name}.ipynb")
    run_jupyter_book(book)
    shutil.rmtree(work)
    return book.html / "notebooks" / f"{name}.html"


def _unlink_chapters(path: Path) -> None:
    """Name other pages of the book by their titles, since a page on its own cannot link to them."""
    import nbformat

    def title(found: re.Match[str]) -> str:
        target = ROOT / (found[1].lstrip("/") if found[1].startswith("/") else f"notebooks/{found[1]}")
        source = target.with_suffix(".md")
        if source.is_file():
            text = source.read_text("utf8")
        else:
            cells = nbformat.read(target.with_suffix(".ipynb"), as_version=4).cells
            text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        heading = re.search(r"^# (.+)$", text, flags=re.MULTILINE)
        return f"the chapter *{heading[1] if heading else target.stem}*"

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\{doc\}`([^`<>]+)`", title, cell.source)
            cell.source = re.sub(r"\{eq\}`[^`]+`", "the equation there", cell.source)
    nbformat.write(notebook, path)
