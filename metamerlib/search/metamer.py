"""The result of a search: a metamer, how it was found, and the file that keeps it."""

from __future__ import annotations

import io
import json
import math
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import as_tensor, check_choice, check_graph, check_nodes
from metamerlib.plain import as_count, as_path, shown
from metamerlib.probing.agreement import agree
from metamerlib.probing.probe import Probe
from metamerlib.probing.target import Target
from metamerlib.search.page import page_of, shown_share, varied
from metamerlib.writing import check_archive, write_atomic

STATUSES = ("converged", "stalled", "max_steps", "non_finite", "exact")

UNMOVED = (
    "the search began at the reference itself and stayed there, as nothing could vary: a random start has no other "
    "features where each is the same at all nodes, and no other edges where the degrees (start='configuration') or the "
    "budget allow none; give start= (features or a graph), or loosen what holds the graph"
)


@dataclass(frozen=True, repr=False)
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
        status: converged, stalled, max_steps, non_finite, exact, or unmoved (nothing could vary; the settings say
            why).
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

    def __repr__(self) -> str:
        error = f"{shown_share(self.relative_error)}, {self.steps} step{'' if self.steps == 1 else 's'}"
        return f"Metamer({varied(self)}, layer {self.layer!r}, {self.status}, relative error {error})"

    def to_html(self, path: str | os.PathLike[str], node: int | None = None) -> None:
        """Write a page that shows the metamer beside its reference: one file that opens from disk, without a network.

        Features, edges and activations of the nodes within two hops of one node are shown (60 at most), and the 60
        features that differ most there; the file stays below 2 MB however large the graph is.

        Args:
            path: File name, such as ``"metamer.html"``; its folder must exist.
            node: The node in the middle; None takes the matched node that changed most.

        Raises:
            FileNotFoundError: If the folder does not exist.
            ValueError: If the path is a folder, or there is no such node.
        """
        path = _file_to_write(path, "metamer.html")
        write_atomic(path, page_of(self, node).encode())

    def plot(self, node: int | None = None) -> Any:
        """Draw the metamer beside its reference, and the descent of the search, as a figure of matplotlib.

        Args:
            node: The node in the middle, as for :meth:`to_html`.

        Returns:
            The figure, which a notebook shows where it is the last value of a cell.
        """
        from metamerlib.search.picture import picture_of

        return picture_of(self, node)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the metamer to a file that holds tensors and text only, no code.

        Args:
            path: File name; its folder must exist. The file appears whole or not at all.
        """
        path = _file_to_write(path, "metamer.pt")
        reference, reference_text = _split(self.reference)
        content: dict[str, Any] = {"reference": reference, "reference_text": reference_text}
        for name in ("graph", "start"):
            content[name], content[f"{name}_without"] = _difference(getattr(self, name), self.reference)
        for name in ("target", "activation", "nodes", "free_nodes"):
            content[name] = getattr(self, name)
        content["history"] = {n: torch.from_numpy(column.to_numpy(copy=True)) for n, column in self.history.items()}
        plain = ("layer", "loss", "relative_error", "status", "steps", "seconds", "dead_units", "settings")
        content["plain"] = json.dumps({name: getattr(self, name) for name in plain})
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Metamer:
        """Read a metamer written by :meth:`save`, without running any code from the file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is not a saved metamer, is damaged, lacks a field, or holds one that no metamer
                has.
        """
        path = as_path("path", path)
        if not path.is_file():
            raise FileNotFoundError(f"no metamer at {path}")
        try:
            check_archive(path)
            content = torch.load(path, weights_only=True, map_location="cpu")
            reference = Data.from_dict({**content["reference"], **json.loads(content["reference_text"])})
            fields = json.loads(content["plain"])
            for name in ("graph", "start"):
                kept = {n: v for n, v in reference.to_dict().items() if n not in content[f"{name}_without"]}
                fields[name] = Data.from_dict({**kept, **content[name]})
            fields["history"] = pd.DataFrame({name: c.numpy() for name, c in content["history"].items()})
            fields |= {name: content[name] for name in ("target", "activation", "nodes", "free_nodes")}
            loaded = cls(reference=reference, **fields)
            _check_loaded(loaded)
        except Exception as error:  # anything may stand in a file
            raise ValueError(f"{path} is not a saved metamer: {error}; write it by metamer.save(path)") from error
        return loaded


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


def told_if_unmoved(reference: Data, outcome: Outcome) -> Outcome:
    """Say in the status and the settings where a search that was to begin elsewhere never left the reference."""
    if not (_same(outcome.start, reference) and _same(outcome.graph, reference)):
        return outcome
    return replace(outcome, status="unmoved", settings={**outcome.settings, "unmoved": UNMOVED})


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


def _file_to_write(path: str | os.PathLike[str], example: str) -> Path:
    """Return the path of a file whose folder is there."""
    path = as_path("path", path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the name of a file in it, such as {path / example}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"folder {path.parent} does not exist; create it first")
    return path


def check_metamer(what: str, got: object) -> None:
    """Raise unless something handed in is a metamer."""
    if not isinstance(got, Metamer):
        raise TypeError(f"{what} must be a metamerlib.Metamer, got {shown(got)}; make one with find_metamer")


def check_target_of(metamer: Metamer, activation: Tensor) -> None:
    """Raise unless a metamer was found for these activations of its reference ``[|S|, d_k]``."""
    found = activation.detach()
    wanted = metamer.target.to(found.device)
    if not agree(found.to(wanted.dtype), wanted):
        raise ValueError(
            f"the model's activation of the reference at layer {metamer.layer!r} {list(found.shape)} is not the "
            f"metamer's target {list(wanted.shape)}: it was found for another model, other weights or a target of its "
            "own; pass the model that it belongs to"
        )


def _check_loaded(metamer: Metamer) -> None:
    """Raise unless what a file held makes a metamer."""
    check_choice("status", metamer.status, STATUSES)
    for name in ("graph", "reference", "start"):
        graph = getattr(metamer, name)
        try:
            check_graph(graph, integers=True)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from error
        if graph.x.shape != metamer.reference.x.shape:
            raise ValueError(f"{name} has x {list(graph.x.shape)}, the reference {list(metamer.reference.x.shape)}")
    finite = metamer.status != "non_finite"
    as_tensor("target", metamer.target, "rows", "channels")
    as_tensor("activation", metamer.activation, *metamer.target.shape, finite=finite)
    for name in ("nodes", "free_nodes"):
        check_nodes(name, getattr(metamer, name), metamer.reference.x.size(0))
    if metamer.nodes is not None and len(metamer.nodes) != len(metamer.target):
        raise ValueError(f"there are {len(metamer.nodes)} nodes, but target has {len(metamer.target)} rows")
    if not isinstance(metamer.layer, str):
        raise TypeError(f"layer must be the name of a module, got {shown(metamer.layer)}")
    as_count("steps", metamer.steps, least=0)
    if metamer.dead_units is not None:
        as_count("dead_units", metamer.dead_units, least=0)
    for name in ("loss", "relative_error", "seconds"):
        value = getattr(metamer, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or (finite and not 0 <= value < math.inf):
            raise ValueError(f"{name} must be a number of at least 0, got {shown(value)}")
    if finite and not math.isclose(metamer.loss, metamer.relative_error**2, rel_tol=1e-6, abs_tol=1e-30):
        raise ValueError(f"loss {metamer.loss} is not the square of relative_error {metamer.relative_error}")
    missing = {"step", "loss", "seconds"} - set(metamer.history.columns)
    if missing or not isinstance(metamer.settings, dict):
        raise ValueError(f"history lacks {sorted(missing)}, and settings are {shown(metamer.settings)}")


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
