import math

import networkx as nx
import numpy as np
import pytest
import scipy.stats
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.utils import from_networkx, is_undirected, to_networkx

from metamerlib.graphs.rewiring import swap_edges
from metamerlib.metrics.null import (
    at_nodes,
    null_distribution,
    paired_nodes,
    random_partners,
    rewired_edges,
    shuffled_features,
    standard_draws,
)
from metamerlib.probing.probe import Recording


def to_data(graph, seed=0):
    data = from_networkx(graph)
    data.x = torch.randn(data.num_nodes, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return data


def neighbour_sums(graph):
    """A model in closed form: A X, whose first two columns are the scores."""
    source, target = graph.edge_index
    sums = torch.zeros_like(graph.x).index_add(0, target, graph.x[source])
    return Recording(sums, None, False, sums[:, :2])


GRAPH = to_data(nx.gnm_random_graph(40, 100, seed=0))


def test_every_draw_is_scored_as_a_metamer_is():
    reference = neighbour_sums(GRAPH)
    nodes = torch.arange(10, 30)
    table = null_distribution({"shuffled": shuffled_features(neighbour_sums, GRAPH, draws=3)}, reference, nodes)
    assert table["kind"].tolist() == ["shuffled"] * 3 and table["draw"].tolist() == [0, 1, 2]
    for row, draw in zip(table.itertuples(), shuffled_features(neighbour_sums, GRAPH, draws=3), strict=True):
        found, target = (each.activation[nodes].numpy() for each in (draw, reference))
        error = np.linalg.norm(found - target) / np.linalg.norm(target)
        assert row.relative_error == pytest.approx(error)
        assert row.snr_db == pytest.approx(-20 * math.log10(error))
        assert row.pearson == pytest.approx(scipy.stats.pearsonr(found.ravel(), target.ravel()).statistic)
        assert row.spearman == pytest.approx(scipy.stats.spearmanr(found.ravel(), target.ravel()).statistic)
        assert row.prediction_match == (found[:, :2].argmax(1) == target[:, :2].argmax(1)).mean()


def test_standard_draws_are_reproducible_and_complete():
    reference = neighbour_sums(GRAPH)
    start = neighbour_sums(to_data(nx.gnm_random_graph(40, 100, seed=1), seed=1))

    def table(seed):
        draws = standard_draws(neighbour_sums, GRAPH, reference, start=start, draws=5, seed=seed)
        return null_distribution(draws, reference)

    assert table(0)["kind"].value_counts().to_dict() == {"paired": 5, "shuffled": 5, "rewired": 5, "start": 1}
    assert table(0).equals(table(0)) and not table(0).equals(table(1))
    assert table(0).set_index(["kind", "draw"]).isna().sum().sum() == 0


def test_a_draw_equal_to_the_reference_is_left_out():
    reference = neighbour_sums(GRAPH)
    assert null_distribution({"start": [reference]}, reference).empty
    # Every node of a cycle has degree two, so equal rows stay equal under any rewiring.
    cycle = from_networkx(nx.cycle_graph(20))
    cycle.x = torch.ones(20, 2, dtype=torch.float64)
    reference = neighbour_sums(cycle)
    assert null_distribution(standard_draws(neighbour_sums, cycle, reference, draws=3), reference).empty


def test_partners_are_never_oneself():
    for seed in range(20):
        partners = random_partners(5, np.random.default_rng(seed))
        assert partners.sort().values.tolist() == [0, 1, 2, 3, 4]
        assert not (partners == torch.arange(5)).any()


def test_paired_nodes_come_with_their_own_predictions():
    reference = neighbour_sums(GRAPH)
    for draw in paired_nodes(reference, draws=3):
        assert torch.equal(draw.activation[:, :2], draw.output)
        assert not torch.equal(draw.activation, reference.activation)
    assert not list(paired_nodes(at_nodes(reference, torch.tensor([0]))))


def test_nothing_to_shuffle_or_to_rewire():
    bare = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
    assert not list(shuffled_features(neighbour_sums, bare))
    assert not list(rewired_edges(neighbour_sums, bare))


def test_rewiring_keeps_degrees_and_simplicity_and_forgets_the_edges():
    graphs = []
    list(rewired_edges(lambda graph: graphs.append(graph), GRAPH, draws=4))
    known = set(to_networkx(GRAPH, to_undirected=True).edges)
    for graph in graphs:
        assert is_undirected(graph.edge_index) and not graph.has_self_loops() and graph.is_coalesced() is not None
        assert graph.coalesce().num_edges == GRAPH.num_edges
        assert torch.equal(graph.edge_index[0].bincount(), GRAPH.edge_index[0].bincount())
        assert torch.equal(graph.x, GRAPH.x)
        kept = known & set(to_networkx(graph, to_undirected=True).edges)
        assert len(kept) < 0.4 * len(known)
    assert len({tuple(graph.edge_index.flatten().tolist()) for graph in graphs}) == 4


def test_rewiring_carries_weights_along():
    graph = GRAPH.clone()
    low, high = graph.edge_index.sort(dim=0).values
    graph.edge_weight = (100 * low + high).double()
    list(rewired_edges(lambda rewired: check_weights(graph, rewired), graph, draws=1))


def check_weights(graph, rewired):
    weights = {(u, v): w for u, v, w in zip(*rewired.edge_index.tolist(), rewired.edge_weight.tolist(), strict=True)}
    assert all(weights[u, v] == weights[v, u] for u, v in weights)
    assert sorted(weights.values()) == sorted(graph.edge_weight.tolist())


def test_swaps_in_directed_graphs_keep_both_degrees():
    graph = nx.gnm_random_graph(30, 120, seed=0, directed=True)
    pairs = np.array(graph.edges)
    swapped = pairs
    for _ in range(10):
        swapped = swap_edges(swapped, 30, np.random.default_rng(0), directed=True)
    other = nx.DiGraph(swapped.tolist())
    assert other.number_of_edges() == 120 and not list(nx.selfloop_edges(other))
    assert dict(other.in_degree) == dict(graph.in_degree) and dict(other.out_degree) == dict(graph.out_degree)
    assert set(other.edges) != set(graph.edges)


def test_disjoint_graphs_stay_apart():
    union = Batch.from_data_list([to_data(nx.gnm_random_graph(12, 25, seed=seed)) for seed in range(3)])
    seen = []
    list(rewired_edges(lambda graph: seen.append(graph.edge_index), union, draws=2))
    for edge_index in seen:
        assert torch.equal(union.batch[edge_index[0]], union.batch[edge_index[1]])
        assert not torch.equal(edge_index, union.edge_index)


def test_every_rewiring_of_a_small_graph_is_about_as_frequent():
    # Labelled 2-regular graphs on five nodes: the 12 five-cycles.
    pairs, rng, seen = np.array([(i, (i + 1) % 5) for i in range(5)]), np.random.default_rng(0), {}
    for _ in range(6000):
        pairs = swap_edges(pairs, 5, rng)
        key = tuple(sorted(tuple(sorted(pair)) for pair in pairs.tolist()))
        seen[key] = seen.get(key, 0) + 1
    assert len(seen) == 12 and min(seen.values()) > 350 and max(seen.values()) < 650


def test_output_per_graph_stays_whole():
    recording = Recording(torch.eye(4), torch.eye(4), True, torch.zeros(2, 3))
    cut = at_nodes(recording, torch.tensor([1, 3]))
    assert len(cut.activation) == len(cut.pre_activation) == 2 and cut.output is recording.output
    assert at_nodes(recording, None) is recording
