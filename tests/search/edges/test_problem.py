import pytest
import torch

from metamerlib.graphs.edges import EdgeSet
from metamerlib.search.edges.limits import EdgeLimits, edge_bounds
from metamerlib.search.edges.starts import edge_start
from tests.helpers.edges import random_graph
from tests.search.edges.test_messages import problem_of


@pytest.mark.parametrize(
    ("limits", "bounds"),
    [((None, None), (0, 10)), ((None, 0.35), (0, 3)), ((5, None), (8, 10)), ((20, 0.0), (0, 0)), ((8, 0.7), (6, 7))],
)
def test_bounds(limits, bounds):
    assert edge_bounds(10, 45, *limits) == bounds


def test_dense_graphs_keep_some_edges():
    assert edge_bounds(30, 45, None, None) == (15, 30)
    with pytest.raises(ValueError, match="45 pairs of nodes force 15 to stay"):
        edge_bounds(30, 45, None, 0.1)


@pytest.mark.parametrize("start", ["erdos-renyi", "configuration"])
def test_starts_use_up_the_budget(start):
    pairs = edge_start(start, EdgeLimits.of(random_graph(), budget=8), 8, 0)
    assert pairs.size(1) == 20
    reference = {tuple(p) for p in random_graph().edge_index.T.tolist()}
    assert sum(tuple(p) in reference for p in pairs.T.tolist()) == 16


def test_given_starts_must_fit():
    with pytest.raises(ValueError, match="20 undirected edges"):
        edge_start(random_graph(num_edges=5), EdgeLimits.of(random_graph()), None, 0)


@pytest.mark.parametrize("conv", ["gcn", "gat"])
def test_looks_agree_and_rows_add_up(conv):
    problem = problem_of(conv)
    near, far = problem.look_closely(problem.start), problem.look(problem.start)
    assert near.loss == pytest.approx(far.loss)
    assert far.rows.sum().item() == pytest.approx(far.objective)
    assert problem.look(problem.limits.reference.pairs).loss < 1e-20


def test_limits_leave_room_for_changes_whichever_others_are_made():
    limits = EdgeLimits(EdgeSet.of(random_graph()), 2, 4)
    assert limits.room(3, torch.tensor([1, 1, 0, -1, -1])).tolist() == [True, False, True, True, False]
    assert [limits.admits(held) for held in (1, 2, 4, 5)] == [False, True, True, False]
    assert not limits.hold_by_themselves and EdgeLimits.of(random_graph()).hold_by_themselves
    none = EdgeLimits.of(random_graph(), max_overlap=0.0)
    assert none.hold_by_themselves and len(none.forbidden) == 20 and not len(limits.forbidden)
    assert limits.held(limits.reference.pairs.flip(0)) == 20
