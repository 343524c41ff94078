import pytest

from metamerlib.certificates.every_graph import family_losses
from metamerlib.graphs.edges import undirected_pairs
from metamerlib.search.find import find_metamer
from tests.helpers.edges import random_graph
from tests.search.edges.test_relaxation import model_of


@pytest.mark.parametrize("conv", ["gcn", "gat", "sage"])
def test_what_a_search_finds_is_one_of_the_family(conv):
    graph, model = random_graph(num_nodes=6, num_edges=5), model_of(conv)
    losses = family_losses(model, graph, 2)
    assert len(losses) == 252  # 10 over 5
    found = [
        find_metamer(model, graph, layer=2, vary="structure", max_overlap=0.0, max_steps=60, seed=seed).loss
        for seed in range(4)
    ]
    assert all(float((losses / loss - 1).abs().min()) < 1e-6 for loss in found)
    assert float(losses.min()) * (1 - 1e-6) < min(found) < float(losses.median())


def test_each_graph_is_another():
    graph = random_graph(num_nodes=6, num_edges=3)
    losses = family_losses(model_of("gcn"), graph, 1)
    assert len(losses) == 220 and losses.unique().numel() > 200  # 12 over 3
    assert undirected_pairs(graph).size(1) == 3


@pytest.mark.parametrize(("nodes", "edges"), [(4, 4), (12, 20)])
def test_families_of_none_or_too_many_are_refused(nodes, edges):
    with pytest.raises(ValueError, match="expected 1 to 1000000"):
        family_losses(model_of("gcn"), random_graph(num_nodes=nodes, num_edges=edges), 1)
