import copy

import pytest
import torch
from torch import nn
from torch_geometric.nn.models import GCN

import metamerlib as ml
from metamerlib.models.convolutions import CONVOLUTIONS
from metamerlib.search.features.starts import graph_starts
from tests.helpers.graphs import WIDTH, gnn, rings_and_stars
from tests.helpers.metamers import check_honest, loss_of

GRAPHS = rings_and_stars(4)


def alone(model, metamer, **options):
    """Search for one graph from the start that it had among the others."""
    return ml.find_metamer(model, metamer.reference, start=metamer.start.x, **options)


@pytest.mark.parametrize("conv, layer", [("gcn", 1), ("gin", 2), ("sage", "pool"), ("gcn", "head")])
def test_each_graph_gets_what_it_gets_alone(conv, layer):
    model = gnn(conv=conv)
    for metamer in ml.find_metamers(model, GRAPHS[:3], layer=layer, max_steps=150):
        check_honest(model, metamer, layer)
        single = alone(model, metamer, layer=layer, max_steps=150)
        assert (single.status, single.layer) == (metamer.status, metamer.layer)
        first = min(20, len(single.history))
        early = [m.history.loss[:first].to_list() for m in (metamer, single)]
        assert early[0] == pytest.approx(early[1], rel=1e-6)


@pytest.mark.parametrize("conv", sorted(set(CONVOLUTIONS) - {"gcn", "gin", "sage"}))
def test_every_convolution_keeps_graphs_of_a_union_apart(conv):
    model = gnn(conv=conv)
    for metamer in ml.find_metamers(model, GRAPHS, layer=1, max_steps=15):
        assert metamer.loss == pytest.approx(loss_of(model, metamer, 1), rel=1e-6)
        assert metamer.loss == pytest.approx(metamer.history.loss.min(), rel=1e-4)


def test_one_graph_gets_exactly_what_find_metamer_gives():
    (many,) = ml.find_metamers(gnn(), GRAPHS[:1], layer=1, seed=5)
    one = ml.find_metamer(gnn(), GRAPHS[0], layer=1, seed=5)
    assert torch.equal(many.start.x, one.start.x) and (many.status, many.steps) == (one.status, one.steps)
    torch.testing.assert_close(many.graph.x, one.graph.x, rtol=1e-6, atol=1e-6)
    assert many.settings | {"place": 0} == many.settings and many.settings["row_space"] == one.settings["row_space"]


def test_company_changes_nothing():
    starts = graph_starts(GRAPHS, None, 0)
    few, all_of_them = (ml.find_metamers(gnn(), GRAPHS[:k], layer=1, start=starts[:k]) for k in (2, 4))
    for one, other in zip(few, all_of_them, strict=False):
        assert (one.status, one.steps) == (other.status, other.steps)
        torch.testing.assert_close(one.graph.x, other.graph.x, rtol=1e-6, atol=1e-6)


def test_same_seed_same_result_and_nothing_given_is_changed():
    model, graphs = gnn().train(), [graph.clone() for graph in GRAPHS]
    state = copy.deepcopy(model.state_dict())
    first, again, other = (ml.find_metamers(model, graphs, layer=1, seed=seed) for seed in (0, 0, 1))
    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a.graph.x, b.graph.x) and not torch.equal(a.graph.x, c.graph.x)
    assert model.training and all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(a.x, b.x) and "batch" not in a for a, b in zip(graphs, GRAPHS, strict=True))


def test_converged_graph_keeps_its_iterate_while_others_go_on():
    starts = [graph.x + 0.01 * (1 + 100 * (i > 0)) for i, graph in enumerate(GRAPHS)]
    metamers = ml.find_metamers(gnn(), GRAPHS, layer=1, start=starts)
    assert metamers[0].steps < min(m.steps for m in metamers[1:])
    assert len(metamers[0].history) == metamers[0].steps and metamers[0].history.loss.iloc[-1] <= 1e-4


