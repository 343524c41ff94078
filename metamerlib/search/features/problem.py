"""What is matched (target, nodes, residual) and what may vary (free rows, coordinates, start)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.graphs.collection import union_of_copies
from metamerlib.graphs.edit import with_features
from metamerlib.probing.agreement import agree
from metamerlib.probing.probe import Probe
from metamerlib.probing.reduce import Reduced, reduced, with_fixed_structure
from metamerlib.probing.row_space import RowSpace
from metamerlib.probing.target import Target, by_copy
from metamerlib.search.loop import Evaluation


class Coupled(ValueError):
    """The model couples the graphs of a disjoint union, or does not take one."""


@dataclass(frozen=True)
class FeatureProblem:
    """Find features whose activations equal the target, from B starts at once.

    The B copies of the graph are one disjoint union, so that any convolution can treat them as one batch.

    Attributes:
        probe: Records the layer of a private copy, projected on to the row space where there is one.
        graph: Disjoint union of B copies.
        target: What is matched.
        start: Coordinates of the free rows ``[B, n, r]``.
        all_rows: Coordinates of every row ``[B * N, r]``; free rows are overwritten.
        free_rows: Positions of the free rows in the union ``[B * n]``, or None if all rows are free.
        space: Row space of the first linear maps; None if the coordinates are the features themselves.
        features_start: Features of the free rows at the start ``[B, n, F]``.
    """

    probe: Probe
    graph: Data
    target: Target
    start: Tensor
    all_rows: Tensor
    free_rows: Tensor | None
    space: RowSpace | None
    features_start: Tensor

    def evaluate(self, position: Tensor) -> Evaluation:
        """Compute objective, gradient and loss at ``position [B, n, r]``."""
        position = position.detach().requires_grad_()
        residual, plain = self.residuals(position)
        norm = self.target.activation.square().sum()
        objective = residual.square().sum((1, 2)) / norm
        (gradient,) = torch.autograd.grad(objective.sum(), position)
        return Evaluation(objective.detach(), gradient, plain.square().sum((1, 2)) / norm)

    def residuals(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Return the residual that is minimised and the plain one ``[B, |S|, d_k]`` at ``position [B, n, r]``.

        Raises:
            ValueError: If the layer does not depend on the features.
        """
        rows = position.reshape(-1, position.size(-1))
        if self.free_rows is not None:
            rows = self.all_rows.index_copy(0, self.free_rows, rows)
        recording = self.probe(with_features(self.graph, rows), complete=False)
        residual, plain = self.target.residual(recording, position.size(0))
        if position.requires_grad and torch.is_grad_enabled() and not residual.requires_grad:
            raise ValueError(f"layer {self.probe.name!r} does not depend on the features; choose another")
        return residual, plain

    @property
    def relaxable(self) -> bool:
        """Whether ReLUs before the layer's own can be leaked."""
        return self.probe.inner_relus > 0

    def relaxed(self, leak: float, start: Tensor) -> FeatureProblem:
        """Return the same search from ``start [B, n, r]`` in a model whose inner ReLUs leak."""
        return replace(self, probe=self.probe.leaked(leak), start=start)

    def features(self, position: Tensor, copy: int) -> Tensor:
        """Return the features ``[n, F]`` of the free rows of one copy at ``position [n, r]``."""
        if self.space is None:
            return position
        return self.space.features(position, self.features_start[copy])


def feature_problem(
    probe: Probe, reference: Data, target: Target, starts: Tensor, free_nodes: Tensor | None, *, reduce: bool
) -> FeatureProblem:
    """Set up the search for features.

    Args:
        probe: Records the layer of the model as it was given.
        reference: The reference graph.
        target: What is matched.
        starts: Features of the free rows ``[B, n, F]``.
        free_nodes: Rows that may move ``[n]``, or None for all.
        reduce: Whether to search in the row space of the first linear maps where the model allows it.

    Raises:
        Coupled: If several starts are asked for and the model couples the graphs of a disjoint union.
    """
    copies, device = starts.size(0), starts.device
    graph = union_of_copies(reference, copies)
    rows = None
    if free_nodes is not None:
        offsets = torch.arange(copies, device=device)[:, None] * reference.x.size(0)
        rows = (free_nodes + offsets).reshape(-1)
    flat = starts.reshape(-1, starts.size(-1))
    at_start = with_features(graph, flat if rows is None else graph.x.index_copy(0, rows, flat))
    places = [reference, at_start]
    small, (first, second), space = reduced(probe, places) if reduce else Reduced(probe, places, None)
    here, begin = first.x, second.x
    inputs = with_features(graph, here.repeat(copies, 1))
    if copies > 1:
        _check_apart(small, with_features(reference, here), with_features(graph, begin), copies)
    fast = with_fixed_structure(small, [inputs, with_features(graph, begin)])
    position = (begin if rows is None else begin[rows]).reshape(copies, -1, begin.size(1))
    return FeatureProblem(fast, graph, target, position, inputs.x, rows, space, starts)


def _check_apart(probe: Probe, one: Data, union: Data, copies: int) -> None:
    """Compare the first and the last copy in the union, which have different features, with each alone."""
    begins = union.x.reshape(copies, -1, union.x.size(1))
    try:
        with torch.no_grad():
            together = by_copy(probe(union, complete=False).activation, copies)
            alone = {i: probe(with_features(one, begins[i]), complete=False).activation for i in (0, copies - 1)}
        apart = all(agree(together[i], activation) for i, activation in alone.items())
    except (ValueError, RuntimeError):  # a model tied to the number of nodes
        apart = False
    if not apart:
        raise Coupled(
            "this model couples the graphs of a disjoint union (a norm over all nodes, perhaps): "
            "use num_restarts=1, or let its forward take batch"
        )
