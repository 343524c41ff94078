"""Search for edges, the features fixed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import check_solver
from metamerlib.graphs.edges import both_directions, pair_keys
from metamerlib.graphs.edit import with_edges
from metamerlib.probing.probe import Probe
from metamerlib.probing.target import Target
from metamerlib.search.discrete_loop import DiscreteSolution, DiscreteSolver, solve_discrete
from metamerlib.search.edges.limits import (
    check_edges_alone,
    check_reacts,
    limits,
    overlap_settings,
    refuse_attributes,
    start_name,
)
from metamerlib.search.edges.prbcd import PRBCD
from metamerlib.search.edges.problem import structure_problem
from metamerlib.search.edges.refresh import Refresh, check_refresh, held_attributes, refreshed
from metamerlib.search.edges.starts import edge_start
from metamerlib.search.edges.ste import EdgeSTE
from metamerlib.search.edges.swaps import EdgeSwaps
from metamerlib.search.metamer import Outcome
from metamerlib.search.request import Request, best_restart

MAX_STEPS = 2000
NAMES = ("swaps", "ste", "prbcd")


def check(request: Request, graph: Data) -> None:
    """Raise unless the request can be met: a simple graph without weights, a known start, limits that leave a graph."""
    check_edges_alone(request)
    limits(request, graph)
    check_solver(request.solver, NAMES, moves="edges")
    check_refresh(request.refresh, graph)


def search(probe: Probe, graph: Data, target: Target, request: Request) -> Outcome:
    """Find edges whose activations are the target's.

    Args:
        probe: Records the matched layer.
        graph: The reference.
        target: What is matched.
        request: The caller's wishes.

    Raises:
        ValueError: If the layer does not react to other edges, or the reference has attributes that new edges lack.
    """
    bounds = limits(request, graph)
    steps = request.max_steps or MAX_STEPS
    refuse_attributes(probe, graph, request.refresh)
    held = held_attributes(probe, graph, request.refresh)
    check_reacts(probe, graph, bounds.reference, request.refresh)

    def attempt(seed: int) -> tuple[tuple[Tensor, bool], DiscreteSolution]:
        start = edge_start(request.start, bounds, request.budget, seed)
        problem = structure_problem(probe, graph, target, start, bounds, request.refresh)
        solver = _solver(request.solver, request.start, steps, seed)
        ends: dict[str, Any] = {"rtol": request.rtol, "stall_rtol": request.stall_rtol}
        return (start, problem.guided), solve_discrete(problem, solver, max_steps=steps, **ends)

    (start, guided), solution, taken = best_restart(request, attempt)
    found = start if solution.state is None else solution.state
    name = request.solver if isinstance(request.solver, str) else repr(request.solver)
    return Outcome(
        graph=_result(graph, found, request.refresh),
        start=_result(graph, start, request.refresh),
        status=solution.status,
        steps=taken,
        history=solution.history,
        settings=request.settings(
            values="binary", solver="swaps" if name == "auto" else name, max_steps=steps,
            start=start_name(request.start), held_attributes=held, guided=guided,
            **overlap_settings(bounds, found, start),
        ),
    )  # fmt: skip


def _solver(wanted: str | DiscreteSolver, start: Any, steps: int, seed: int) -> DiscreteSolver:
    if not isinstance(wanted, str):
        return replace(wanted, seed=seed) if hasattr(wanted, "seed") else wanted  # type: ignore[type-var]
    if wanted == "ste":
        return EdgeSTE(steps=steps, seed=seed)
    if wanted == "prbcd":
        return PRBCD(steps=steps, seed=seed)
    return EdgeSwaps(steps=steps, degrees="keep" if start == "configuration" else "free", seed=seed)


def _result(graph: Data, pairs: Tensor, refresh: Refresh | None) -> Data:
    pairs = pairs.sort(dim=0).values
    order = pair_keys(pairs, int(graph.x.size(0))).argsort()
    return refreshed(with_edges(graph, both_directions(pairs[:, order])).clone(), refresh)
