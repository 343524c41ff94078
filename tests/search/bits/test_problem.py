import pytest
import torch
from torch import nn

import metamerlib as ml
from metamerlib.probing.probe import Probe
from metamerlib.probing.target import Target
from metamerlib.search.bits.problem import BitProblem, bits_of, columns_of, largest_ones, move_ones
from metamerlib.search.features.problem import feature_problem
from tests.helpers.bits import WIDTH, bit_graph, bits, flipped
from tests.helpers.metamers import gnn


@pytest.mark.parametrize("spare", [0, 3])
def test_columns_and_bits_are_two_ways_to_say_the_same(spare):
    x = bits(3)
    x[5] = 0
    columns = columns_of(x, spare)
    assert columns.shape == (34, int(x.sum(1).max()) + spare)
    assert (columns[5] == WIDTH).all()
    assert torch.equal(bits_of(columns, WIDTH, x.dtype), x)


def test_no_ones_at_all():
    assert torch.equal(bits_of(columns_of(torch.zeros(3, 4)), 4), torch.zeros(3, 4))


@pytest.mark.parametrize("count", [0, 1, 30])
def test_ones_that_move_leave_one_place_and_take_another(count):
    x = bits(1)
    moved = move_ones(x, count, seed=2)
    assert moved.sum() == x.sum() and (moved - x).abs().sum() == 2 * count
    with pytest.raises(ValueError, match="cannot move 9999 ones"):
        move_ones(x, 9999, seed=0)


def test_largest_ones_with_few_of_the_reference():
    keys = torch.tensor([[9.0, 8, 7, 1], [6, 5, 4, 0]])
    reference = torch.tensor([[True, True, True, False], [False, False, False, False]])
    ones = largest_ones(keys, torch.tensor([2, 1]), per_node=False, reference=reference, most_kept=1)
    assert ones.tolist() == [[True, False, False, False], [True, True, False, False]]
    ones = largest_ones(keys, torch.tensor([2, 1]), per_node=True, reference=reference, most_kept=1)
    assert ones.tolist() == [[True, False, False, True], [True, False, False, False]]


def bit_problem(model, layer, seed=0, reduce=True, nodes=None):
    graph = bit_graph(seed)
    start = flipped(graph.x, 40)
    probe = Probe(model, layer)
    target = Target.of(probe.check(graph), nodes if nodes is None else torch.tensor(nodes))
    problem = feature_problem(probe, graph, target, start[None], None, reduce=reduce)
    return BitProblem(problem, columns_of(start, 2), columns_of(graph.x), WIDTH, False, None, seed)


@pytest.mark.parametrize("reduce", [True, False])
def test_coordinates_follow_moves_of_ones(reduce):
    problem = bit_problem(gnn(), 2, reduce=reduce)
    position = problem.position(problem.start)
    torch.testing.assert_close(position, problem.problem.start[0])
    rows, slots, new = torch.tensor([0, 4, 9]), torch.tensor([0, 1, 0]), torch.tensor([7, WIDTH, 12])
    old = problem.start[rows, slots]
    columns = problem.start.clone()
    columns[rows, slots] = new
    torch.testing.assert_close(problem.moved(position, rows, old, new), problem.position(columns))


@pytest.mark.parametrize("reduce", [True, False])
def test_slopes_are_derivatives_by_the_bits(reduce):
    problem = bit_problem(gnn(), 2, reduce=reduce)
    plain = bit_problem(gnn(), 2, reduce=False)
    wanted = plain.evaluate(plain.position(plain.start)).gradient[0]
    gradient = problem.evaluate(problem.position(problem.start)).gradient[0]
    pool, flat = torch.tensor([5, 0, 39]), torch.zeros(34).double()
    curvature = problem.curvature(problem.position(problem.start), 1, torch.Generator().manual_seed(0))
    torch.testing.assert_close(problem.scores(gradient, flat, curvature, pool, None), wanted[:, pool])
    ones = torch.nn.functional.pad(wanted, (0, 1)).gather(1, problem.start)
    torch.testing.assert_close(problem.slopes_of_ones(gradient, problem.start), ones)


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.lin = nn.Linear(WIDTH, 6).double()

    def forward(self, x, edge_index):
        return self.lin(x)


