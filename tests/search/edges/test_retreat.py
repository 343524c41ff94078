import pytest
import torch

import metamerlib as ml
from metamerlib.exact.lifts import double
from metamerlib.search.edges.retreat import EdgeRetreat
from tests.helpers.edges import check_simple, overlap, random_graph
from tests.search.edges.test_relaxation import CONVOLUTIONS, model_of


def retreat(graph, conv="gcn", **options):
    chosen = dict(layer=2, vary="structure", solver="retreat", max_overlap=0.0, max_steps=120, rtol=1e-9)
    return ml.find_metamer(model_of(conv), graph, **{**chosen, **options})


@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_two_copies_are_left_at_no_loss(conv):
    both = double(random_graph(num_nodes=20, num_edges=30))
    m = retreat(both, conv)
    assert m.loss <= 1e-9 and m.status == "converged"
    assert overlap(m.graph, both) == 0
    check_simple(m.graph, 60)


@pytest.mark.parametrize("most", [0.0, 0.3])
def test_a_graph_without_symmetry_is_left_at_some_loss(most):
    graph = random_graph(num_nodes=30, num_edges=40)
    m = retreat(graph, max_overlap=most)
    assert 0 < m.loss < m.history.loss[0] and m.settings["overlap"] <= most


def test_degrees_stay_where_they_are_to_stay():
    graph = random_graph(num_nodes=30, num_edges=40)
    m = retreat(graph, start="configuration")
    assert torch.bincount(m.graph.edge_index[0]).equal(torch.bincount(graph.edge_index[0]))


def test_a_budget_is_kept_on_the_way():
    graph = random_graph(num_nodes=30, num_edges=40)
    m = retreat(graph, budget=40, max_overlap=0.5)
    assert m.settings["overlap"] == 0.5 and m.settings["flips"] == 40


def test_it_ends_in_time_where_nothing_may_be_had_for_nothing():
    m = retreat(random_graph(), max_steps=60)
    assert m.steps == 60 and m.settings["overlap"] == 0


def test_without_a_limit_there_is_nothing_to_leave():
    with pytest.raises(ValueError, match="pass max_overlap below 1"):
        retreat(random_graph(), max_overlap=None)


def test_same_seed_same_result():
    first, second = (retreat(random_graph(), seed=0, max_steps=30, solver=EdgeRetreat(steps=30)) for _ in range(2))
    assert first.graph.edge_index.equal(second.graph.edge_index)
