import networkx as nx
import numpy as np
import pytest

from metamerlib.metrics.spectrum import spectrum_distance
from tests.helpers.exact import plain, to_data


def test_complete_graphs_and_squares_by_hand():
    # K4 has 0 and three times 4/3; a square has 0, 1, 1, 2.
    assert spectrum_distance(to_data(nx.complete_graph(4)), to_data(nx.cycle_graph(4))) == pytest.approx(
        (1 / 3 + 1 / 3 + 2 / 3) / 4
    )


def test_rings_by_their_cosines():
    def ring(n):
        return 1 - np.cos(2 * np.pi * np.arange(n) / n)

    two = nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(5))
    wanted = np.abs(np.sort(np.concatenate([ring(3), ring(5)])) - np.sort(ring(8))).mean()
    assert spectrum_distance(to_data(two), to_data(nx.cycle_graph(8))) == pytest.approx(wanted)


def test_loose_nodes_have_eigenvalue_zero_as_in_networkx():
    graph, other = nx.gnm_random_graph(40, 30, seed=0), nx.gnm_random_graph(40, 60, seed=0)
    ours, theirs = (np.sort(nx.normalized_laplacian_spectrum(each)) for each in (graph, other))
    assert spectrum_distance(to_data(graph), to_data(other)) == pytest.approx(np.abs(ours - theirs).mean(), abs=1e-9)


def test_molecules_that_refinement_cannot_tell_apart():
    assert spectrum_distance(plain("decalin"), plain("bicyclopentyl")) > 0.05


@pytest.mark.parametrize("degree, edges", [(3, 1200), (8, 1500)])
def test_approximation_is_close(degree, edges):
    one, other = to_data(nx.random_regular_graph(degree, 600, seed=0)), to_data(nx.gnm_random_graph(600, edges, seed=0))
    exact, near = (spectrum_distance(one, other, exact=exact) for exact in (True, False))
    assert near == pytest.approx(exact, abs=0.01) and exact > 0.03
    assert spectrum_distance(one, one, exact=False) == 0
