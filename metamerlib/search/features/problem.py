"""Features of one graph from several starts, or of many graphs: one disjoint union, an objective for each search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.graphs.collection import union_of, union_of_copies
from metamerlib.graphs.edit import with_features
from metamerlib.probing.agreement import agree
from metamerlib.probing.probe import Probe
from metamerlib.probing.reduce import Reduced, reduced, with_fixed_structure
from metamerlib.probing.row_space import RowSpace
from metamerlib.probing.target import Target, by_copy
from metamerlib.search.features.padding import Padding
from metamerlib.search.loop import Evaluation

Join = Callable[[Sequence[Data]], Data]


class Coupled(ValueError):
    """The model couples the graphs of a disjoint union, or does not take one."""


@dataclass(frozen=True)
class FeatureProblem:
    """Find features of B graphs whose activations equal each graph's own target.

    The graphs are one disjoint union, so that any convolution can treat them as one batch; restarts are B copies of
    one graph. Positions are padded to the largest graph; the padding has no gradient, so that no solver moves it.

    Attributes:
        plain: Records the layer of a private copy, projected on to the row space where there is one.
        probe: The same, for this union only where that is faster.
        graphs: The references, with coordinates for features.
        targets: What each graph is to match.
        features_start: Features of each graph's free rows at the start ``[n, F]``.
        start: Padded coordinates of the free rows ``[B, n_max, r]``.
        free_nodes: Rows of every graph that may move ``[n]``, or None for all.
        space: Row space of the first linear maps; None if the coordinates are the features themselves.
        join: Makes the disjoint union.
        graph: The disjoint union; its rows that are not free keep their coordinates.
        target: All targets, row after row.
        norms: Squared norm of each target ``[B]``.
        free_rows: Free rows of the union, or None if all are free.
        nodes: Where the free rows stand in a position.
        rows: Where the matched rows of the layer (nodes or graphs) stand when they are padded.
    """

    plain: Probe
    probe: Probe
    graphs: list[Data]
    targets: list[Target]
    features_start: list[Tensor]
    start: Tensor
    free_nodes: Tensor | None
    space: RowSpace | None
    join: Join
    graph: Data
    target: Target
    norms: Tensor
    free_rows: Tensor | None
    nodes: Padding
    rows: Padding

    def evaluate(self, position: Tensor) -> Evaluation:
        """Compute objective, gradient and loss of every search at ``position [B, n_max, r]``."""
        position = position.detach().requires_grad_()
        residual, plain = self.residuals(position)
        objective = residual.square().sum((1, 2)) / self.norms
        (gradient,) = torch.autograd.grad(objective.sum(), position)
        return Evaluation(objective.detach(), gradient, plain.square().sum((1, 2)) / self.norms)

    def residuals(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Return the residual that is minimised and the plain one, padded ``[B, |S|, d_k]``.

        Raises:
            ValueError: If the layer does not depend on the features.
        """
        rows = self.nodes.gather(position)
        if self.free_rows is not None:
            rows = self.graph.x.index_copy(0, self.free_rows, rows)
        recording = self.probe(with_features(self.graph, rows), complete=False)
        residual, plain = self.target.residual(recording, 1)
        if position.requires_grad and torch.is_grad_enabled() and not residual.requires_grad:
            raise ValueError(f"layer {self.probe.name!r} does not depend on the features; choose another")
        return self.rows.pad(residual[0]), self.rows.pad(plain[0])

    @property
    def relaxable(self) -> bool:
        """Whether ReLUs before the layer's own can be leaked."""
        return self.probe.inner_relus > 0

    def relaxed(self, leak: float, start: Tensor) -> FeatureProblem:
        """Return the same searches from ``start [B, n_max, r]`` in a model whose inner ReLUs leak."""
        return replace(self, probe=self.probe.leaked(leak), start=start)

    def subset(self, kept: Sequence[int], start: Tensor) -> FeatureProblem:
        """Return some of the searches, from ``start [b, n_max, r]``."""
        if list(kept) == list(range(len(self.graphs))):
            return replace(self, start=start)
        graphs, targets = [self.graphs[i] for i in kept], [self.targets[i] for i in kept]
        begins = [self.features_start[i] for i in kept]
        return _assemble(self.plain, graphs, targets, begins, start, self.free_nodes, self.space, self.join)

    def features(self, position: Tensor, place: int) -> Tensor:
        """Return the features ``[n, F]`` of one graph's free rows at its ``position [n_max, r]``."""
        begin = self.features_start[place]
        own = position[: begin.size(0)]
        return own if self.space is None else self.space.features(own, begin)


