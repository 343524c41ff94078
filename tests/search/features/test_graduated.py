import pytest
import torch

import metamerlib as ml
from metamerlib.search.features.graduated import solve_graduated
from metamerlib.search.features.lbfgs import LBFGS
from metamerlib.search.loop import Evaluation, solve


class Ramp:
    """Objective ``(leaky_relu(x) - 1)^2``: no gradient at a start below zero unless the unit leaks."""

    relaxable = True

    def __init__(self, start, leak=0.0, seen=None):
        self.start, self.leak, self.seen = start, leak, [] if seen is None else seen
        self.seen.append((leak, start.flatten().tolist()))

    def relaxed(self, leak, start):
        return Ramp(start, leak, self.seen)

    def subset(self, kept, start):
        assert len(kept) == len(start)
        return Ramp(start, self.leak, self.seen)

    def evaluate(self, position):
        x = position.detach().requires_grad_()
        loss = (torch.nn.functional.leaky_relu(x, self.leak) - 1).square().sum((1, 2))
        (gradient,) = torch.autograd.grad(loss.sum(), x)
        return Evaluation(loss.detach(), gradient, loss.detach())


def start(*values):
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1)


def test_dead_unit_is_revived_where_the_plain_search_stalls():
    (plain,) = solve(Ramp(start(-3.0)), LBFGS(), max_steps=900, rtol=1e-8)
    assert (plain.status, plain.loss) == ("stalled", 1.0)
    problem = Ramp(start(-3.0))
    (solution,) = solve_graduated(problem, LBFGS(), max_steps=900, rtol=1e-8)
    assert solution.status == "converged" and solution.position.item() == pytest.approx(1.0, abs=1e-4)
    assert [leak for leak, _ in problem.seen] == [0.0, 0.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.0]
    assert problem.seen[2][1] == [-3.0]


def test_relaxed_steps_are_counted_and_marked():
    (solution,) = solve_graduated(Ramp(start(-3.0)), LBFGS(), max_steps=900, rtol=1e-8)
    assert solution.steps == len(solution.losses) == len(solution.seconds) == len(solution.relaxed)
    assert not solution.relaxed[0] and solution.relaxed.any() and not solution.relaxed[-1]
    assert solution.seconds == sorted(solution.seconds)


@pytest.mark.parametrize("where", [3.0, 1.0])
def test_search_that_converges_is_not_relaxed(where):
    problem = Ramp(start(where))
    (solution,) = solve_graduated(problem, LBFGS(), max_steps=900, rtol=1e-8)
    assert solution.status == "converged" and len(problem.seen) == 1 and not solution.relaxed.any()


def test_better_position_of_every_restart_is_kept():
    one, lost, other = solve_graduated(Ramp(start(-3.0, torch.nan, -1.0)), LBFGS(), max_steps=900, rtol=1e-8)
    assert {one.status, other.status} <= {"converged", "stopped"} and (lost.status, lost.loss) == (
        "non_finite",
        torch.inf,
    )
    assert min(one.loss, other.loss) <= 1e-8 and max(one.loss, other.loss) <= 1.0


@pytest.mark.parametrize("max_steps", [1, 2, 120, 150])
def test_budget_is_that_of_all_stages_together(max_steps):
    (solution,) = solve_graduated(Ramp(start(-3.0)), LBFGS(), max_steps=max_steps, rtol=0.0)
    assert solution.steps <= max_steps and solution.loss <= 1.0


def test_inner_relu_of_a_network_is_leaked_and_the_result_is_honest():
    graph = ml.load_graph("karate").clone()
    graph.x = torch.randn(34, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    model = ml.GNN(conv="mlp", in_channels=12, hidden_channels=16, out_channels=4, num_layers=2).double()
    m = ml.find_metamer(model, graph, layer=2, max_steps=700, rtol=1e-6)
    model.eval()
    found, wanted = (model(g.x, g.edge_index) for g in (m.graph, graph))
    assert m.loss == pytest.approx(((found - wanted).norm() / wanted.norm()).item() ** 2, rel=1e-6)
    assert len(m.history) <= m.steps and m.loss <= m.history.loss.min() * (1 + 1e-6)


def test_searches_end_as_they_do_alone():
    values = (-3.0, 3.0, -1.0, 1.0)
    together = solve_graduated(Ramp(start(*values)), LBFGS(), max_steps=900, rtol=1e-8, until="all")
    for value, ending in zip(values, together, strict=True):
        (alone,) = solve_graduated(Ramp(start(value)), LBFGS(), max_steps=900, rtol=1e-8)
        assert (ending.status, ending.position.item()) == (alone.status, alone.position.item())
        assert ending.relaxed.any() == alone.relaxed.any() and len(ending.losses) == ending.steps


def test_only_stalled_searches_are_relaxed_from_their_own_starts():
    searches = Ramp(start(3.0, -3.0))
    solve_graduated(searches, LBFGS(), max_steps=900, rtol=1e-8, until="all")
    assert [leak for leak, _ in searches.seen] == [0.0, 0.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.0]
    assert all(len(position) == 1 for _, position in searches.seen[1:]) and searches.seen[1][1] == [-3.0]


@pytest.mark.parametrize("limit", [60, 200, 400])
def test_number_of_steps_is_never_exceeded(limit):
    for ending in solve_graduated(Ramp(start(-3.0, -2.0)), LBFGS(), max_steps=limit, rtol=1e-30, until="all"):
        assert ending.steps <= limit
