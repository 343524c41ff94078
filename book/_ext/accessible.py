"""Make the pages usable without a mouse and with a screen reader, where the tools below leave gaps."""

import re
from typing import Any

from sphinx.application import Sphinx

# A wide table scrolls inside a box that the keyboard can reach.
BOX = '<div class="table-scroll" tabindex="0" role="group" aria-label="Table, may scroll sideways">'
# A list of citations is a list of items.
CITATION = re.compile(r'(<div class="citation"[^>]*) role="doc-biblioentry"')


def _mend(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    if "body" in context:
        body = re.sub(r"<table\b", f"{BOX}<table", context["body"]).replace("</table>", "</table></div>")
        context["body"] = CITATION.sub(r'\1 role="listitem"', body)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", _mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
