import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch_geometric.nn import GCNConv, global_add_pool
from torch_geometric.utils import to_dense_adj

import metamerlib as ml
from metamerlib.search.edges.swaps import EdgeSwaps
from tests.helpers.edges import check_simple, overlap, random_graph
from tests.helpers.metamers import loss_of
from tests.search.edges.test_relaxation import CONVOLUTIONS, model_of


def find(graph, conv="gcn", **options):
    chosen = dict(layer=2, vary="structure", max_steps=20, rtol=1e-9)
    return ml.find_metamer(model_of(conv), graph, **{**chosen, **options})


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_edges=st.integers(3, 60),
    solver=st.sampled_from(["swaps", "ste", "prbcd"]),
    start=st.sampled_from([None, "configuration", "reference"]),
    budget=st.none() | st.integers(1, 60),
    max_overlap=st.none() | st.floats(0, 1),
)
def test_results_are_simple_and_within_their_limits(seed, num_edges, solver, start, budget, max_overlap):
    graph = random_graph(num_edges=num_edges, seed=seed)
    limits = dict(budget=budget, max_overlap=max_overlap)
    try:
        m = find(graph, solver=solver, start=start, seed=seed, max_steps=4, **limits)
    except ValueError as error:
        assert any(word in str(error) for word in ("max_overlap", "holds", "does not react"))
        return
    check_simple(m.graph, num_edges)
    assert m.graph.x.equal(graph.x)
    shared = overlap(m.graph, graph)
    assert m.settings["overlap"] == shared / num_edges
    assert m.settings["flips"] == 2 * (num_edges - shared)
    assert budget is None or m.settings["flips"] <= budget
    assert max_overlap is None or shared <= max_overlap * num_edges + 1e-9
    assert m.loss <= m.history.loss.min() * (1 + 1e-6) + 1e-12


@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_loss_is_that_of_the_graph_returned(conv):
    graph = random_graph()
    m = find(graph, conv)
    assert m.loss == pytest.approx(loss_of(model_of(conv), m, 2), rel=1e-8)
    assert m.loss < m.history.loss[0]


@pytest.mark.parametrize("solver", ["swaps", "ste", "prbcd"])
def test_same_seed_same_result(solver):
    first, second, other = (find(random_graph(), solver=solver, seed=seed, max_steps=6) for seed in (0, 0, 1))
    assert first.graph.edge_index.equal(second.graph.edge_index)
    assert not first.start.edge_index.equal(other.start.edge_index)


def test_reference_is_a_metamer_of_itself():
    m = find(random_graph(), start="reference")
    assert m.loss < 1e-28
    assert (m.status, m.settings["overlap"]) == ("converged", 1.0)


def test_degrees_stay_from_the_configuration_model():
    graph = random_graph()
    m = find(graph, start="configuration", max_overlap=0.5)
    assert torch.bincount(m.graph.edge_index[0]).equal(torch.bincount(graph.edge_index[0]))


def test_some_rows_may_be_matched_and_starts_may_be_many_or_given():
    graph = random_graph()
    m = find(graph, nodes=[0, 1, 2], num_restarts=2)
    assert m.activation.shape == (3, 3)
    again = find(graph, start=m.graph, max_steps=1)
    assert again.graph.edge_index.equal(m.graph.edge_index)
    assert again.settings["start"] == "given"
    assert find(graph, solver=EdgeSwaps(steps=10), max_steps=10).steps == 10


def test_graph_level_models():
    model = model_of("gin", pool="sum")
    m = ml.find_metamer(model, random_graph(), layer="head", vary="structure", max_steps=60, rtol=1e-9)
    assert m.activation.shape == (1, 3)
    assert m.loss < m.history.loss[0]


class Foreign(nn.Module):
    def __init__(self, cached=False):
        super().__init__()
        self.conv, self.lin = GCNConv(6, 8, cached=cached), nn.Linear(8, 2)

    def forward(self, x, edge_index):
        return self.lin(global_add_pool(self.conv(x, edge_index).tanh(), None))


def test_foreign_models_and_cached_adjacency():
    torch.manual_seed(0)
    graph, model = random_graph(), Foreign(cached=True).double()
    model.eval()(graph.x, graph.edge_index)
    with pytest.warns(match=r"GCNConv\(cached=True\) at 'conv' keeps"):
        m = ml.find_metamer(model, graph, layer="lin", vary="structure", max_steps=60, rtol=1e-9)
    assert m.loss < m.history.loss[0]


class Stored(nn.Module):
    def __init__(self, graph):
        super().__init__()
        self.conv, self.edges = GCNConv(6, 4), graph.edge_index

    def forward(self, x, edge_index):
        return self.conv(x, self.edges)


def test_models_that_do_not_react_are_refused():
    graph = random_graph()
    with pytest.raises(ValueError, match="does not react to a changed edge"):
        find(graph, "mlp")
    with pytest.raises(ValueError, match="does not react to a changed edge"):
        ml.find_metamer(Stored(graph).double(), graph, layer="conv", vary="structure")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"budget": 1000}, "number of pairs of nodes"),
        ({"budget": 4, "max_overlap": 0.0}, "budget=4 keeps 18"),
        ({"max_overlap": 1.5}, r"max_overlap must lie in \[0, 1\]"),
        ({"start": "moments"}, "unknown start 'moments'"),
        ({"start": "reference", "max_overlap": 0.5}, "holds 20 of the reference's edges"),
        ({"free_nodes": [0]}, "features are fixed"),
        ({"solver": "lbfgs"}, "unknown solver 'lbfgs'"),
        ({"slope": 0.1}, "slope belongs"),
        ({"values": "ternary"}, "unknown values"),
    ],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        find(random_graph(), **options)


def test_bad_types_are_refused():
    for options in ({"budget": 2.0}, {"max_overlap": "half"}, {"start": torch.ones(14, 6)}, {"solver": 3}):
        with pytest.raises(TypeError):
            find(random_graph(), **options)


def test_directed_graphs_and_weights_are_refused():
    graph = random_graph()
    directed = graph.clone()
    directed.edge_index = graph.edge_index[:, :20]
    with pytest.raises(ValueError, match="simple and undirected"):
        find(directed)
    graph.edge_weight = torch.linspace(1, 2, 40).double()
    with pytest.raises(ValueError, match="reads \\['edge_weight'\\]"):
        find(graph)


def test_attributes_that_the_model_does_not_read_are_left_out():
    graph = random_graph()
    graph.edge_attr = torch.ones(40, 3)
    assert "edge_attr" not in find(graph).graph


class WithoutMessages(nn.Module):
    """A foreign model that reads the edges in a way of its own."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.lin = nn.Linear(6, 4).double()

    def forward(self, x, edge_index):
        return self.lin(to_dense_adj(edge_index, max_num_nodes=x.size(0))[0].to(x) @ x)


def test_a_model_that_sends_no_messages_is_searched_to_the_end():
    graph = random_graph()
    m = ml.find_metamer(WithoutMessages(), graph, layer="lin", vary="structure", max_steps=60)
    check_simple(m.graph, 20)
    assert m.loss < m.history.loss[0]