@pytest.mark.parametrize("reduce", [True, False])
def test_curvature_of_a_linear_map_is_its_gram_matrix(reduce):
    # For h = X W every row has the curvature W W^T / |h|^2; without a row space it is sampled.
    model = Linear()
    problem = bit_problem(model, "lin", reduce=reduce)
    curvature = problem.curvature(problem.position(problem.start), 200, torch.Generator().manual_seed(0))
    weight = model.lin.weight.detach()
    gram = weight.T @ weight / problem.problem.target.activation.square().sum()
    factor = curvature.factor[:-1]
    estimate = curvature.influence.mean() * factor @ factor.T
    assert (estimate - gram).norm() < (0.1 if reduce else 0.3) * gram.norm()
    assert (curvature.factor[-1] == 0).all()
    torch.testing.assert_close(curvature.own, curvature.factor.square().sum(1))


@pytest.mark.parametrize("reduce", [True, False])
def test_scores_are_to_second_order_what_a_one_more_and_one_less_change(reduce):
    # With H_i = c_i V V^T, adding f where r leaves changes the objective by g (q_f - q_r) + c |V_f - V_r|^2.
    problem = bit_problem(gnn(), 2, reduce=reduce)
    position = problem.position(problem.start)
    look, curvature = problem.look(position), problem.curvature(position, 3, torch.Generator().manual_seed(0))
    pool, removed = torch.tensor([5, 0, 39]), problem.start[:, 0]
    influence, own = curvature.influence, curvature.own[removed]
    added = problem.scores(look.gradient, influence, curvature, pool, removed)
    swapped = added + (influence * own - problem.slopes_of_ones(look.gradient, removed[:, None])[:, 0])[:, None]
    slopes = problem.slopes_of_ones(look.gradient, torch.cat([pool.expand(34, -1), removed[:, None]], dim=1))
    step = curvature.factor[pool] - curvature.factor[removed][:, None]
    wanted = slopes[:, :3] - slopes[:, 3:] + influence[:, None] * step.square().sum(2)
    torch.testing.assert_close(swapped, wanted)


@pytest.mark.parametrize("nodes", [None, [3, 0]])
def test_a_look_divides_the_objective_among_the_nodes(nodes):
    problem = bit_problem(gnn(), 2, nodes=nodes)
    position = problem.position(problem.start)
    look, evaluation = problem.look(position), problem.evaluate(position)
    assert look.objective == pytest.approx(float(evaluation.objective))
    assert look.loss == pytest.approx(float(evaluation.loss))
    torch.testing.assert_close(look.gradient, evaluation.gradient[0])
    assert look.rows.sum() == pytest.approx(look.objective)
    assert nodes is None or set(look.rows.nonzero()[:, 0].tolist()) <= set(nodes)
    bare = problem.look(position, gradient=False)
    assert bare.gradient is None and torch.equal(bare.rows, look.rows)


def test_second_order_change_predicts_the_loss_of_a_swap():
    torch.manual_seed(0)
    model = ml.GNN(conv="gcn", in_channels=WIDTH, hidden_channels=8, out_channels=3, num_layers=2, act="identity")
    problem = bit_problem(model.double(), 2)
    position = problem.position(problem.start)
    before = problem.evaluate(position)
    curvature = problem.curvature(position, 400, torch.Generator().manual_seed(0))
    predicted, measured = [], []
    for row in range(34):
        old = problem.start[row, :1]
        if old == WIDTH:
            continue
        new = torch.tensor([next(f for f in range(WIDTH) if f not in problem.start[row])])
        both = torch.cat([new, old])[None]
        slope = problem.slopes_of_ones(before.gradient[0][row : row + 1], both)[0]
        step = curvature.factor[new[0]] - curvature.factor[old[0]]
        predicted.append(slope[0] - slope[1] + curvature.influence[row] * step.square().sum())
        measured.append(problem.evaluate(problem.moved(position, torch.tensor([row]), old, new)).objective[0])
    predicted, measured = torch.stack(predicted), torch.stack(measured) - before.objective
    assert torch.corrcoef(torch.stack([predicted, measured]))[0, 1] > 0.99
