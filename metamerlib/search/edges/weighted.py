"""Search for real edge weights of at least zero on a sparse set of candidates, the features fixed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import check_solver
from metamerlib.graphs.edges import both_directions, pair_keys, undirected_pairs
from metamerlib.graphs.edit import with_edges
from metamerlib.graphs.rewiring import draw_pairs
from metamerlib.models.convolutions import CONVOLUTIONS
from metamerlib.models.gnn import GNN
from metamerlib.probing.probe import Probe
from metamerlib.probing.target import Target
from metamerlib.search.discrete_loop import solve_discrete
from metamerlib.search.edges.limits import (
    EdgeLimits,
    check_edges_alone,
    check_reacts,
    limits,
    overlap_settings,
    start_name,
)
from metamerlib.search.edges.problem import StructureProblem, structure_problem
from metamerlib.search.edges.refresh import Refresh, check_refresh, held_attributes, refreshed
from metamerlib.search.edges.relaxation import NEGLIGIBLE, Relaxed, reads_weights
from metamerlib.search.edges.starts import edge_start
from metamerlib.search.edges.swaps import EdgeSwaps
from metamerlib.search.features.adam import Adam
from metamerlib.search.features.lbfgs import LBFGS
from metamerlib.search.loop import Evaluation, Solution, Solver, best_solution, joined_seconds, solve
from metamerlib.search.metamer import Outcome
from metamerlib.search.request import Request, best_restart

SOLVERS: dict[str, Solver] = {"lbfgs": LBFGS(), "adam": Adam(learning_rate=0.02)}
MAX_STEPS = 500
CANDIDATES = 4
SMALL = 0.2
ROUNDS, BLOCK = 8, 8
KEPT, FRESH = 0.1, 0.03


@dataclass(frozen=True)
class WeightProblem:
    """Find roots of weights: the weight of pair i is the square of coordinate i, so it cannot be negative.

    Attributes:
        relaxed: The layer as a function of weights.
        problem: The same search with binary edges, for features and target.
        candidates: Pairs that may have a weight ``[2, M]``.
        start: Roots at the start ``[1, M, 1]``.
    """

    relaxed: Relaxed
    problem: StructureProblem
    candidates: Tensor
    start: Tensor

    def evaluate(self, position: Tensor) -> Evaluation:
        """Compute objective, gradient and loss at roots ``[1, M, 1]``."""
        position = position.detach().requires_grad_()
        weight = position.reshape(-1).square().repeat(2)
        recording = self.relaxed.record(self.problem.graph.x, both_directions(self.candidates), weight)
        residual, plain = self.problem.target.residual(recording, 1)
        norm = self.problem.target.activation.square().sum()
        objective = residual.square().sum((1, 2)) / norm
        (gradient,) = torch.autograd.grad(objective.sum(), position)
        return Evaluation(objective.detach(), gradient, plain.square().sum((1, 2)) / norm)


def check(request: Request, graph: Data) -> None:
    """Raise unless the request can be met."""
    check_edges_alone(request)
    check_refresh(request.refresh, graph)
    if request.budget is not None:
        raise ValueError("budget counts flips of binary edges; drop it, or use values='binary'")
    limits(request, graph)
    check_solver(request.solver, SOLVERS, moves="features")


def search(probe: Probe, graph: Data, target: Target, request: Request) -> Outcome:
    """Find weights of good edges and of four times as many random pairs.

    A binary search of half as many steps finds the edges, unless a graph is given; its steps are not counted.

    Args:
        probe: Records the matched layer.
        graph: The reference; its own weights, if any, give the target.
        target: What is matched.
        request: The caller's wishes.

    Raises:
        ValueError: If the model reads no edge weights.
    """
    bare = with_edges(graph, graph.edge_index)
    check_weights(probe, bare)
    held = held_attributes(probe, bare, request.refresh)
    bounds, steps = limits(request, graph), request.max_steps or MAX_STEPS
    check_reacts(probe, bare, bounds.reference, request.refresh)
    name = "lbfgs" if request.solver == "auto" else request.solver
    solver = SOLVERS[name] if isinstance(name, str) else name

    def attempt(seed: int) -> tuple[tuple[WeightProblem, Data], Solution]:
        start, weight = _start(graph, request.start, bounds, seed)
        if not isinstance(request.start, Data):
            start = _good_edges(probe, graph, target, start, bounds, max(1, steps // 2), seed, request.refresh)
        problem = _problem(probe, graph, target, start, weight, bounds, seed, request.refresh)
        begin = _graph(graph, problem.candidates, problem.start[0, :, 0], request.refresh)
        problem, solution = _in_rounds(problem, solver, steps, request, seed)
        return (problem, begin), solution

    (problem, begin), solution, taken = best_restart(request, attempt)
    found = _graph(graph, problem.candidates, solution.position[:, 0], request.refresh)
    kept = undirected_pairs(found)
    return Outcome(
        graph=found,
        start=begin,
        status=solution.status,
        steps=taken,
        history=solution.history(),
        settings=request.settings(
            values="weighted", solver=name if isinstance(name, str) else repr(name), max_steps=steps,
            start=start_name(request.start), held_attributes=held,
            **overlap_settings(bounds, kept, undirected_pairs(begin)),
        ),
    )  # fmt: skip


def _in_rounds(
    problem: WeightProblem, solver: Solver, steps: int, request: Request, seed: int
) -> tuple[WeightProblem, Solution]:
    """Solve, exchange candidates that came to nothing for pairs with a better slope, and solve again.

    The last round is kept, or the best where the last ended at values that are not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    problems: list[WeightProblem] = []
    parts: list[Solution] = []
    left = steps
    while True:
        limit = min(left, max(1, steps // ROUNDS))
        (solution,) = solve(problem, solver, max_steps=limit, rtol=request.rtol, stall_rtol=request.stall_rtol)
        parts.append(solution)
        problems.append(problem)
        left -= solution.steps
        if left <= 0 or solution.status in ("converged", "non_finite"):
            break
        problem = _with_better_candidates(problem, solution.position[:, 0], generator)
    seconds = joined_seconds(part.seconds for part in parts)
    losses, relaxed = (torch.cat([getattr(part, name) for part in parts]) for name in ("losses", "relaxed"))
    last = parts[-1]
    kept = best_solution(parts) if last.status == "non_finite" else len(parts) - 1
    best = replace(parts[kept], status=last.status, steps=steps - left)
    return problems[kept], replace(best, losses=losses, seconds=seconds, relaxed=relaxed)


def _with_better_candidates(problem: WeightProblem, roots: Tensor, generator: torch.Generator) -> WeightProblem:
    """Keep the pairs that have a weight, and fill up with the pairs of steepest descent in a random block."""
    binary, count = problem.problem, problem.candidates.size(1)
    kept = roots.abs() > KEPT
    candidates, roots = problem.candidates[:, kept], roots[kept].abs()
    num_nodes, size = binary.num_nodes, candidates.size(1)
    avoid = torch.cat([binary.limits.reference.keys, pair_keys(candidates, num_nodes)]).unique()
    free = num_nodes * (num_nodes - 1) // 2 - avoid.numel()
    block = draw_pairs(min(BLOCK * count, free), num_nodes, avoid, generator)
    weight = torch.cat([roots.square(), roots.new_zeros(block.size(1))]).requires_grad_()
    pairs = torch.cat([candidates, block], dim=1)
    recording = problem.relaxed.record(binary.graph.x, both_directions(pairs), weight.repeat(2))
    residual, _ = binary.target.residual(recording, 1)
    (slope,) = torch.autograd.grad(residual.square().sum(), weight)
    best = block[:, slope[size:].argsort()[: count - size]]
    roots = torch.cat([roots, roots.new_full((best.size(1),), FRESH)])
    return replace(problem, candidates=torch.cat([candidates, best], dim=1), start=roots[None, :, None])


def check_weights(probe: Probe, graph: Data) -> None:
    """Raise unless the model reads edge weights."""
    if reads_weights(probe, graph):
        return
    able = [name for name, conv in CONVOLUTIONS.items() if conv.reads_weights]
    who = probe.model.conv if isinstance(probe.model, GNN) else type(probe.model).__name__
    raise ValueError(
        f"{who} reads no edge weights, which values='weighted' needs; use values='binary', one of {able}, or a model "
        "whose forward takes edge_weight"
    )


def _good_edges(
    probe: Probe,
    graph: Data,
    target: Target,
    start: Tensor,
    bounds: EdgeLimits,
    steps: int,
    seed: int,
    refresh: Refresh | None,
) -> Tensor:
    """Exchange edges first: which pairs have a weight matters more than the weights."""
    binary = structure_problem(probe, with_edges(graph, graph.edge_index), target, start, bounds, refresh)
    solution = solve_discrete(binary, EdgeSwaps(steps=steps, seed=seed), max_steps=steps, rtol=0.0)
    return start if solution.state is None else solution.state


def _start(graph: Data, start: str | Data | None, bounds: EdgeLimits, seed: int) -> tuple[Tensor, Tensor]:
    """Return pairs ``[2, n]`` and their weights ``[n]``; a given graph may have any number of edges."""
    if not isinstance(start, Data):
        pairs = edge_start(start, bounds, None, seed)
        usual = 1.0 if graph.edge_weight is None else max(SMALL, float(graph.edge_weight.mean()))
        return pairs, graph.x.new_full((pairs.size(1),), usual)
    pairs = undirected_pairs(start)
    held = bounds.held(pairs)
    if start.num_nodes != graph.x.size(0) or held > bounds.highest:
        raise ValueError(
            f"start has {start.num_nodes} nodes and {held} of the reference's edges; expected "
            f"{graph.x.size(0)} nodes and at most {bounds.highest} of these edges"
        )
    one_way = start.edge_index[0] < start.edge_index[1]
    if start.edge_weight is None:
        return pairs, graph.x.new_ones(pairs.size(1))
    order = pair_keys(start.edge_index[:, one_way], int(start.num_nodes)).argsort()
    return pairs, start.edge_weight[one_way][order].to(graph.x).clamp(min=0)


def _problem(
    probe: Probe,
    graph: Data,
    target: Target,
    start: Tensor,
    weight: Tensor,
    bounds: EdgeLimits,
    seed: int,
    refresh: Refresh | None,
) -> WeightProblem:
    problem = structure_problem(probe, with_edges(graph, graph.edge_index), target, start, bounds, refresh)
    num_nodes, size = problem.num_nodes, len(problem.limits.reference)
    avoid = torch.cat([problem.limits.reference.keys, pair_keys(start, num_nodes)]).unique()
    free = num_nodes * (num_nodes - 1) // 2 - avoid.numel()
    generator = torch.Generator().manual_seed(seed)
    wanted = max(0, (1 + CANDIDATES) * size - start.size(1))
    block = draw_pairs(min(wanted, free), num_nodes, avoid, generator)
    roots = torch.cat([weight.sqrt(), weight.new_full((block.size(1),), SMALL)])
    candidates = torch.cat([start, block], dim=1)
    return WeightProblem(problem.relaxed(), problem, candidates, roots[None, :, None])


def _graph(graph: Data, candidates: Tensor, roots: Tensor, refresh: Refresh | None) -> Data:
    weight = roots.square()
    kept = weight > NEGLIGIBLE
    pairs, weight = candidates[:, kept], weight[kept]
    order = pair_keys(pairs, int(graph.x.size(0))).argsort()
    pairs, weight = pairs[:, order].sort(dim=0).values, weight[order]
    return refreshed(with_edges(graph, both_directions(pairs), weight.repeat(2)).clone(), refresh)
