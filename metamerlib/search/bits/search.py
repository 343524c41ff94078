"""Search for features of zeros and ones on fixed edges, with the reference's number of ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import check_choice, check_solver
from metamerlib.graphs.edit import with_features
from metamerlib.probing.probe import Probe
from metamerlib.probing.target import Target
from metamerlib.search.bits.limits import check_bits, check_overlap, check_start, most_kept
from metamerlib.search.bits.problem import BitProblem, bits_of, columns_of
from metamerlib.search.bits.starts import draw_start, free_rows
from metamerlib.search.bits.ste import BitSTE
from metamerlib.search.bits.swaps import BitSwaps
from metamerlib.search.discrete_loop import DiscreteSolution, DiscreteSolver, solve_discrete
from metamerlib.search.features.problem import feature_problem
from metamerlib.search.metamer import Outcome
from metamerlib.search.request import Request, best_restart, refuse_refresh

SOLVERS: dict[str, DiscreteSolver] = {"swaps": BitSwaps(), "ste": BitSTE()}
MAX_STEPS = {"swaps": 2000, "ste": 300}


def check(request: Request, graph: Data) -> None:
    """Raise unless the features are bits and the request can be met."""
    refuse_refresh(request)
    _choose_solver(request.solver)
    if request.budget is not None:
        raise ValueError("budget limits edge flips, but here the features vary; drop budget")
    check_bits("the features", graph.x)
    reference = free_rows(graph.x, request.free_nodes)
    if not reference.any():
        raise ValueError("the free rows hold no ones, so there is nothing to move; choose other free_nodes")
    if isinstance(request.start, Tensor):
        check_start(request.start, graph.x, request)
    else:
        check_choice("start", request.start, [None, "frequencies", "reference"])
    given = isinstance(request.start, Tensor) or request.start == "reference"
    if given and request.num_restarts > 1:
        raise ValueError(
            f"num_restarts={request.num_restarts} needs random starts; with a given start there is only one"
        )
    if request.max_overlap is not None:
        check_overlap(request, graph, reference)


def search(probe: Probe, graph: Data, target: Target, request: Request) -> Outcome:
    """Find bits of the free rows whose activations are the target's.

    Args:
        probe: Records the matched layer.
        graph: The reference.
        target: What is matched.
        request: The caller's wishes.
    """
    solver, name = _choose_solver(request.solver)
    max_steps = request.max_steps or MAX_STEPS.get(name, MAX_STEPS["swaps"])
    if name == "swaps":
        solver = BitSwaps(steps=max_steps)

    def attempt(seed: int) -> tuple[BitProblem, DiscreteSolution]:
        problem = _problem(probe, graph, target, request, seed, solver)
        limits: dict[str, Any] = {"rtol": request.rtol, "stall_rtol": request.stall_rtol}
        return problem, solve_discrete(problem, solver, max_steps=max_steps, **limits)

    problem, solution, steps = best_restart(request, attempt)
    settings = request.settings(
        values="binary", solver=name, max_steps=max_steps, ones=request.ones,
        start="given" if isinstance(request.start, Tensor) else request.start or "frequencies",
        row_space=None if problem.problem.space is None else problem.problem.space.rank,
    )  # fmt: skip
    found = problem.start if solution.state is None else solution.state
    return Outcome(
        graph=_with_bits(graph, found, request.free_nodes),
        start=_with_bits(graph, problem.start, request.free_nodes),
        status=solution.status,
        steps=steps,
        history=solution.history,
        settings=settings,
    )


def _problem(
    probe: Probe, graph: Data, target: Target, request: Request, seed: int, solver: DiscreteSolver
) -> BitProblem:
    free = request.free_nodes
    reference = free_rows(graph.x, free)
    most = None if request.max_overlap is None else most_kept(request.max_overlap, reference)
    ones, keys = draw_start(graph, request, seed, most)
    dense = getattr(solver, "dense", False)
    if dense:
        target = replace(target, active=None)
    return BitProblem(
        problem=feature_problem(probe, graph, target, ones.to(graph.x.dtype)[None], free, reduce=not dense),
        start=columns_of(ones),
        reference=columns_of(reference),
        num_features=graph.x.size(1),
        per_node=request.ones == "node",
        most_kept=most,
        seed=seed,
        keys=keys if dense else None,
    )


def _choose_solver(solver: str | DiscreteSolver) -> tuple[DiscreteSolver, str]:
    check_solver(solver, SOLVERS, moves="bits")
    if not isinstance(solver, str):
        return solver, repr(solver)
    name = "swaps" if solver == "auto" else solver
    return SOLVERS[name], name


def _with_bits(graph: Data, columns: Tensor, free: Tensor | None) -> Data:
    bits = bits_of(columns, graph.x.size(1), graph.x.dtype)
    return with_features(graph, bits if free is None else graph.x.index_copy(0, free, bits)).clone()
