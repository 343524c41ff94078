"""Limited-memory BFGS for many starts at once, without a word to the host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metamerlib.search.loop import Evaluation, Problem

_SUFFICIENT_DECREASE = 1e-4
_LEAST_CURVATURE = 1e-8
_SMALLEST_STEP = 1e-10
_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class LBFGS:
    """L-BFGS in the compact form of Byrd, Nocedal and Schnabel (1994), with Armijo backtracking.

    Every restart keeps its own memory and its own step length. The objective is a squared residual whose
    least value is zero, so the first step is Polyak's, objective over squared gradient.

    Attributes:
        memory: Number of (step, change of gradient) pairs kept.
    """

    moves: ClassVar[str] = "features"

    memory: int = 5

    def iterate(self, problem: Problem) -> Iterator[tuple[Tensor, Evaluation]]:
        """Yield each trial position ``[B, n, r]`` with its evaluation; end when no restart can move."""
        shape = problem.start.shape
        position = problem.start.detach()
        evaluation = problem.evaluate(position)
        yield position, evaluation
        position, gradient = position.reshape(shape[0], -1), evaluation.gradient.reshape(shape[0], -1)
        objective = evaluation.objective
        pairs = _Pairs(self.memory, gradient)
        step = torch.ones_like(objective)
        direction, slope = pairs.direction(gradient, objective)
        while step.device.type != "cpu" or bool(((step > _SMALLEST_STEP) & (slope != 0)).any()):
            move = step[:, None] * direction
            trial = position + move
            evaluation = problem.evaluate(trial.reshape(shape))
            yield trial.reshape(shape), evaluation
            change = evaluation.objective - objective
            accept = change <= _SUFFICIENT_DECREASE * step * slope
            here = accept[:, None]
            new_gradient = torch.where(here, evaluation.gradient.reshape(shape[0], -1), gradient)
            pairs.push(accept, move, new_gradient - gradient)
            position = torch.where(here, trial, position)
            gradient = new_gradient
            objective = torch.where(accept, evaluation.objective, objective)
            step = torch.where(accept, torch.ones_like(step), step * _shrink(change, step * slope))
            pairs.forget(step < _SMALLEST_STEP**0.5)
            direction, slope = pairs.direction(gradient, objective)


def _shrink(change: Tensor, expected: Tensor) -> Tensor:
    """Return the factor of the minimiser of the parabola through a failed step, kept within [0.1, 0.5]."""
    factor = -expected / (2 * (change - expected))
    return torch.nan_to_num(factor, nan=0.1, posinf=0.1, neginf=0.1).clamp(0.1, 0.5)


class _Pairs:
    """The last m pairs s, y of every restart in a ring, with the inner products that the compact form needs.

    A pair that is not kept is written all the same, and overwritten by the next.
    """

    def __init__(self, memory: int, like: Tensor) -> None:
        copies, size = like.shape
        self.memory = memory
        self.vectors = like.new_zeros(copies, 2 * memory, size)
        self.with_y = torch.zeros(copies, 2 * memory, memory, dtype=torch.float64, device=like.device)
        self.valid = torch.zeros(copies, memory, dtype=torch.bool, device=like.device)
        self.next = torch.zeros(copies, dtype=torch.long, device=like.device)
        self.rows = torch.arange(copies, device=like.device)

    def push(self, accept: Tensor, s: Tensor, y: Tensor) -> None:
        """Keep the pair of every restart that accepted its step and saw positive curvature."""
        curvature = (s * y).sum(1)
        keep = accept & (curvature > _LEAST_CURVATURE * s.norm(dim=1) * y.norm(dim=1))
        self.vectors[self.rows, self.next] = s
        self.vectors[self.rows, self.next + self.memory] = y
        products = torch.bmm(self.vectors, y[:, :, None])[:, :, 0].double()
        self.with_y[self.rows, :, self.next] = products
        self.with_y[self.rows, self.next + self.memory] = products[:, self.memory :]
        self.valid[self.rows, self.next] = keep
        self.next = torch.where(keep, (self.next + 1) % self.memory, self.next)

    def forget(self, which: Tensor) -> None:
        """Empty the memory of the given restarts."""
        self.valid &= ~which[:, None]

    def direction(self, gradient: Tensor, objective: Tensor) -> tuple[Tensor, Tensor]:
        """Return the direction ``[B, n]`` and its slope ``[B]``."""
        order = (self.next[:, None] + torch.arange(self.memory, device=self.next.device)) % self.memory
        valid = self.valid.gather(1, order)
        both = torch.cat([order, order + self.memory], 1)
        used = torch.cat([valid, valid], 1)
        with_y = self.with_y.gather(1, both[:, :, None].expand_as(self.with_y))
        with_y = with_y.gather(2, order[:, None, :].expand_as(with_y)) * (used[:, :, None] & valid[:, None, :])
        sy, yy = with_y.chunk(2, dim=1)
        with_gradient = torch.bmm(self.vectors, gradient[:, :, None])[:, :, 0].double()
        sg, yg = (with_gradient.gather(1, both) * used)[:, :, None].chunk(2, dim=1)
        curvature = sy.diagonal(dim1=1, dim2=2)
        polyak = objective.double() / gradient.double().square().sum(1).clamp(min=_TINY)
        g = torch.where(valid[:, -1], curvature[:, -1] / yy[:, -1, -1], polyak)[:, None, None]
        upper = sy.triu() + torch.diag_embed((~valid).double())
        p = torch.linalg.solve_triangular(upper, sg, upper=True)
        right = curvature[:, :, None] * p + g * (yy @ p - yg)
        q = torch.linalg.solve_triangular(upper.mT, right, upper=False)
        weights = torch.cat([q, -g * p], 1)[:, :, 0]
        in_slots = torch.zeros_like(weights).scatter(1, both, weights).to(gradient)
        direction = -(g[:, 0].to(gradient) * gradient + torch.bmm(in_slots[:, None, :], self.vectors)[:, 0])
        return direction, (direction * gradient).sum(1)
