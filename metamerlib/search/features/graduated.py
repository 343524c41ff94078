"""Graduated leak: a way past inner ReLUs that are dead in the candidate and get no gradient."""

from __future__ import annotations

from dataclasses import replace

import torch

from metamerlib.search.loop import Relaxable, Solution, Solver, joined_seconds, solve

LEAKS = (0.5, 0.2, 0.1, 0.05, 0.02)
STEPS_PER_LEAK = 100
STALL = 0.05


def solve_graduated(
    problem: Relaxable,
    solver: Solver,
    *,
    max_steps: int,
    rtol: float,
    stall_rtol: float | None = None,
    until: str = "first",
) -> list[Solution]:
    """Solve all searches as they are, and those that stall again with inner ReLUs that leak less and less.

    A unit before the matched layer that is dead in the candidate passes no gradient, and a search that needs
    it stalls. A leaky ReLU is a true function with a gradient everywhere; the search starts anew with slope
    0.5 and follows the solution down to a slope of zero. Only the plain ReLU counts for the result: leaky
    steps are marked as ``relaxed``, and counted in ``steps``.

    Args:
        problem: What is minimised.
        solver: Yields positions and their evaluations.
        max_steps: Largest number of evaluations of each search, all stages together.
        rtol: Converged when the loss is at most this.
        stall_rtol: As in :func:`solve`, for the last stage.
        until: As in :func:`solve`.
    """
    if not problem.relaxable:
        return solve(problem, solver, max_steps=max_steps, rtol=rtol, stall_rtol=stall_rtol, until=until)
    at_first = max(STALL, stall_rtol or 0.0)
    first = solve(problem, solver, max_steps=max_steps, rtol=rtol, stall_rtol=at_first, until=until)
    again = [i for i, one in enumerate(first) if one.status == "stalled" and max_steps - one.steps > STEPS_PER_LEAK]
    if not again:
        return first
    some = problem.subset(again, problem.start[again])
    stages = [[first[i]] for i in again]
    position = some.start
    for leak in LEAKS:
        limits = [STEPS_PER_LEAK if left > STEPS_PER_LEAK else 0 for left in _left(stages, max_steps)]
        if not any(limits):
            break
        relaxed = some.relaxed(leak, position)
        ended = solve(relaxed, solver, max_steps=limits, rtol=rtol, stall_rtol=STALL, until=until)
        for done, one in zip(stages, ended, strict=True):
            done.append(replace(one, relaxed=~one.relaxed))
        position = torch.stack([one.position for one in ended])
    limits, at_last = _left(stages, max_steps), stall_rtol or STALL
    last = solve(some.relaxed(0.0, position), solver, max_steps=limits, rtol=rtol, stall_rtol=at_last, until=until)
    joined = {i: _join([*done, one]) for i, done, one in zip(again, stages, last, strict=True)}
    return [joined.get(i, one) for i, one in enumerate(first)]


def _left(stages: list[list[Solution]], max_steps: int) -> list[int]:
    """Return how many steps each search has left."""
    return [max_steps - sum(stage.steps for stage in done) for done in stages]


def _join(stages: list[Solution]) -> Solution:
    """Put the stages of one search together, and keep the better position of the first and the last."""
    first, last = stages[0], stages[-1]
    seconds = joined_seconds(stage.seconds for stage in stages)
    losses, relaxed = (torch.cat([getattr(stage, name) for stage in stages]) for name in ("losses", "relaxed"))
    kept = last if last.loss < first.loss else first
    return Solution(kept.position, kept.loss, last.status, len(seconds), losses, seconds, relaxed)
