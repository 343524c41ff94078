"""Find a metamer for each of many graphs, all at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_device, check_module, check_options
from metamerlib.graphs.collection import check_graphs
from metamerlib.graphs.edit import with_features
from metamerlib.models.calling import Forward
from metamerlib.plain import as_plain, as_seed, check_forward
from metamerlib.probing.examination import examine
from metamerlib.probing.probe import Probe
from metamerlib.probing.target import Target
from metamerlib.search.features.problem import FeatureProblem, many_problem
from metamerlib.search.features.search import MAX_STEPS, choose_solver, solve_features
from metamerlib.search.features.starts import graph_starts
from metamerlib.search.loop import Solution
from metamerlib.search.metamer import Metamer, Outcome, assemble, told_if_unmoved
from metamerlib.search.surroundings import free_of_inference, own_modes, warn_of_caches
from metamerlib.typing import Device, Layer


@own_modes()
def find_metamers(
    model: nn.Module,
    graphs: Sequence[Data],
    *,
    layer: Layer,
    start: str | Sequence[Tensor] | None = None,
    solver: Any = "auto",
    slope: float | None = None,
    forward: Forward | None = None,
    max_steps: int | None = None,
    rtol: float = 1e-4,
    stall_rtol: float | None = None,
    seed: int = 0,
    device: Device = None,
) -> list[Metamer]:
    """Find real features with the activations of each graph at one layer, graphs of like size in one batch.

    Each batch is a disjoint union with an objective, a line search, an end and a status for each graph, so that
    no result depends on the other graphs but through the start. Where an activation has one row per graph
    (after pooling), that row is matched, else all nodes are.

    Args:
        model: Any torch model of graphs, node-level or graph-level.
        graphs: The references, with features x ``[n, F]`` of one width F; their sizes may differ.
        layer: As for :func:`metamerlib.find_metamer`; pool and head are those of a graph-level
            :class:`metamerlib.GNN`.
        start: moments (default: mean plus standard deviation times noise of each feature over the nodes of
            all graphs, since within one graph a feature may be constant), reference, or a list of features
            ``[n, F]``.
        solver: lbfgs, adam, auto or a solver object, as for :func:`metamerlib.find_metamer`.
        slope: Gradient of dead ReLU units in place of zero; needs adam.
        forward: Replaces the call, as for :func:`metamerlib.find_metamer`.
        max_steps: Largest number of evaluations of loss and gradient of each graph (default 2000).
        rtol: Converged when a graph's own :math:`L_{act}` is at most this.
        stall_rtol: Stalled when a graph's best loss falls by less than this share within 50 steps.
        seed: Seed of the starts.
        device: Where to run; None leaves everything where it is.

    Returns:
        One metamer for each graph, in their order; ``seconds`` is the time of the whole call.

    Raises:
        TypeError: If an argument has the wrong type or dtype; an entry of a list is named.
        ValueError: If an argument is out of range, a target is zero, or the model couples the graphs.

    Example:
        >>> import metamerlib as ml
        >>> graphs = [ml.load_graph("karate"), ml.csbm.sample(num_nodes=50, num_features=34)]
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2, pool="sum")
        >>> [metamer.status for metamer in ml.find_metamers(model, graphs, layer="pool")]
        ['converged', 'converged']
    """
    began = time.perf_counter()
    check_module(model)
    check_graphs(graphs)
    check_device(device)
    check_forward(forward)
    seed = as_seed(seed)
    check_options(rtol=rtol, stall_rtol=stall_rtol, max_steps=max_steps, slope=slope)
    chosen, name = choose_solver(solver, slope)
    warn_of_caches(model, edges=False)
    graphs = [free_of_inference(with_features(graph, graph.x.detach())) for graph in graphs]
    if device is not None:
        graphs = [graph.clone().to(device) for graph in graphs]
    starts = graph_starts(graphs, start, seed)
    probe = Probe.fitting(model, layer, graphs[0], forward=forward, slope=slope, device=device)
    targets = [_target(probe, graph, place) for place, graph in enumerate(graphs)]
    examine(probe, graphs[0])
    limits = {"max_steps": max_steps or MAX_STEPS, "rtol": rtol, "stall_rtol": stall_rtol}
    limits = {name: as_plain(value) for name, value in limits.items()}
    # One that no longer falls at all is at the end of its line search, though the others go on.
    ends = {**limits, "stall_rtol": stall_rtol or 0.0, "until": "all"}
    solved = _in_groups(probe, graphs, targets, starts, chosen, ends)
    settings = {"vary": "features", "values": "continuous", "solver": name, "slope": slope, "seed": seed, **limits}
    settings |= {"start": start if isinstance(start, str) else "moments" if start is None else "given"}
    settings |= {"graphs": len(graphs), "device": str(starts[0].device)}
    metamers = []
    for place, (graph, target, begin) in enumerate(zip(graphs, targets, starts, strict=True)):
        problem, x, solution = solved[place]
        own = {"row_space": None if problem.space is None else problem.space.rank, "place": place}
        found, first = (with_features(graph, rows).clone() for rows in (x, begin))
        outcome = Outcome(found, first, solution.status, solution.steps, solution.history(), settings | own)
        if start is None or start == "moments":
            outcome = told_if_unmoved(graph, outcome)
        metamers.append(assemble(probe, target, graph, outcome, free_nodes=None, began=began))
    seconds = time.perf_counter() - began
    return [replace(metamer, seconds=seconds) for metamer in metamers]


def _in_groups(
    probe: Probe, graphs: list[Data], targets: list[Target], starts: list[Tensor], solver: Any, ends: dict[str, Any]
) -> dict[int, tuple[FeatureProblem, Tensor, Solution]]:
    """Solve graphs of like size together; return problem, features ``[n, F]`` and solution by the graph's place."""
    solved: dict[int, tuple[FeatureProblem, Tensor, Solution]] = {}
    for group in of_like_size([graph.x.size(0) for graph in graphs]):
        some, wanted, begins = [graphs[i] for i in group], [targets[i] for i in group], [starts[i] for i in group]
        build = partial(many_problem, probe, some, starts=begins)
        problem, solutions = solve_features(build, wanted, solver, **ends)
        for k, (i, solution) in enumerate(zip(group, solutions, strict=True)):
            solved[i] = problem, problem.features(solution.position, k), solution
    return solved


def of_like_size(sizes: Sequence[int]) -> list[list[int]]:
    """Return the places of graphs in groups whose sizes differ by a factor of two at most, as padding wastes the rest.

    Example:
        >>> of_like_size([30, 5, 8, 20])
        [[1, 2], [3, 0]]
    """
    groups: list[list[int]] = []
    for place in sorted(range(len(sizes)), key=sizes.__getitem__):
        if not groups or sizes[place] > 2 * sizes[groups[-1][0]]:
            groups.append([])
        groups[-1].append(place)
    return groups


def _target(probe: Probe, graph: Data, place: int) -> Target:
    try:
        if place == 0:
            return Target.of(probe.check(graph), None)
        with torch.no_grad():
            return Target.of(probe(graph), None)
    except (RuntimeError, IndexError, ValueError) as error:
        raise ValueError(f"graphs[{place}]: {error}") from error
