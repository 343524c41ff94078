"""A run that is killed with signal 9, and one that is shared out, give the bytes of one that is left alone."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metamerlib import records

POINTS = records.grid(graph=["karate", "davis"], seed=list(range(8)))
PROGRAM = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_resume import run
run(sys.argv[1], pause=0.05)
"""


def experiment(graph, seed):
    """Three rows with floats, text and a hole."""
    return [{"value": (seed + len(graph)) / (3 + i), "name": f"{graph}-{i}" if seed else None} for i in range(3)]


def run(store, pause=0.0):
    def experiment_of(graph, seed):
        time.sleep(pause)
        return experiment(graph, seed)

    return records.compute(experiment_of, POINTS, name="demo", recipe=1, store=store, progress=False)


def start(store, shard="0/1"):
    environment = {**os.environ, records.SHARD_VARIABLE: shard, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(store)], env=environment)


def finished(store):
    return {path.stem for path in (store / ".points/demo").glob("[!.]*.parquet")}


def kill_after(process, store, count):
    """Kill a run as soon as it has computed `count` points more, in the middle of the next."""
    before = len(finished(store))
    end = time.monotonic() + 30
    while len(finished(store)) < before + count and time.monotonic() < end:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    store = tmp_path_factory.mktemp("untouched")
    run(store)
    return (store / "demo.parquet").read_bytes()


def test_killed_twice_and_run_again(tmp_path, untouched):
    for _ in range(2):
        kill_after(start(tmp_path), tmp_path, 4)
        assert not (tmp_path / "demo.parquet").exists()
    assert 8 <= len(finished(tmp_path)) < len(POINTS)
    run(tmp_path)
    assert (tmp_path / "demo.parquet").read_bytes() == untouched
    assert not finished(tmp_path) and len(records.read_runs("demo", tmp_path)) == len(POINTS)


def test_killed_between_merging_and_tidying_up(tmp_path, untouched):
    for i in range(2):
        records.compute(experiment, POINTS, name="demo", recipe=1, store=tmp_path, shard=(i, 2), progress=False)
    shutil.copytree(tmp_path / ".points", tmp_path / "kept")
    run(tmp_path)
    (tmp_path / "kept").rename(tmp_path / ".points")
    run(tmp_path)
    assert (tmp_path / "demo.parquet").read_bytes() == untouched and not finished(tmp_path)


def test_shards_at_once_one_of_them_killed(tmp_path, untouched):
    first, second = start(tmp_path, "0/2"), start(tmp_path, "1/2")
    kill_after(second, tmp_path, 3)
    assert first.wait() == 0 and not (tmp_path / "demo.parquet").exists()
    assert start(tmp_path, "1/2").wait() == 0
    assert len(finished(tmp_path)) == len(POINTS)
    run(tmp_path, pause=60)
    assert (tmp_path / "demo.parquet").read_bytes() == untouched
    assert set(records.read_runs("demo", tmp_path)["shard"]) == {"0/2", "1/2"}


@pytest.mark.parametrize("shard", ["2/2", "half", "1", "-1/2"])
def test_malformed_shard_is_refused(tmp_path, monkeypatch, shard):
    monkeypatch.setenv(records.SHARD_VARIABLE, shard)
    with pytest.raises(ValueError, match="with 0 <= i < n"):
        run(tmp_path)


def test_shard_hands_back_no_failed_rows(tmp_path):
    def failing(graph, seed):
        return experiment(graph, seed) if graph == "karate" else 1 / 0

    settings = {"name": "demo", "recipe": 1, "store": tmp_path, "progress": False}
    parts = [records.compute(failing, POINTS, shard=(i, 2), **settings) for i in range(2)]
    assert [part["error"].isna().all() for part in parts] == [True, True]
    assert records.compute(failing, POINTS, **settings)["error"].notna().sum() == 8


def test_table_names_the_function_that_computes_it(tmp_path):
    import pyarrow.parquet as pq

    def renamed(graph, seed):
        raise AssertionError("nothing is left to compute")

    run(tmp_path)
    assert pq.read_schema(tmp_path / "demo.parquet").metadata[b"function"] == b"experiment_of"
    records.compute(renamed, POINTS, name="demo", recipe=1, store=tmp_path, progress=False)
    assert pq.read_schema(tmp_path / "demo.parquet").metadata[b"function"] == b"renamed"
