import math

import pytest
import torch

import metamerlib as ml
from metamerlib import csbm
from metamerlib.graphs.sampling import stratified_masks


def brute_force_log_odds(graph, i):
    """log P(x_i, A_i | y_i = 1) - log P(x_i, A_i | y_i = 0), pair by pair from the densities."""
    edges = set(map(tuple, graph.edge_index.T.tolist()))
    score = {0: 0.0, 1: 0.0}
    for label in (0, 1):
        mean = graph.mu.double() if label else -graph.mu.double()
        score[label] += float(torch.distributions.Normal(mean, graph.sigma).log_prob(graph.x[i].double()).sum())
        for j in range(graph.num_nodes):
            if j != i:
                chance = graph.p if int(graph.y[j]) == label else graph.q
                score[label] += math.log(chance if (i, j) in edges else 1 - chance)
    return score[1] - score[0]


@pytest.mark.parametrize("p, q, mu", [(0.5, 0.2, 0.3), (0.1, 0.6, torch.tensor([0.5, -1.0, 0.0]))])
def test_log_odds_equal_the_product_of_all_densities(p, q, mu):
    graph = csbm.sample(num_nodes=9, num_features=3, p=p, q=q, mu=mu, sigma=0.7, seed=3)
    expected = torch.tensor([brute_force_log_odds(graph, i) for i in range(9)], dtype=torch.float64)
    torch.testing.assert_close(csbm.bayes_log_odds(graph), expected, rtol=1e-9, atol=1e-9)


def test_log_odds_by_hand():
    graph = csbm.sample(num_nodes=3, num_features=1, p=0.5, q=0.25, mu=2.0, sigma=1.0)
    graph.x, graph.y = torch.tensor([[0.5], [0.0], [0.0]]), torch.tensor([1, 1, 0])
    graph.edge_index = torch.tensor([[0, 1], [1, 0]])
    # Node 0: 2 * 2 * 0.5 = 2, an edge to class 1 gives log 2, no edge to class 0 gives log 1.5.
    assert float(csbm.bayes_log_odds(graph)[0]) == pytest.approx(2 + math.log(2) + math.log(1.5))


def test_nodes_select_rows():
    graph = csbm.sample(num_nodes=30)
    nodes = torch.tensor([4, 2])
    torch.testing.assert_close(csbm.bayes_log_odds(graph, nodes), csbm.bayes_log_odds(graph)[nodes])
    assert torch.equal(csbm.bayes_predict(graph, graph.test_mask), csbm.bayes_predict(graph)[graph.test_mask])


def test_bayes_uses_features_and_edges():
    graph = csbm.sample(num_nodes=3000, p=0.004, q=0.001)
    accuracy = (csbm.bayes_predict(graph) == graph.y).double().mean()
    from_features = ((graph.x.sum(1) > 0) == graph.y.bool()).double().mean()
    # ||mu|| = 4 * 0.25 = sigma, so that features alone give Phi(1) = 0.841.
    assert from_features == pytest.approx(0.841, abs=0.02)
    assert accuracy > from_features + 0.05


def test_frequencies_follow_p_and_q():
    graph = csbm.sample(num_nodes=1500, p=0.02, q=0.005, seed=5)
    row, col = graph.edge_index
    ones = int(graph.y.sum())
    inside = int((graph.y[row] == graph.y[col]).sum()) / (ones * (ones - 1) + (1500 - ones) * (1499 - ones))
    across = int((graph.y[row] != graph.y[col]).sum()) / (2 * ones * (1500 - ones))
    assert (inside, across) == (pytest.approx(0.02, rel=0.05), pytest.approx(0.005, rel=0.05))
    assert graph.is_undirected() and not graph.has_self_loops() and graph.is_coalesced()


def test_seed_fixes_the_sample():
    first, second, other = (ml.load_graph("csbm", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.x, second.x) and torch.equal(first.edge_index, second.edge_index)
    assert torch.equal(first.train_mask, second.train_mask)
    assert not torch.equal(first.x, other.x)
    assert (first.p, first.q, first.sigma, first.mu.shape) == (0.02, 0.005, 1.0, (16,))


def test_masks_are_stratified():
    masks = stratified_masks(torch.tensor([0] * 10 + [1] * 20), torch.Generator())
    assert [[int(mask[:10].sum()), int(mask[10:].sum())] for mask in masks.values()] == [
        [6, 12],
        [2, 4],
        [2, 4],
    ]
    assert bool((torch.stack([*masks.values()]).sum(0) == 1).all())


@pytest.mark.parametrize(
    "wrong, text",
    [
        ({"p": 0.0}, "p = 0.0"),
        ({"q": 1.0}, "q = 1.0"),
        ({"p": math.nan}, "p must be finite, got nan"),
        ({"sigma": 0.0}, "sigma = 0.0"),
        ({"num_nodes": 0}, "num_nodes must be 1 or more, got 0"),
        ({"mu": torch.ones(3)}, r"shape \[3\]: expected a number or shape \[16\]"),
        ({"mu": math.inf}, "mu must be finite, got inf"),
    ],
)
def test_wrong_parameters_are_named(wrong, text):
    with pytest.raises(ValueError, match=text):
        csbm.sample(**wrong)


def test_other_graphs_are_refused():
    with pytest.raises(ValueError, match="no p, q, mu, sigma"):
        csbm.bayes_predict(ml.load_graph("karate"))
    graph = csbm.sample(num_nodes=20, p=0.5)
    graph.edge_index = graph.edge_index[:, 1:]
    with pytest.raises(ValueError, match="both directions"):
        csbm.bayes_predict(graph)
    weighted = csbm.sample(num_nodes=20, p=0.5)
    weighted.edge_weight = torch.full((weighted.num_edges,), 0.5)
    with pytest.raises(ValueError, match="weights other than 1"):
        csbm.bayes_predict(weighted)
