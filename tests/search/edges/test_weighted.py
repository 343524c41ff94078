import pytest
import torch
from torch import nn
from torch_geometric.nn import GCNConv

import metamerlib as ml
from tests.helpers.edges import keys, overlap, random_graph
from tests.helpers.metamers import loss_of
from tests.search.edges.test_relaxation import model_of


def find(graph, conv="gcn", **options):
    chosen = dict(layer=2, vary="structure", values="weighted", max_steps=60, rtol=1e-9)
    return ml.find_metamer(model_of(conv), graph, **{**chosen, **options})


@pytest.mark.parametrize("conv", ["gcn", "cheb", "sgc", "appnp"])
def test_weights_are_real_and_never_negative(conv):
    graph = random_graph()
    m = find(graph, conv, max_overlap=0.0)
    edges = keys(m.graph)
    assert len(edges) == m.graph.edge_index.size(1)
    assert all(a != b and (b, a) in edges for a, b in edges)
    assert m.graph.edge_weight.min() > 0
    assert overlap(m.graph, graph) == 0
    assert m.loss == pytest.approx(loss_of(model_of(conv), m, 2), rel=1e-8)
    assert m.loss < m.history.loss[0]


def test_both_directions_weigh_the_same():
    m = find(random_graph())
    weight = {tuple(e): w for e, w in zip(m.graph.edge_index.T.tolist(), m.graph.edge_weight.tolist(), strict=True)}
    assert all(weight[a, b] == weight[b, a] for a, b in weight)


def test_planted_weights_are_found():
    """The start holds the edges of the reference, at weights that are far too small."""
    graph = random_graph(num_nodes=8, num_edges=10)
    start = graph.clone()
    start.edge_weight = torch.full((20,), 0.3, dtype=torch.float64)
    m = find(graph, max_steps=300, layer=1, start=start)
    assert m.loss < 1e-3 < m.history.loss[0]


def test_weighted_references_give_the_target():
    graph = random_graph()
    graph.edge_weight = torch.linspace(1, 2, 20).double().repeat(2)
    m = find(graph)
    assert m.loss < m.history.loss[0]
    again = find(graph, start=m.graph, max_steps=1)
    assert again.loss == pytest.approx(m.loss, rel=0.2, abs=1e-2)


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = GCNConv(6, 4)

    def forward(self, x, edge_index):
        return self.conv(x, edge_index)


def test_models_without_weights_are_refused():
    with pytest.raises(ValueError, match=r"sage reads no edge weights.*'gcn', 'cheb', 'sgc', 'appnp'"):
        find(random_graph(), "sage")
    with pytest.raises(ValueError, match="Plain reads no edge weights"):
        ml.find_metamer(Plain().double(), random_graph(), layer="conv", vary="structure", values="weighted")


@pytest.mark.parametrize(("options", "match"), [({"budget": 4}, "budget counts"), ({"solver": "swaps"}, "unknown")])
def test_bad_options_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        find(random_graph(), **options)
