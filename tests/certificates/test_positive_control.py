import pytest

from metamerlib.certificates.positive_control import positive_control
from metamerlib.graphs.rewiring import switch_away
from metamerlib.metrics.structure import edge_jaccard
from tests.helpers.edges import check_simple, overlap, random_graph
from tests.search.edges.test_relaxation import model_of


@pytest.mark.parametrize("switches", [0, 1, 5])
def test_each_switch_replaces_two_edges(switches):
    graph = random_graph(num_nodes=30, num_edges=40)
    away = switch_away(graph, switches)
    check_simple(away, 40)
    assert overlap(away, graph) == 40 - 2 * switches


@pytest.mark.parametrize("size, layer, switches", [(30, 2, 1), (200, 1, 1)])
def test_a_plant_few_switches_away_is_recovered(size, layer, switches):
    graph = random_graph(num_nodes=size, num_edges=4 * size // 3)
    found = positive_control(model_of("gcn"), graph, graph, layer=layer, switches=switches, max_steps=60)
    assert found["recovered"]
    assert found["jaccard"] == 1.0
    assert found["loss"] < 1e-12 < found["start_loss"]


def test_jaccard_at_the_start_is_that_of_the_switches():
    graph = random_graph(num_nodes=30, num_edges=40)
    found = positive_control(model_of("gcn"), graph, graph, layer=2, switches=5, max_steps=1)
    assert found["start_jaccard"] == pytest.approx(30 / 50)
    assert edge_jaccard(switch_away(graph, 5), graph) == found["start_jaccard"]


def test_too_many_switches_are_refused():
    with pytest.raises(ValueError, match=r"0\.\.10"):
        switch_away(random_graph(), 11)
