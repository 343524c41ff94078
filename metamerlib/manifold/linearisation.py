"""Linear part of a vector function: least-norm solutions and projections, with or without its matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

LSQR_STEPS = 2000


class LeastNorm(NamedTuple):
    """A solution of linear equations.

    Attributes:
        x: ``[n]``, orthogonal to the null space.
        error: Norm of the residual over that of the right side.
        steps: Number of products with the matrix and its transpose.
    """

    x: Tensor
    error: float
    steps: int


def lsqr(
    push: Callable[[Tensor], Tensor],
    pull: Callable[[Tensor], Tensor],
    b: Tensor,
    *,
    tolerance: float = 1e-10,
    max_steps: int = LSQR_STEPS,
) -> LeastNorm:
    """Solve :math:`J x = b` with the least norm of x, or in the sense of least squares.

    Golub-Kahan bidiagonalisation (Paige and Saunders, 1982, ACM TOMS 8, 43); only products with the matrix are
    needed.

    Args:
        push: Maps x ``[n]`` to J x ``[m]``.
        pull: Maps y ``[m]`` to the transpose times y ``[n]``.
        b: ``[m]``.
        tolerance: Ends when the residual is at most this times the norm of b, or when the residual is orthogonal
            to the range of J to that accuracy.
        max_steps: Largest number of steps.

    Returns:
        The solution; too few steps show in its ``error``.

    Example:
        >>> import torch
        >>> J = torch.tensor([[1.0, 1.0, 0.0]])
        >>> lsqr(lambda x: J @ x, lambda y: J.T @ y, torch.tensor([2.0])).x.round(decimals=4)
        tensor([1., 1., 0.])
    """
    size = beta = b.norm().item()
    if size == 0:
        return LeastNorm(torch.zeros_like(pull(b)), 0.0, 0)
    u = b / beta
    v = pull(u)
    alpha = v.norm().item()
    x = torch.zeros_like(v)
    if alpha == 0:
        return LeastNorm(x, 1.0, 1)
    v = v / alpha
    w, phi, rho, frobenius, step = v.clone(), beta, alpha, alpha**2, 0
    while step < max_steps:
        step += 1
        u = push(v) - alpha * u
        beta = u.norm().item()
        u = u / beta if beta > 0 else u
        new = pull(u) - beta * v
        alpha = new.norm().item()
        v = new / alpha if alpha > 0 else new
        length = (rho**2 + beta**2) ** 0.5
        cosine, sine = rho / length, beta / length
        x += (cosine * phi / length) * w
        w = v - (sine * alpha / length) * w
        rho, phi = -cosine * alpha, sine * phi
        frobenius += alpha**2 + beta**2
        orthogonal = alpha * abs(cosine) <= tolerance * frobenius**0.5
        if phi <= tolerance * size or orthogonal or alpha == 0 or beta == 0:
            break
    return LeastNorm(x, phi / size, step)


class Linearisation:
    """Linear part J ``[m, n]`` of a function at one place.

    Args:
        function: Maps a position to values ``[m]``.
        position: Where.
        dense: Whether J is computed, by m backward passes, and decomposed; otherwise products with it are taken
            by automatic differentiation, and equations are solved by :func:`lsqr`.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], position: Tensor, *, dense: bool) -> None:
        self.position = position.detach().clone().requires_grad_()
        values = function(self.position)
        self.residual = values.detach()
        self.dense = dense
        if dense:
            self.matrix = _matrix(values, self.position)
            left, strength, right = torch.linalg.svd(self.matrix, full_matrices=False)
            floor = max(self.matrix.shape) * torch.finfo(values.dtype).eps * (strength[0] if strength.numel() else 0)
            rank = int((strength > floor).sum())
            self.left, self.strength, self.right = left[:, :rank], strength[:rank], right[:rank]
        else:
            self._values = values
            self._weights = torch.zeros_like(values, requires_grad=True)
            (self._pulled,) = torch.autograd.grad(values, self.position, self._weights, create_graph=True)

    def push(self, direction: Tensor) -> Tensor:
        """Return J times a direction of the position's shape, ``[m]``."""
        if self.dense:
            return self.matrix @ direction.reshape(-1)
        if not self._pulled.requires_grad:
            return torch.zeros_like(self.residual)
        shaped = direction.reshape(self.position.shape)
        (product,) = torch.autograd.grad(self._pulled, self._weights, shaped, retain_graph=True)
        return product

    def pull(self, weights: Tensor) -> Tensor:
        """Return the transpose of J times weights ``[m]``, in the position's shape."""
        if self.dense:
            return (weights @ self.matrix).reshape(self.position.shape)
        (product,) = torch.autograd.grad(self._values, self.position, weights, retain_graph=True)
        return product

    def least_norm(self, values: Tensor, *, tolerance: float = 1e-10, max_steps: int = LSQR_STEPS) -> LeastNorm:
        """Solve for the least position change that changes the function by ``values [m]``."""
        if not self.dense:
            return lsqr(self.push, self.pull, values, tolerance=tolerance, max_steps=max_steps)
        along = values @ self.left
        rest = (values - self.left @ along).norm() / values.norm().clamp(min=torch.finfo(values.dtype).tiny)
        return LeastNorm((along / self.strength @ self.right).reshape(self.position.shape), rest.item(), 1)

    def project(self, direction: Tensor, *, tolerance: float = 1e-10, max_steps: int = LSQR_STEPS) -> Tensor:
        """Return the part of a direction, of the position's shape, that J maps to zero."""
        if self.dense:
            flat = direction.reshape(-1)
            once = flat - (self.right @ flat) @ self.right
            return (once - (self.right @ once) @ self.right).reshape(direction.shape)
        return direction - self.least_norm(self.push(direction), tolerance=tolerance, max_steps=max_steps).x


def _matrix(values: Tensor, position: Tensor) -> Tensor:
    """Return the Jacobian ``[m, n]`` by m backward passes, taken together where every operation allows it."""
    units = torch.eye(values.numel(), dtype=values.dtype, device=values.device)
    try:
        (rows,) = torch.autograd.grad(values, position, units, retain_graph=True, is_grads_batched=True)
    except RuntimeError:  # an operation of the model has no batched derivative
        rows = torch.stack([torch.autograd.grad(values, position, unit, retain_graph=True)[0] for unit in units])
    return rows.reshape(values.numel(), -1)
