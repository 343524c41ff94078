"""Few flips that change a class: against closed forms and against every set of flips of a small graph."""

import itertools

import pytest
import torch
from torch import nn
from torch_geometric.data import Data

import metamerlib as ml
from metamerlib.graphs.edges import both_directions, undirected_pairs
from metamerlib.models.flips import fewest_flips


class Votes(nn.Module):
    """Score of a class: what a node and its neighbours hold of it; a linear model of bits and of edges."""

    def forward(self, x, edge_index, edge_weight=None):
        source, target = edge_index
        weight = x.new_ones(source.numel()) if edge_weight is None else edge_weight
        return x.index_add(0, target, x[source] * weight[:, None])


class Unweighted(nn.Module):
    def forward(self, x, edge_index):
        return x.index_add(0, edge_index[1], x[edge_index[0]])


def star(votes):
    """Node 0 with a neighbour for each vote; as many strangers of class 1."""
    classes = torch.tensor([0, *votes, *[1] * len(votes)])
    x = nn.functional.one_hot(classes, 2).float()
    leaves = torch.arange(1, len(votes) + 1)
    return Data(x=x, edge_index=both_directions(torch.stack([torch.zeros_like(leaves), leaves])))


@pytest.mark.parametrize(("votes", "needed"), [([0, 0], 4), ([0, 0, 0], 5), ([0, 1], 2), ([1], 1), ([0, 0, 1, 1], 2)])
def test_as_many_votes_are_flipped_as_the_margin_has(votes, needed):
    # Each flip of an edge, a vote lost or one for the other class won, lowers the margin by 1; below 0 needs one more.
    graph = star(votes)
    found = fewest_flips(Votes(), graph, 0)
    margin = 1 + votes.count(0) - votes.count(1)
    assert needed == margin + 1
    assert found.changed and len(found) == needed
    assert found.margins == [margin - k for k in range(needed + 1)]
    assert Votes()(found.graph.x, found.graph.edge_index)[0].argmax() == 1
    before, after = ({tuple(pair) for pair in undirected_pairs(each).T.tolist()} for each in (graph, found.graph))
    assert before ^ after == {tuple(sorted(pair)) for pair in found.flipped.T.tolist()}


def test_bits_count_as_often_as_they_are_read():
    graph = star([0, 0])
    found = fewest_flips(Votes(), graph, 0, vary="features")
    assert found.changed and len(found) == 4  # margin 3: four bits of the node and its two neighbours
    assert set(found.flipped[0].tolist()) <= {0, 1, 2}
    assert int((found.graph.x != graph.x).sum()) == 4
    assert torch.equal(found.graph.edge_index, graph.edge_index)


def test_what_most_flips_do_not_change_is_said():
    found = fewest_flips(Votes(), star([0, 0, 0]), 0, most=2)
    assert not found.changed and len(found) == 2 and found.margins == [4, 3, 2]


def test_a_flip_that_is_not_needed_is_taken_back():
    class Gate(nn.Module):
        """Margin 3; the first column alone lowers it by 2, the second by 1, and all of the third by 4."""

        def forward(self, x):
            scores = 3 - 2 * x[:, 0] - x[:, 1] - 4 * x[:, 2] * x[:, 0]
            return torch.stack([scores, torch.zeros_like(scores)], dim=1)

    graph = Data(x=torch.zeros(1, 3), edge_index=torch.empty(2, 0, dtype=torch.long))
    found = fewest_flips(Gate(), graph, 0, vary="features")
    assert found.changed and sorted(found.flipped[1].tolist()) == [0, 2] and len(found) == 2


@pytest.mark.parametrize("node", [4, 13, 24])
def test_no_smaller_set_of_flips_changes_the_class(node):
    graph = ml.load_graph("karate")
    torch.manual_seed(1)
    model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
    model = ml.train(model, graph, epochs=40, seed=1).model
    present = {tuple(pair) for pair in undirected_pairs(graph).T.tolist()}
    candidates = present | {tuple(sorted((node, other))) for other in range(34) if other != node}
    own = model(graph.x, graph.edge_index)[node].argmax()

    def changes(flips):
        edges = torch.tensor(sorted(present ^ set(flips))).T
        return model(graph.x, both_directions(edges))[node].argmax() != own

    found = fewest_flips(model, graph, node, tried=100)
    assert found.changed and changes({tuple(pair) for pair in found.flipped.T.tolist()})
    for count in range(1, len(found)):
        assert not any(changes(flips) for flips in itertools.combinations(sorted(candidates), count))


def test_model_and_graph_are_left_as_they_were():
    graph = ml.load_graph("karate")
    x, edges = graph.x.clone(), graph.edge_index.clone()
    model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=4, out_channels=4, num_layers=2).train()
    fewest_flips(model, graph, 3, most=2)
    assert model.training and all(p.requires_grad and p.grad is None for p in model.parameters())
    assert torch.equal(graph.x, x) and torch.equal(graph.edge_index, edges) and "edge_weight" not in graph


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (dict(node=9), ValueError, "node"),
        (dict(node=0.5), TypeError, "node"),
        (dict(vary="edges"), ValueError, "vary"),
        (dict(most=0), ValueError, "most"),
        (dict(tried=0), ValueError, "tried"),
        (dict(model=Unweighted()), ValueError, "edge_weight"),
        (
            dict(graph=Data(x=torch.rand(5, 2), edge_index=star([0, 0]).edge_index), vary="features"),
            ValueError,
            "zeros",
        ),
        (dict(graph="Cora"), TypeError, "graph"),
        (dict(graph=Data(x=torch.ones(3, 2), edge_index=torch.tensor([[0], [1]]))), ValueError, "undirected"),
    ],
)
def test_bad_input_is_named(change, error, text):
    arguments = {"model": Votes(), "graph": star([0, 0]), "node": 0, **change}
    with pytest.raises(error, match=text):
        fewest_flips(**arguments)


def test_weights_of_edges_are_refused():
    graph = star([0])
    graph.edge_weight = torch.ones(2)
    with pytest.raises(ValueError, match="weights"):
        fewest_flips(Votes(), graph, 0)
