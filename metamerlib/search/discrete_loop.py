"""The loop that serves solvers of binary inputs: best iterate, tolerances, history and status."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

from metamerlib.search.loop import MOST_MISSES, STALL_WINDOW


class DiscreteSolver(Protocol):
    """Hyper-parameters, and a generator that yields each state that it looks at with the true loss there.

    The state comes as a function of no arguments that returns a copy; only a new best is copied.
    """

    def iterate(self, problem: Any) -> Iterator[tuple[Callable[[], Any], float]]: ...


@dataclass(frozen=True)
class DiscreteSolution:
    """Outcome of a search among binary inputs.

    Attributes:
        state: Best state, as the solver's function returned it; None where no loss was finite.
        loss: :math:`L_{act}` there; infinite where no loss was finite.
        status: converged, stalled (flat, or the solver had no more to try), max_steps or non_finite.
        steps: Number of states looked at.
        history: Columns step, loss, seconds (since the start of the loop).
    """

    state: Any
    loss: float
    status: str
    steps: int
    history: pd.DataFrame


def solve_discrete(
    problem: Any, solver: DiscreteSolver, *, max_steps: int, rtol: float, stall_rtol: float | None = None
) -> DiscreteSolution:
    """Run a solver until it is converged, flat or out of steps, eight losses in a row are not finite, or it ends.

    Args:
        problem: What the solver needs; the loop never looks into it.
        solver: Yields states and their losses.
        max_steps: Largest number of states.
        rtol: Converged when the loss is at most this.
        stall_rtol: Stalled when the best loss fell by less than this share within 50 steps; None for never.

    Example:
        >>> class Countdown:
        ...     def iterate(self, problem):
        ...         for value in range(problem, -1, -1):
        ...             yield (lambda: value), value / problem
        >>> solve_discrete(10, Countdown(), max_steps=100, rtol=0.3).state
        3
    """
    state, least, misses, status = None, math.inf, 0, "stalled"
    losses: list[float] = []
    bests: list[float] = []
    seconds: list[float] = []
    began = time.perf_counter()
    for snapshot, value in solver.iterate(problem):
        loss = float(value)
        finite = math.isfinite(loss)
        misses = 0 if finite else misses + 1
        if finite and loss < least:
            state, least = snapshot(), loss
        losses.append(loss)
        bests.append(least)
        seconds.append(time.perf_counter() - began)
        verdict = _verdict(bests, misses, rtol, stall_rtol)
        if verdict is not None or len(losses) >= max_steps:
            status = verdict or "max_steps"
            break
    if not math.isfinite(least):
        status = "non_finite"
    history = pd.DataFrame({"step": range(1, len(losses) + 1), "loss": losses, "seconds": seconds})
    return DiscreteSolution(state, least, status, len(losses), history)


def _verdict(bests: list[float], misses: int, rtol: float, stall_rtol: float | None) -> str | None:
    if bests[-1] <= rtol:
        return "converged"
    if misses >= MOST_MISSES:
        return "non_finite"
    if stall_rtol is not None and len(bests) > STALL_WINDOW:
        before = bests[-1 - STALL_WINDOW]
        if not math.isfinite(before) or before - bests[-1] <= stall_rtol * before:
            return "stalled"
    return None
