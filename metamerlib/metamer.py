"""Find a metamer of a graph, and keep it."""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.capture import Forward, Probe, Recording, with_features
from metamerlib.checks import check_choice, check_device, check_graph, check_model, check_nodes, check_options
from metamerlib.problem import FeatureProblem, Target, feature_problem, feature_starts
from metamerlib.solvers import LBFGS, Adam, Solution, Solver, solve, solve_graduated

SOLVERS: dict[str, tuple[Solver, int]] = {"lbfgs": (LBFGS(), 2000), "adam": (Adam(), 2000)}


@dataclass(frozen=True)
class Metamer:
    """A graph that the model cannot tell from the reference at one layer, as far as the loss says.

    Attributes:
        graph: The metamer.
        reference: The graph that it stands for.
        start: Where the search began.
        target: Activations of the reference on the matched nodes S ``[|S|, d_k]``.
        activation: Activations of the metamer there ``[|S|, d_k]``.
        layer: Name of the layer, with the index of the call where it is called several times.
        nodes: S ``[|S|]``, or None for all rows.
        free_nodes: Rows of the features that could move, or None for all.
        loss: :math:`L_{act} = \\sum_S \\|h'_v - h_v\\|^2 / \\sum_S \\|h_v\\|^2`, recomputed from ``graph`` on
            a fresh copy of the model.
        relative_error: Square root of the loss.
        status: converged, stalled, max_steps, non_finite or exact.
        steps: Number of evaluations of loss and gradient.
        seconds: Wall time of the whole call.
        dead_units: Units that are active in the target and dead in the metamer; None where the
            pre-activation is out of reach or the activation has no dead units.
        history: Columns step, loss, seconds; the loss at each evaluation of the best restart (evaluations of
            a relaxed model are counted in the steps and left out here).
        settings: How it was found; plain values only.
    """

    graph: Data
    reference: Data
    start: Data
    target: Tensor
    activation: Tensor
    layer: str
    nodes: Tensor | None
    free_nodes: Tensor | None
    loss: float
    relative_error: float
    status: str
    steps: int
    seconds: float
    dead_units: int | None
    history: pd.DataFrame
    settings: dict[str, Any]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the metamer to a file that holds tensors and text only, no code.

        Args:
            path: File name; its folder must exist. The file appears whole or not at all.
        """
        path = Path(path)
        if not path.parent.is_dir():
            raise FileNotFoundError(f"folder {path.parent} does not exist; create it first")
        reference, reference_text = _split(self.reference)
        content: dict[str, Any] = {"reference": reference, "reference_text": reference_text}
        for name in ("graph", "start"):
            content[name] = _difference(getattr(self, name), self.reference)
        for name in ("target", "activation", "nodes", "free_nodes"):
            content[name] = getattr(self, name)
        content["history"] = {name: torch.tensor(column.to_numpy()) for name, column in self.history.items()}
        plain = ("layer", "loss", "relative_error", "status", "steps", "seconds", "dead_units", "settings")
        content["plain"] = json.dumps({name: getattr(self, name) for name in plain})
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            torch.save(content, file)
        os.replace(file.name, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Metamer:
        """Read a metamer written by :meth:`save`, without running any code from the file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is not a saved metamer.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"no metamer at {path}")
        try:
            content = torch.load(path, weights_only=True, map_location="cpu")
            reference = Data.from_dict({**content["reference"], **json.loads(content["reference_text"])})
            fields = json.loads(content["plain"])
            for name in ("graph", "start"):
                fields[name] = Data.from_dict({**reference.to_dict(), **content[name]})
            fields["history"] = pd.DataFrame({name: c.numpy() for name, c in content["history"].items()})
            fields |= {name: content[name] for name in ("target", "activation", "nodes", "free_nodes")}
        except Exception as error:
            raise ValueError(f"{path} is not a saved metamer: {error}") from error
        return cls(reference=reference, **fields)


