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
from metamerlib.search.edges.starts import edge_start
from metamerlib.search.edges.ste import EdgeSTE
from metamerlib.search.edges.swaps import EdgeSwaps
from metamerlib.search.metamer import Outcome
from metamerlib.search.request import Request

MAX_STEPS = 2000


NAMES = ("swaps", "ste", "prbcd")


def check(request: Request, graph: Data) -> None:
    """Raise unless the request can be met: a simple graph without weights, a known start, limits that leave a graph."""
    check_edges_alone(request)
    limits(request, graph)
    check_solver(request.solver, NAMES)


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
    refuse_attributes(probe, graph)
    check_reacts(probe, graph)
    best: tuple[Tensor, Tensor, DiscreteSolution] | None = None
    for restart in range(request.num_restarts):
        seed = request.seed + restart
        start = edge_start(graph, request.start, bounds, request.budget, seed)
        problem = structure_problem(probe, graph, target, start, bounds)
        solver = _solver(request.solver, request.start, steps, seed)
        solution = solve_discrete(problem, solver, max_steps=steps, rtol=request.rtol, stall_rtol=request.stall_rtol)
        if best is None or solution.loss < best[2].loss:
            best = start, start if solution.state is None else solution.state, solution
    assert best is not None
    start, found, solution = best
    name = request.solver if isinstance(request.solver, str) else repr(request.solver)
    return Outcome(
        graph=_result(graph, found),
        start=_result(graph, start),
        status=solution.status,
        steps=solution.steps,
        history=solution.history,
        settings=request.settings(
            values="binary", solver="swaps" if name == "auto" else name, max_steps=steps,
            start=start_name(request.start), **overlap_settings(graph, found, start),
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


def _result(graph: Data, pairs: Tensor) -> Data:
    pairs = pairs.sort(dim=0).values
    order = pair_keys(pairs, int(graph.x.size(0))).argsort()
    return with_edges(graph, both_directions(pairs[:, order])).clone()
