import pytest
import torch
from torch_geometric.nn import GCN, GCNConv
from torch_geometric.utils import degree

import metamerlib as ml
from metamerlib.probing.probe import Probe
from metamerlib.search.edges.refresh import check_refresh, looks_derived, refreshed


def add_degrees(graph):
    """Degree of each node and the mean degree of its neighbours, as pe ``[N, 2]``."""
    source, target = graph.edge_index
    own = degree(target, graph.num_nodes)
    mean = torch.zeros_like(own).index_add(0, target, own[source]) / own.clamp(min=1)
    graph.pe = torch.stack([own, mean], dim=1) / 5
    return graph


def with_encodings(model, graph):
    return model(torch.cat([graph.x, graph.pe], dim=1), graph.edge_index)


def with_weights(model, graph):
    return model(torch.cat([graph.x, graph.pe], dim=1), graph.edge_index, edge_weight=graph.get("edge_weight"))


def karate():
    graph = ml.load_graph("karate")
    graph.x = torch.randn(34, 5, generator=torch.Generator().manual_seed(0))
    return add_degrees(graph)


class Wide(torch.nn.Module):
    """Two layers that take features and encodings side by side."""

    def __init__(self, conv=GCNConv):
        super().__init__()
        self.convs = torch.nn.ModuleList([conv(7, 8), conv(8, 4)])

    def forward(self, x, edge_index, **weight):
        return self.convs[1](self.convs[0](x, edge_index, **weight).relu(), edge_index, **weight)


def model_of(conv=GCNConv):
    torch.manual_seed(0)
    return Wide(conv).eval()


def true_error(model, first, second, forward):
    one, other = (Probe(model, "convs.1", forward=forward)(graph).activation for graph in (first, second))
    return float((other - one).norm() / one.norm())


@pytest.mark.parametrize(
    "options",
    [
        {"vary": "structure"},
        {"vary": "structure", "start": "configuration"},
        {"vary": "structure", "values": "weighted"},
        {"vary": "both"},
        {"vary": "both", "values": ["continuous", "weighted"]},
        {"vary": "structure", "solver": "ste"},
    ],
    ids=str,
)
def test_losses_are_those_of_recomputed_encodings(options):
    graph, model, forward = karate(), model_of(), with_weights if "values" in options else with_encodings
    before = graph.pe.clone()
    found = ml.find_metamer(
        model, graph, layer="convs.1", forward=forward, refresh=add_degrees, max_steps=42, rtol=1e-12, **options
    )
    fresh = add_degrees(found.graph.clone())
    assert torch.equal(fresh.pe, found.graph.pe) and torch.equal(graph.pe, before)
    assert not torch.equal(found.graph.pe, graph.pe)
    assert true_error(model, graph, fresh, forward) == pytest.approx(found.relative_error, abs=1e-4)
    if "values" not in options:
        assert float(found.history["loss"].min()) == pytest.approx(found.loss, rel=1e-2)
    assert found.settings["held_attributes"] == []


def test_encodings_without_a_transform_are_refused():
    with pytest.raises(ValueError, match=r"the model reads 'pe' of the reference's nodes.*pass refresh="):
        ml.find_metamer(model_of(), karate(), layer="convs.1", vary="structure", forward=with_encodings)


@pytest.mark.parametrize("values", ["binary", "weighted"])
def test_other_attributes_are_held_and_named(values):
    graph = karate()
    graph.pos, graph.unread_pe = graph.pe, graph.pe
    del graph.pe

    def forward(model, graph):
        weight = graph.get("edge_weight")
        return model(torch.cat([graph.x, graph.pos], 1), graph.edge_index, edge_weight=weight)

    options = dict(layer="convs.1", vary="structure", values=values, forward=forward, max_steps=5)
    found = ml.find_metamer(model_of(), graph, **options)
    assert found.settings["held_attributes"] == ["pos"] and torch.equal(found.graph.pos, graph.pos)


def test_a_transform_that_does_nothing_holds_all():
    found = ml.find_metamer(
        model_of(), karate(), layer="convs.1", vary="structure", forward=with_encodings, max_steps=5,
        refresh=lambda graph: graph,
    )  # fmt: skip
    assert found.settings["held_attributes"] == ["pe"]


def test_features_alone_have_no_use_for_it():
    for values in ("continuous", "binary"):
        with pytest.raises(ValueError, match="here they stay; drop refresh"):
            ml.find_metamer(model_of(), karate(), layer="convs.1", values=values, refresh=add_degrees)


def other_width(graph):
    graph.pe = torch.ones(34, 3)
    return graph


def random_encodings(graph):
    graph.pe = torch.randn(34, 2)
    return graph


def longer_features(graph):
    graph.x = torch.cat([graph.x, graph.pe], dim=1)
    return graph


@pytest.mark.parametrize(
    ("refresh", "error", "words"),
    [
        (3, TypeError, "refresh must be a transform of graphs"),
        (lambda graph: None, TypeError, "refresh must return the graph"),
        (lambda graph: graph.missing.sum(), ValueError, "refresh fails on .* AttributeError"),
        (other_width, ValueError, "does not give the reference's own 'pe'; set graph = refresh"),
        (random_encodings, ValueError, "refresh is random: 'pe' differ"),
        (longer_features, ValueError, "refresh changes x"),
    ],
)
def test_transforms_that_cannot_be_used(refresh, error, words):
    with pytest.raises(error, match=words):
        check_refresh(refresh, karate())


def test_transforms_may_not_read_what_varies():
    def smooth(graph):
        graph.pe = graph.x[:, :2]
        return graph

    graph = smooth(karate())
    check_refresh(smooth, graph)
    with pytest.raises(ValueError, match="'pe' change with x, which varies too"):
        check_refresh(smooth, graph, features=True)


def test_names():
    assert all(map(looks_derived, ["pe", "lap_pe", "rwse", "EigVecs", "node_degree", "deg", "pagerank", "pe_8"]))
    assert not any(map(looks_derived, ["pos", "node_type", "species", "z", "time", "open"]))


def test_without_a_transform_the_graph_stays():
    graph = karate()
    assert refreshed(graph, None) is graph


def test_attributes_of_edges_may_be_recomputed():
    def add_sums(graph):
        own = degree(graph.edge_index[1], graph.num_nodes)
        graph.edge_weight = 1 / own[graph.edge_index].prod(0).sqrt()
        return graph

    graph = add_sums(ml.load_graph("karate"))
    model = GCN(34, 8, 2, 4, normalize=False).eval()
    found = ml.find_metamer(model, graph, layer="convs.1", vary="structure", refresh=add_sums, max_steps=10)
    assert torch.equal(found.graph.edge_weight, add_sums(found.graph.clone()).edge_weight)
