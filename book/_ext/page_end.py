"""End every notebook page with the commands that rerun it, what they took, and the words that cite it.

A run of one's own ends with its command alone.
"""

import csv
import json
from collections import Counter
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import yaml
from browse import FILE as METAMERS
from facts import FILE as FACTS
from facts import number
from sphinx.application import Sphinx

BLOCK = """
<section class="page-end" id="rerun-and-cite">
<h2>Rerun and cite this page
<a class="headerlink" href="#rerun-and-cite" title="Link to this heading">#</a></h2>
<p>Small and live, with parameters of your own:</p>
<pre class="command">make run NOTEBOOK={stem} ARGS="-p seeds 0"</pre>
<p>On the real graphs: compute what <code>results/</code> does not hold of the published points, then draw the page
again:</p>
<pre class="command">make full NOTEBOOK={stem} &amp;&amp; make publish NOTEBOOK={stem}</pre>
{took}{ended}{elsewhere}
<p>{authors} ({year}). {sentence} In: <em>{book}</em>, version {version}. DOI: to be assigned at release.</p>
<details><summary>BibTeX</summary><pre>@misc{{metamerlib-{stem},
  author = {{{{{authors}}}}},
  title  = {{{{{title}}}}},
  note   = {{In: {book}, version {version}. DOI: to be assigned at release}},
  year   = {{{year}}}
}}</pre></details>
</section>
"""

TOOK = """<p class="took">What the published run took: {seconds} of computing for {points} points, the longest
{longest}, at one thread each on {device}{memory}. Computed {days} with metamerlib
{metamerlib}, PyTorch {torch} and Python {python}.</p>
"""

ENDED = """<p class="ended">How its searches ended: {ended}.
<a href="../book/browse.html#chapter-{stem}">Browse its {count} metamers</a>, or read
<a href="../book/rerun.html#when-a-search-does-not-converge">what to do when a search stalls</a>.</p>
"""

ELSEWHERE = """<p class="elsewhere">Without a copy of the project: the buttons at the top open this notebook on
Binder or Colab. In Colab, run this in a first cell:</p>
<pre class="command">!git clone --depth 1 --branch {branch} {url} metamers
!pip install --quiet ./metamers
%cd metamers</pre>
"""

OWN = """
<section class="page-end" id="rerun">
<h2>Run it again<a class="headerlink" href="#rerun" title="Link to this heading">#</a></h2>
<p><code>{command}</code></p>
<p>This page holds a run on parameters of your own. It is no part of the published book, and its numbers are not the
published ones.</p>
</section>
"""


def duration(seconds: float) -> str:
    """Return a time in the unit that one would say it in.

    >>> duration(41.2), duration(646.8), duration(12941)
    ('41 s', '11 min', '3.6 h')
    """
    if seconds < 120:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@cache
def _facts(srcdir: Path) -> dict[str, Any]:
    return json.loads((srcdir / FACTS).read_text("utf8"))["took"]


@cache
def _statuses(srcdir: Path) -> dict[str, Counter[str]]:
    """Return how often each status is found among the metamers of a table."""
    found: dict[str, Counter[str]] = {}
    with (srcdir / METAMERS).open(encoding="utf8", newline="") as stream:
        for row in csv.DictReader(stream):
            found.setdefault(row["table"], Counter())[row["status"] or "no status"] += 1
    return found


def _took(srcdir: Path, stem: str) -> str:
    took = _facts(srcdir).get(stem)
    if took is None:
        return ""
    memory = took["peak_memory_mb"]
    days = [took[name][:10] for name in ("first", "last")]
    return TOOK.format(
        seconds=duration(took["seconds"]),
        longest=duration(took["longest"]),
        points=number(took["points"]),
        memory=f"; at most {memory / 1024:.1f} GiB of memory in a process" if memory else "",
        days=f"on {days[0]}" if days[0] == days[1] else f"from {days[0]} to {days[1]}",
        **{name: escape(", ".join(took[name])) for name in ("device", "metamerlib", "torch", "python")},
    )


def _ended(srcdir: Path, stem: str) -> str:
    found = sum((count for table, count in _statuses(srcdir).items() if table.startswith(stem)), Counter())
    if not found:
        return ""
    ended = ", ".join(f"{number(count)} {escape(status)}" for status, count in found.most_common())
    return ENDED.format(ended=ended, stem=stem, count=number(found.total()))


def _append(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    if not pagename.startswith("notebooks/") or "body" not in context:
        return
    if app.config.own_run:
        context["body"] += OWN.format(command=escape(app.config.own_run))
        return
    citation = yaml.safe_load((Path(app.srcdir) / "CITATION.cff").read_text("utf8"))
    title = app.env.titles[pagename].astext()
    stem, srcdir = Path(pagename).name, Path(app.srcdir)
    theme = app.config.html_theme_options
    launch = theme.get("launch_buttons", {}).get("colab_url")
    context["body"] += BLOCK.format(
        stem=escape(stem),
        took=_took(srcdir, stem),
        ended=_ended(srcdir, stem),
        elsewhere=ELSEWHERE.format(url=escape(theme["repository_url"]), branch=escape(theme["repository_branch"]))
        if launch
        else "",
        authors=escape(" and ".join(author["name"] for author in citation["authors"])),
        book=escape(citation["title"]),
        version=escape(str(citation["version"])),
        title=escape(title),
        sentence=escape(title if title[-1] in "?!" else f"{title}."),
        year=escape(app.config.copyright[:4]),
    )


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("own_run", "", "html")
    app.connect("html-page-context", _append)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
