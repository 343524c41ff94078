import pytest
import torch

from metamerlib.search.features.lbfgs import LBFGS
from metamerlib.search.loop import Evaluation, solve


class LeastSquares:
    """Objectives ``|residual_b(x_b)|^2``, one function for each restart."""

    relaxable = False

    def __init__(self, start, *residuals):
        self.start, self.residuals = start, residuals

    def evaluate(self, position):
        x = position.detach().requires_grad_()
        loss = torch.stack([r(row).square().sum() for r, row in zip(self.residuals, x.flatten(1), strict=True)])
        (gradient,) = torch.autograd.grad(loss.sum(), x)
        return Evaluation(loss.detach(), gradient, loss.detach())


def linear(size, condition, scale=1.0, seed=0):
    """Return a residual with singular values from 1 to 1 / condition, and its root."""
    generator = torch.Generator().manual_seed(seed)
    u, v = (torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator))[0] for _ in range(2))
    matrix = scale * (u * torch.logspace(0, -torch.tensor(condition).log10().item(), size, dtype=torch.float64)) @ v
    root = torch.randn(size, dtype=torch.float64, generator=generator)
    return (lambda x: matrix @ (x - root)), root


def rosenbrock(x):
    return torch.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def powell(x):
    """A root with a singular Jacobian."""
    return torch.stack([x[0] + 10 * x[1], 5**0.5 * (x[2] - x[3]), (x[1] - 2 * x[2]) ** 2, 10**0.5 * (x[0] - x[3]) ** 2])


def starts(*rows):
    return torch.tensor(rows, dtype=torch.float64)[:, None]


def test_first_step_is_polyaks():
    # f = (2 x)^2 at 3: f / f'^2 = 36 / 24^2, so the step is 36 / 24 = 1.5.
    problem = LeastSquares(starts([3.0]), lambda x: 2 * x)
    steps = LBFGS().iterate(problem)
    next(steps)
    assert next(steps)[0].item() == 1.5


def test_isotropic_quadratic_is_solved_in_a_few_steps():
    residual, root = linear(20, 1.0)
    (solution,) = solve(LeastSquares(starts([0.0] * 20), residual), LBFGS(), max_steps=50, rtol=1e-20)
    assert solution.status == "converged" and solution.steps <= 5
    torch.testing.assert_close(solution.position.flatten(), root)


@pytest.mark.parametrize(
    "residual, start, root, steps",
    [(rosenbrock, [-1.2, 1.0], [1.0, 1.0], 100), (powell, [3.0, -1.0, 0.0, 1.0], [0.0] * 4, 300)],
)
def test_curved_valleys_are_followed_to_the_known_root(residual, start, root, steps):
    (solution,) = solve(LeastSquares(starts(start), residual), LBFGS(), max_steps=steps, rtol=1e-16)
    assert solution.status == "converged"
    torch.testing.assert_close(solution.position.flatten().tolist(), root, rtol=0, atol=1e-3)


def strong_wolfe(residual, size, memory, goal):
    """Return the number of evaluations that torch's L-BFGS with strong Wolfe line search takes."""
    x = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    count, reached = 0, []
    optimiser = torch.optim.LBFGS(
        [x], max_iter=5000, max_eval=5000, history_size=memory, tolerance_grad=0, tolerance_change=0,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure():
        nonlocal count
        count += 1
        optimiser.zero_grad()
        loss = residual(x).square().sum()
        loss.backward()
        if loss.item() <= goal:
            reached.append(count)
        return loss

    optimiser.step(closure)
    return reached[0]


@pytest.mark.parametrize("condition", [10.0, 100.0])
@pytest.mark.parametrize("memory", [5, 10])
def test_ill_conditioned_least_squares_take_at_most_twice_the_evaluations_of_torch(condition, memory):
    residual, _ = linear(60, condition)
    peer = strong_wolfe(residual, 60, memory, 1e-8)
    (solution,) = solve(LeastSquares(starts([0.0] * 60), residual), LBFGS(memory), max_steps=5000, rtol=1e-8)
    assert solution.status == "converged" and solution.steps <= 2 * peer


def test_restarts_of_any_scale_go_as_when_run_alone():
    residuals = [linear(8, 30.0, scale, seed)[0] for seed, scale in enumerate([1e-3, 1.0, 1e3])]
    begin = starts(*([float(b)] * 8 for b in range(3)))
    together = solve(LeastSquares(begin, *residuals), LBFGS(), max_steps=40, rtol=0.0)
    for b, residual in enumerate(residuals):
        (alone,) = solve(LeastSquares(begin[b : b + 1], residual), LBFGS(), max_steps=40, rtol=0.0)
        torch.testing.assert_close(together[b].losses[:20], alone.losses[:20], rtol=1e-6, atol=0)
        assert together[b].loss <= 1.01 * alone.loss + 1e-25


def test_restart_that_is_not_finite_does_not_spoil_the_others():
    residual, root = linear(8, 10.0)
    problem = LeastSquares(starts([torch.nan] * 8, [0.0] * 8), residual, residual)
    lost, kept = solve(problem, LBFGS(), max_steps=100, rtol=1e-16)
    assert (lost.status, lost.loss, kept.status) == ("non_finite", torch.inf, "converged")
    torch.testing.assert_close(kept.position[0], root)


def test_trial_that_is_not_finite_is_taken_back():
    # The slope halves beyond 5, and Polyak's step from there overshoots the root to where nothing is defined.
    def residual(x):
        return torch.where(x < -3, torch.nan, torch.where(x > 5, 0.5 * x + 2.5, x))

    problem = LeastSquares(starts([40.0]), residual)
    (solution,) = solve(problem, LBFGS(), max_steps=100, rtol=1e-12)
    assert bool(solution.losses.isnan().any())
    assert solution.status == "converged"


def test_objective_falls_with_every_accepted_step():
    problem = LeastSquares(starts([-1.2, 1.0]), rosenbrock)
    (solution,) = solve(problem, LBFGS(), max_steps=100, rtol=1e-16)
    best = solution.losses.cummin(0).values
    assert best[-1] == solution.loss and (best[20:] < best[:-20]).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_zero_gradient_ends_the_search_as_stalled(value):
    problem = LeastSquares(starts([3.0]), lambda x: 0 * x + value)
    (solution,) = solve(problem, LBFGS(), max_steps=100, rtol=-1.0)
    assert (solution.status, solution.steps) == ("stalled", 1)
    assert solution.position.item() == 3.0


def test_minimum_that_is_no_root_ends_as_stalled():
    problem = LeastSquares(starts([3.0]), lambda x: torch.cat([x - 1, x + 1]))
    (solution,) = solve(problem, LBFGS(), max_steps=1000, rtol=1e-6)
    assert solution.status == "stalled" and solution.steps < 200
    assert solution.loss == pytest.approx(2.0) and solution.position.item() == pytest.approx(0.0, abs=1e-6)


def test_single_precision_needs_no_more_than_rounding():
    residual, root = linear(20, 10.0)
    problem = LeastSquares(starts([0.0] * 20).float(), lambda x: residual(x.double()).float())
    (solution,) = solve(problem, LBFGS(), max_steps=200, rtol=1e-10)
    assert solution.status == "converged" and solution.position.dtype == torch.float32
    torch.testing.assert_close(solution.position.flatten(), root.float(), rtol=1e-3, atol=1e-3)
