"""Search for real features on fixed edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import check_choice, check_solver
from metamerlib.graphs.edit import with_features
from metamerlib.probing.probe import Probe
from metamerlib.probing.target import Target
from metamerlib.search.features.adam import Adam
from metamerlib.search.features.graduated import solve_graduated
from metamerlib.search.features.lbfgs import LBFGS
from metamerlib.search.features.problem import Coupled, FeatureProblem, feature_problem
from metamerlib.search.features.starts import feature_starts
from metamerlib.search.loop import Solution, Solver, best_solution, solve
from metamerlib.search.metamer import Outcome
from metamerlib.search.request import Request, best_of, refuse_refresh

SOLVERS: dict[str, Solver] = {"lbfgs": LBFGS(), "adam": Adam()}
MAX_STEPS = 2000


def check(request: Request, graph: Data) -> None:
    """Raise unless the request can be met: no option for edges or ones, a known solver, a fitting slope."""
    refuse_refresh(request)
    for name in ("budget", "max_overlap"):
        if getattr(request, name) is not None:
            raise ValueError(f"{name} limits edges or ones, but real features have neither; drop {name}")
    choose_solver(request.solver, request.slope)
    if not isinstance(request.start, Tensor):
        if isinstance(request.start, Data):
            raise TypeError("start is a graph, but here only features move; pass its features: start=graph.x")
        check_choice("start", request.start or "moments", ["moments", "reference"])


def search(probe: Probe, graph: Data, target: Target, request: Request) -> Outcome:
    """Find real features of the free rows whose activations are the target's.

    Args:
        probe: Records the matched layer.
        graph: The reference.
        target: What is matched.
        request: The caller's wishes.
    """
    free = request.free_nodes
    solver, name = choose_solver(request.solver, request.slope)
    starts = feature_starts(graph, free, request.start, request.num_restarts, request.seed)
    limits = {"max_steps": request.max_steps or MAX_STEPS, "rtol": request.rtol, "stall_rtol": request.stall_rtol}

    def attempt(some: Tensor) -> tuple[tuple[FeatureProblem, int], Solution]:
        def build(wanted: Sequence[Target], *, reduce: bool) -> FeatureProblem:
            return feature_problem(probe, graph, wanted[0], some, free, reduce=reduce)

        problem, solutions = solve_features(build, [target], solver, until="first", **limits)
        best = best_solution(solutions)
        return (problem, best), solutions[best]

    try:
        (problem, best), solution = attempt(starts)
        steps = solution.steps
    except Coupled:  # then one start after the other
        (problem, best), solution, steps = best_of(attempt(start[None]) for start in starts)
    settings = request.settings(
        values="continuous", solver=name, max_steps=limits["max_steps"],
        start="given" if isinstance(request.start, Tensor) else request.start or "moments",
        row_space=None if problem.space is None else problem.space.rank,
    )  # fmt: skip
    return Outcome(
        graph=_with_rows(graph, problem.features(solution.position, best), free),
        start=_with_rows(graph, problem.features_start[best], free),
        status=solution.status,
        steps=steps,
        history=solution.history(),
        settings=settings,
    )


def solve_features(
    build: Callable[..., FeatureProblem], targets: Sequence[Target], solver: Solver, **limits: Any
) -> tuple[FeatureProblem, list[Solution]]:
    """Run a plain solver on the features and the plain residual, any other on all that makes it fast.

    Args:
        build: ``build(targets, reduce=)`` sets the problem up.
        targets: What is matched.
        solver: Plain as Adam is, or not.
        limits: What :func:`metamerlib.search.loop.solve` takes beside the problem and the solver.
    """
    if getattr(solver, "plain", False):
        problem = build([replace(target, active=None) for target in targets], reduce=False)
        return problem, solve(problem, solver, **limits)
    problem = build(targets, reduce=True)
    return problem, solve_graduated(problem, solver, **limits)


def choose_solver(solver: str | Solver, slope: float | None) -> tuple[Solver, str]:
    """Return the solver of that name (or the one given) and its name, or raise where it does not fit the slope."""
    check_solver(solver, SOLVERS, moves="features")
    if isinstance(solver, str):
        name = ("lbfgs" if slope is None else "adam") if solver == "auto" else solver
        chosen = SOLVERS[name]
    else:
        chosen, name = solver, repr(solver)
    if slope is not None and not getattr(chosen, "plain", False):
        raise ValueError(f"slope is no gradient of a function, and {name} searches along lines; use solver='adam'")
    return chosen, name


def _with_rows(graph: Data, rows: Tensor, free: Tensor | None) -> Data:
    x = rows if free is None else graph.x.index_copy(0, free, rows)
    return with_features(graph, x).clone()
