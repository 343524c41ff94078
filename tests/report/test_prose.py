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


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.stem < "11"], ids=lambda path: path.stem)
def test_what_is_left_to_a_run_on_other_data_speaks_of_no_graph_of_ours(path):
    cells = json.loads(path.read_text("utf8"))["cells"]
    kept = [
        "".join(cell["source"])
        for cell in cells
        if cell["cell_type"] == "markdown" and "published-only" not in cell["metadata"].get("tags", [])
    ]
    names = r"\b(Cora|Cora_ML|CiteSeer|DBLP|PubMed|Wisconsin|Texas|Actor|MUTAG|PROTEINS|minesweeper|tolokers)\b"
    assert not [text for text in kept if re.search(names, re.sub(r"```.*?```", "", text, flags=re.DOTALL))]
