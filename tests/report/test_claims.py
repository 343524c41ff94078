import json
import math

import pytest

from metamerlib.report import records
from metamerlib.report.claims import collect_claims, write_claims
from metamerlib.report.files import project_root


def claim(id, **texts):
    numbers = dict(effect=0.5, low=0.1, high=0.9, verdict="holds", effect_means="a slope")
    return records.claim(id, "It grows.", **{**numbers, **texts})


def store(tmp_path, **studies):
    for study, rows in studies.items():
        (tmp_path / f"{study}.claims.json").write_text(json.dumps([{"notebook": study, **row} for row in rows]))
        (tmp_path / f"{study}.parquet").touch()
    return tmp_path


def test_claims_of_all_studies_stand_in_one_file(tmp_path):
    folder = store(tmp_path, b=[claim("second")], a=[claim("first"), claim("third", paper_says="It grows.")])
    rows = collect_claims(folder)
    assert [row["id"] for row in rows] == ["first", "third", "second"]
    assert [row["table"] for row in rows] == ["a.parquet", "a.parquet", "b.parquet"]
    written = write_claims(folder)
    assert json.loads(written.read_text()) == rows
    before = written.read_bytes()
    assert write_claims(folder).read_bytes() == before  # the file itself is no study's


def test_a_claim_rests_on_a_published_figure_or_a_table(tmp_path):
    folder = store(tmp_path, a=[claim("first", figure="fig-a")])
    with pytest.raises(ValueError, match="'first' of a names the figure 'fig-a'"):
        collect_claims(folder)
    (folder / "public" / "figures").mkdir(parents=True)
    (folder / "public" / "figures" / "fig-a.json").touch()
    (folder / "a.parquet").unlink()
    assert collect_claims(folder)[0]["table"] == ""
    with pytest.raises(ValueError, match=r"neither a figure nor the table b\.parquet"):
        store(folder, b=[claim("bare")])
        (folder / "b.parquet").unlink()
        collect_claims(folder)


def test_ids_differ_between_studies_and_no_column_is_missing(tmp_path):
    with pytest.raises(ValueError, match="has the id of one of a"):
        collect_claims(store(tmp_path, a=[claim("first")], b=[claim("first")]))
    with pytest.raises(ValueError, match="lacks reconsider"):
        row = claim("first")
        del row["reconsider"]
        collect_claims(store(tmp_path, a=[row]))


def test_a_claim_that_was_not_tested_has_no_numbers(tmp_path):
    nothing = dict(effect=math.nan, low=math.nan, high=math.nan, verdict="not tested")
    study = records.claims_table([claim("first", **nothing)])
    assert study["verdict"].tolist() == ["not tested"]


def test_the_published_file_is_that_of_the_published_claims():
    results = project_root() / "results"
    assert json.loads((results / "claims.json").read_text("utf8")) == collect_claims(results)
