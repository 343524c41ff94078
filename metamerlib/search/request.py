"""What a caller asked of a search, checked and complete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Request:
    """Arguments of :func:`metamerlib.find_metamer` that a search needs.

    Attributes:
        values: Admissible values, or None for the first that the kind of search knows.
        free_nodes: Rows of the features that may move, or None for all.
        start: A name, features ``[N, F]``, a graph, or None for the default of the kind.
        budget: Number of edge flips, or None.
        max_overlap: Share of the reference's edges or ones that may stay, or None.
        ones: graph or node: where the number of ones is kept.
        solver: A name or a solver object.
        slope: Gradient of dead ReLU units in place of zero, or None.
        max_steps: Largest number of evaluations, or None for the solver's own.
        rtol: Converged when the loss is at most this.
        stall_rtol: Stalled when the loss falls by less than this share; None for never.
        num_restarts: Number of starts.
        seed: Seed of all that is random.
    """

    values: Any
    free_nodes: Tensor | None
    start: Any
    budget: int | None
    max_overlap: float | None
    ones: str
    solver: Any
    slope: float | None
    max_steps: int | None
    rtol: float
    stall_rtol: float | None
    num_restarts: int
    seed: int

    def settings(self, **others: Any) -> dict[str, Any]:
        """Return the plain values that a metamer keeps, with those that the kind of search adds."""
        start = self.start if isinstance(self.start, str) else "given"
        plain = ("budget", "max_overlap", "slope", "max_steps", "rtol", "stall_rtol", "num_restarts", "seed")
        return {"start": start, **{name: getattr(self, name) for name in plain}, **others}
