import pytest

from metamerlib.certificates.positive_control import positive_control
from metamerlib.exact.lifts import double, two_lift
from metamerlib.graphs.rewiring import switch_away
from metamerlib.metrics.structure import edge_jaccard
from metamerlib.search.edges.swaps import EdgeSwaps
from tests.helpers.edges import check_simple, overlap, random_graph
from tests.search.edges.test_relaxation import model_of

DESCENT = EdgeSwaps(steps=60, degrees="keep", quench=1.0, close=0.5)


@pytest.mark.parametrize("switches", [0, 1, 5])
def test_each_switch_replaces_two_edges(switches):
    graph = random_graph(num_nodes=30, num_edges=40)
    away = switch_away(graph, switches)
    check_simple(away, 40)
    assert overlap(away, graph) == 40 - 2 * switches


@pytest.mark.parametrize("size, layer, switches", [(30, 2, 1), (200, 1, 1)])
def test_a_plant_few_switches_away_is_recovered(size, layer, switches):
    graph = random_graph(num_nodes=size, num_edges=4 * size // 3)
    found = positive_control(model_of("gcn"), graph, graph, layer=layer, switches=switches, max_steps=60,
                             solver=DESCENT)  # fmt: skip
    assert found["recovered"] and found["plant_loss"] < 1e-12
    assert found["jaccard"] == 1.0
    assert found["loss"] < 1e-12 < found["start_loss"]


def test_jaccard_at_the_start_is_that_of_the_switches():
    graph = random_graph(num_nodes=30, num_edges=40)
    found = positive_control(model_of("gcn"), graph, graph, layer=2, switches=5, max_steps=1)
    assert found["start_jaccard"] == pytest.approx(30 / 50)
    assert edge_jaccard(switch_away(graph, 5), graph) == found["start_jaccard"]


@pytest.mark.parametrize("layer", [1, 2])
def test_a_blind_control_is_passed_from_the_reference_and_not_from_random_edges(layer):
    """Two copies of a graph have an exact metamer with no edge in common, the one with all edges crossed."""
    graph = random_graph(num_nodes=60, num_edges=90)
    options = dict(layer=layer, max_overlap=0.0, max_steps=150)
    both, crossed = double(graph), two_lift(graph, 1.0)
    found, lost = (
        positive_control(model_of("gcn"), both, crossed, solver=name, **options) for name in ("retreat", "swaps")
    )
    assert found["plant_loss"] < 1e-12 and found["overlap"] == lost["overlap"] == 0.0
    assert found["loss"] < 1e-8 < 1e-3 < lost["loss"]


def test_too_many_switches_are_refused():
    with pytest.raises(ValueError, match=r"0\.\.10"):
        switch_away(random_graph(), 11)
