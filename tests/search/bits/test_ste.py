import pytest
import torch

from metamerlib.probing.probe import Probe
from metamerlib.probing.target import Target
from metamerlib.search.bits.problem import BitProblem, bits_of, columns_of
from metamerlib.search.bits.ste import BitSTE
from metamerlib.search.discrete_loop import solve_discrete
from metamerlib.search.features.problem import feature_problem
from tests.helpers.bits import WIDTH, bit_graph, flipped
from tests.helpers.metamers import gnn


def problem_from(start, per_node=False, most_kept=None, keys=None):
    graph = bit_graph()
    probe = Probe(gnn(), 1)
    target = Target.of(probe.check(graph), None)
    problem = feature_problem(probe, graph, target, start[None], None, reduce=False)
    keys = torch.where(start.bool(), 1.0, -1.0).double() if keys is None else keys
    return BitProblem(problem, columns_of(start), columns_of(graph.x), WIDTH, per_node, most_kept, 0, keys)


def test_first_step_by_hand():
    # The gradient with respect to a key is s P (1 - P) dL/dX' plus the push of keys near the threshold.
    problem = problem_from(flipped(bit_graph().x, 5))
    solver = BitSTE(sharpness=2.0, margin=0.5, margin_weight=10.0)
    keys = torch.tensor([[1.0, 0.2, 0.1, -3.0]])
    ones = torch.tensor([[True, True, False, False]])
    push = solver._push(keys, ones)
    torch.testing.assert_close(push, torch.tensor([[0.0, -2.5, 2.5, 0.0]]))
    p = torch.sigmoid(2 * keys)
    torch.testing.assert_close(solver._slope(keys), 2 * p * (1 - p))
    state, loss = next(solver.iterate(problem))
    assert torch.equal(bits_of(state(), WIDTH, torch.float64), flipped(bit_graph().x, 5))
    assert loss == float(problem.evaluate(problem.problem.start[0]).loss)


@pytest.mark.parametrize("per_node", [False, True])
def test_loss_falls_and_the_ones_are_kept(per_node):
    x = bit_graph().x
    start = flipped(x, 60) if not per_node else x.roll(7, 1)
    solution = solve_discrete(problem_from(start, per_node), BitSTE(), max_steps=100, rtol=1e-20)
    found = bits_of(solution.state, WIDTH, x.dtype)
    assert found.sum() == x.sum()
    if per_node:
        assert torch.equal(found.sum(1), x.sum(1))
    assert solution.loss < 0.5 * solution.history.loss[0]


def test_limit_on_ones_of_the_reference():
    x = bit_graph().x
    for state, _ in [item for item, _ in zip(BitSTE().iterate(problem_from(x, most_kept=7)), range(20), strict=False)]:
        assert (bits_of(state(), WIDTH, x.dtype) * x).sum() <= 7


def test_keys_are_needed():
    problem = problem_from(bit_graph().x)
    problem = BitProblem(problem.problem, problem.start, problem.reference, WIDTH, False, None, 0)
    with pytest.raises(ValueError, match="needs keys"):
        next(BitSTE().iterate(problem))
