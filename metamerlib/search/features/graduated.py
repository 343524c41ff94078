"""Graduated leak: a way past inner ReLUs that are dead in the candidate and get no gradient."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from metamerlib.search.loop import Ending, Problem, Searches, Solution, Solver, joined_seconds, solve, solve_each

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


def solve_each_graduated(
    searches: Searches, solver: Solver, *, max_steps: int, rtol: float, stall_rtol: float | None = None
) -> list[Ending]:
    """Solve all searches as they are, and those that stall again with inner ReLUs that leak less and less.

    As :func:`solve_graduated`, search by search.

    Args:
        searches: What is minimised.
        solver: Yields positions and their evaluations.
        max_steps: Largest number of evaluations of each search, all stages together.
        rtol: Converged when the loss is at most this.
        stall_rtol: As in :func:`solve_each`, for the last stage.
    """
    count = searches.start.size(0)
    if not searches.relaxable:
        return solve_each(searches, solver, max_steps=[max_steps] * count, rtol=rtol, stall_rtol=stall_rtol)
    first = solve_each(
        searches, solver, max_steps=[max_steps] * count, rtol=rtol, stall_rtol=max(STALL, stall_rtol or 0.0)
    )
    again = [i for i, one in enumerate(first) if one.status == "stalled" and max_steps - one.steps > STEPS_PER_LEAK]
    if not again:
        return first
    problem = searches.subset(again, searches.start[again])
    stages = [[first[i]] for i in again]
    position = problem.start
    for leak in LEAKS:
        limits = [STEPS_PER_LEAK if max_steps - _steps(done) > STEPS_PER_LEAK else 0 for done in stages]
        stage = solve_each(problem.relaxed(leak, position), solver, max_steps=limits, rtol=rtol, stall_rtol=STALL)
        for done, one in zip(stages, stage, strict=True):
            done.append(replace(one, relaxed=~one.relaxed))
        position = torch.stack([one.position for one in stage])
    limits = [max_steps - _steps(done) for done in stages]
    last = solve_each(
        problem.relaxed(0.0, position), solver, max_steps=limits, rtol=rtol, stall_rtol=stall_rtol or STALL
    )
    joined = {i: _join_one([*done, one]) for i, done, one in zip(again, stages, last, strict=True)}
    return [joined.get(i, one) for i, one in enumerate(first)]


def _better(first: Solution, last: Solution) -> Solution:
    """Keep the better position of every restart."""
    better: Tensor = last.loss < first.loss
    position = torch.where(better[:, None, None], last.position, first.position)
    return replace(last, position=position, loss=torch.where(better, last.loss, first.loss))


def _join(stages: list[Solution], result: Solution) -> Solution:
    seconds = joined_seconds(stage.seconds for stage in stages)
    losses, relaxed = (torch.cat([getattr(stage, name) for stage in stages]) for name in ("losses", "relaxed"))
    return replace(result, losses=losses, relaxed=relaxed, seconds=seconds, steps=len(seconds))


def _steps(stages: list[Ending]) -> int:
    return sum(stage.steps for stage in stages)


def _join_one(stages: list[Ending]) -> Ending:
    """Put the stages of one search together, and keep the better position of the first and the last."""
    first, last = stages[0], stages[-1]
    seconds = joined_seconds(stage.seconds for stage in stages)
    losses, relaxed = (torch.cat([getattr(stage, name) for stage in stages]) for name in ("losses", "relaxed"))
    kept = last if last.loss < first.loss else first
    return Ending(kept.position, kept.loss, last.status, len(seconds), losses, seconds, relaxed)
