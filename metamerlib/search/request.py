"""What a caller asked of a search, checked and complete."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import check_features, check_structure
from metamerlib.plain import shown
from metamerlib.search.edges.refresh import Refresh

SEED_STRIDE = 1_000_003


class Ended(Protocol):
    """What is asked of the end of one restart: a loss, a status and a number of steps."""

    @property
    def loss(self) -> float | Tensor: ...

    @property
    def status(self) -> str: ...

    @property
    def steps(self) -> int: ...


Began = TypeVar("Began")
End = TypeVar("End", bound=Ended)


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
        refresh: Computes what follows from the edges anew on each candidate, or None.
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
    refresh: Refresh | None = None

    def settings(self, **others: Any) -> dict[str, Any]:
        """Return the plain values that a metamer keeps, with those that the kind of search adds."""
        start = self.start if isinstance(self.start, str) else "given"
        plain = ("budget", "max_overlap", "slope", "max_steps", "rtol", "stall_rtol", "num_restarts", "seed")
        return {"start": start, **{name: getattr(self, name) for name in plain}, **others}


def check_start(start: object, x: Tensor, *, features: bool) -> None:
    """Raise unless a start is None, a name, features like the reference's ``[N, F]``, or a graph.

    Args:
        start: What the caller handed in.
        x: Features of the reference.
        features: Whether features alone move, so that they can be a start.
    """
    if isinstance(start, Data):
        check_structure(start)
    elif isinstance(start, Tensor) and features:
        check_features(start, x.size(0))
        if start.shape != x.shape or start.dtype != x.dtype:
            raise ValueError(f"start must be {x.dtype} {list(x.shape)}, got {start.dtype} {list(start.shape)}")
    elif start is not None and not isinstance(start, str | Tensor):
        raise TypeError(f"start must be a name, a tensor {list(x.shape)} or a graph, got {shown(start)}")


def refuse_unused(request: Request, *, binary: bool) -> None:
    """Raise if an option is given that the search would not read; ``binary`` says whether bits of features move."""
    if request.ones != "graph" and not binary:
        raise ValueError(f"ones={request.ones!r} counts ones of binary features, but no bits move here; drop ones")
    if request.slope is not None and binary:
        raise ValueError("slope belongs to the search for real features by adam, but bits move here; drop slope")


def refuse_refresh(request: Request) -> None:
    """Raise if attributes should follow edges that stay."""
    if request.refresh is not None:
        raise ValueError("refresh computes attributes anew where edges change, but here they stay; drop refresh")


def restart_seeds(seed: int, num_restarts: int) -> list[int]:
    """Return a seed for each restart, so that near seeds have no restart in common.

    Example:
        >>> restart_seeds(5, 2)
        [5, 1000008]
    """
    return [seed + SEED_STRIDE * restart for restart in range(num_restarts)]


def best_restart(request: Request, attempt: Callable[[int], tuple[Began, End]]) -> tuple[Began, End, int]:
    """Start anew until one restart is converged, or all have been tried.

    Args:
        request: Says the seed and the number of restarts.
        attempt: Takes a seed, and returns where that restart began and how it ended.

    Returns:
        Where the restart of least loss began, how it ended, and the steps of all that were tried.
    """
    return best_of(attempt(seed) for seed in restart_seeds(request.seed, request.num_restarts))


def best_of(attempts: Iterable[tuple[Began, End]]) -> tuple[Began, End, int]:
    """Take attempts, made as they are asked for, until one is converged; see :func:`best_restart`."""
    best, steps = None, 0
    for began, end in attempts:
        steps += end.steps
        if best is None or float(end.loss) < float(best[1].loss):
            best = began, end
        if end.status == "converged":
            break
    assert best is not None  # there is at least one restart
    return *best, steps
