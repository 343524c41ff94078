"""The same table, to the byte, from other processes, hash seeds, numbers of shards and orders of points."""

import itertools
import os
import random
import subprocess
import sys

import pytest

from metamerlib import records
from tests.helpers.copies import ROOT, environment

PROGRAM = """
import sys
import torch
import metamerlib as ml
from metamerlib.report import records

store, shards, order = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
SPACES = {
    "features": {}, "adam": {"solver": "adam"},
    "bits": {"values": "binary"}, "ste": {"values": "binary", "solver": "ste"},
    "edges": {"vary": "structure"}, "retreat": {"vary": "structure", "solver": "retreat", "max_overlap": 0.5},
    "weighted": {"vary": "structure", "values": "weighted"}, "both": {"vary": "both"},
    "restarts": {"num_restarts": 3}, "dimension": None, "null space": None,
}
graph = ml.load_graph("davis")
graph.x = (graph.x > 0).float()

def measure(space, seed):
    fit = ml.train(ml.GNN(conv="gcn", in_channels=graph.num_features, hidden_channels=6, out_channels=2, num_layers=2),
                   graph, epochs=10, seed=seed)
    if space == "dimension":
        return ml.metamer_dimension(fit.model, graph, layer=2)
    if space == "null space":
        return {"norm": float(ml.nullspace_metamer(fit.model, graph, seed=seed).graph.x.norm())}
    metamer = ml.find_metamer(fit.model, graph, layer=1, max_steps=15, seed=seed, **SPACES[space])
    scores = ml.compare(fit.model, metamer, null_draws=3, seed=seed)
    return {"loss": metamer.loss, "status": metamer.status, **scores.to_dict()}

points = records.grid(space=list(SPACES), seed=[0, 1])
points = points[::-1] if order else points
for shard in range(shards) if shards > 1 else []:
    records.compute(measure, points, name="demo", recipe=1, store=store, shard=(shard, shards), progress=False)
table = records.compute(measure, points, name="demo", recipe=1, store=store, progress=False)
assert table["error"].isna().all(), table["error"].dropna().tolist()
"""
WAYS = [("0", 1, 0), ("1", 1, 1), ("random", 2, 0), ("4294967295", 3, 1)]


def table_of(store, hash_seed, shards, order):
    command = [sys.executable, "-c", PROGRAM, str(store), str(shards), str(order)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(ROOT) | {"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return (store / "demo.parquet").read_bytes()


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return table_of(tmp_path_factory.mktemp("first"), *WAYS[0])


@pytest.mark.parametrize("way", WAYS[1:], ids=str)
def test_searches_and_measures(first, tmp_path, way, record_property):
    assert table_of(tmp_path, *way) == first
    record_property("cases", 22)


def test_every_order_of_points_and_shards(tmp_path):
    """Random splits of fifty points over shards, in random order, some of them computed twice."""
    moments = random.Random(0)

    def value(name, seed):
        return [{"value": seed / 7, "text": None if seed % 3 else name * part} for part in range(1 + seed % 2)]

    points = records.grid(name=["a", "b"], seed=list(range(25)))
    tables = set()
    for place in range(20):
        store, shards = tmp_path / str(place), moments.randint(1, 6)
        todo = list(itertools.chain(range(shards), moments.choices(range(shards), k=2)))
        moments.shuffle(todo), moments.shuffle(points)
        for shard in todo if shards > 1 else []:
            records.compute(value, points, name="demo", recipe=1, store=store, shard=(shard, shards), progress=False)
        records.compute(value, points, name="demo", recipe=1, store=store, progress=False)
        tables.add((store / "demo.parquet").read_bytes())
    assert len(tables) == 1
    assert os.environ.get("METAMERLIB_SHARD") is None