def feature_problem(
    probe: Probe, reference: Data, target: Target, starts: Tensor, free_nodes: Tensor | None, *, reduce: bool
) -> FeatureProblem:
    """Set up the search for features of one graph from B starts.

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
    copies = starts.size(0)
    whole = list(starts if free_nodes is None else [reference.x.index_copy(0, free_nodes, rows) for rows in starts])
    union = with_features(_join_copies([reference] * copies), torch.cat(whole))
    if copies > 1:  # the first and the last copy have different features
        _check_apart(probe, [reference] * copies, union, whole, {0, copies - 1})
    places = [reference, union]
    plain, (first, second), space = reduced(probe, places) if reduce else Reduced(probe, places, None)
    start = second.x.reshape(copies, -1, second.x.size(1))
    start = start if free_nodes is None else start[:, free_nodes]
    graphs = [with_features(reference, first.x)] * copies
    return _assemble(plain, graphs, [target] * copies, list(starts), start, free_nodes, space, _join_copies)


def many_problem(
    probe: Probe, graphs: Sequence[Data], targets: Sequence[Target], starts: Sequence[Tensor], *, reduce: bool
) -> FeatureProblem:
    """Set up the search for the features of many graphs.

    Args:
        probe: Records the layer of the model as it was given.
        graphs: The references.
        targets: What each is to match, recorded alone.
        starts: Features of each graph at the start ``[n, F]``.
        reduce: Whether to search in the row space of the first linear maps where the model allows it.

    Raises:
        Coupled: If the model couples the graphs of a disjoint union.
    """
    union = union_of(graphs)
    at_start = with_features(union, torch.cat(list(starts)))
    if len(graphs) > 1:
        _check_apart(probe, graphs, at_start, starts, range(len(graphs)))
    places = [union, at_start]
    plain, (first, second), space = reduced(probe, places) if reduce else Reduced(probe, places, None)
    sizes = [graph.x.size(0) for graph in graphs]
    references = [with_features(graph, x) for graph, x in zip(graphs, first.x.split(sizes), strict=True)]
    start = Padding.of(sizes, second.x.device).pad(second.x)
    return _assemble(plain, references, list(targets), list(starts), start, None, space, union_of)


def _assemble(
    plain: Probe,
    graphs: list[Data],
    targets: list[Target],
    begins: list[Tensor],
    start: Tensor,
    free: Tensor | None,
    space: RowSpace | None,
    join: Join,
) -> FeatureProblem:
    device, union = start.device, join(graphs)
    heights = [begin.size(0) for begin in begins]
    nodes = Padding.of(heights, device, height=start.size(1))
    rows = Padding.of([target.activation.size(0) for target in targets], device)
    sizes = torch.tensor([graph.x.size(0) for graph in graphs], device=device)
    offsets = (sizes.cumsum(0) - sizes)[:, None]
    free_rows = None if free is None else (free + offsets).reshape(-1)
    begin = nodes.gather(start)
    begin = begin if free_rows is None else union.x.index_copy(0, free_rows, begin)
    probe = with_fixed_structure(plain, [union, with_features(union, begin)])
    matched = [one.nodes + offset for one, offset in zip(targets, offsets, strict=True) if one.nodes is not None]
    active = [target.active for target in targets if target.active is not None]
    wanted = torch.cat([target.activation for target in targets])
    target = Target(wanted, torch.cat(active) if active else None, torch.cat(matched) if matched else None)
    norms = torch.stack([one.activation.square().sum() for one in targets])
    return FeatureProblem(
        plain, probe, graphs, targets, begins, start, free, space, join, union, target, norms, free_rows, nodes, rows
    )


def _join_copies(graphs: Sequence[Data]) -> Data:
    return union_of_copies(graphs[0], len(graphs))


def _check_apart(
    probe: Probe, graphs: Sequence[Data], union: Data, starts: Sequence[Tensor], some: Iterable[int]
) -> None:
    """Compare some of the graphs in their union with each alone, at features that differ from graph to graph."""
    places = list(some)
    try:
        with torch.no_grad():
            together = probe(union, complete=False).activation
            alone = [probe(with_features(graphs[i], starts[i]), complete=False).activation for i in places]
        if len(places) < len(graphs):
            together = by_copy(together, len(graphs))[places].flatten(0, 1)
        apart = agree(together, torch.cat(alone))
    except (ValueError, RuntimeError):  # a model tied to the number of nodes
        apart = False
    if not apart:
        raise Coupled(
            "this model couples the graphs of a disjoint union (a norm over all nodes, perhaps): use find_metamer for "
            "each graph with num_restarts=1, or let its forward take batch"
        )
