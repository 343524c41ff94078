"""Graduated leak: a way past inner ReLUs that are dead in the candidate and get no gradient."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from metamerlib.search.loop import Problem, Solution, Solver, solve

LEAKS = (0.5, 0.2, 0.1, 0.05, 0.02)


STEPS_PER_LEAK = 100


STALL = 0.05


def solve_graduated(
    problem: Problem, solver: Solver, *, max_steps: int, rtol: float, stall_rtol: float | None = None
) -> Solution:
    """Solve the problem as it is, and where that stalls again with inner ReLUs that leak less and less.

    A unit before the matched layer that is dead in the candidate passes no gradient, and a search that needs
    it stalls. A leaky ReLU is a true function with a gradient everywhere; the search starts anew with slope
    0.5 and follows the solution down to a slope of zero. Only the plain ReLU counts for the result: leaky
    steps are marked as ``relaxed``, and counted in ``steps``.

    Args:
        problem: What is minimised.
        solver: Yields positions and their evaluations.
        max_steps: Largest number of evaluations, all stages together.
        rtol: Converged when the loss is at most this.
        stall_rtol: As in :func:`solve`, for the last stage.
    """
    if not problem.relaxable:
        return solve(problem, solver, max_steps=max_steps, rtol=rtol, stall_rtol=stall_rtol)
    first = solve(problem, solver, max_steps=max_steps, rtol=rtol, stall_rtol=max(STALL, stall_rtol or 0.0))
    stages, position = [first], problem.start
    for leak in LEAKS:
        left = max_steps - sum(stage.steps for stage in stages)
        if first.status != "stalled" or left <= STEPS_PER_LEAK:
            break
        relaxed = problem.relaxed(leak, position)
        stage = solve(relaxed, solver, max_steps=STEPS_PER_LEAK, rtol=rtol, stall_rtol=STALL)
        stages.append(replace(stage, relaxed=~stage.relaxed))
        position = stage.position
    left = max_steps - sum(stage.steps for stage in stages)
    if len(stages) > 1 and left > 0:
        last = solve(problem.relaxed(0.0, position), solver, max_steps=left, rtol=rtol, stall_rtol=stall_rtol or STALL)
        stages.append(last)
        return _join(stages, _better(first, last))
    return _join(stages, first)


def _better(first: Solution, last: Solution) -> Solution:
    """Keep the better position of every restart."""
    better: Tensor = last.loss < first.loss
    position = torch.where(better[:, None, None], last.position, first.position)
    return replace(last, position=position, loss=torch.where(better, last.loss, first.loss))


def _join(stages: list[Solution], result: Solution) -> Solution:
    seconds: list[float] = []
    for stage in stages:
        offset = seconds[-1] if seconds else 0.0
        seconds += [offset + s for s in stage.seconds]
    losses, relaxed = (torch.cat([getattr(stage, name) for stage in stages]) for name in ("losses", "relaxed"))
    return replace(result, losses=losses, relaxed=relaxed, seconds=seconds, steps=len(seconds))
