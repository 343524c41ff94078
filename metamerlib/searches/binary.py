"""Search for features of zeros and ones on fixed edges, with the reference's number of ones."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.bits import BitProblem, bits_of, columns_of, largest_ones
from metamerlib.capture import Probe, with_features
from metamerlib.checks import check_choice, check_features, check_solver
from metamerlib.problem import Target, feature_problem
from metamerlib.result import Outcome
from metamerlib.searches.request import Request
from metamerlib.solvers.bit_ste import BitSTE
from metamerlib.solvers.bit_swaps import BitSwaps
from metamerlib.solvers.discrete import DiscreteSolver, solve_discrete

SOLVERS: dict[str, DiscreteSolver] = {"swaps": BitSwaps(), "ste": BitSTE()}
MAX_STEPS = {"swaps": 2000, "ste": 300}
_SEED_STRIDE = 1_000_003


def check(request: Request, graph: Data) -> None:
    """Raise unless the features are bits and the request can be met."""
    _choose_solver(request.solver)
    if request.budget is not None:
        raise ValueError("budget limits edge flips, but here the features vary; drop budget")
    _check_bits("the features", graph.x)
    reference = _rows(graph.x, request.free_nodes)
    if not reference.any():
        raise ValueError("the free rows hold no ones, so there is nothing to move; choose other free_nodes")
    if isinstance(request.start, Tensor):
        _check_start(request.start, graph.x, request)
    else:
        check_choice("start", request.start, [None, "frequencies", "reference"])
    given = isinstance(request.start, Tensor) or request.start == "reference"
    if given and request.num_restarts > 1:
        raise ValueError(
            f"num_restarts={request.num_restarts} needs random starts; with a given start there is only one"
        )
    if request.max_overlap is not None:
        _check_overlap(request, graph, reference)


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
    best = steps = None
    for restart in range(request.num_restarts):
        problem = _problem(probe, graph, target, request, request.seed + _SEED_STRIDE * restart, solver)
        solution = solve_discrete(
            problem, solver, max_steps=max_steps, rtol=request.rtol, stall_rtol=request.stall_rtol
        )
        steps = (steps or 0) + solution.steps
        if best is None or solution.loss < best[1].loss:
            best = problem, solution
        if solution.status == "converged":
            break
    assert best is not None and steps is not None
    problem, solution = best
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


def frequency_keys(x: Tensor, seed: int) -> Tensor:
    """Draw keys ``[n, F]`` that are positive with each column's frequency of ones in ``x [n, F]``.

    A key is the log-odds of its column plus logistic noise; taking as many of the largest keys as there are
    ones adjusts independent draws to the exact number.
    """
    share = x.double().mean(0)
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(x.shape, generator=generator).to(x)
    return torch.logit(share, eps=1e-9).to(x.dtype) + torch.logit(uniform, eps=1e-7)


def _problem(
    probe: Probe, graph: Data, target: Target, request: Request, seed: int, solver: DiscreteSolver
) -> BitProblem:
    free = request.free_nodes
    reference = _rows(graph.x, free)
    most = None if request.max_overlap is None else _most_kept(request.max_overlap, reference)
    ones, keys = _draw_start(graph, request, seed, most)
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


def _draw_start(graph: Data, request: Request, seed: int, most_kept: int | None) -> tuple[Tensor, Tensor]:
    """Return the bits of the free rows at the start, and keys that are positive there, both ``[n, F]``."""
    free, reference = request.free_nodes, _rows(graph.x, request.free_nodes)
    if request.start is None or (isinstance(request.start, str) and request.start == "frequencies"):
        keys = _rows(frequency_keys(graph.x, seed), free)
        counts = reference.sum(1).long()
        ones = largest_ones(
            keys, counts, per_node=request.ones == "node", reference=reference.bool(), most_kept=most_kept
        )
        return ones, keys - keys[ones].min()
    given = request.start if isinstance(request.start, Tensor) else graph.x
    ones = _rows(given.to(graph.x.device), free).bool()
    noise = torch.rand(ones.shape, generator=torch.Generator().manual_seed(seed)).to(graph.x)
    return ones, torch.where(ones, 1 + noise, -1 - noise)


def _choose_solver(solver: str | DiscreteSolver) -> tuple[DiscreteSolver, str]:
    check_solver(solver, SOLVERS)
    if not isinstance(solver, str):
        return solver, repr(solver)
    name = "swaps" if solver == "auto" else solver
    return SOLVERS[name], name


def _rows(x: Tensor, free: Tensor | None) -> Tensor:
    return x if free is None else x[free]


def _most_kept(max_overlap: float, reference: Tensor) -> int:
    return math.floor(max_overlap * int(reference.sum()) + 1e-9)


def _with_bits(graph: Data, columns: Tensor, free: Tensor | None) -> Data:
    bits = bits_of(columns, graph.x.size(1), graph.x.dtype)
    return with_features(graph, bits if free is None else graph.x.index_copy(0, free, bits)).clone()


def _check_bits(what: str, x: Tensor) -> None:
    others = int(((x != 0) & (x != 1)).sum())
    if others:
        raise ValueError(
            f"binary metamers need features of zeros and ones, but {what} hold {others} other entries; "
            "if they only mark presence (rows normalised, counts), pass (x > 0).float()"
        )


def _check_start(start: Tensor, x: Tensor, request: Request) -> None:
    check_features(start, x.size(0))
    if start.shape != x.shape or start.dtype != x.dtype:
        raise ValueError(f"start must be {x.dtype} {list(x.shape)}, got {start.dtype} {list(start.shape)}")
    _check_bits("the start", start)
    got, wanted = (_rows(t.to(x.device), request.free_nodes).sum(1) for t in (start, x))
    if request.ones == "graph":
        got, wanted = got.sum(), wanted.sum()
    if not torch.equal(got, wanted):
        where = f"{int((got != wanted).sum())} rows" if request.ones == "node" else "the free rows"
        raise ValueError(
            f"the start must hold as many ones as the reference, but {where} differ "
            f"({int(got.sum())} ones against {int(wanted.sum())}); add or remove ones, or use start='frequencies'"
        )


def _check_overlap(request: Request, graph: Data, reference: Tensor) -> None:
    share = request.max_overlap
    if isinstance(share, bool) or not isinstance(share, int | float):
        raise TypeError(f"max_overlap must be a share between 0 and 1, got {share!r}")
    if not 0 <= share <= 1:
        raise ValueError(f"max_overlap must lie between 0 and 1, got {share!r}")
    most = _most_kept(share, reference)
    if request.start is not None and not (isinstance(request.start, str) and request.start == "frequencies"):
        given = request.start.to(graph.x.device) if isinstance(request.start, Tensor) else graph.x
        held = int((_rows(given, request.free_nodes) * reference).sum())
        if held > most:
            raise ValueError(
                f"the start holds {held} of the reference's ones, but max_overlap={share} lets {most} stay; "
                "use start='frequencies'"
            )
    room = reference.size(1) - 2 * reference.sum(1)
    if bool((room < 0).any() if request.ones == "node" else room.sum() < -most):
        raise ValueError(
            f"max_overlap={share} lets {most} of the reference's ones stay, but there are too few zeros for the "
            "others; raise max_overlap, or leave it out"
        )
