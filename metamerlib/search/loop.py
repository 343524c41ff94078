"""The loop that serves all solvers: best iterate, tolerances, history and status."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

CHECK_EVERY_ON_GPU = 20


STALL_WINDOW = 50


MOST_MISSES = 8


class Problem(Protocol):
    """What a solver needs: B starts ``[B, n, r]`` and a function of B positions."""

    @property
    def start(self) -> Tensor: ...

    @property
    def relaxable(self) -> bool: ...

    def relaxed(self, leak: float, start: Tensor) -> Problem: ...

    def evaluate(self, position: Tensor) -> Evaluation: ...


class Solver(Protocol):
    """Hyper-parameters, and a generator of (position ``[B, n, r]``, evaluation), one evaluation a step."""

    def iterate(self, problem: Problem) -> Iterator[tuple[Tensor, Evaluation]]: ...


@dataclass(frozen=True)
class Solution:
    """Outcome of a search.

    Attributes:
        position: Best position of every restart ``[B, n, r]``.
        loss: :math:`L_{act}` there ``[B]``; infinite where no evaluation was finite.
        status: converged, stalled, max_steps or non_finite.
        steps: Number of evaluations of loss and gradient.
        losses: :math:`L_{act}` of every restart at every step ``[steps, B]``.
        seconds: Time since the start of the loop at every step ``[steps]``.
        relaxed: Steps that saw a relaxed model, whose losses say nothing of the real one ``[steps]``.
    """

    position: Tensor
    loss: Tensor
    status: str
    steps: int
    losses: Tensor
    seconds: list[float]
    relaxed: Tensor


def solve(
    problem: Problem, solver: Solver, *, max_steps: int, rtol: float, stall_rtol: float | None = None
) -> Solution:
    """Run a solver until one restart is converged, all are non-finite, the loss is flat, or steps run out.

    A line search may meet a value that is not finite and step back; eight in a row are the end of a restart.
    On a GPU the host looks at the loss only every 20 steps, so that no step waits for it.

    Args:
        problem: What is minimised.
        solver: Yields positions and their evaluations.
        max_steps: Largest number of evaluations.
        rtol: Converged when :math:`L_{act}` is at most this.
        stall_rtol: Stalled when the best loss fell by less than this share within 50 steps.
    """
    best = problem.start.detach().clone()
    least = best.new_full((best.size(0),), torch.inf)
    misses = torch.zeros_like(least)
    check_every = 1 if best.device.type == "cpu" else CHECK_EVERY_ON_GPU
    losses: list[Tensor] = []
    bests: list[Tensor] = []
    seconds: list[float] = []
    began = time.perf_counter()
    status = "stalled"
    for step, (position, evaluation) in enumerate(solver.iterate(problem), start=1):
        finite = torch.isfinite(evaluation.loss) & torch.isfinite(evaluation.gradient.sum((1, 2)))
        better = finite & (evaluation.loss < least)
        least = torch.where(better, evaluation.loss, least)
        torch.where(better[:, None, None], position, best, out=best)
        misses = torch.where(finite, 0.0, misses + 1)
        losses.append(evaluation.loss)
        bests.append(least)
        seconds.append(time.perf_counter() - began)
        if step % check_every == 0 or step == max_steps:
            verdict = _verdict(least, misses, bests, rtol, stall_rtol)
            if verdict is not None or step == max_steps:
                status = verdict or "max_steps"
                break
    if not bool(torch.isfinite(least).any()):
        status = "non_finite"
    return Solution(
        best, least, status, len(losses), torch.stack(losses).cpu(), seconds, torch.zeros(len(losses), dtype=torch.bool)
    )


def _verdict(least: Tensor, misses: Tensor, bests: list[Tensor], rtol: float, stall_rtol: float | None) -> str | None:
    if bool((least <= rtol).any()):
        return "converged"
    if bool((misses >= MOST_MISSES).all()):
        return "non_finite"
    if stall_rtol is not None and len(bests) > STALL_WINDOW:
        before = bests[-1 - STALL_WINDOW]
        if bool(((before - least <= stall_rtol * before) | ~torch.isfinite(before)).all()):
            return "stalled"
    return None


class Evaluation(NamedTuple):
    """One look at B positions: what the solver minimises, its gradient, and what is reported.

    Attributes:
        objective: Squared residual over the squared norm of the target ``[B]``.
        gradient: Gradient of each objective at its own position ``[B, n, r]``.
        loss: :math:`L_{act}` ``[B]``.
    """

    objective: Tensor
    gradient: Tensor
    loss: Tensor
