"""Make the pages usable without a mouse and with a screen reader, where the tools below leave gaps."""

import re
from typing import Any

from sphinx.application import Sphinx

# A wide table scrolls inside a box that the keyboard can reach; one of claims holds sentences, which may be broken.
BOX = '<div class="table-scroll{}" tabindex="0" role="group" aria-label="Table, may scroll sideways">{}</div>'
TABLE = re.compile(r"<table\b.*?</table>", re.DOTALL)
# A list of citations is a list of items.
CITATION = re.compile(r'(<div class="citation"[^>]*) role="doc-biblioentry"')


def _boxed(found: re.Match[str]) -> str:
    table = found[0]
    return BOX.format(" claims" if "<th>verdict</th>" in table else "", table)


def _mend(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    if "body" in context:
        context["body"] = CITATION.sub(r'\1 role="listitem"', TABLE.sub(_boxed, context["body"]))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", _mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
