"""Numbers for sentences are kept in the notebook's output, as MyST-NB reads them, and every sentence finds its own."""

import json
import math
import re
from pathlib import Path

import pytest

from metamerlib.report.prose import glue

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_a_number_is_shown_under_its_name(monkeypatch):
    pytest.importorskip("IPython")
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw, metadata: shown.append((data, metadata)))
    glue(share=0.25)
    (data, about), prefix = shown[0], "application/papermill.record/"
    assert data == {f"{prefix}text/plain": "0.25"}
    assert about == {"scrapbook": {"name": "share", "mime_prefix": prefix}}


def test_a_number_that_is_none_is_refused():
    with pytest.raises(ValueError, match="share must be finite"):
        glue(share=math.nan)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_number_in_a_sentence_comes_from_a_cell_that_goes_with_it(path):
    cells = json.loads(path.read_text("utf8"))["cells"]
    published = ["published-only" in cell["metadata"].get("tags", []) for cell in cells]
    texts = ["".join(cell["source"]) for cell in cells]
    asked = {name for text in texts for name in re.findall(r"\{glue:text\}`(\w+)", text)}
    given = set()
    for cell, text, kept in zip(cells, texts, published, strict=True):
        if "records.glue(" in text:
            assert cell["cell_type"] == "code" and kept
            given |= set(re.findall(r"^    (\w+)=", text, flags=re.MULTILINE))
        if "{glue:text}" in text:
            assert cell["cell_type"] == "markdown" and kept
    assert asked == given


# What is no sentence: code, formulas, and roles such as citations and glued numbers.
NO_PROSE = re.compile(r"```.*?```|\$\$.*?\$\$|\$[^$]*\$|\{[\w:]+\}`[^`]*`|`[^`]*`", flags=re.DOTALL)
NUMBER = re.compile(
    r"(?<![\w.])\d+\.\d+|(?<![\w.])\d+\s*%|\b(?:one|two|three|\w+teen|\w+ty|ten) per cent\b|\bhundredths\b"
)
# Sections that say beforehand how things are computed and judged: their numbers are settings and rules.
BEFOREHAND = ("## How it is computed", "## Checks and claims")
TYPED = {  # elsewhere: the words round a number that may be typed, and why
    "95 % t-interval": "level of an interval",
    "95 % interval": "level of an interval",
    "relative error of at most 0.05": "mark of the verdict",
    "at most 0.2 at 95 % of the nodes": "mark of the verdict",
    "at 95 % of the nodes": "mark of the verdict",
    "at least 99 % of the": "mark of the verdict",
    "relative error of one per cent": "tolerance of the searches",
    "do not agree on 99 % of the nodes": "mark of the verdict",
    "a relative error of 0.05, they are no": "mark of the verdict",
    "below 90 % of": "rule for a training that failed",
    "grey band, 0.05": "smallest effect of interest",
    "radius of 10 %": "radius of the attack",
}


def sentences(cell):
    return re.sub(r"\s+", " ", NO_PROSE.sub(" ", "".join(cell["source"])))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_measured_number_is_typed_in_a_sentence(path):
    cells = [cell for cell in json.loads(path.read_text("utf8"))["cells"] if cell["cell_type"] == "markdown"]
    typed = []
    for cell in cells:
        text = sentences(cell)
        if text.strip().startswith(BEFOREHAND):
            continue
        for words in TYPED:
            text = text.replace(words, "")
        typed += [text[max(0, found.start() - 60) : found.end() + 20] for found in NUMBER.finditer(text)]
    assert not typed, "hand them over by records.glue, or name them in TYPED with a reason"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_measured_number_is_typed_in_what_stands_for_a_figure(path):
    cells = json.loads(path.read_text("utf8"))["cells"]
    alts = [cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "") for cell in cells]
    assert not [alt for alt in alts if re.search(r"(?<![\w.^])0\.\d|\d\s*%", alt)]


@pytest.mark.parametrize("name", ["findings", "hard_metamers", "index", "limitations", "theory"])
def test_no_measured_number_is_typed_on_a_page_of_the_book(name):
    text = sentences({"source": (ROOT / "book" / f"{name}.md").read_text("utf8")})
    for words in ("95 % interval", "0.05, the mark"):
        text = text.replace(words, "")
    assert not [text[max(0, found.start() - 60) : found.end() + 20] for found in NUMBER.finditer(text)]


def test_every_number_that_may_be_typed_is_typed_somewhere():
    notebooks = [json.loads(path.read_text("utf8"))["cells"] for path in NOTEBOOKS]
    text = " ".join(sentences(cell) for cells in notebooks for cell in cells if cell["cell_type"] == "markdown")
    assert not [words for words in TYPED if words not in text]


def test_a_typed_number_is_found():
    typed = {"source": "It keeps 87 % of them, by 0.09, $0.5$ and {glue:text}`kept:.2f`, `0.3`."}
    assert NUMBER.findall(sentences(typed)) == ["87 %", "0.09"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_left_to_a_run_on_other_data_speaks_of_no_graph_of_ours(path):
    cells = json.loads(path.read_text("utf8"))["cells"]
    kept = [
        "".join(cell["source"])
        for cell in cells
        if cell["cell_type"] == "markdown" and "published-only" not in cell["metadata"].get("tags", [])
    ]
    names = r"\b(Cora|Cora_ML|CiteSeer|DBLP|PubMed|Wisconsin|Texas|Actor|MUTAG|PROTEINS|minesweeper|tolokers)\b"
    assert not [text for text in kept if re.search(names, re.sub(r"```.*?```", "", text, flags=re.DOTALL))]
