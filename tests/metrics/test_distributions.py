import networkx as nx
import pytest
import torch

from metamerlib.metrics.spectrum import clustering_distance, degree_distance
from tests.helpers.exact import to_data


def test_degrees_by_hand():
    star, path = to_data(nx.star_graph(3)), to_data(nx.path_graph(4))
    # Sorted degrees 1 1 1 3 beside 1 1 2 2.
    assert degree_distance(star, path) == pytest.approx((1 + 1) / 4)
    assert degree_distance(star, star) == 0


def test_clustering_by_hand():
    paw = nx.Graph([(0, 1), (1, 2), (2, 0), (2, 3)])
    # 0, 1/3, 1, 1 beside a triangle's 1, 1, 1 and a loose node's 0.
    triangle = to_data(nx.Graph([(0, 1), (1, 2), (2, 0)]), torch.ones(4, 1))
    assert clustering_distance(to_data(paw), triangle) == pytest.approx((2 / 3) / 4)


def test_names_and_numbers_of_nodes_do_not_matter():
    graph = nx.gnm_random_graph(30, 80, seed=1)
    other = nx.relabel_nodes(graph, dict(zip(range(30), reversed(range(30)), strict=True)))
    twice = nx.disjoint_union(graph, graph)
    for distance in (degree_distance, clustering_distance):
        assert distance(to_data(graph), to_data(other)) == pytest.approx(0, abs=1e-12)
        assert distance(to_data(graph), to_data(twice)) == pytest.approx(0, abs=1e-12)
