"""Solve many searches at once, each with a status of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from metamerlib.search.features.graduated import LEAKS, STALL, STEPS_PER_LEAK
from metamerlib.search.loop import CHECK_EVERY_ON_GPU, MOST_MISSES, STALL_WINDOW, Evaluation, Solver

STATUSES = ("running", "converged", "non_finite", "stalled", "max_steps")


RUNNING, CONVERGED, NON_FINITE, STALLED, MAX_STEPS = range(5)


class Searches(Protocol):
    """B searches with starts ``[B, n, r]``, and the same for some of them."""

    @property
    def start(self) -> Tensor: ...

    @property
    def relaxable(self) -> bool: ...

    def relaxed(self, leak: float, start: Tensor) -> Searches: ...

    def subset(self, kept: Sequence[int], start: Tensor) -> Searches: ...

    def evaluate(self, position: Tensor) -> Evaluation: ...


@dataclass(frozen=True)
class Ending:
    """How one of many searches ended.

    Attributes:
        position: Best position ``[n, r]``.
        loss: :math:`L_{act}` there; infinite where no evaluation was finite.
        status: converged, stalled, max_steps or non_finite.
        steps: Number of evaluations of loss and gradient until it ended.
        losses: :math:`L_{act}` at each of them ``[steps]``.
        seconds: Time since the start of the loop at each of them.
        relaxed: Steps that saw a relaxed model ``[steps]``.
    """

    position: Tensor
    loss: float
    status: str
    steps: int
    losses: Tensor
    seconds: list[float]
    relaxed: Tensor


def solve_each(
    searches: Searches, solver: Solver, *, max_steps: Sequence[int], rtol: float, stall_rtol: float | None = None
) -> list[Ending]:
    """Run a solver until every search has ended; one that has ended keeps what it then had.

    The rules are those of :func:`metamerlib.search.loop.solve`, search by search, so that none depends on its
    company. One whose best loss does not fall at all within 50 steps has stalled: a line search is at its end.

    Args:
        searches: What is minimised.
        solver: Yields positions and their evaluations; no search may influence another.
        max_steps: Largest number of evaluations of each search; with 0 it stays where it is.
        rtol: Converged when :math:`L_{act}` is at most this.
        stall_rtol: Stalled when the best loss fell by less than this share within 50 steps.
    """
    best = searches.start.detach().clone()
    least = best.new_full((best.size(0),), torch.inf)
    misses = torch.zeros_like(least)
    limits = torch.tensor(list(max_steps), device=best.device)
    code = torch.where(limits > 0, RUNNING, MAX_STEPS)
    ended_at = torch.zeros_like(limits)
    check_every = 1 if best.device.type == "cpu" else CHECK_EVERY_ON_GPU
    losses: list[Tensor] = []
    bests: list[Tensor] = []
    seconds: list[float] = []
    began = time.perf_counter()
    for step, (position, evaluation) in enumerate(solver.iterate(searches), start=1):
        running = code == RUNNING
        finite = torch.isfinite(evaluation.loss) & torch.isfinite(evaluation.gradient.sum((1, 2)))
        better = running & finite & (evaluation.loss < least)
        least = torch.where(better, evaluation.loss, least)
        torch.where(better[:, None, None], position, best, out=best)
        misses = torch.where(finite, 0.0, misses + 1)
        losses.append(evaluation.loss)
        bests.append(least)
        seconds.append(time.perf_counter() - began)
        ended_at = torch.where(running, step, ended_at)
        flat = _flat(bests, stall_rtol)
        for new, which in ((CONVERGED, least <= rtol), (NON_FINITE, misses >= MOST_MISSES), (STALLED, flat)):
            code = torch.where((code == RUNNING) & which, new, code)
        code = torch.where((code == RUNNING) & (step >= limits), MAX_STEPS, code)
        if step % check_every == 0 and bool((code != RUNNING).all()):
            break
    code = torch.where(code == RUNNING, STALLED, code)
    code = torch.where(torch.isfinite(least), code, NON_FINITE)
    return _endings(best, least, code, ended_at, torch.stack(losses), seconds)


def solve_each_graduated(
    searches: Searches, solver: Solver, *, max_steps: int, rtol: float, stall_rtol: float | None = None
) -> list[Ending]:
    """Solve all searches as they are, and those that stall again with inner ReLUs that leak less and less.

    As :func:`metamerlib.search.features.graduated.solve_graduated`, search by search.

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
    joined = {i: _join([*done, one]) for i, done, one in zip(again, stages, last, strict=True)}
    return [joined.get(i, one) for i, one in enumerate(first)]


def _flat(bests: list[Tensor], stall_rtol: float | None) -> Tensor:
    """Tell which searches have not got on within the last steps ``[B]``."""
    if len(bests) <= STALL_WINDOW:
        return torch.zeros_like(bests[0], dtype=torch.bool)
    before = bests[-1 - STALL_WINDOW]
    return (before - bests[-1] <= (stall_rtol or 0.0) * before) | ~torch.isfinite(before)


def _endings(
    best: Tensor, least: Tensor, code: Tensor, ended_at: Tensor, losses: Tensor, seconds: list[float]
) -> list[Ending]:
    losses = losses.cpu()
    return [
        Ending(
            position, loss, STATUSES[c], steps, losses[:steps, b], seconds[:steps], torch.zeros(steps, dtype=torch.bool)
        )
        for b, (position, loss, c, steps) in enumerate(
            zip(best, least.tolist(), code.tolist(), ended_at.tolist(), strict=True)
        )
    ]


def _steps(stages: list[Ending]) -> int:
    return sum(stage.steps for stage in stages)


def _join(stages: list[Ending]) -> Ending:
    """Put the stages of one search together, and keep the better position of the first and the last."""
    first, last = stages[0], stages[-1]
    seconds: list[float] = []
    for stage in stages:
        offset = seconds[-1] if seconds else 0.0
        seconds += [offset + s for s in stage.seconds]
    losses, relaxed = (torch.cat([getattr(stage, name) for stage in stages]) for name in ("losses", "relaxed"))
    kept = last if last.loss < first.loss else first
    return Ending(kept.position, kept.loss, last.status, len(seconds), losses, seconds, relaxed)
