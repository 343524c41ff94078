import pytest
import torch

from metamerlib.search.features.adam import Adam
from metamerlib.search.features.lbfgs import LBFGS
from metamerlib.search.loop import Evaluation, best_solution, solve


class Toy:
    """Objective and loss of B positions ``[B, 1, 1]``, each from the same scalar function."""

    relaxable = False

    def __init__(self, function, *starts):
        self.function = function
        self.start = torch.tensor(starts, dtype=torch.float64).reshape(-1, 1, 1)

    def evaluate(self, position):
        x = position.detach().requires_grad_()
        loss = self.function(x).sum((1, 2))
        (gradient,) = torch.autograd.grad(loss.sum(), x)
        return Evaluation(loss.detach(), gradient, loss.detach())


class Scripted:
    """A solver that visits given positions."""

    def __init__(self, *steps):
        self.steps = steps

    def iterate(self, problem):
        for step in self.steps:
            position = torch.tensor(step, dtype=torch.float64).reshape(problem.start.shape)
            yield position, problem.evaluate(position)


def square(x):
    return x**2


def test_best_iterate_of_every_restart_is_kept():
    problem = Toy(square, 9.0, 9.0)
    found = solve(problem, Scripted([3, 4], [1, 5], [2, 2]), max_steps=9, rtol=1e-9)
    assert [(one.position.item(), one.loss) for one in found] == [(1.0, 1.0), (2.0, 4.0)]
    assert [one.losses.tolist() for one in found] == [[9.0, 1.0, 4.0], [16.0, 25.0, 4.0]]
    for one in found:
        assert (one.status, one.steps, len(one.seconds), len(one.history())) == ("stalled", 3, 3, 3)
        assert not one.relaxed.any()
    assert best_solution(found) == 0 and best_solution(found[::-1]) == 1


@pytest.mark.parametrize(
    "steps, options, status, count",
    [
        ([[3], [0.05], [0.0]], {}, "converged", 2),
        ([[3], [2], [1]], {"max_steps": 2}, "max_steps", 2),
        ([[3], [2], [1]], {}, "stalled", 3),
        ([[3]] + [[2]] * 99, {"stall_rtol": 0.01}, "stalled", 52),
        ([[3]] + [[2]] * 99, {}, "stalled", 100),
        ([[10 - k / 10] for k in range(90)], {"stall_rtol": 0.01, "max_steps": 80}, "max_steps", 80),
        ([[torch.nan]] * 20, {}, "non_finite", 8),
        ([[3]] + [[torch.inf]] * 20, {}, "non_finite", 9),
        ([[torch.nan]] * 20, {"max_steps": 3}, "non_finite", 3),
        ([[torch.nan]] * 7 + [[0.0]], {}, "converged", 8),
        ([[3], [torch.nan], [2], [torch.nan], [0.0]], {}, "converged", 5),
    ],
)
def test_status_says_how_the_search_ended(steps, options, status, count):
    (solution,) = solve(Toy(square, 9.0), Scripted(*steps), **{"max_steps": 1000, "rtol": 0.01, **options})
    assert (solution.status, solution.steps) == (status, count)


def test_loss_at_the_tolerance_is_converged():
    assert solve(Toy(square, 9.0), Scripted([0.5]), max_steps=5, rtol=0.25)[0].status == "converged"


def test_one_converged_restart_is_enough():
    found = solve(Toy(square, 9.0, 9.0), Scripted([3, 3], [2, 0], [0, 0]), max_steps=9, rtol=1e-3)
    assert [(one.status, one.loss, one.steps) for one in found] == [("stopped", 4.0, 2), ("converged", 0.0, 2)]


def test_restart_that_is_not_finite_does_not_spoil_the_others():
    steps = [[torch.nan, 3.0], *([torch.nan, 2.0] for _ in range(99))]
    lost, kept = solve(Toy(square, 9.0, 9.0), Scripted(*steps), max_steps=99, rtol=1e-3, stall_rtol=0.01)
    assert (kept.status, kept.steps, kept.loss, kept.position.item()) == ("stalled", 52, 4.0, 2.0)
    assert (lost.status, lost.loss, lost.position.item()) == ("non_finite", torch.inf, 9.0)


def test_finite_loss_with_a_gradient_that_is_not_is_no_solution():
    def root(x):
        return (x - 4).abs().sqrt()

    (solution,) = solve(Toy(root, 9.0), Scripted([5.0], [4.0], [6.0]), max_steps=9, rtol=1e-9)
    assert solution.loss == 1.0 and solution.position.item() == 5.0


@pytest.mark.parametrize("solver", [LBFGS(), Adam(0.3)])
def test_search_that_begins_at_a_solution_ends_at_once(solver):
    (solution,) = solve(Toy(square, 0.0), solver, max_steps=100, rtol=1e-6)
    assert (solution.status, solution.steps, solution.position.item()) == ("converged", 1, 0.0)


@pytest.mark.parametrize("solver", [LBFGS(), Adam(0.3)])
def test_start_and_its_gradient_are_not_changed(solver):
    problem = Toy(lambda x: (x - 1) ** 2, 5.0)
    solve(problem, solver, max_steps=20, rtol=1e-12)
    assert problem.start.item() == 5.0 and not problem.start.requires_grad


def test_each_ends_at_its_own_step_and_keeps_what_it_had():
    script = Scripted([3, 4], [1.1, 5], [1.0, 2], [4.0, 1.2])
    toy = Toy(lambda x: (torch.relu(x) - 1) ** 2, 9, 9)
    one, other = solve(toy, script, max_steps=[9, 9], rtol=0.05, until="all")
    assert (one.status, one.steps, one.position.item()) == ("converged", 2, 1.1)
    assert one.losses.tolist() == pytest.approx([4.0, 0.01]) and len(one.seconds) == 2
    assert (other.status, other.steps, other.position.item()) == ("converged", 4, 1.2)


@pytest.mark.parametrize(
    "steps, options, endings",
    [
        ([[3, 3], [2, 2], [2, 2]], {"max_steps": [2, 3]}, [("max_steps", 2), ("max_steps", 3)]),
        ([[3, 3], [2, 2]], {}, [("stalled", 2), ("stalled", 2)]),
        ([[3, torch.nan]] * 60, {}, [("stalled", 51), ("non_finite", 8)]),
        ([[3, 1.0]] + [[2, 2]] * 99, {"stall_rtol": 0.01}, [("stalled", 52), ("converged", 1)]),
        ([[10 - k / 20, 10 - k / 10] for k in range(90)], {"stall_rtol": 0.75}, [("stalled", 51), ("converged", 90)]),
        ([[3, 3]], {"max_steps": [0, 9]}, [("non_finite", 0), ("stalled", 1)]),
    ],
)
def test_status_is_of_each_search(steps, options, endings):
    options = {"max_steps": [999, 999], "rtol": 0.01, "stall_rtol": 0.0, "until": "all", **options}
    found = solve(Toy(lambda x: (torch.relu(x) - 1) ** 2, 9, 9), Scripted(*steps), **options)
    assert [(one.status, one.steps) for one in found] == endings
