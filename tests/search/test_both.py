import pytest
import torch
from torch_geometric.nn import GCNConv

import metamerlib as ml
from tests.helpers.edges import check_simple, overlap, random_graph
from tests.helpers.metamers import loss_of
from tests.search.edges.test_relaxation import model_of


def find(values, binary=False, **options):
    graph = random_graph()
    if binary:
        graph.x = (graph.x > 0).double()
    model = model_of("gcn")
    chosen = dict(layer=2, vary="both", values=values, max_steps=36, rtol=1e-9)
    return model, graph, ml.find_metamer(model, graph, **{**chosen, **options})


@pytest.mark.parametrize("values", [None, ("continuous", "weighted"), ("binary", "binary"), ["binary", "weighted"]])
def test_every_pair_of_values(values):
    model, graph, m = find(values, binary=values is not None and values[0] == "binary")
    assert m.loss == pytest.approx(loss_of(model, m, 2), rel=1e-6)
    assert m.loss <= m.history.loss.min() * (1 + 1e-6)
    assert m.loss < m.history.loss[0]
    assert not m.graph.x.equal(graph.x)
    assert not torch.equal(m.graph.edge_index, graph.edge_index)


def test_limits_hold_for_the_edges():
    _, graph, m = find(("continuous", "binary"), max_overlap=0.0)
    check_simple(m.graph, 20)
    assert overlap(m.graph, graph) == 0 == m.settings["overlap"]


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="unknown values"):
        find(("binary", "ternary"))
    with pytest.raises(ValueError, match="use solver='auto'"):
        find(None, solver="lbfgs")
    with pytest.raises(TypeError, match="pass a Data"):
        find(None, start=torch.ones(14, 6))


class OnlyAtHome(torch.nn.Module):
    """Not a number as soon as an edge or a feature has moved."""

    def __init__(self, graph):
        super().__init__()
        self.conv = GCNConv(graph.num_features, 4).double()
        self.register_buffer("home", self.mark(graph.x, graph.edge_index))

    @staticmethod
    def mark(x, edge_index):
        return x[edge_index[0]].mul(edge_index[1].unsqueeze(1) + 1.0).sum()

    def forward(self, x, edge_index):
        away = (self.mark(x, edge_index) - self.home).abs() > 1e-6
        return torch.where(away, torch.nan, self.conv(x, edge_index))


def test_a_model_that_is_never_finite_ends_in_a_status():
    graph = random_graph()
    model = OnlyAtHome(graph)
    m = ml.find_metamer(model, graph, layer=model, vary="both", max_steps=60)
    assert m.status == "non_finite" and m.steps > 0
    assert {"overlap", "overlap_start", "flips"} <= set(m.settings)
