"""Checks of the claims page: every paper's claim has a row or says that it was not tested, and no row is lost."""

import json
import re
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from claims import HEADS, chosen, effect_of  # noqa: E402

CLAIMS = json.loads((ROOT / "results" / "claims.json").read_text("utf8"))
DIRECTIVE = re.compile(r"^:::\{claims\}(.*)\n((?::(?!:).*\n)*)", re.MULTILINE)


def tables():
    return DIRECTIVE.findall((ROOT / "book" / "claims.md").read_text("utf8"))


def test_every_claim_of_the_paper_has_a_table():
    page = (ROOT / "book" / "claims.md").read_text("utf8")
    part = page.split("## What the paper claims")[1].split("## What the reviews asked for")[0]
    for section in part.split("\n### ")[1:]:
        assert "{claims}" in section, section.splitlines()[0]
    for demand in ("R1a", "R1b", "R1c", "R1d", "R1e", "R2", "R3", "R4"):
        assert f"### {demand}. " in page


@pytest.mark.parametrize(("arguments", "options"), tables())
def test_a_table_has_rows_or_says_that_nothing_was_tested(arguments, options):
    rows, empty = chosen(CLAIMS, arguments.split())
    assert ":rest:" in options or ":not-tested:" in options or (rows and not empty)


def test_effects_in_sentences_are_those_of_claims():
    named = {
        (page.name, name)
        for page in (ROOT / "book").glob("*.md")
        for name in re.findall(r"\{effect\}`([^`]*)`", page.read_text("utf8"))
    }
    assert {("hard_metamers.md", "structure-exist"), ("hard_metamers.md", "exact-cycles")} <= named
    known = {claim["id"]: claim for claim in CLAIMS}
    assert all(effect_of(known[name]) for _, name in named)


def test_patterns_choose_by_id_and_name_those_that_fit_none():
    claims = [{"id": "depth-a"}, {"id": "width-a"}, {"id": "depth-b"}]
    assert chosen(claims, ["depth-*", "depth-a"]) == ([claims[0], claims[2]], [])
    assert chosen(claims, ["width-a", "height-*"]) == ([claims[1]], ["height-*"])


def test_effects_are_text():
    assert effect_of({"effect": 0.12345, "low": 0.1, "high": None}) == "0.123"
    assert effect_of({"effect": 0.12345, "low": 0.1, "high": 0.2}) == "0.123 [0.1, 0.2]"
    assert effect_of({"effect": None, "low": None, "high": None}) == ""


@pytest.mark.parametrize("claim", CLAIMS, ids=[claim["id"] for claim in CLAIMS])
def test_a_claim_is_a_sentence_and_says_what_its_number_is(claim):
    assert re.fullmatch(r"[A-Z].*[.]", claim["statement"], re.DOTALL)
    assert claim["effect_means"] and (claim["figure"] or claim["table"])


def test_the_built_page_shows_every_claim_once_in_seven_columns():
    page = ROOT / "_build" / "html" / "book" / "claims.html"
    if not page.is_file():
        pytest.skip("there is no published book; run `make site` first")
    soup = BeautifulSoup(page.read_text("utf8"), "html.parser")
    rows = soup.select("table.claims tbody tr")
    assert sorted(row["id"] for row in rows) == sorted(f"claim-{claim['id']}" for claim in CLAIMS)
    for table in soup.select("table.claims"):
        assert [head.get_text(strip=True) for head in table.select("th")] == list(HEADS) and len(HEADS) <= 7
    shown = {row["id"]: row.td.get_text(strip=True) for row in rows}
    assert shown == {f"claim-{claim['id']}": claim["verdict"] for claim in CLAIMS}
