"""The loop that serves all solvers: best iterate, tolerances, history and status."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

CHECK_EVERY_ON_GPU = 20
STALL_WINDOW = 50
MOST_MISSES = 8
STATUSES = ("running", "converged", "non_finite", "stalled", "max_steps")
RUNNING, CONVERGED, NON_FINITE, STALLED, MAX_STEPS = range(5)


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


class Searches(Problem, Protocol):
    """B searches that have nothing to do with one another, and the same for some of them."""

    def relaxed(self, leak: float, start: Tensor) -> Searches: ...

    def subset(self, kept: Sequence[int], start: Tensor) -> Searches: ...


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


class _Watch:
    """Keeps the best position of every search, and the losses on the way."""

    def __init__(self, start: Tensor) -> None:
        self.best = start.detach().clone()
        self.least = self.best.new_full((self.best.size(0),), torch.inf)
        self.misses = torch.zeros_like(self.least)
        self.check_every = 1 if self.best.device.type == "cpu" else CHECK_EVERY_ON_GPU
        self.losses: list[Tensor] = []
        self.bests: list[Tensor] = []
        self.seconds: list[float] = []
        self.began = time.perf_counter()

    def note(self, position: Tensor, evaluation: Evaluation, running: Tensor | None = None) -> None:
        """Take in one step; a search that runs no more keeps its best. Nothing here waits for a GPU."""
        finite = torch.isfinite(evaluation.loss) & torch.isfinite(evaluation.gradient.sum((1, 2)))
        better = finite & (evaluation.loss < self.least)
        if running is not None:
            better = running & better
        self.least = torch.where(better, evaluation.loss, self.least)
        torch.where(better[:, None, None], position, self.best, out=self.best)
        self.misses = torch.where(finite, 0.0, self.misses + 1)
        self.losses.append(evaluation.loss)
        self.bests.append(self.least)
        self.seconds.append(time.perf_counter() - self.began)

    def flat(self, stall_rtol: float | None) -> Tensor:
        """Tell which searches have not got on within the last steps ``[B]``."""
        if len(self.bests) <= STALL_WINDOW:
            return torch.zeros_like(self.least, dtype=torch.bool)
        before = self.bests[-1 - STALL_WINDOW]
        return (before - self.least <= (stall_rtol or 0.0) * before) | ~torch.isfinite(before)


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
    watch, status = _Watch(problem.start), "stalled"
    for step, (position, evaluation) in enumerate(solver.iterate(problem), start=1):
        watch.note(position, evaluation)
        if step % watch.check_every == 0 or step == max_steps:
            verdict = _verdict(watch, rtol, stall_rtol)
            if verdict is not None or step == max_steps:
                status = verdict or "max_steps"
                break
    if not bool(torch.isfinite(watch.least).any()):
        status = "non_finite"
    steps, losses = len(watch.losses), torch.stack(watch.losses).cpu()
    relaxed = torch.zeros(steps, dtype=torch.bool)
    return Solution(watch.best, watch.least, status, steps, losses, watch.seconds, relaxed)


def _verdict(watch: _Watch, rtol: float, stall_rtol: float | None) -> str | None:
    """Return how searches of which one is enough have ended, or None while they go on."""
    if bool((watch.least <= rtol).any()):
        return "converged"
    if bool((watch.misses >= MOST_MISSES).all()):
        return "non_finite"
    if stall_rtol is not None and bool(watch.flat(stall_rtol).all()):
        return "stalled"
    return None


def solve_each(
    searches: Searches, solver: Solver, *, max_steps: Sequence[int], rtol: float, stall_rtol: float | None = None
) -> list[Ending]:
    """Run a solver until every search has ended; one that has ended keeps what it then had.

    The rules are those of :func:`solve`, search by search, so that none depends on its
    company. One whose best loss does not fall at all within 50 steps has stalled: a line search is at its end.

    Args:
        searches: What is minimised.
        solver: Yields positions and their evaluations; no search may influence another.
        max_steps: Largest number of evaluations of each search; with 0 it stays where it is.
        rtol: Converged when :math:`L_{act}` is at most this.
        stall_rtol: Stalled when the best loss fell by less than this share within 50 steps.
    """
    watch = _Watch(searches.start)
    limits = torch.tensor(list(max_steps), device=watch.best.device)
    code = torch.where(limits > 0, RUNNING, MAX_STEPS)
    ended_at = torch.zeros_like(limits)
    for step, (position, evaluation) in enumerate(solver.iterate(searches), start=1):
        running = code == RUNNING
        watch.note(position, evaluation, running)
        ended_at = torch.where(running, step, ended_at)
        ends = ((CONVERGED, watch.least <= rtol), (NON_FINITE, watch.misses >= MOST_MISSES))
        for new, which in (*ends, (STALLED, watch.flat(stall_rtol)), (MAX_STEPS, step >= limits)):
            code = torch.where((code == RUNNING) & which, new, code)
        if step % watch.check_every == 0 and bool((code != RUNNING).all()):
            break
    code = torch.where(code == RUNNING, STALLED, code)
    code = torch.where(torch.isfinite(watch.least), code, NON_FINITE)
    return _endings(watch, code, ended_at)


def _endings(watch: _Watch, code: Tensor, ended_at: Tensor) -> list[Ending]:
    losses = torch.stack(watch.losses).cpu()
    ends = zip(watch.best, watch.least.tolist(), code.tolist(), ended_at.tolist(), strict=True)
    return [
        Ending(position, loss, STATUSES[c], n, losses[:n, b], watch.seconds[:n], torch.zeros(n, dtype=torch.bool))
        for b, (position, loss, c, n) in enumerate(ends)
    ]


def joined_seconds(parts: Iterable[Sequence[float]]) -> list[float]:
    """Put the clocks of stages one after the other.

    Example:
        >>> joined_seconds([[1.0, 2.0], [1.0]])
        [1.0, 2.0, 3.0]
    """
    seconds: list[float] = []
    for part in parts:
        before = seconds[-1] if seconds else 0.0
        seconds += [before + second for second in part]
    return seconds
