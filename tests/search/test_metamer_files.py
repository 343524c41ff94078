"""Saving, loading and going on."""

import math
import pickle

import pytest
import torch

import metamerlib as ml
from tests.helpers.metamers import Narrow, features, gnn


def test_saved_metamers_come_back_whole(graph, tmp_path):
    graph.words, graph.note, graph.shapes = ["a", "b"], {"left": "out"}, [torch.ones(2)]
    m = ml.find_metamer(gnn(), graph, layer=1, nodes=[1, 2], free_nodes=[1, 2, 3], max_steps=20, rtol=1e-9)
    m.save(tmp_path / "m.pt")
    other = ml.Metamer.load(tmp_path / "m.pt")
    for name in ("target", "activation", "nodes", "free_nodes"):
        assert torch.equal(getattr(m, name), getattr(other, name))
    for name in ("layer", "loss", "relative_error", "status", "steps", "seconds", "dead_units", "settings"):
        assert getattr(m, name) == getattr(other, name)
    assert m.history.equals(other.history)
    for name in ("graph", "start", "reference"):
        one, two = getattr(m, name), getattr(other, name)
        assert all(torch.equal(v, two[k]) for k, v in one.to_dict().items() if isinstance(v, torch.Tensor))
    assert other.graph.name == "karate" and other.graph.words == ["a", "b"] and "note" not in other.graph
    assert [file.name for file in tmp_path.iterdir()] == ["m.pt"]


def test_search_goes_on_from_a_saved_metamer(graph, tmp_path):
    first = ml.find_metamer(gnn(), graph, layer=1, max_steps=10, rtol=1e-8)
    first.save(tmp_path / "m.pt")
    loaded = ml.Metamer.load(tmp_path / "m.pt")
    more = ml.find_metamer(gnn(), loaded.reference, layer=loaded.layer, start=loaded.graph.x, rtol=1e-8)
    assert more.history.loss[0] == pytest.approx(first.loss) and more.loss < first.loss
    assert more.settings["start"] == "given"


def test_failed_searches_can_be_saved_too(graph, tmp_path):
    torch.manual_seed(0)
    model = Narrow(1.0).double()
    graph.x = 0.01 * graph.x
    m = ml.find_metamer(model, graph, layer=model, start=features(3))
    m.save(tmp_path / "m.pt")
    assert math.isnan(ml.Metamer.load(tmp_path / "m.pt").loss)


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("code of the file was run",))


def test_files_with_code_are_refused_unread(tmp_path):
    for name, write in (("torch", torch.save), ("pickle", lambda o, p: p.write_bytes(pickle.dumps(o)))):
        path = tmp_path / name
        write(Evil(), path)
        with pytest.raises(ValueError, match=f"{name} is not a saved metamer"):
            ml.Metamer.load(path)
    torch.save({"x": torch.ones(2)}, tmp_path / "other")
    with pytest.raises(ValueError, match="is not a saved metamer"):
        ml.Metamer.load(tmp_path / "other")


def test_missing_files_and_folders_are_named(graph, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no metamer at .*nothing"):
        ml.Metamer.load(tmp_path / "nothing")
    m = ml.find_metamer(gnn(), graph, layer=1, start="reference")
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist; create it first"):
        m.save(tmp_path / "nowhere" / "m.pt")
