"""A study reads or computes its tables under one name, and refuses points that failed."""

import json
import math

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from metamerlib.report import records
from metamerlib.report.study import Study

RECIPE = 1


def half(number):
    if number == 1:
        raise records.DoesNotApplyError("one has no half")
    return {"half": 1 / number if number == 0 else number / 2}


@pytest.fixture
def study(tmp_path, monkeypatch):
    (tmp_path / "_toc.yml").touch()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "99_demo.ipynb").write_text(json.dumps({"cells": []}))
    monkeypatch.chdir(tmp_path)
    return Study("99_demo", "full")


def test_a_table_is_computed_once_and_then_read_as_published(study):
    rows = study.table("_halves", half, [{"number": 4}])
    again = Study("99_demo", "published").table("_halves", half, [])
    assert rows.equals(again) and rows["half"].tolist() == [2.0]


def test_a_point_that_failed_is_an_error(study):
    with pytest.raises(AssertionError, match=r"1 of 1 points of 99_demo failed\. ZeroDivisionError: division by zero"):
        study.table("", half, [{"number": 0}])


def test_a_figure_names_its_notebook_and_its_tables(study):
    rows = study.table("", half, [{"number": 4}])[["number", "half"]]
    study.describe("", {"number": "a number", "half": "half of it"})
    figure, _ = plt.subplots()
    texts = {"caption": "Halves.", "alt": "One point.", "columns": {"number": "a number", "half": "half of it"}}
    study.publish(figure, "fig-demo", rows, **texts)
    about = json.loads((study.folder / "public" / "figures" / "fig-demo.json").read_text("utf8"))
    assert about["notebook"]["file"] == "99_demo.ipynb" and about["tables"][0]["file"] == "99_demo.parquet"


def test_points_that_do_not_apply_are_left_out_with_a_sentence(study, capsys):
    rows = study.table("", half, [{"number": 4}, {"number": 1}])
    assert rows["half"].tolist() == [2.0]
    assert "left out of 99_demo: one has no half" in capsys.readouterr().out


def test_a_table_without_rows_has_the_columns_of_the_published_one(study):
    described = study.folder / "99_demo_none.columns.json"
    described.parent.mkdir()
    described.write_text(json.dumps({"columns": {"key": "a", "half": "b"}}))
    for points in ([], [{"number": 1}]):
        rows = study.table("_none", half, points)
        assert rows.empty and {"key", "half"} <= {*rows}
        with pytest.raises(records.DoesNotApplyError, match="nothing to halve"):
            records.need(rows, "nothing to halve")


def test_the_store_is_obeyed_in_every_profile_and_quick_never_writes_published_results(study):
    root = study.folder.parent
    for profile in ("quick", "full", "published"):
        assert Study("99_demo", profile, "mine").folder == root / "mine"
    assert Study("99_demo", "quick").folder == root / "_build" / "quick" / "results"


def test_claims_are_kept_beside_the_tables_and_shown_with_the_verdict_first(tmp_path):
    study = Study("02_demo", "published", str(tmp_path))
    (tmp_path / "02_demo.parquet").touch()  # that the claims rest on
    rows = [
        records.claim("a", "It grows.", 0.5, 0.1, 0.9, "holds", effect_means="slope", paper_says="It grows."),
        records.claim("b", "It ends.", math.nan, math.nan, math.nan, "not tested", effect_means="share"),
    ]
    drawn = tmp_path / "public" / "figures" / "fig-x.json"
    drawn.parent.mkdir(parents=True)
    drawn.write_text("{}")
    shown = study.claims(rows)
    assert shown.columns[0] == "verdict" and shown.loc["a", "effect [interval]"] == "0.5 [0.1, 0.9]"
    assert shown.loc["b", "the paper says"] == "(our own)"
    kept = json.loads((tmp_path / "02_demo.claims.json").read_text())
    assert [row["id"] for row in kept] == ["a", "b"] and kept[1]["effect"] is None and kept[0]["notebook"] == "02_demo"
    assert [row["table"] for row in json.loads((tmp_path / "claims.json").read_text())] == ["02_demo.parquet"] * 2


def test_a_number_is_judged_over_the_graphs_with_three_runs(study):
    index = pd.MultiIndex.from_tuples([(g, s) for g in "ab" for s in range(3)] + [("c", 0)], names=["graph", "seed"])
    published = Study("99_demo", "published", str(study.folder))
    values = pd.Series([1.0, 1.1, 0.9, 2.0, 2.1, 1.9, -5.0], index=index)
    (mean, low, high, verdict), names = published.over_graphs(values, 0.5, "a")
    assert (mean, verdict, names) == (pytest.approx(1.0), "holds", "a, b") and low < 1 < high
    assert published.over_graphs(values, 3.0, "a")[0][3] == "fails"
    assert published.over_graphs(values, 1.5, "a")[0][3] == "inconclusive"
    numbers, _ = published.over_graphs(values, 0.5, "d")
    assert numbers[3] == "not tested" and all(math.isnan(number) for number in numbers[:3])
    assert published.over_graphs(values[values.index.get_level_values("graph") == "c"], 0.5, "c")[0][3] == "not tested"
    assert Study("99_demo", "quick", str(study.folder)).over_graphs(values, 0.5, "a")[0][3] == "not tested"
