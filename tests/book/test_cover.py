"""Checks of the cover, the ten-minute path, the gallery, the page of checks, the reference and the glossary."""

import ast
import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import gallery  # noqa: E402
import reference  # noqa: E402
from claims import chosen, effect_of  # noqa: E402

from book.tools.counted import collect_facts  # noqa: E402

RESULTS = ROOT / "results"
CLAIMS = json.loads((RESULTS / "claims.json").read_text("utf8"))
FINDING = re.compile(r"^:::\{finding\} (.*)\n((?::(?!:).*\n)*)((?:(?!:::).*\n)*)", re.MULTILINE)


def built(name):
    page = ROOT / "_build" / "html" / "book" / f"{name}.html"
    if not page.is_file():
        pytest.skip("there is no published book; run `make site` first")
    return BeautifulSoup(page.read_text("utf8"), "html.parser")


def findings(name):
    """Return the claims that a page shows, or None where its text stands in for one that is not made yet."""
    asked = FINDING.findall((ROOT / "book" / f"{name}.md").read_text("utf8"))
    fitting = [[rows[0] for each in patterns.split() if (rows := chosen(CLAIMS, [each])[0])] for patterns, *_ in asked]
    assert all(found or text.strip() for found, (*_, text) in zip(fitting, asked, strict=True))
    return [found[0] if found else None for found in fitting]


class TestHero:
    def rows(self, kind, name, table=None):
        table = pd.read_parquet(RESULTS / "20_one_paper.parquet") if table is None else table
        rows = table[(table["seed"] == 0) & (table["kind"] == kind) & (table["name"] == name)]
        return rows.sort_values("step")["value"].to_numpy()

    def test_the_words_turn_and_the_network_does_not_notice(self):
        table = pd.read_parquet(RESULTS / "20_one_paper.parquet")
        first = table[table["seed"] == 0]
        before, goal = first["class_before"].iloc[0], first["class_goal"].iloc[0]
        assert (before, goal) == ("genetic algorithms", "reinforcement learning")
        logits = first[first["kind"] == "logit"].pivot(index="name", columns="step", values="value")
        assert len(logits) == 7 and (logits.sub(logits[0], axis=0)).abs().to_numpy().max() < 1e-6
        alone = [self.rows("perceptron", name, table) for name in (before, goal)]
        assert alone[0][0] > 0.5 > alone[0][-1] and alone[1][0] < 0.5 < alone[1][-1]

    def test_the_walk_is_the_one_of_the_chapter_on_walking(self):
        chapter = pd.read_parquet(RESULTS / "08_walking_the_manifold_words.parquet")
        walk = pd.read_parquet(RESULTS / "20_one_paper.parquet").query("seed == 0")
        assert set(walk["node"]) == set(chapter["node"]) and set(walk["goal"]) == set(chapter["goal"])
        for name in ("own", "goal"):
            measured = self.rows("measure", {"own": "cosine to itself", "goal": "cosine to the goal"}[name])
            stored = chapter.drop_duplicates("step").sort_values("step")[f"cosine_{name}"].to_numpy()
            assert abs(measured - stored).max() < 0.02

    def test_the_caption_holds_the_caveats(self):
        caption = json.loads((RESULTS / "public" / "figures" / "fig-cover.json").read_text("utf8"))["caption"]
        for said in ("one paper", "chosen by a rule", "neighbours change", "may be fractions", "words alone"):
            assert said in caption

    def test_the_cover_shows_it_with_a_drawing_for_phones(self):
        hero = built("index").select_one("figure.hero")
        assert hero.img["src"].endswith("figures/fig-cover.svg") and hero.img["alt"]
        assert hero.source["srcset"].endswith("figures/fig-cover-narrow.svg")
        assert (ROOT / "_build" / "html" / "figures" / "fig-cover-narrow.svg").is_file()


@pytest.mark.parametrize("name", ["index", "findings"])
def test_findings_are_those_of_the_notebooks(name):
    shown, wanted = built(name).select("div.finding"), findings(name)
    assert len(shown) == len(wanted) and len(wanted) >= 5 and any(wanted)
    for box, claim in zip(shown, wanted, strict=True):
        if claim is not None:
            text = " ".join(box.get_text().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split())
            assert " ".join(claim["statement"].split()) in text and effect_of(claim) in text
            assert box.select_one(".verdict").get_text() == claim["verdict"]


def test_the_cover_has_five_findings():
    assert len(findings("index")) == 5


