import math

import pytest
import torch
from torch_geometric.data import Data

from metamerlib.certificates.edges import edge_bits, edge_spectrum
from metamerlib.certificates.rate_distortion import expected_loss
from metamerlib.graphs.edges import both_directions
from tests.helpers.edges import random_graph
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


@pytest.mark.parametrize("degrees", [False, True])
def test_spectrum_without_bits_is_the_distance_of_two_draws(degrees):
    graph, model = random_graph(), model_of("gcn")
    spectrum = edge_spectrum(model, graph, layer=1, degrees=degrees, draws=6)
    total = float((spectrum.values * spectrum.weights).sum()) / spectrum.norm
    assert expected_loss(0, spectrum) == pytest.approx(2 * total)
    assert expected_loss(edge_bits(graph), spectrum) < expected_loss(0, spectrum)


def test_one_draw_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        edge_spectrum(model_of("gcn"), random_graph(), layer=1, draws=1)
