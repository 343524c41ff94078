"""End every notebook page with the command that reruns it and the words that cite it, a run of one's own without."""

from html import escape
from pathlib import Path
from typing import Any

import yaml
from sphinx.application import Sphinx

BLOCK = """
<section class="page-end" id="rerun-and-cite">
<h2>Rerun and cite this page
<a class="headerlink" href="#rerun-and-cite" title="Link to this heading">#</a></h2>
<p>Small and live, with parameters of your own: <code>make run NOTEBOOK={stem} ARGS="-p seeds 0"</code>.
On the real graphs: <code>make full NOTEBOOK={stem}</code>.</p>
<p>{authors} ({year}). {title}. In: <em>{book}</em>, version {version}. DOI: to be assigned at release.</p>
<details><summary>BibTeX</summary><pre>@misc{{metamerlib-{stem},
  author = {{{{{authors}}}}},
  title  = {{{{{title}}}}},
  note   = {{In: {book}, version {version}. DOI: to be assigned at release}},
  year   = {{{year}}}
}}</pre></details>
</section>
"""


OWN = """
<section class="page-end" id="rerun">
<h2>Run it again<a class="headerlink" href="#rerun" title="Link to this heading">#</a></h2>
<p><code>{command}</code></p>
<p>This page holds a run on parameters of your own. It is no part of the published book, and its numbers are not the
published ones.</p>
</section>
"""


def _append(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    if not pagename.startswith("notebooks/") or "body" not in context:
        return
    if app.config.own_run:
        context["body"] += OWN.format(command=escape(app.config.own_run))
        return
    citation = yaml.safe_load((Path(app.srcdir) / "CITATION.cff").read_text("utf8"))
    title = app.env.titles[pagename].astext()
    context["body"] += BLOCK.format(
        stem=escape(Path(pagename).name),
        authors=escape(" and ".join(author["name"] for author in citation["authors"])),
        book=escape(citation["title"]),
        version=escape(str(citation["version"])),
        title=escape(title),
        year=escape(app.config.copyright[:4]),
    )


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("own_run", "", "html")
    app.connect("html-page-context", _append)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
