"""Bring a point back on to the set of metamers by Gauss-Newton steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from metamerlib.manifold.constraint import Constraint
from metamerlib.manifold.linearisation import Linearisation

TOLERANCE = 1e-8
_CORRECTIONS = 12
LARGEST_CORRECTION = 0.5
SOLVE: dict[str, Any] = {"tolerance": 1e-6, "max_steps": 600}


class Correction(NamedTuple):
    """Features brought back to the manifold.

    Attributes:
        x: Features of the free rows ``[n, F]``.
        error: Norm of the one-sided residual over that of the target; it bounds the relative error.
        rounds: Number of least-norm corrections.
    """

    x: Tensor
    error: float
    rounds: int


def correct(
    constraint: Constraint,
    x: Tensor,
    *,
    tolerance: float = TOLERANCE,
    linear: Linearisation | None = None,
    max_rounds: int = _CORRECTIONS,
) -> Correction:
    r"""Apply least-norm Gauss-Newton corrections until features match.

    .. math:: x \leftarrow x - J^+ r(x)

    with r the one-sided residual, so that units which the reference silences need only stay silent. J is
    computed anew whenever the error falls too slowly with the old one.

    Args:
        constraint: The match.
        x: Features of the free rows ``[n, F]``.
        tolerance: Largest error.
        linear: J at a place nearby.
        max_rounds: Largest number of corrections.

    Returns:
        The corrected features; whether they match is told by their error.
    """
    u = start = constraint.visible(x)
    with torch.no_grad():
        residual = constraint.residual(u)
    error, rounds, fresh = residual.norm().item(), 0, False
    while error > tolerance and rounds < max_rounds:
        if linear is None:
            linear, fresh = constraint.linearise(u), True
        trial = u - linear.least_norm(residual, **SOLVE).x
        with torch.no_grad():
            residual_there = constraint.residual(trial)
        there = residual_there.norm().item()
        rounds += 1
        if there < error:
            slow = there > 0.1 * error
            u, residual, error = trial, residual_there, there
            linear, fresh = (None, False) if slow else (linear, False)
        elif fresh or not there < float("inf"):
            break
        else:
            linear = None
    return Correction(x + constraint.lift(u - start), error, rounds)
