"""The loop that serves all solvers: best iterate, tolerances, history and status."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import pandas as pd
import torch
from torch import Tensor

CHECK_EVERY_ON_GPU = 20
STALL_WINDOW = 50
MOST_MISSES = 8
STATUSES = ("running", "converged", "non_finite", "stalled", "max_steps", "stopped")
RUNNING, CONVERGED, NON_FINITE, STALLED, MAX_STEPS, STOPPED = range(6)


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

    def evaluate(self, position: Tensor) -> Evaluation: ...


class Relaxable(Problem, Protocol):
    """The same for a model whose ReLUs may leak, and for some of the searches."""

    @property
    def relaxable(self) -> bool: ...

    def relaxed(self, leak: float, start: Tensor) -> Relaxable: ...

    def subset(self, kept: Sequence[int], start: Tensor) -> Relaxable: ...


class Solver(Protocol):
    """Hyper-parameters, and a generator of (position ``[B, n, r]``, evaluation), one evaluation a step."""

    def iterate(self, problem: Problem) -> Iterator[tuple[Tensor, Evaluation]]: ...


@dataclass(frozen=True)
class Solution:
    """How one search ended.

    Attributes:
        position: Best position ``[n, r]``.
        loss: :math:`L_{act}` there; infinite where no evaluation was finite.
        status: converged, stalled, max_steps, non_finite, or stopped (a restart of which another converged).
        steps: Number of evaluations of loss and gradient until it ended.
        losses: :math:`L_{act}` at each of them ``[steps]``.
        seconds: Time since the start of the loop at each of them.
        relaxed: Steps that saw a relaxed model, whose losses say nothing of the real one ``[steps]``.
    """

    position: Tensor
    loss: float
    status: str
    steps: int
    losses: Tensor
    seconds: list[float]
    relaxed: Tensor

    def history(self) -> pd.DataFrame:
        """Return columns step, loss, seconds; steps of a relaxed model are left out."""
        table = pd.DataFrame({"step": range(1, self.steps + 1), "loss": self.losses.numpy(), "seconds": self.seconds})
        return table[~self.relaxed.numpy()].reset_index(drop=True)


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

    def note(self, position: Tensor, evaluation: Evaluation, running: Tensor) -> None:
        """Take in one step; a search that runs no more keeps its best. Nothing here waits for a GPU."""
        finite = torch.isfinite(evaluation.loss) & torch.isfinite(evaluation.gradient.sum((1, 2)))
        better = running & finite & (evaluation.loss < self.least)
        self.least = torch.where(better, evaluation.loss, self.least)
        torch.where(better[:, None, None], position, self.best, out=self.best)
        self.misses = torch.where(finite, 0.0, self.misses + 1)
        self.losses.append(evaluation.loss)
        self.bests.append(self.least)
        self.seconds.append(time.perf_counter() - self.began)

    def flat(self, stall_rtol: float | None) -> Tensor:
        """Tell which searches have not got on within the last steps ``[B]``."""
        if stall_rtol is None or len(self.bests) <= STALL_WINDOW:
            return torch.zeros_like(self.least, dtype=torch.bool)
        before = self.bests[-1 - STALL_WINDOW]
        return (before - self.least <= stall_rtol * before) | ~torch.isfinite(before)


def solve(
    problem: Problem,
    solver: Solver,
    *,
    max_steps: int | Sequence[int],
    rtol: float,
    stall_rtol: float | None = None,
    until: str = "first",
) -> list[Solution]:
    """Run a solver on B searches at once, and say of each how it ended.

    A line search may meet a value that is not finite and step back; eight in a row are the end of a search.
    On a GPU the host looks at the loss only every 20 steps, so that no step waits for it.

    Args:
        problem: What is minimised.
        solver: Yields positions and their evaluations; no search may influence another.
        max_steps: Largest number of evaluations, of all searches or of each; with 0 a search stays where it is.
        rtol: Converged when :math:`L_{act}` is at most this.
        stall_rtol: Stalled when the best loss fell by no more than this share within 50 steps; None for never.
        until: first (the searches are restarts of one: all end when one is converged, or when all are flat or
            not finite) or all (each ends for itself, and then keeps what it had).
    """
    company = _any_or_all if until == "first" else list
    watch = _Watch(problem.start)
    limits = torch.as_tensor(max_steps, device=watch.best.device).expand(watch.least.shape)
    code = torch.where(limits > 0, RUNNING, MAX_STEPS)
    ended_at = torch.zeros_like(code)
    for step, (position, evaluation) in enumerate(solver.iterate(problem), start=1):
        running = code == RUNNING
        watch.note(position, evaluation, running)
        ended_at = torch.where(running, step, ended_at)
        ends = company([watch.least <= rtol, watch.misses >= MOST_MISSES, watch.flat(stall_rtol), step >= limits])
        for new, which in zip((CONVERGED, NON_FINITE, STALLED, MAX_STEPS), ends, strict=True):
            code = torch.where((code == RUNNING) & which, new, code)
        if step % watch.check_every == 0 and not bool((code == RUNNING).any()):
            break
    code = torch.where(code == RUNNING, STALLED, code)
    code = torch.where((code == CONVERGED) & (watch.least > rtol), STOPPED, code)
    code = torch.where(torch.isfinite(watch.least), code, NON_FINITE)
    return _solutions(watch, code, ended_at)


def _any_or_all(ends: list[Tensor]) -> list[Tensor]:
    """Let one converged search end all of them, and any other reason only when it holds for all."""
    return [ends[0].any(), *(which.all() for which in ends[1:])]


def _solutions(watch: _Watch, code: Tensor, ended_at: Tensor) -> list[Solution]:
    losses = torch.stack(watch.losses).cpu()
    ends = zip(watch.best, watch.least.tolist(), code.tolist(), ended_at.tolist(), strict=True)
    relaxed = torch.zeros_like(losses[:, 0], dtype=torch.bool)
    return [
        Solution(position, loss, STATUSES[c], n, losses[:n, b], watch.seconds[:n], relaxed[:n])
        for b, (position, loss, c, n) in enumerate(ends)
    ]


def best_solution(solutions: Sequence[Solution]) -> int:
    """Return the place of the search of least loss, the first of several."""
    return min(range(len(solutions)), key=lambda place: solutions[place].loss)


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
