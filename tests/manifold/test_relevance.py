"""Shares of a direction against projections written out, and against models that see all of it or nothing."""

import pytest
import torch
from torch import nn

import metamerlib as ml
from metamerlib import csbm
from tests.helpers.metamers import WIDTH, features, gnn


class BayesRule(nn.Module):
    """The Bayes classifier written as a network: it needs the labels of the others, as the rule does."""

    def __init__(self, graph):
        super().__init__()
        self.gradient = nn.Parameter(csbm.bayes_gradient(graph)[None])
        evidence = csbm.bayes_log_odds(graph) - graph.x.double() @ csbm.bayes_gradient(graph)
        self.register_buffer("evidence", evidence)
        self.head = nn.Identity()

    def forward(self, x, edge_index):
        return self.head(x.to(self.gradient) @ self.gradient.T + self.evidence[:, None])


def off_the_mean(graph):
    """Return two directions of the features that tell nothing of the class."""
    basis = torch.linalg.qr(torch.cat([graph.mu.double()[:, None], features(1, graph.num_features, 2)], 1)).Q
    return basis[:, 1:].T


@pytest.fixture
def graph():
    return csbm.sample(num_nodes=60, num_features=8, mu=0.4, seed=3)


def test_share_of_a_linear_gcn_is_that_outside_of_its_row_space():
    karate, model = ml.load_graph("karate"), gnn(conv="gcn", act="identity", num_layers=1, in_channels=34)
    g = features(4, 34, 34)
    basis = torch.linalg.qr(model.layers[0].conv.lin.weight.detach().T).Q
    wanted = 1 - (g @ basis).square().sum(1) / g.square().sum(1)
    found = ml.manifold.tangent_share(model, karate, g, layer=1)
    torch.testing.assert_close(torch.tensor(found["tangent_share"]), wanted)
    assert (found["rank"] == 3).all() and found["dimension_share"].iloc[0] == 1 - 3 / 34


@pytest.mark.parametrize("conv", ["gcn", "sage", "gat"])
def test_share_is_that_of_the_projection(conv):
    karate = ml.load_graph("karate")
    karate.x = features(0, 34, WIDTH)
    model, g = gnn(conv=conv, act="elu"), features(5, 34, WIDTH)
    found = ml.manifold.tangent_share(model, karate, g, layer=2, nodes=[0, 9])
    for place, node in enumerate([0, 9]):
        tangent = ml.project_to_tangent(
            model, karate, g[[node]], layer=2, nodes=[node], free_nodes=[node], method="dense"
        )
        assert found["tangent_share"][place] == pytest.approx((tangent.norm() / g[node].norm()).item() ** 2, rel=1e-9)


def test_the_bayes_rule_forgets_nothing_that_matters(graph):
    table = ml.manifold.bayes_relevant_share(BayesRule(graph), graph, layer="head")
    assert table["relevant_share"].max() < 1e-12 and (table["rank"] == 1).all()


def test_a_model_that_reads_only_noise_forgets_all_that_matters(graph):
    class Noise(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(8, 2)
            self.lin.weight.data = off_the_mean(graph).float()

        def forward(self, x, edge_index):
            return self.lin(x)

    table = ml.manifold.bayes_relevant_share(Noise(), graph, layer="lin")
    assert table["relevant_share"].min() > 1 - 1e-6 and (table["dimension_share"] == 1 - 2 / 8).all()


def test_random_directions_have_the_dimension_share_on_average(graph):
    model = gnn(conv="mlp", in_channels=8, hidden_channels=8, out_channels=3, act="elu")
    draws = [ml.manifold.tangent_share(model, graph, features(s, 60, 8), layer=2)["tangent_share"] for s in range(20)]
    assert torch.tensor(draws).mean().item() == pytest.approx(1 - 3 / 8, abs=0.03)


@pytest.mark.parametrize(
    "directions, message",
    [(torch.zeros(8), "not zero"), (torch.ones(3), r"\[8\]"), ("mu", "str"), (torch.full((8,), torch.nan), "finite")],
)
def test_directions_without_a_share_are_refused(graph, directions, message):
    with pytest.raises(ValueError, match=message):
        ml.manifold.tangent_share(gnn(in_channels=8), graph, directions, layer=1)


def test_a_graph_without_a_judge_is_refused():
    with pytest.raises(ValueError, match=r"csbm\.sample"):
        ml.manifold.bayes_relevant_share(gnn(in_channels=34), ml.load_graph("karate"), layer=1)
