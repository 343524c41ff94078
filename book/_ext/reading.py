"""Put a notebook page into the order in which it is read: the answer and the main figure first, machinery folded.

All of it happens when the pages are built, so that notebooks stay as they run: every cell of code is folded under a
name of its own, checks that hold become one line, and tables are written anew (see `tables`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from published_figures import FOLDER
from sphinx.application import Sphinx
from tables import rewritten

# The figure that a reader with one minute should see; of a page that is not named here, the first.
MAIN = {
    "01_first_metamer": "fig-first-metamer",
    "02_feature_metamers": "fig-feature-excess",
    "03_binary_features": "fig-binary-reached",
    "04_structure_metamers": "fig-structure-starts",
    "05_exact_metamers": "fig-exact-switch",
    "06_metamer_dimension": "fig-dimension-depth",
    "07_volume_change": "fig-volume-activation",
    "08_walking_the_manifold": "fig-walk-error",
    "09_dimension_and_invariance": "fig-dimension-prediction",
    "10_graph_metamers": "fig-graph-plane",
    "11_depth_width": "fig-depth-kept",
    "12_mitigations": "fig-mitigation-effects",
    "13_transfer": "fig-transfer",
    "14_bayes_judge": "fig-bayes-relevant",
    "15_benchmark": "fig-benchmark",
    "16_heterogeneous": "fig-hetero-kept",
    "17_expressivity": "fig-expressivity-collisions",
    "20_one_paper": "fig-cover",
}
END = "what-to-take-away"
HOLDS = "holds: "
CLAIM = re.compile(r"^[a-z0-9-]+: (holds|fails|inconclusive|not tested): ")
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


def _cells(tree: nodes.Element) -> list[nodes.container]:
    return [node for node in tree.findall(nodes.container) if node.get("nb_element") == "cell_code"]


def _title(node: nodes.Node) -> tuple[str, str]:
    """Return title and id of the section in which a node stands."""
    section = node
    while section.parent is not None and not isinstance(section, nodes.section):
        section = section.parent
    if not isinstance(section, nodes.section):
        return "", ""
    return section.next_node(nodes.title).astext(), section["ids"][0]


def named(cell: dict[str, Any], source: str, number: int, title: str = "") -> str:
    """Return what a folded cell of code is called: no two on a page alike, so that a list of them can be read."""
    if "parameters" in cell.get("tags", []):
        return "Parameters of this notebook"
    figure = cell.get("mystnb", {}).get("figure", {}).get("name")
    if figure:
        return f"Code of {figure}"
    defined = re.findall(r"^def (\w+)", source, flags=re.MULTILINE)
    if defined:
        return f"Code {number}: {', '.join(defined[:4])}{' …' if len(defined) > 4 else ''}"
    if "points" in cell.get("tags", []):
        return f"Code {number}: the points that are computed or read"
    if re.match(r"(import|from) ", source):
        return f"Code {number}: imports and settings"
    return f"Code {number}: {title}" if title else f"Code {number}"


def fold(tree: nodes.document) -> None:
    """Fold the code of every cell under a name of its own."""
    for cell in _cells(tree):
        if cell.children and cell.children[0].get("nb_element") == "cell_code_source":
            name = named(cell["cell_metadata"], cell.children[0].astext(), cell["cell_index"], _title(cell)[0])
            cell["hide_mode"] = "input"
            cell["prompt_show"] = cell["prompt_hide"] = name


def gather(tree: nodes.document) -> None:
    """Make one line of all checks that hold in an output, and of the log of claims that a table below repeats."""
    for block in list(tree.findall(nodes.literal_block)):
        if "stream" not in block["classes"]:
            continue
        lines = block.astext().splitlines()
        held = [line for line in lines if line.startswith(HOLDS)]
        claims = [line for line in lines if CLAIM.match(line)]
        rest = [line for line in lines if line not in held and line not in claims]
        said = [f"{len(held)} {'check holds' if len(held) == 1 else 'checks hold'}"] if held else []
        said += [f"log of {len(claims)} {'claim' if len(claims) == 1 else 'claims'}"] if claims else []
        if not said:
            continue
        text = escape("\n".join([*held, *claims]))
        folded = f'<details class="checks"><summary>{"; ".join(said)}</summary><pre tabindex="0">{text}</pre></details>'
        new: list[nodes.Node] = [nodes.raw("", folded, format="html")]
        if rest:
            left = nodes.literal_block("\n".join(rest), "\n".join(rest), classes=block["classes"])
            left["language"] = block.get("language", "none")
            new.insert(0, left)
        block.parent.replace(block, new)


def rewrite(tree: nodes.document, *, alone: bool) -> None:
    """Write every table of pandas anew, with an id that its section gives; `alone` is a page without the book."""
    seen: Counter[str] = Counter()
    for raw in tree.findall(nodes.raw):
        text = raw.astext()
        if "html" not in raw.get("format", "") or 'class="dataframe"' not in text:
            continue
        title, section = _title(raw)
        seen[section] += 1
        name = f"table-{section}" + (f"-{seen[section]}" if seen[section] > 1 else "")
        raw.children = [nodes.Text(rewritten(text, title, name, alone=alone))]
        raw.rawsource = raw.astext()


def _answer(tree: nodes.document) -> list[nodes.Node]:
    """Return the first paragraph of what is to be taken away, where the introduction holds no answer of its own."""
    introduced = [node for node in tree.next_node(nodes.section).children if isinstance(node, nodes.paragraph)]
    end = next((each for each in tree.findall(nodes.section) if END in each["ids"]), None)
    if end is None or not introduced or any(_answers(paragraph) for paragraph in introduced):
        return []
    paragraph = end.next_node(nodes.paragraph)
    return [shortened(paragraph.deepcopy())] if paragraph is not None else []


def shortened(paragraph: nodes.paragraph, sentences: int = 3) -> nodes.paragraph:
    """Return a paragraph cut after so many sentences; a full stop counts where text goes on or ends after it."""
    left = sentences
    for place, child in enumerate(paragraph.children):
        if not isinstance(child, nodes.Text):
            continue
        for stop in re.finditer(r"[.!?](?=\s+[A-Z]|\s*$)", child.astext()):
            left -= 1
            if left == 0:
                kept = child.astext()[: stop.end()]
                paragraph.children[place:] = [nodes.Text(kept)]
                return paragraph
    return paragraph


def _answers(paragraph: nodes.paragraph) -> bool:
    """Return whether a paragraph says what was found: by what it says in bold, by yes or no, or by numbers."""
    first = next((child for child in paragraph.children if child.astext().strip()), None)
    bold = first if isinstance(first, nodes.strong) else None
    if bold is not None and not bold.astext().rstrip().endswith("?"):
        return True
    text = paragraph.astext().strip().removeprefix(bold.astext() if bold is not None else "").strip()
    return bool(re.match(r"(Yes|No|Nearly)\b", text) or re.search(r"\d+(\.\d+)? ?%", text))


def _picture(srcdir: Path, docname: str, figure: str) -> nodes.raw | None:
    """Return a published figure that leads to its place on the page."""
    about = srcdir / FOLDER / f"{figure}.json"
    if not about.is_file():
        return None
    held = json.loads(about.read_text("utf8"))
    root = "../" * docname.count("/")
    sentence = SENTENCE.split(held["caption"].strip())[0]
    text = (
        f'<figure class="published-figure main"><img src="{root}figures/{figure}.svg" '
        f'alt="{escape(held["alt"], quote=True)}"><figcaption><p>{escape(sentence)} '
        f'<a href="#{figure}">{figure}, with all that belongs to it</a></p></figcaption></figure>'
    )
    return nodes.raw("", text, format="html")


def lead(tree: nodes.document, srcdir: Path, docname: str) -> None:
    """Put the answer and the main figure before the first cell of code."""
    cells = _cells(tree)
    drawn = [name for node in tree.findall(nodes.figure) for name in node["ids"] if name.startswith("fig-")]
    figure = MAIN.get(Path(docname).name, drawn[0] if drawn else "")
    if not cells or figure not in drawn:
        return
    shown = _answer(tree)
    if shown:
        shown[0].insert(0, nodes.strong("", "In short. "))
        link = nodes.reference("", "All that is to be taken away.", refuri=f"#{END}", internal=True)
        shown[0] += [nodes.Text(" "), link]
    picture = _picture(srcdir, docname, figure)
    if picture is not None:
        shown.append(picture)
    if shown:
        place = cells[0].parent
        place.insert(place.index(cells[0]), nodes.container("", *shown, classes=["answer"]))


def _arrange(app: Sphinx, tree: nodes.document) -> None:
    docname = app.env.docname
    if not docname.startswith("notebooks/"):
        return
    lead(tree, Path(app.srcdir), docname)
    fold(tree)
    gather(tree)
    rewrite(tree, alone=bool(app.config.own_run))


def _mend(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Let a fold be called by its own words and not by the same ones each time."""
    if "body" in context:
        context["body"] = context["body"].replace('<summary aria-label="Toggle hidden content">', "<summary>")


def setup(app: Sphinx) -> dict[str, Any]:
    # Before the links to the files of a figure are added, which look for the same nodes.
    app.connect("doctree-read", _arrange, priority=400)
    app.connect("html-page-context", _mend)
    app.add_js_file("printing.js", loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
