import pytest
import torch

from metamerlib.manifold.linearisation import Linearisation, lsqr


def numbers(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (5, 5)])
def test_lsqr_is_the_pseudoinverse(shape):
    J, b = numbers(*shape), numbers(shape[0], seed=1)
    found = lsqr(lambda x: J @ x, lambda y: J.T @ y, b, tolerance=1e-14)
    torch.testing.assert_close(found.x, torch.linalg.pinv(J) @ b)
    assert found.error == pytest.approx(((J @ found.x - b).norm() / b.norm()).item(), abs=1e-8)


def test_lsqr_of_deficient_rank_and_of_zero():
    J = numbers(4, 1) @ numbers(1, 6, seed=1)
    b = J @ numbers(6, seed=2)
    found = lsqr(lambda x: J @ x, lambda y: J.T @ y, b)
    torch.testing.assert_close(found.x, torch.linalg.pinv(J) @ b)
    assert lsqr(lambda x: J @ x, lambda y: J.T @ y, b * 0).x.tolist() == [0.0] * 6
    nothing = lsqr(lambda x: 0 * J @ x, lambda y: 0 * J.T @ y, b)
    assert nothing.x.norm() == 0 and nothing.error == 1


def test_lsqr_that_ran_out_of_steps_says_so():
    J, b = numbers(30, 30), numbers(30, seed=1)
    found = lsqr(lambda x: J @ x, lambda y: J.T @ y, b, max_steps=3)
    assert found.steps == 3 and found.error > 0.01


@pytest.mark.parametrize("dense", [True, False])
def test_products_solution_and_projection_by_hand(dense):
    linear = Linearisation(
        lambda x: torch.stack([x[0, 0] ** 2, x[0, 0] * x[0, 1]]), torch.tensor([[1.0, 3, 5]]), dense=dense
    )
    torch.testing.assert_close(linear.residual, torch.tensor([1.0, 3.0]))
    direction = torch.tensor([[1.0, 1, 1]])
    torch.testing.assert_close(linear.push(direction), torch.tensor([2.0, 4.0]))
    torch.testing.assert_close(linear.pull(torch.tensor([1.0, 1])), torch.tensor([[5.0, 1, 0]]))
    torch.testing.assert_close(linear.least_norm(torch.tensor([2.0, 4])).x, torch.tensor([[1.0, 1, 0]]))
    torch.testing.assert_close(linear.project(direction), torch.tensor([[0.0, 0, 1]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dense", [True, False])
def test_linear_function_needs_no_second_derivative(dense):
    J = numbers(2, 5)
    linear = Linearisation(lambda x: J @ x, numbers(5, seed=1), dense=dense)
    v = numbers(5, seed=2)
    torch.testing.assert_close(linear.push(v), J @ v)
    assert (J @ linear.project(v)).norm() < 1e-10
