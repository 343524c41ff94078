"""Metamers in a ball that get away from given points: the objective and the search behind `farthest`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from metamerlib.checks import check_positive
from metamerlib.manifold.constraint import Constraint, check_direction
from metamerlib.manifold.correction import LARGEST_CORRECTION, SOLVE, correct
from metamerlib.manifold.linearisation import Linearisation
from metamerlib.probing.target import Target
from metamerlib.search.metamer import Metamer, Outcome, assemble

_SHARPNESS = 30.0
_SMALLEST_SHARE = 1e-3
_GAP = 1e-4
_ROUNDS_TO_SPHERE = 8


@dataclass(frozen=True)
class Ball:
    """Where metamers may lie.

    Attributes:
        centre: ``[n, F]``.
        radius: Positive.
    """

    centre: Tensor
    radius: float

    @classmethod
    def of(cls, constraint: Constraint, centre: Tensor | None = None, radius: float | None = None) -> Ball:
        base = constraint.base
        centre = torch.zeros_like(base) if centre is None else check_direction(centre, constraint, name="centre")
        reach = (base - centre).norm().item()
        if radius is not None:
            check_positive("radius", radius)
            if reach > radius * (1 + 1e-9):
                raise ValueError(f"the reference is {reach:.4g} from the centre, outside of radius {radius:.4g}")
        elif reach == 0:
            raise ValueError("the free features of the reference are zero, and so would be the bound of the norm")
        return cls(centre, reach if radius is None else float(radius))


@dataclass(frozen=True)
class Repulsion:
    """Stay a metamer inside a ball, and get away from others in it.

    Attributes:
        constraint: The match.
        others: Features of the free rows ``[J, n, F]``.
        ball: Where the metamers may lie.
        tolerance: Largest relative error.
    """

    constraint: Constraint
    others: Tensor
    ball: Ball
    tolerance: float

    @classmethod
    def of(
        cls, constraint: Constraint, others: Sequence[Tensor], tolerance: float, ball: Ball | None = None
    ) -> Repulsion:
        check_positive("tolerance", tolerance)
        return cls(constraint, torch.stack(list(others)), ball or Ball.of(constraint), tolerance)

    @property
    def radius(self) -> float:
        """Radius of the ball."""
        return self.ball.radius

    def cosines(self, x: Tensor) -> Tensor:
        return (self.others * x).sum((1, 2)) / self.radius**2

    def value(self, x: Tensor) -> float:
        """Return a smooth maximum of the cosines, at equal norms."""
        return torch.logsumexp(_SHARPNESS * self.cosines(x), 0).item() / _SHARPNESS

    def gradient(self, x: Tensor) -> Tensor:
        weights = torch.softmax(_SHARPNESS * self.cosines(x), 0)
        return (weights[:, None, None] * self.others).sum(0) / self.radius**2

    def tangent(self, linear: Linearisation, v: Tensor) -> Tensor:
        constraint = self.constraint
        return constraint.lift(linear.project(constraint.visible(v), **SOLVE)) + constraint.invisible(v)

    def somewhere(self, noise: Tensor) -> Tensor:
        """Return a random metamer of about the reference's norm; the reference itself if none is found."""
        base = self.constraint.base
        linear = self.constraint.linearise(self.constraint.visible(base))
        ahead = self.tangent(linear, noise)
        along = self.tangent(linear, base)
        centre = base - along
        size = ahead.norm()
        if not size > 1e-9 * noise.norm():
            return base
        goal = centre + max(self.radius**2 - centre.norm().item() ** 2, 0.0) ** 0.5 / size * ahead
        for share in (1.0, 0.5, 0.25, 0.1):
            found = self.inside(base + share * (goal - base), linear)
            if found is not None:
                return found
        return base

    def inside(self, x: Tensor, linear: Linearisation) -> Tensor | None:
        """Return the metamer nearby whose norm is at most the radius, or None if there is none in reach."""
        constraint = self.constraint
        for _ in range(_ROUNDS_TO_SPHERE):
            found = correct(constraint, x, tolerance=self.tolerance, linear=linear)
            if found.error > self.tolerance:
                return None
            x, out = found.x, found.x - self.ball.centre
            excess = out.square().sum().item() / self.radius**2 - 1
            if excess <= 1e-9:
                return x
            hidden = constraint.invisible(out)
            size, seen = hidden.square().sum().item(), constraint.visible(out).square().sum().item()
            if size > 0.01 * self.radius**2 and seen < self.radius**2:
                return x + (((self.radius**2 - seen) / size) ** 0.5 - 1) * hidden
            inward = self.tangent(linear, out)
            slope = 2 * (out * inward).sum().item() / self.radius**2
            if slope <= 1e-6:
                return None
            x = x - excess / slope * inward
        return None

    def search(self, x: Tensor, max_steps: int, began: float, settings: dict[str, Any]) -> Metamer:
        """Minimise the smooth maximum from features ``[n, F]`` on, and put the result together."""
        check_positive("max_steps", max_steps, integer=True)
        constraint, share, status, rows = self.constraint, 1.0, "max_steps", []
        start = constraint.graph_of(x)
        found = correct(constraint, x, tolerance=self.tolerance)
        x, status = (found.x, status) if found.error <= self.tolerance else (x, "stalled")
        for step in range(max_steps + 1):
            rows.append(self._row(step, x, began, along=settings["solver"] == "farthest along a direction"))
            if status != "max_steps" or step == max_steps:
                break
            linear = constraint.linearise(constraint.visible(x))
            goal = self._goal(x, linear)
            if goal is None or ((x - goal) * self.gradient(x)).sum() <= _GAP:
                status = "converged"
                break
            share, moved = self._move(x, goal, linear, min(1.0, 4 * share))
            status = status if moved is not None else "stalled"
            x = x if moved is None else moved
        settings = {"vary": "features", "values": "continuous", "rtol": (2 * self.tolerance) ** 2, **settings}
        outcome = Outcome(constraint.graph_of(x), start, status, len(rows) - 1, pd.DataFrame(rows), settings)
        return assemble(
            constraint.whole, _target_of(constraint), constraint.reference, outcome,
            free_nodes=constraint.free_nodes, began=began,
        )  # fmt: skip

    def _goal(self, x: Tensor, linear: Linearisation) -> Tensor | None:
        """Return the minimum of the linearised objective over the ball on the tangent space at ``x``."""
        out = x - self.ball.centre
        along, uphill = self.tangent(linear, out), self.tangent(linear, self.gradient(x))
        middle, size = out - along, uphill.norm()
        room = self.radius**2 - middle.square().sum().item()
        if room <= 0 or not size > 1e-9 / self.radius:
            return None
        return self.ball.centre + middle - room**0.5 / size * uphill

    def _move(self, x: Tensor, goal: Tensor, linear: Linearisation, share: float) -> tuple[float, Tensor | None]:
        """Go towards the goal as far as the match can be kept and the value falls."""
        before, slope = self.value(x), ((x - goal) * self.gradient(x)).sum().item()
        while share >= _SMALLEST_SHARE:
            trial = x + share * (goal - x)
            new = self.inside(trial, linear)
            limit = LARGEST_CORRECTION * share * (goal - x).norm()
            near = new is not None and bool((new - trial).norm() <= limit)
            if new is not None and near and self.value(new) < before - 0.05 * share * slope:
                return share, new
            share /= 2
        return share, None

    def _row(self, step: int, x: Tensor, began: float, *, along: bool) -> dict[str, float]:
        constraint = self.constraint
        row = {
            "step": step,
            "loss": constraint.relative_errors(constraint.visible(x)[None]).item() ** 2,
            "seconds": time.perf_counter() - began,
            "distance": (x - constraint.base).norm().item(),
            "cosine": ((x * constraint.base).sum() / (x.norm() * constraint.base.norm())).item(),
        }
        return row | ({"along": -self.cosines(x)[0].item() * self.radius} if along else {})


def _target_of(constraint: Constraint) -> Target:
    return Target.of(constraint.whole(constraint.reference, complete=False), constraint.nodes)
