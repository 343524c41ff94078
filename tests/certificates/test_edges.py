import math

import pytest
import torch
from torch_geometric.data import Data

import metamerlib as ml
from metamerlib.certificates.edges import edge_bits, edge_spectrum
from metamerlib.certificates.every_graph import family_losses
from metamerlib.certificates.rate_distortion import expected_loss
from metamerlib.graphs.edges import both_directions, undirected_pairs
from metamerlib.graphs.rewiring import class_mixing, mixed_edges
from tests.helpers.edges import check_simple, random_graph
from tests.search.edges.test_relaxation import model_of


def test_bits_of_free_edges():
    assert edge_bits(random_graph()) == pytest.approx(math.log2(math.comb(91, 20)))


def test_bits_at_fixed_degrees_are_near_those_of_matchings():
    """A perfect matching of 2 m nodes: (2 m)! / (m! 2^m) graphs, where the formula is exact."""
    matching = Data(edge_index=both_directions(torch.arange(12).reshape(6, 2).T), num_nodes=12)
    exact = math.factorial(12) / (math.factorial(6) * 2**6)
    assert edge_bits(matching, degrees=True) == pytest.approx(math.log2(exact))


def test_fixed_degrees_leave_fewer_bits():
    graph = random_graph(num_nodes=60, num_edges=100)
    assert 0 < edge_bits(graph, degrees=True) < edge_bits(graph)


def test_bits_of_fresh_edges_by_counting():
    graph = random_graph(num_nodes=6, num_edges=5)
    assert edge_bits(graph, fresh=True) == pytest.approx(math.log2(math.comb(10, 5)))
    assert edge_bits(random_graph(num_nodes=5, num_edges=6), fresh=True) == 0.0


def test_bits_at_fixed_degrees_without_the_old_edges():
    """Perfect matchings of 2 m nodes that share no edge with a given one, by inclusion and exclusion."""
    m = 40
    matching = Data(edge_index=both_directions(torch.arange(2 * m).reshape(m, 2).T), num_nodes=2 * m)

    def matchings(k):
        return math.factorial(2 * k) // (math.factorial(k) * 2**k)

    apart = sum((-1) ** k * math.comb(m, k) * matchings(m - k) for k in range(m + 1))
    assert edge_bits(matching, degrees=True, fresh=True) == pytest.approx(math.log2(apart), rel=1e-3)


@pytest.mark.parametrize("degrees", [False, True])
def test_without_bits_it_is_the_loss_of_random_edges(degrees):
    graph, model = random_graph(num_nodes=40, num_edges=60), model_of("gcn")
    spectrum = edge_spectrum(model, graph, layer=1, degrees=degrees, draws=300)
    start = "configuration" if degrees else "erdos-renyi"
    losses = [
        ml.find_metamer(model, graph, layer=1, vary="structure", start=start, seed=1000 + s, max_steps=1).loss
        for s in range(40)
    ]
    assert expected_loss(0, spectrum) == pytest.approx(sum(losses) / 40, rel=0.05)
    assert expected_loss(edge_bits(graph), spectrum) < expected_loss(0, spectrum)


@pytest.mark.parametrize("layer", [1, 2])
def test_estimate_against_every_graph_of_a_small_family(layer):
    """All 1 287 graphs of 7 nodes and 8 edges that share none with the reference, for eight references."""
    ratios = []
    for seed in range(8):
        graph, model = random_graph(num_nodes=7, num_edges=8, seed=seed), model_of("gcn")
        losses = family_losses(model, graph, layer)
        assert len(losses) == 1287
        spectrum = edge_spectrum(model, graph, layer=layer, fresh=True, draws=200)
        assert expected_loss(0, spectrum) == pytest.approx(float(losses.mean()), rel=0.25)
        ratios.append(float(losses.min()) / expected_loss(edge_bits(graph, fresh=True), spectrum))
    assert 0.8 < math.exp(sum(map(math.log, ratios)) / 8) < 1.5 and max(ratios) < 2.5


def test_one_draw_is_refused():
    with pytest.raises(ValueError, match="draws must be in 2"):
        edge_spectrum(model_of("gcn"), random_graph(), layer=1, draws=1)


def mixed_graph():
    """Sixty nodes of two classes, most edges within a class."""
    graph, classes = random_graph(num_nodes=60, num_edges=100), torch.arange(60) % 2
    pairs = undirected_pairs(graph)
    same = classes[pairs[0]] == classes[pairs[1]]
    graph.edge_index = both_directions(pairs[:, same | (torch.arange(100) % 4 == 0)])
    return graph, classes


def test_bits_of_graphs_that_mix_classes_alike():
    graph, classes = mixed_graph()
    (within, between), (_, other) = class_mixing(undirected_pairs(graph), classes).tolist()
    wanted = math.comb(435, within) * math.comb(435, other) * math.comb(900, between)
    assert edge_bits(graph, classes=classes) == pytest.approx(math.log2(wanted))
    assert edge_bits(graph, classes=classes) < edge_bits(graph)
    with pytest.raises(ValueError, match="choose one of them"):
        edge_bits(graph, classes=classes, degrees=True)


def test_random_graphs_mix_classes_as_the_reference_does():
    graph, classes = mixed_graph()
    pairs = undirected_pairs(graph)
    drawn = mixed_edges(pairs, classes, torch.Generator().manual_seed(0))
    check_simple(Data(edge_index=both_directions(drawn), num_nodes=60), pairs.size(1))
    assert class_mixing(drawn, classes).equal(class_mixing(pairs, classes))
    spectrum = edge_spectrum(model_of("gcn"), graph, layer=1, classes=classes)
    assert expected_loss(edge_bits(graph, classes=classes), spectrum) < expected_loss(0, spectrum)
