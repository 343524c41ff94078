"""Find a metamer for each of many graphs, all at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.capture import Forward, Probe, with_features
from metamerlib.checks import check_choice, check_device, check_features, check_model, check_options
from metamerlib.collection import check_graphs
from metamerlib.many_problem import ManyProblem, many_problem
from metamerlib.problem import Target
from metamerlib.result import Metamer, Outcome, assemble
from metamerlib.searches.continuous import MAX_STEPS, choose_solver
from metamerlib.solvers import Adam, Solver
from metamerlib.solvers.each import Ending, solve_each, solve_each_graduated


def find_metamers(
    model: nn.Module,
    graphs: Sequence[Data],
    *,
    layer: int | str | nn.Module,
    start: str | Sequence[Tensor] | None = None,
    solver: Any = "auto",
    slope: float | None = None,
    forward: Forward | None = None,
    max_steps: int | None = None,
    rtol: float = 1e-4,
    stall_rtol: float | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
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
        forward: Replaces the call ``model(x, edge_index[, edge_weight][, batch])``.
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
    check_graphs(graphs)
    check_device(device)
    check_options("graph", rtol, stall_rtol, max_steps, 1, slope)
    chosen, name = choose_solver(solver, slope)
    graphs = [with_features(graph, graph.x.detach()) for graph in graphs]
    if device is not None:
        graphs = [graph.clone().to(device) for graph in graphs]
    starts = graph_starts(graphs, start, seed)
    probe = Probe(model, layer, forward=forward, slope=slope)
    if device is not None:
        probe.model.to(device)
    check_model(probe.model, graphs[0])
    targets = [_target(probe, graph, place) for place, graph in enumerate(graphs)]
    limits = {"max_steps": max_steps or MAX_STEPS, "rtol": rtol, "stall_rtol": stall_rtol}
    solved: dict[int, tuple[ManyProblem, Ending]] = {}
    for group in of_like_size([graph.x.size(0) for graph in graphs]):
        some, wanted, begins = [graphs[i] for i in group], [targets[i] for i in group], [starts[i] for i in group]
        problem, endings = _solve(probe, some, wanted, begins, chosen, limits)
        solved |= {i: (problem, ending) for i, ending in zip(group, endings, strict=True)}
    settings = {"vary": "features", "values": "continuous", "solver": name, "slope": slope, "seed": seed, **limits}
    settings |= {"start": start if isinstance(start, str) else "moments" if start is None else "given"}
    settings |= {"graphs": len(graphs), "device": str(starts[0].device)}
    metamers = []
    for place, (graph, target, begin) in enumerate(zip(graphs, targets, starts, strict=True)):
        problem, ending = solved[place]
        own = {"row_space": None if problem.space is None else problem.space.rank, "place": place}
        found = with_features(graph, problem.features(ending.position, begin)).clone()
        outcome = _outcome(found, with_features(graph, begin).clone(), ending, settings | own)
        metamers.append(assemble(probe, target, graph, outcome, free_nodes=None, began=began))
    seconds = time.perf_counter() - began
    return [replace(metamer, seconds=seconds) for metamer in metamers]


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


def graph_starts(graphs: Sequence[Data], start: str | Sequence[Tensor] | None, seed: int) -> list[Tensor]:
    """Return features ``[n, F]`` for each graph to begin with; see :func:`find_metamers`.

    Raises:
        TypeError: If the start is neither a name nor a list of tensors.
        ValueError: If it is unknown or does not fit the graphs.
    """
    if start is None or isinstance(start, str):
        check_choice("start", start, [None, "moments", "reference"])
        if start == "reference":
            return [graph.x.clone() for graph in graphs]
        x = torch.cat([graph.x for graph in graphs])
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype).to(x.device)
        starts = x.mean(0) + x.std(0, correction=0) * noise
        return list(starts.split([graph.x.size(0) for graph in graphs]))
    if not isinstance(start, list | tuple):
        raise TypeError(f"start must be a name or a list of features [n, F], one for each graph, got {start!r}")
    if len(start) != len(graphs):
        raise ValueError(f"start holds {len(start)} features for {len(graphs)} graphs; give one for each")
    for place, (x, graph) in enumerate(zip(start, graphs, strict=True)):
        check_features(x, graph.x.size(0))
        if x.shape != graph.x.shape or x.dtype != graph.x.dtype:
            wanted = f"{graph.x.dtype} {list(graph.x.shape)}"
            raise ValueError(f"start[{place}] must be {wanted}, got {x.dtype} {list(x.shape)}")
    return [x.to(graph.x.device).clone() for x, graph in zip(start, graphs, strict=True)]


def _target(probe: Probe, graph: Data, place: int) -> Target:
    try:
        if place == 0:
            return Target.of(probe.check(graph), None)
        with torch.no_grad():
            return Target.of(probe(graph), None)
    except (RuntimeError, IndexError, ValueError) as error:
        raise ValueError(f"graphs[{place}]: {error}") from error


def _solve(
    probe: Probe,
    graphs: Sequence[Data],
    targets: Sequence[Target],
    starts: Sequence[Tensor],
    solver: Solver,
    limits: dict[str, Any],
) -> tuple[ManyProblem, list[Ending]]:
    """Run Adam on the features and the plain residual, any other solver on all that makes it fast."""
    if isinstance(solver, Adam):
        plain = [replace(target, active=None) for target in targets]
        problem = many_problem(probe, graphs, plain, starts, reduce=False)
        return problem, solve_each(problem, solver, **limits | {"max_steps": [limits["max_steps"]] * len(graphs)})
    problem = many_problem(probe, graphs, targets, starts, reduce=True)
    return problem, solve_each_graduated(problem, solver, **limits)


def _outcome(graph: Data, start: Data, ending: Ending, settings: dict[str, Any]) -> Outcome:
    table = pd.DataFrame({"step": range(1, ending.steps + 1), "loss": ending.losses.numpy(), "seconds": ending.seconds})
    history = table[~ending.relaxed.numpy()].reset_index(drop=True)
    return Outcome(graph, start, ending.status, ending.steps, history, settings)
