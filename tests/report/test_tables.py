"""Tables on disk: damage is named, and one process merges at a time."""

import threading

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metamerlib import records
from metamerlib.report.tables import alone_in, digest_of, open_table, write_table

TABLE = pa.table({"key": ["a", None], "value": [0.1, float("nan")], "count": [1, None], "lists": [[1, 2], [3]]})


def test_tables_come_back_with_their_digest(tmp_path):
    path = write_table(tmp_path / "t.parquet", TABLE)
    found = open_table(path)
    assert found.to_pandas().equals(TABLE.to_pandas()) and found.schema.metadata[b"digest"] == digest_of(found).encode()
    assert digest_of(open_table(write_table(tmp_path / "other.parquet", found))) == digest_of(TABLE)


@pytest.mark.parametrize(
    "changes",
    [
        {"value": pa.array([0.2, float("nan")])},
        {"value": pa.array([0.1, None])},
        {"count": pa.array([1, 0])},
        {"key": pa.array(["b", None])},
        {"key": pa.array(["a", ""])},
        {"lists": pa.array([[1], [2, 3]])},
        {"values": pa.array([1, 2])},
    ],
)
def test_every_change_changes_the_digest(changes):
    columns = {name: TABLE[name] for name in TABLE.column_names} | changes
    assert digest_of(pa.table(columns)) != digest_of(TABLE)


def test_other_content_under_the_digest_is_named(tmp_path):
    path = write_table(tmp_path / "t.parquet", TABLE)
    about = pq.read_schema(path).metadata
    pq.write_table(TABLE.slice(0, 1).replace_schema_metadata(about), path)
    with pytest.raises(ValueError, match=r"t\.parquet is damaged.*restore it or delete it"):
        open_table(path)
    pq.write_table(TABLE, path)  # written before there was a digest
    assert open_table(path).num_rows == 2


def test_a_point_in_ruins_is_named_and_computed_again(tmp_path, capfd):
    settings = {"name": "demo", "recipe": 1, "store": tmp_path}
    points = records.grid(seed=[0, 1])
    for place in range(2):
        records.compute(lambda seed: {"value": seed}, points, shard=(place, 2), progress=False, **settings)
    file = min((tmp_path / ".points" / "demo").iterdir())
    file.write_bytes(file.read_bytes()[:-9])
    calls = []
    table = records.compute(lambda seed: calls.append(seed) or {"value": seed}, points, **settings)
    assert len(calls) == 1 and sorted(table["value"]) == [0, 1]
    assert f"computed again, since cannot read {file}" in capfd.readouterr().err


def test_a_second_merge_waits_for_the_first(tmp_path):
    records.compute(lambda seed: {"value": seed}, records.grid(seed=[0]), name="t", recipe=1, store=tmp_path)
    merging = threading.Thread(target=lambda: records.merge("t", tmp_path, recipe=1))
    with alone_in(tmp_path):
        merging.start()
        merging.join(0.3)
        assert merging.is_alive()
    merging.join(10)
    assert not merging.is_alive() and isinstance(records.read("t", tmp_path), pd.DataFrame)


def test_a_store_that_forgets_is_an_error(tmp_path, monkeypatch):
    from metamerlib.report import records as module

    monkeypatch.setattr(module, "write_table", lambda path, table: path)
    with pytest.raises(OSError, match="does not give back 1 points"):
        records.compute(lambda seed: {"value": seed}, records.grid(seed=[0]), name="t", recipe=1, store=tmp_path)