def test_status_is_of_each_graph():
    starts = [GRAPHS[0].x, *graph_starts(GRAPHS[1:], None, 0)]
    metamers = ml.find_metamers(gnn(), GRAPHS, layer=1, start=starts, max_steps=3, rtol=1e-12)
    assert [m.status for m in metamers] == ["converged"] + ["max_steps"] * 3
    assert [m.steps for m in metamers] == [1, 3, 3, 3]


@pytest.mark.parametrize("layer", [1, "pool"])
def test_adam_searches_all_features(layer):
    model = gnn(act="elu")
    metamers = ml.find_metamers(model, GRAPHS, layer=layer, solver="adam", max_steps=20)
    for metamer in metamers:
        single = alone(model, metamer, layer=layer, solver="adam", max_steps=20)
        assert metamer.status == single.status and metamer.loss == pytest.approx(single.loss, rel=1e-6)
        assert metamer.settings["row_space"] is None


def test_node_level_models_of_others_are_searched_too():
    torch.manual_seed(0)
    model = GCN(WIDTH, 16, 2, 2).double()
    for metamer in ml.find_metamers(model, GRAPHS, layer="convs.0"):
        assert metamer.status == "converged" and metamer.activation.shape == (metamer.graph.num_nodes, 16)


class Coupled(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(WIDTH, 4).double()

    def forward(self, x, edge_index):
        return self.lin(x) / self.lin(x).norm()


class Summed(Coupled):
    def forward(self, x, edge_index):
        return self.lin(x).sum(0, keepdim=True)


@pytest.mark.parametrize("model", [Coupled(), Summed()])
def test_models_that_couple_graphs_are_refused(model):
    with pytest.raises(ValueError, match=r"couples the graphs of a disjoint union.*find_metamer for each"):
        ml.find_metamers(model, GRAPHS, layer=model)


def test_pair_norm_needs_its_batch_and_gets_it():
    metamers = ml.find_metamers(gnn(norm="pair"), GRAPHS, layer=1)
    assert all(m.status == "converged" for m in metamers)


def test_graph_whose_target_is_zero_is_named():
    graphs = [graph.clone() for graph in GRAPHS]
    graphs[2].x = torch.zeros_like(graphs[2].x)
    model = gnn()
    for layer in model.layers:
        nn.init.zeros_(layer.conv.bias)
    with pytest.raises(ValueError, match=r"graphs\[2\]: the target activation is zero"):
        ml.find_metamers(model, graphs, layer=1)


@pytest.mark.parametrize(
    "changes, error, text",
    [
        ({"graphs": []}, ValueError, "list of graphs is empty"),
        ({"graphs": GRAPHS[0]}, TypeError, "must be a list"),
        ({"layer": 7}, ValueError, "layer 7 does not exist"),
        ({"start": "noise"}, ValueError, "unknown start 'noise'"),
        ({"start": 3}, TypeError, "start must be a name or a list"),
        ({"start": [GRAPHS[0].x]}, ValueError, "start holds 1 features for 4 graphs"),
        ({"start": [GRAPHS[0].x] * 4}, ValueError, "features have 4 rows but the graph has 5 nodes"),
        ({"solver": "newton"}, ValueError, "unknown solver 'newton'"),
        ({"rtol": -1.0}, ValueError, "rtol must be positive"),
        ({"slope": 0.1, "solver": "lbfgs"}, ValueError, "slope is no gradient"),
        ({"model": gnn(in_channels=4)}, ValueError, "takes 4 features but the graph has 6"),
    ],
)
def test_wrong_input_is_refused(changes, error, text):
    given = {"model": gnn(), "graphs": GRAPHS, "layer": 1} | changes
    with pytest.raises(error, match=text):
        ml.find_metamers(given.pop("model"), given.pop("graphs"), **given)


def test_starts_are_of_the_moments_of_all_nodes():
    graphs = [copy.copy(graph) for graph in GRAPHS]
    for place, graph in enumerate(graphs):
        graph.x = torch.full_like(graph.x, float(place))
    starts = graph_starts(graphs, None, 0)
    assert all(not torch.equal(x, graph.x) for x, graph in zip(starts, graphs, strict=True))
    assert all(torch.equal(x, g.x) for x, g in zip(graph_starts(graphs, "reference", 0), graphs, strict=True))
