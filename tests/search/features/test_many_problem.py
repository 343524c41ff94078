import pytest
import torch

from metamerlib.probing.probe import Probe
from metamerlib.probing.target import Target
from metamerlib.search.features.padding import Padding
from metamerlib.search.features.problem import feature_problem, many_problem
from tests.helpers.graphs import gnn, rings_and_stars

GRAPHS = rings_and_stars(3)
CPU = torch.device("cpu")


def build(layer, **changes):
    probe = Probe(gnn(**changes), layer)
    targets = [Target.of(probe.check(graph), None) for graph in GRAPHS]
    starts = [graph.x.flip(0) for graph in GRAPHS]
    return probe, targets, starts, many_problem(probe, GRAPHS, targets, starts, reduce=True)


def test_padding_by_hand():
    cells = Padding.of([2, 1, 3], CPU)
    assert cells.place.tolist() == [0, 1, 3, 6, 7, 8] and cells.shape == (3, 3)
    rows = torch.arange(1.0, 7.0)[:, None]
    assert cells.pad(rows)[:, :, 0].tolist() == [[1, 2, 0], [3, 0, 0], [4, 5, 6]]
    assert torch.equal(cells.gather(cells.pad(rows)), rows)
    assert Padding.of([1, 1], CPU, height=4).place.tolist() == [0, 4]


@pytest.mark.parametrize("layer", [1, 2, "pool", "head"])
def test_evaluation_of_each_graph_is_that_of_the_graph_alone(layer):
    probe, targets, starts, problem = build(layer)
    together = problem.evaluate(problem.start)
    for b, (graph, target, start) in enumerate(zip(GRAPHS, targets, starts, strict=True)):
        alone = feature_problem(probe, graph, target, start[None], None, reduce=True)
        one, size = alone.evaluate(alone.start), graph.num_nodes
        torch.testing.assert_close(problem.start[b, :size], alone.start[0])
        torch.testing.assert_close(together.objective[b], one.objective[0])
        torch.testing.assert_close(together.loss[b], one.loss[0])
        torch.testing.assert_close(together.gradient[b, :size], one.gradient[0])
        assert not together.gradient[b, size:].any()


def test_subset_and_relaxation_evaluate_the_same_graphs():
    _, _, _, problem = build("pool")
    some = problem.subset([2, 0], problem.start[[2, 0]])
    torch.testing.assert_close(some.evaluate(some.start).loss, problem.evaluate(problem.start).loss[[2, 0]])
    leaky = problem.relaxed(0.5, problem.start).evaluate(problem.start).loss
    torch.testing.assert_close(some.relaxed(0.5, some.start).evaluate(some.start).loss, leaky[[2, 0]])
    assert problem.relaxable and not torch.equal(leaky, problem.evaluate(problem.start).loss)


def test_features_of_the_start_are_the_start():
    _, _, starts, problem = build(1, hidden_channels=3)
    assert problem.space.rank == 3
    for place, (position, start) in enumerate(zip(problem.start, starts, strict=True)):
        torch.testing.assert_close(problem.features(position, place), start)
