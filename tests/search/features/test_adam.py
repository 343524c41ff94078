import pytest
import torch

from metamerlib.search.features.adam import Adam
from metamerlib.search.loop import Evaluation, solve


class Quadratics:
    """Objectives ``scale_b * |x - goal_b|^2`` of independent restarts."""

    relaxable = False

    def __init__(self, start, goal, scale):
        self.start, self.goal, self.scale = start, goal, scale

    def evaluate(self, position):
        away = position.detach() - self.goal
        loss = self.scale * away.square().sum((1, 2))
        return Evaluation(loss, 2 * self.scale[:, None, None] * away, loss)


def quadratics(scales):
    generator = torch.Generator().manual_seed(0)
    start, goal = torch.randn(2, len(scales), 3, 2, dtype=torch.float64, generator=generator)
    return Quadratics(start, goal, torch.tensor(scales, dtype=torch.float64))


def test_first_step_is_the_learning_rate_against_the_sign_of_the_gradient():
    problem = quadratics([7.0])
    positions = [p.clone() for p, _ in zip_steps(Adam(0.1), problem, 2)]
    expected = problem.start - 0.1 * (problem.start - problem.goal).sign()
    torch.testing.assert_close(positions[1], expected)


def zip_steps(solver, problem, count):
    for step, pair in enumerate(solver.iterate(problem), start=1):
        yield pair
        if step == count:
            return


def test_path_is_that_of_torch():
    problem = quadratics([2.0])
    x = problem.start.clone().requires_grad_()
    optimiser = torch.optim.Adam([x], lr=0.05)
    for position, evaluation in zip_steps(Adam(0.05), problem, 30):
        torch.testing.assert_close(position, x.detach(), rtol=0, atol=0)
        x.grad = evaluation.gradient
        optimiser.step()


def test_known_minimum_is_reached():
    problem = quadratics([1.0])
    (solution,) = solve(problem, Adam(0.03), max_steps=2000, rtol=1e-10)
    assert solution.status == "converged"
    torch.testing.assert_close(solution.position, problem.goal[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("learning_rate", [0.01, 0.1])
def test_restarts_of_any_scale_go_as_when_run_alone(learning_rate):
    scales = [1e-3, 1.0, 1e4]
    together = quadratics(scales)
    found = solve(together, Adam(learning_rate), max_steps=100, rtol=1e-30)
    for b, scale in enumerate(scales):
        one = slice(b, b + 1)
        alone = Quadratics(together.start[one], together.goal[one], torch.tensor([scale], dtype=torch.float64))
        (single,) = solve(alone, Adam(learning_rate), max_steps=100, rtol=1e-30)
        torch.testing.assert_close(found[b].losses, single.losses)
        torch.testing.assert_close(found[b].position, single.position)