class TestGallery:
    def test_every_published_figure_has_a_section_with_files_and_citation(self):
        page = built("gallery")
        figures = gallery.published(ROOT)
        assert len(figures) > 40
        for about in figures:
            section = page.find("section", id=about["id"])
            assert section.img["src"].endswith(f"figures/{about['id']}.svg") and section.img["alt"] == about["alt"]
            kinds = {link["href"].rpartition(".")[2] for link in section.select(".figure-files a")}
            assert kinds == {"svg", "pdf", "png", "csv", "json"}
            entry = section.select_one("details pre").get_text()
            assert entry.startswith(f"@misc{{metamerlib-{about['id']},") and entry.count("{") == entry.count("}")

    def test_first_sentences_end_where_they_end(self):
        assert gallery.first_sentence("Up to 0.5 of them. More.") == "Up to 0.5 of them."
        assert gallery.first_sentence("One only") == "One only"


class TestFacts:
    def test_counts_are_those_of_the_files(self, tmp_path):
        (tmp_path / "results" / "public" / "figures").mkdir(parents=True)
        (tmp_path / "tests").mkdir()
        (tmp_path / "metamerlib").mkdir()
        (tmp_path / "tests" / "test_a.py").write_text(
            "def test_a():\n    pass\n\n\nclass TestB:\n    def test_b(self):\n        pass\n"
        )
        (tmp_path / "metamerlib" / "a.py").write_text('"""A.\n\n>>> 1\n1\n"""\n')
        run = {"key": "k", "metamerlib": "1", "torch": "2", "python": "3", "device": "cpu"}
        for name, seconds, date in (("01_a", 2.0, "2026-01-02"), ("01_a_more", 3.0, "2026-01-01")):
            pd.DataFrame({"x": [1, 2]}).to_parquet(tmp_path / "results" / f"{name}.parquet")
            pd.DataFrame([{**run, "seconds": seconds, "date": date}]).to_parquet(
                tmp_path / "results" / f"{name}.runs.parquet"
            )
        facts = collect_facts(tmp_path)
        assert (facts["tests"], facts["examples"], facts["tables"], facts["rows"], facts["points"]) == (2, 1, 2, 4, 2)
        assert facts["compute"] == [{"notebook": "01_a", "device": "cpu", "points": 2, "seconds": 5.0}]
        assert (facts["first_run"], facts["last_run"]) == ("2026-01-01", "2026-01-02")

    def test_the_page_shows_every_notebook_that_computed(self):
        text = built("checked").get_text()
        assert all(each["notebook"] in text for each in collect_facts(ROOT)["compute"])


class TestReference:
    def test_every_public_name_is_there_with_its_text(self):
        page = built("reference")
        names = re.findall(r" as (\w+)$", (ROOT / "metamerlib" / "__init__.pyi").read_text("utf8"), re.MULTILINE)
        wings = {path.parent.name for path in (ROOT / "metamerlib").glob("*/__init__.py")}
        for name in set(names) - wings:
            section = page.find("section", id=f"metamerlib-{name.replace('_', '-').lower()}")
            assert section is not None and len(section.get_text().split()) > 10, name

    def test_exported_names_are_found_in_the_source(self):
        for wing in ("graphs", "models", "search", "metrics", "manifold"):
            for name, home in reference.exports(wing).items():
                if name != "CONVOLUTIONS" and not home.endswith(f".{name}"):
                    assert reference.definition(name, home) is not None, name

    def test_docstrings_keep_their_parts(self):
        parts = reference.described(
            "Do ``it``.\n\nArgs:\n    x: A number\n        with a unit.\n    **more: Others.\n\nReturns:\n    It."
        )
        text = [part.astext() for part in parts]
        assert text[:2] == ["Do it.", "Args"] and text[3:] == ["Returns", "It."]
        assert [item.astext() for item in parts[2].children] == ["x A number with a unit.", "**more Others."]

    def test_signatures_are_python(self):
        ast.parse(f"def {reference.signature(reference.definition('find_metamer', 'metamerlib.search.find'))}: ...")


def test_glossary_terms_are_defined_once_and_in_order():
    terms = [term.get_text().strip("#¶ \n") for term in built("glossary").select("dl.glossary dt")]
    assert len(terms) > 20 and len(set(terms)) == len(terms) and terms == sorted(terms, key=str.lower)


def test_citation_file_says_what_is_a_placeholder():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf8"))
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= set(citation)
    for key in ("url", "repository-code"):
        assert re.fullmatch(r"https://example\.org/[a-z-]*to-be-assigned-at-release", citation[key])
    assert "doi" not in citation and "to be assigned" in citation["preferred-citation"]["notes"]
    assert citation["preferred-citation"]["title"] == citation["title"]
    assert citation["preferred-citation"]["version"] == citation["version"]