def find_metamer(
    model: nn.Module,
    graph: Data,
    *,
    layer: int | str | nn.Module,
    vary: str = "features",
    values: str | None = None,
    nodes: Any = None,
    free_nodes: Any = None,
    start: str | Tensor | None = None,
    budget: int | None = None,
    max_overlap: float | None = None,
    ones: str = "graph",
    solver: str | Solver = "auto",
    slope: float | None = None,
    forward: Forward | None = None,
    max_steps: int | None = None,
    rtol: float = 1e-4,
    stall_rtol: float | None = None,
    num_restarts: int = 1,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> Metamer:
    """Find another graph with the activations of ``graph`` at one layer.

    .. math:: L_{act} = \\sum_{v \\in S} \\|h'_v - h_v\\|^2 / \\sum_{v \\in S} \\|h_v\\|^2

    (Xu et al., 2025, arXiv 2510.17378). The model, its mode, gradients and buffers, and the graph are left
    as they were.

    Args:
        model: Any torch model of graphs.
        graph: The reference: x ``[N, F]``, edge_index ``[2, E]``, optional edge_weight ``[E]`` and batch.
        layer: 1-based number for :class:`metamerlib.GNN`, else a module or its name; ``"act:0"`` is the first
            call of a module that is called several times.
        vary: What may differ: features.
        values: Which features are admissible: continuous.
        nodes: Matched nodes S: indices or a mask; None for all.
        free_nodes: Nodes whose features may differ; None for all.
        start: moments (default: each feature's mean plus its standard deviation times noise), reference, or
            features ``[N, F]``.
        budget: Number of edge flips; for ``vary="structure"`` only.
        max_overlap: Share of the reference's edges that may stay; for ``vary="structure"`` only.
        ones: Where the number of ones is kept; for ``values="binary"`` only.
        solver: lbfgs (fast: row-space coordinates, one-sided residual, graduated leak where it stalls), adam
            (as in the paper: all features, plain residual), auto (lbfgs), or a solver object.
        slope: Gradient of dead ReLU units in place of zero, for models whose pre-activation is out of reach;
            needs adam, since it is not the gradient of a function.
        forward: Replaces the call ``model(x, edge_index[, edge_weight][, batch])`` by
            ``forward(model, graph) -> Tensor``.
        max_steps: Largest number of evaluations of loss and gradient (default 2000).
        rtol: Converged when :math:`L_{act}` is at most this.
        stall_rtol: Stalled when the best loss falls by less than this share within 50 steps.
        num_restarts: Number of starts, run at once as a disjoint union; the best is returned.
        seed: Seed of the starts.
        device: Where to run; None leaves everything where it is.

    Returns:
        The best metamer found; its ``status`` says how the search ended.

    Raises:
        TypeError: If an argument has the wrong type or dtype.
        ValueError: If an argument is out of range or unknown, or the layer cannot be matched.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
        >>> metamer = ml.find_metamer(model, graph, layer=1)
        >>> metamer.status
        'converged'
    """
    began = time.perf_counter()
    check_graph(graph)
    check_device(device)
    graph = with_features(graph, graph.x.detach())
    check_options(vary, values, budget, max_overlap, ones, rtol, stall_rtol, max_steps, num_restarts, slope)
    chosen, name, steps = _choose_solver(solver, slope)
    matched, free = (check_nodes(*a, graph.x.size(0)) for a in (("nodes", nodes), ("free_nodes", free_nodes)))
    probe = Probe(model, layer, forward=forward, slope=slope)
    if device is not None:
        graph = graph.clone().to(device)
        probe.model.to(device)
    check_model(probe.model, graph)
    matched, free = (index if index is None else index.to(graph.x.device) for index in (matched, free))
    recording = probe.check(graph)
    target = Target.of(recording, _rows_to_match(matched, recording, graph))
    starts = feature_starts(graph, free, start, num_restarts, seed)
    limits = {"max_steps": max_steps or steps, "rtol": rtol, "stall_rtol": stall_rtol}
    problem, solution = _search(probe, graph, target, starts, free, chosen, limits)
    best = int(torch.nan_to_num(solution.loss, nan=torch.inf).argmin())
    found = _with_rows(graph, problem.features(solution.position[best], best), free)
    settings = {
        "vary": vary, "values": values or "continuous", "num_restarts": num_restarts, "seed": seed, "solver": name,
        "start": "given" if isinstance(start, Tensor) else start or "moments", "slope": slope, **limits,
        "row_space": None if problem.space is None else problem.space.rank, "device": str(graph.x.device),
    }  # fmt: skip
    outcome = Outcome(solution.status, solution.steps, began, _history(solution, best), settings)
    return assemble(probe, target, found, graph, _with_rows(graph, starts[best], free), free, outcome)


@dataclass(frozen=True)
class Outcome:
    """How a search went: what a metamer keeps beside the graphs."""

    status: str
    steps: int
    began: float
    history: pd.DataFrame
    settings: dict[str, Any]


def assemble(
    probe: Probe,
    target: Target,
    found: Data,
    reference: Data,
    start: Data,
    free_nodes: Tensor | None,
    outcome: Outcome,
) -> Metamer:
    """Recompute the loss of a graph on a fresh copy of the model, and put the result together."""
    with torch.no_grad():
        recording = probe.copy()(found, complete=False)
    _, plain = replace(target, active=None).residual(recording, 1)
    norm = target.activation.double().square().sum()
    loss = float(plain.double().square().sum() / norm)
    status = outcome.status
    if status == "converged" and loss > outcome.settings["rtol"]:
        status = "stalled"
    return Metamer(
        graph=found,
        reference=reference.clone(),
        start=start,
        target=target.activation,
        activation=target.activation + plain[0],
        layer=probe.name,
        nodes=target.nodes,
        free_nodes=free_nodes,
        loss=loss,
        relative_error=loss**0.5,
        status=status,
        steps=outcome.steps,
        seconds=time.perf_counter() - outcome.began,
        dead_units=target.dead_units(recording),
        history=outcome.history,
        settings=outcome.settings,
    )


def _search(
    probe: Probe,
    graph: Data,
    target: Target,
    starts: Tensor,
    free: Tensor | None,
    solver: Solver,
    limits: dict[str, Any],
) -> tuple[FeatureProblem, Solution]:
    """Run Adam on the features and the plain residual, any other solver on all that makes it fast."""
    if isinstance(solver, Adam):
        problem = feature_problem(probe, graph, target, starts, free, reduce=False)
        problem = replace(problem, target=replace(target, active=None))
        return problem, solve(problem, solver, **limits)
    problem = feature_problem(probe, graph, target, starts, free, reduce=True)
    return problem, solve_graduated(problem, solver, **limits)


def _choose_solver(solver: str | Solver, slope: float | None) -> tuple[Solver, str, int]:
    if isinstance(solver, str):
        check_choice("solver", solver, ["auto", *SOLVERS])
        name = ("lbfgs" if slope is None else "adam") if solver == "auto" else solver
        chosen, steps = SOLVERS[name]
    elif hasattr(solver, "iterate"):
        chosen, name, steps = solver, repr(solver), 2000
    else:
        raise TypeError(f"solver must be a name or have a method iterate, got {type(solver).__name__}")
    if slope is not None and not isinstance(chosen, Adam):
        raise ValueError(f"slope is no gradient of a function, and {name} searches along lines; use solver='adam'")
    return chosen, name, steps


def _rows_to_match(nodes: Tensor | None, recording: Recording, graph: Data) -> Tensor | None:
    rows = recording.activation.size(0)
    if nodes is not None and rows != graph.x.size(0):
        raise ValueError(f"this layer has {rows} rows, not one for each of the {graph.x.size(0)} nodes; drop nodes")
    return nodes


def _with_rows(graph: Data, rows: Tensor, free: Tensor | None) -> Data:
    x = rows if free is None else graph.x.index_copy(0, free, rows)
    return with_features(graph, x).clone()


def _history(solution: Solution, best: int) -> pd.DataFrame:
    losses = solution.losses[:, best].numpy()
    table = pd.DataFrame({"step": range(1, len(losses) + 1), "loss": losses, "seconds": solution.seconds})
    return table[~solution.relaxed.numpy()].reset_index(drop=True)


def _split(graph: Data) -> tuple[dict[str, Tensor], str]:
    """Divide a graph's attributes into tensors and those that JSON can hold; others are left out."""
    tensors, plain = {}, {}
    for name, value in graph.to_dict().items():
        if isinstance(value, Tensor):
            tensors[name] = value
        elif _is_plain(value):
            plain[name] = value
    return tensors, json.dumps(plain)


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(entry) for entry in value)
    return isinstance(value, str | int | float | None)


def _difference(graph: Data, reference: Data) -> dict[str, Tensor]:
    tensors, _ = _split(graph)
    known, _ = _split(reference)
    return {n: t for n, t in tensors.items() if n not in known or not torch.equal(t, known[n])}
