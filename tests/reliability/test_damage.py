"""Files cut off and with single bits turned over: named as damaged, made again, or read as they were written."""

import random
from pathlib import Path

import pandas as pd
import pytest
import torch

import metamerlib as ml
from metamerlib.graphs.saved import read_graph
from metamerlib.report import records

CUTS, FLIPS = 15, 150
POINTS = records.grid(seed=[0, 1, 2])


def value(seed):
    return [{"value": seed / 3 + part, "name": f"{seed}-{part}", "count": seed * part, "note": None} for part in (0, 1)]


def compute(store):
    return records.compute(value, POINTS, name="demo", recipe=1, store=store, progress=True)


def damaged(content: bytes):
    """Yield the content cut off, and with one bit turned over."""
    moments = random.Random(len(content))
    for place in range(CUTS):
        yield content[: len(content) * place // CUTS]
    for _ in range(FLIPS):
        place = moments.randrange(len(content))
        yield content[:place] + bytes([content[place] ^ (1 << moments.randrange(8))]) + content[place + 1 :]


def table(folder):
    compute(folder)
    return folder / "demo.parquet", lambda path: records.read("demo", folder), pd.DataFrame.equals


def run_table(folder):
    compute(folder)
    return folder / "demo.runs.parquet", lambda path: records.read_runs("demo", folder), pd.DataFrame.equals


def same_metamer(one, two):
    graphs = [(one.graph.x, two.graph.x), (one.reference.x, two.reference.x), (one.start.x, two.start.x)]
    graphs += [(one.graph.edge_index, two.graph.edge_index), (one.target, two.target), (one.activation, two.activation)]
    plain = [(getattr(one, name), getattr(two, name)) for name in ("layer", "loss", "status", "steps", "settings")]
    return all(torch.equal(*pair) for pair in graphs) and all(a == b for a, b in plain)


def metamer(folder):
    graph = ml.load_graph("karate")
    model, _ = ml.records.trained_model("gcn", graph, seed=0, hidden_channels=8, epochs=5)
    ml.find_metamer(model, graph, layer=1, max_steps=20).save(folder / "m.pt")
    return folder / "m.pt", ml.Metamer.load, same_metamer


def same_graph(one, two):
    return one.to_dict().keys() == two.to_dict().keys() and all(
        torch.equal(value, two[name]) if isinstance(value, torch.Tensor) else value == two[name]
        for name, value in one.to_dict().items()
    )


def graph(folder):
    torch.save(ml.load_graph("karate"), folder / "g.pt")
    return folder / "g.pt", read_graph, same_graph


@pytest.mark.parametrize("kind", [table, run_table, metamer, graph], ids=lambda kind: kind.__name__)
def test_damage_is_named_or_does_no_harm(kind, tmp_path, record_property):
    path, read, same = kind(tmp_path)
    content, written = path.read_bytes(), read(path)
    named = 0
    for spoilt in damaged(content):
        path.write_bytes(spoilt)
        try:
            found = read(path)
        except ValueError as error:
            named += 1
            assert str(path) in str(error)
        else:
            assert same(found, written)
    record_property("cases", CUTS + FLIPS)
    assert named > (CUTS + FLIPS) / 2


def test_damaged_points_are_named_and_computed_again(tmp_path, record_property, capfd):
    whole = tmp_path / "whole"
    written = compute(whole)
    for shard in range(2):
        records.compute(value, POINTS, name="demo", recipe=1, store=tmp_path / "s", shard=(shard, 2), progress=False)
    parts = {path: path.read_bytes() for path in (tmp_path / "s" / ".points" / "demo").glob("*.parquet")}
    path = min(parts)
    named = 0
    for spoilt in damaged(parts[path]):
        for part, content in parts.items():
            part.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content)
        path.write_bytes(spoilt)
        capfd.readouterr()
        assert compute(tmp_path / "s").equals(written)
        named += str(path) in capfd.readouterr().err
        merged = tmp_path / "s" / "demo.parquet"
        assert merged.read_bytes() == (whole / "demo.parquet").read_bytes()
        merged.unlink(), (tmp_path / "s" / "demo.runs.parquet").unlink()
    record_property("cases", CUTS + FLIPS)
    assert named > (CUTS + FLIPS) / 2


def test_damaged_models_are_named_and_trained_again(tmp_path, record_property, capfd):
    torch.manual_seed(0)
    state = {**torch.nn.Linear(5, 3).state_dict(), "test_accuracy": 0.5}

    def fetch():
        return records.cached_state(1, "graph", {"seed": 0}, lambda: state, tmp_path)

    fetch()
    (path,) = tmp_path.iterdir()
    content, named = path.read_bytes(), 0
    for spoilt in damaged(content):
        path.write_bytes(spoilt)
        capfd.readouterr()
        found = fetch()
        named += str(path) in capfd.readouterr().err
        assert found.keys() == state.keys()
        assert all(torch.equal(torch.as_tensor(found[name]), torch.as_tensor(state[name])) for name in state)
    record_property("cases", CUTS + FLIPS)
    assert named > (CUTS + FLIPS) / 2


def test_damaged_caches_of_public_graphs_are_named(tmp_path, record_property):
    """What PyTorch Geometric keeps in `processed` is made anew once the folder is deleted, as the error says."""
    raw = tmp_path / "MUTAG" / "raw"
    raw.mkdir(parents=True)
    texts = {"A": "1, 2\n2, 1\n3, 4\n4, 3", "graph_indicator": "1\n1\n2\n2", "graph_labels": "1\n-1"}
    for name, text in (texts | {"node_labels": "0\n1\n2\n0"}).items():
        (raw / f"MUTAG_{name}.txt").write_text(text + "\n")
    written = ml.load_graphs("MUTAG", root=tmp_path)
    path = Path(tmp_path, "MUTAG", "processed", "data.pt")
    content, named = path.read_bytes(), 0
    for spoilt in damaged(content):
        path.write_bytes(spoilt)
        try:
            found = ml.load_graphs("MUTAG", root=tmp_path)
        except ValueError as error:
            named += 1
            assert str(path) in str(error)
        else:
            assert all(map(same_graph, found, written))
    record_property("cases", CUTS + FLIPS)
    assert named > (CUTS + FLIPS) / 2
