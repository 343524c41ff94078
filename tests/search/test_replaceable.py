import pytest
import torch

import metamerlib as ml
from metamerlib.graphs.edges import undirected_pairs
from metamerlib.metrics.matching import relative_error
from metamerlib.metrics.structure import edge_jaccard
from metamerlib.search import replaceable
from metamerlib.search.replaceable import overlap, replaceable_share

LADDER = (0.0, 0.2, 0.5)


@pytest.fixture(scope="module")
def graph():
    return ml.load_graph("davis")


def build(graph, conv="gcn"):
    torch.manual_seed(0)
    return ml.GNN(conv=conv, in_channels=graph.num_features, hidden_channels=4, out_channels=2, num_layers=2).eval()


@pytest.mark.parametrize("vary", ["structure", "features"])
def test_the_certificate_holds_and_the_best_error_falls(vary, graph):
    model = build(graph)
    found = replaceable_share(model, graph, layer=2, vary=vary, relative_error=0.18, ladder=LADDER, max_steps=60)
    rungs = found.rungs
    assert rungs["best_error"].is_monotonic_decreasing and rungs["max_overlap"].is_monotonic_increasing
    assert (rungs["overlap"] <= rungs["max_overlap"] + 1e-9).all()
    assert (rungs["best_error"].iloc[:-1] > 0.18).all() and found.share == 1 - rungs["max_overlap"].iloc[-1] > 0
    metamer = found.metamer
    with torch.no_grad():
        now, then = (model(each.x, each.edge_index) for each in (metamer.graph, graph))
    assert relative_error(now, then) <= 0.18 and metamer.relative_error == pytest.approx(
        relative_error(now, then), 1e-3
    )
    if vary == "structure":
        assert undirected_pairs(metamer.graph).size(1) == undirected_pairs(graph).size(1)
        jaccard = edge_jaccard(metamer.graph, graph)
        assert overlap(metamer.graph, graph, vary) == pytest.approx(2 * jaccard / (1 + jaccard))
    else:
        assert metamer.graph.x.sum() == graph.x.sum()


def test_a_model_that_reads_nothing_lets_everything_go(graph):
    model = build(graph)
    model.layers[0].conv.lin.weight.data[1:] = 0  # one number of each node is all that it reads
    found = replaceable_share(model, graph, layer=2, vary="features", relative_error=0.3, max_steps=100)
    assert found.share == 1.0 and len(found.rungs) == 1


def test_nothing_is_replaceable_where_no_rung_is_reached(graph):
    found = replaceable_share(build(graph), graph, layer=1, relative_error=1e-6, ladder=(0.0, 0.1), max_steps=5)
    assert found.share == 0 and found.metamer is None and len(found.rungs) == 2


def test_a_stopped_climb_goes_on_where_it_was(graph, tmp_path, monkeypatch):
    model, options = build(graph), {"layer": 2, "relative_error": 0.02, "ladder": (0.0, 0.2, 0.4), "max_steps": 30}
    whole = replaceable_share(model, graph, folder=tmp_path / "whole", **options)
    assert len(whole.rungs) > 1
    search, calls = replaceable.find_metamer, []

    def once(*args, **keywords):
        if calls:
            raise KeyboardInterrupt
        calls.append(keywords["max_overlap"])
        return search(*args, **keywords)

    monkeypatch.setattr(replaceable, "find_metamer", once)
    with pytest.raises(KeyboardInterrupt):
        replaceable_share(model, graph, folder=tmp_path / "half", **options)
    monkeypatch.setattr(replaceable, "find_metamer", search)
    again = replaceable_share(model, graph, folder=tmp_path / "half", **options)
    assert again.rungs.equals(whole.rungs) and again.share == whole.share
    other = graph.clone()
    other.x = other.x.flip(0)
    with pytest.raises(ValueError, match="another reference"):
        replaceable_share(model, other, folder=tmp_path / "half", **options)


@pytest.mark.parametrize("ladder", [(), (0.5, 0.2), (0.0, 1.0), (-0.1,)])
def test_ladders_that_do_not_rise_are_refused(ladder, graph):
    with pytest.raises(ValueError, match=r"must rise|give 1 at least"):
        replaceable_share(build(graph), graph, layer=1, ladder=ladder)
