"""What programs and referees read: the citation file, the list of outputs to check, and the log of what moved."""

import json
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import changes  # noqa: E402
from bs4 import BeautifulSoup  # noqa: E402

# The schema of the Citation File Format 1.2.0 (CC BY 4.0), which cffconvert checks by: that package itself holds back
# jsonschema at a version that the notebooks' packages have left behind.
SCHEMA = json.loads((ROOT / "tests" / "helpers" / "cff-1.2.0.schema.json").read_text("utf8"))
CODECHECK = yaml.safe_load((ROOT / "results" / "codecheck.yml").read_text("utf8"))


def cff_errors(text):
    """Return what is wrong with a citation file; dates stay text, as the schema wants them."""
    validator = jsonschema.validators.validator_for(SCHEMA)
    checker = validator(SCHEMA, format_checker=validator.FORMAT_CHECKER)
    return [error.message for error in checker.iter_errors(yaml.load(text, yaml.BaseLoader))]


def test_the_citation_file_keeps_to_its_format():
    text = (ROOT / "CITATION.cff").read_text("utf8")
    assert cff_errors(text) == []
    assert cff_errors(text.replace("cff-version: 1.2.0", "cff-version: 9.9"))
    assert cff_errors(text.replace("type: software", "type: novel"))
    assert cff_errors(text + "unheard-of: true\n")


def test_ten_outputs_are_there_and_their_commands_make_them():
    assert len(CODECHECK["manifest"]) == 10
    for output in CODECHECK["manifest"]:
        path = ROOT / output["file"]
        assert path.is_file() and output["comment"]
        maker = json.loads(path.with_suffix(".json").read_text("utf8"))["notebook"]["file"].removesuffix(".ipynb")
        assert output["command"] == f"make full NOTEBOOK={maker} && make publish NOTEBOOK={maker}"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf8"))
    assert CODECHECK["paper"]["title"] == citation["title"]


def claim(name, verdict="holds", effect=0.5, statement="It is so."):
    return {
        "id": name,
        "notebook": "n",
        "statement": statement,
        "verdict": verdict,
        "effect": effect,
        "low": 0.4,
        "high": 0.6,
    }


@pytest.mark.parametrize(
    ("kind", "new"),
    [
        ("same", claim("a")),
        ("verdict", claim("a", verdict="fails", effect=0.9)),
        ("effect", claim("a", effect=0.7)),
        ("digits", claim("a", effect=0.5001)),
        ("words", claim("a", statement="It is thus.")),
        ("effect", claim("a", effect=None)),
    ],
)
def test_what_happened_to_a_claim(kind, new):
    old = claim("a")
    assert changes.compared([old], [new]) == {kind: [(old, new)]}


def test_claims_that_came_and_went():
    assert changes.compared([claim("a")], [claim("b")]) == {"new": [(None, claim("b"))], "gone": [(claim("a"), None)]}


def test_the_log_is_that_of_the_two_stored_states():
    page = ROOT / "_build" / "html" / "book" / "changes.html"
    if not page.is_file():
        pytest.skip("there is no published book; run `make site` first")
    before = json.loads((ROOT / "results" / "claims-before.json").read_text("utf8"))
    now = json.loads((ROOT / "results" / "claims.json").read_text("utf8"))
    found = changes.compared(before["claims"], now)
    soup = BeautifulSoup(page.read_text("utf8"), "html.parser")
    for kind in ("verdict", "effect", "digits", "gone"):
        rows = soup.select(f"#changes-{kind} tbody tr")
        assert len(rows) == len(found.get(kind, []))
    assert f"of {len(now)} claims now" in " ".join(soup.article.get_text(" ").split())
    assert "to be assigned at release" in soup.article.get_text()
