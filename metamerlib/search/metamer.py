"""The result of a search: a metamer, how it was found, and the file that keeps it."""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.probing.probe import Probe
from metamerlib.probing.target import Target


@dataclass(frozen=True)
class Metamer:
    r"""A graph that the model cannot tell from the reference at one layer, as far as the loss says.

    Attributes:
        graph: The metamer.
        reference: The graph that it stands for.
        start: Where the search began.
        target: Activations of the reference on the matched nodes S ``[|S|, d_k]``.
        activation: Activations of the metamer there ``[|S|, d_k]``.
        layer: Name of the layer, with the index of the call where it is called several times.
        nodes: S ``[|S|]``, or None for all rows.
        free_nodes: Rows of the features that could move, or None for all.
        loss: :math:`L_{act} = \sum_S \|h'_v - h_v\|^2 / \sum_S \|h_v\|^2`, recomputed from ``graph`` on
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
            content[name], content[f"{name}_without"] = _difference(getattr(self, name), self.reference)
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
                kept = {n: v for n, v in reference.to_dict().items() if n not in content[f"{name}_without"]}
                fields[name] = Data.from_dict({**kept, **content[name]})
            fields["history"] = pd.DataFrame({name: c.numpy() for name, c in content["history"].items()})
            fields |= {name: content[name] for name in ("target", "activation", "nodes", "free_nodes")}
        except Exception as error:
            raise ValueError(f"{path} is not a saved metamer: {error}") from error
        return cls(reference=reference, **fields)


@dataclass(frozen=True)
class Outcome:
    """What a search hands over: the graph that it found, where it began, and how it went.

    Attributes:
        graph: The best graph found.
        start: Where the search began.
        status: converged, stalled, max_steps, non_finite or exact.
        steps: Number of evaluations of the loss.
        history: Columns step, loss, seconds.
        settings: How it was found; plain values only, rtol among them where the status may be converged.
    """

    graph: Data
    start: Data
    status: str
    steps: int
    history: pd.DataFrame
    settings: dict[str, Any]


def check_moved(reference: Data, outcome: Outcome) -> None:
    """Raise where a search that was to begin elsewhere began at the reference itself and never left it."""
    if not (_same(outcome.start, reference) and _same(outcome.graph, reference)):
        return
    raise ValueError(
        "the search began at the reference itself and stayed there, as nothing could vary: a random start has no other "
        "features where each is the same at all nodes, and no other edges where the degrees (start='configuration') or "
        "the budget allow none; give start= (features or a graph), or loosen what holds the graph"
    )


def _same(graph: Data, reference: Data) -> bool:
    """Tell whether features, edges in any order, and weights are the same."""
    for name in ("x", "edge_weight"):
        one, other = graph.get(name), reference.get(name)
        if (one is None) != (other is None) or (one is not None and not torch.equal(one, other)):
            return False
    num_nodes = reference.x.size(0)
    one, other = ((g.edge_index[0] * num_nodes + g.edge_index[1]).sort().values for g in (graph, reference))
    return torch.equal(one, other)


def assemble(
    probe: Probe, target: Target, reference: Data, outcome: Outcome, *, free_nodes: Tensor | None, began: float
) -> Metamer:
    """Recompute the loss of a graph on a fresh copy of the model, and put the result together."""
    with torch.no_grad():
        recording = probe.copy()(outcome.graph, complete=False)
    _, plain = replace(target, active=None).residual(recording, 1)
    norm = target.activation.double().square().sum()
    loss = float(plain.double().square().sum() / norm)
    status = outcome.status
    if status == "converged" and not loss <= outcome.settings["rtol"]:
        status = "stalled" if math.isfinite(loss) else "non_finite"
    return Metamer(
        graph=outcome.graph,
        reference=reference.clone(),
        start=outcome.start,
        target=target.activation,
        activation=target.activation + plain[0],
        layer=probe.name,
        nodes=target.nodes,
        free_nodes=free_nodes,
        loss=loss,
        relative_error=math.sqrt(loss),
        status=status,
        steps=outcome.steps,
        seconds=time.perf_counter() - began,
        dead_units=target.dead_units(recording),
        history=outcome.history,
        settings=outcome.settings,
    )


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


def _difference(graph: Data, reference: Data) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors that differ from the reference's or are new, and the names that the graph lacks."""
    tensors, _ = _split(graph)
    known, _ = _split(reference)
    changed = {n: t for n, t in tensors.items() if n not in known or not torch.equal(t, known[n])}
    return changed, [n for n in known if n not in tensors]
