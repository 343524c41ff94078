import json

import pytest

from metamerlib import records
from metamerlib.metrics.columns import METRICS
from metamerlib.report.columns import COMMON, RUNS


@pytest.fixture
def store(tmp_path):
    points = records.grid(graph=["karate"], seed=[0])
    records.compute(lambda graph, seed: {"pearson": 1.0, "width": 3}, points, name="demo", recipe=1, store=tmp_path)
    return tmp_path


def test_own_texts_are_needed_only_for_what_the_library_does_not_know(store):
    path = records.describe("demo", store, {"width": "units of the layer", "seed": "of the weights alone"})
    about = json.loads(path.read_text("utf8"))
    assert about["table"] == "demo.parquet"
    assert list(about["columns"].items()) == [
        ("key", COMMON["key"]),
        ("recipe", COMMON["recipe"]),
        ("graph", COMMON["graph"]),
        ("seed", "of the weights alone"),
        ("pearson", METRICS["pearson"]),
        ("width", "units of the layer"),
        ("error", COMMON["error"]),
    ]


def test_texts_of_the_run_table_are_those_of_its_columns(store):
    records.describe("demo", store, {"width": "units"})
    about = json.loads((store / "demo.columns.json").read_text("utf8"))
    assert list(about["runs"]["columns"]) == list(RUNS) == list(records.read_runs("demo", store).columns)


def test_describing_again_gives_the_same_bytes(store):
    first = records.describe("demo", store, {"width": "units"}).read_bytes()
    assert records.describe("demo", store, {"width": "units"}).read_bytes() == first


@pytest.mark.parametrize(
    ("texts", "named"),
    [(None, "without a text: width"), ({"width": " "}, "without a text: width"), ({"wdith": "a"}, "a column: wdith")],
)
def test_a_missing_or_misspelt_column_is_an_error(store, texts, named):
    with pytest.raises(ValueError, match=named):
        records.describe("demo", store, texts)
    assert not (store / "demo.columns.json").exists()
