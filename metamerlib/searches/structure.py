"""Search for edges, the features fixed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.capture import Probe
from metamerlib.checks import check_solver
from metamerlib.edge_sets import among, both_directions, pair_keys, random_edges, undirected_pairs
from metamerlib.problem import Target
from metamerlib.result import Outcome
from metamerlib.searches.request import Request
from metamerlib.solvers.discrete import DiscreteSolution, DiscreteSolver, solve_discrete
from metamerlib.solvers.edge_ste import EdgeSTE
from metamerlib.solvers.edge_swaps import EdgeSwaps
from metamerlib.solvers.prbcd import PRBCD
from metamerlib.structure_problem import edge_bounds, edge_start, structure_problem, with_edges

MAX_STEPS = 2000
NAMES = ("swaps", "ste", "prbcd")


def check(request: Request, graph: Data) -> None:
    """Raise unless the request can be met: a simple graph without weights, a known start, limits that leave a graph."""
    check_edges_alone(request)
    limits(request, graph)
    check_solver(request.solver, NAMES)


def check_edges_alone(request: Request) -> None:
    """Raise if an option is given that edges have no use for."""
    if request.free_nodes is not None:
        raise ValueError("free_nodes says whose features may move, but here the features are fixed; drop free_nodes")
    if request.slope is not None:
        raise ValueError("slope belongs to the search for features by adam; drop it")
    if isinstance(request.start, Tensor):
        raise TypeError("start must be a name or a graph for vary='structure', got features; pass a Data")


def limits(request: Request, graph: Data) -> tuple[int, int]:
    """Return how many reference edges a result may hold, at least and at most."""
    pairs, num_nodes = undirected_pairs(graph), int(graph.x.size(0))
    total = num_nodes * (num_nodes - 1) // 2
    if not 0 < pairs.size(1) < total:
        raise ValueError(f"the graph has {pairs.size(1)} of {total} possible edges, so no other has as many")
    if graph.get("batch") is not None and int(graph.batch.max()) > 0:
        raise ValueError("the graph is a batch of several, which new edges would join; search for one at a time")
    return edge_bounds(pairs.size(1), total, request.budget, request.max_overlap)


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


def start_name(start: str | Data | None) -> str:
    """Return what the settings say of a start."""
    return "given" if isinstance(start, Data) else start or "erdos-renyi"


def overlap_settings(graph: Data, found: Tensor, start: Tensor) -> dict[str, Any]:
    """Return the share of the reference's edges in the result and at the start, and the number of flips."""
    pairs, num_nodes = undirected_pairs(graph), int(graph.x.size(0))
    known = pair_keys(pairs, num_nodes).sort().values
    held, at_start = (int(among(pair_keys(p, num_nodes), known).sum()) for p in (found, start))
    size = pairs.size(1)
    flips = size + found.size(1) - 2 * held
    return {"overlap": held / size, "overlap_start": at_start / size, "flips": flips}


def refuse_attributes(probe: Probe, graph: Data) -> None:
    """Raise if the model reads attributes of edges; others are left out of the result."""
    names = [n for n in graph.keys() if n != "edge_index" and graph.is_edge_attr(n)]  # noqa: SIM118
    if not names:
        return
    bare = with_edges(graph, graph.edge_index)
    try:
        with torch.no_grad():
            same = torch.equal(probe(graph, complete=False).activation, probe(bare, complete=False).activation)
    except Exception:  # a foreign forward may need the attribute in any way
        same = False
    if not same:
        raise ValueError(
            f"the model reads {names} of the reference's edges, which new edges would lack; set "
            f"graph.{names[0]} = None for both the training and the search"
        )


def check_reacts(probe: Probe, graph: Data) -> None:
    """Raise if the layer gives the same activations on quite other edges."""
    pairs, num_nodes = undirected_pairs(graph), int(graph.x.size(0))
    other = random_edges(pairs, num_nodes, pairs.size(1), pairs.size(1), torch.Generator().manual_seed(0))
    there = with_edges(graph, both_directions(other))
    try:
        with torch.no_grad():
            here, moved = (probe(g, complete=False).activation for g in (graph, there))
    except (RuntimeError, IndexError) as error:
        raise ValueError(f"the model fails on the reference's nodes with other edges: {error}") from error
    if torch.equal(here, moved):
        raise ValueError(
            f"layer {probe.name!r} does not react to a changed edge (no convolution before it, or a stored adjacency); "
            "choose another layer, or a model that reads edge_index"
        )


def _result(graph: Data, pairs: Tensor) -> Data:
    pairs = pairs.sort(dim=0).values
    order = pair_keys(pairs, int(graph.x.size(0))).argsort()
    return with_edges(graph, both_directions(pairs[:, order])).clone()
