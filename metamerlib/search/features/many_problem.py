"""Features of many graphs at once: one disjoint union, a target and an objective for each graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.graphs.collection import union_of
from metamerlib.graphs.edit import with_features
from metamerlib.probing.agreement import agree
from metamerlib.probing.probe import Probe
from metamerlib.probing.reduce import Reduced, reduced, with_fixed_structure
from metamerlib.probing.row_space import RowSpace
from metamerlib.probing.target import Target
from metamerlib.search.loop import Evaluation


class Cells(NamedTuple):
    """Where the rows of B blocks of different heights stand in a padded ``[B, height]``.

    Attributes:
        place: Cell of each row, block times height plus row ``[N]``.
        shape: B and the height.
    """

    place: Tensor
    shape: tuple[int, int]

    @classmethod
    def of(cls, heights: Sequence[int], device: torch.device, *, height: int | None = None) -> Cells:
        """Lay out blocks of the given heights ``[B]``, padded to the highest or to ``height``.

        Example:
            >>> Cells.of([1, 2], torch.device("cpu")).place.tolist()
            [0, 2, 3]
        """
        height = max(heights) if height is None else height
        inside = torch.arange(height) < torch.tensor(heights)[:, None]
        return cls(inside.reshape(-1).nonzero()[:, 0].to(device), (len(heights), height))

    def pad(self, rows: Tensor) -> Tensor:
        """Spread ``rows [N, d]`` over ``[B, height, d]``, zero where a block is lower."""
        padded = rows.new_zeros(self.shape[0] * self.shape[1], rows.size(1)).index_copy(0, self.place, rows)
        return padded.reshape(*self.shape, -1)

    def gather(self, padded: Tensor) -> Tensor:
        """Collect the rows ``[N, d]`` of ``padded [B, height, d]``."""
        return padded.reshape(self.shape[0] * self.shape[1], -1).index_select(0, self.place)


@dataclass(frozen=True)
class ManyProblem:
    """Find features of B graphs whose activations equal each graph's own target.

    Positions are padded to the largest graph; the padding has no gradient, so that no solver moves it.

    Attributes:
        plain: Records the layer of a private copy, projected on to the row space where there is one.
        probe: The same, for this union only where that is faster.
        graphs: The references, with coordinates for features.
        union: Their disjoint union.
        targets: What each graph is to match.
        together: All targets, row after row.
        norms: Squared norm of each target ``[B]``.
        start: Padded coordinates ``[B, n_max, r]``.
        nodes: Where the nodes stand in a position.
        rows: Where the rows of the layer (nodes or graphs) stand when they are padded.
        space: Row space of the first linear maps; None if the coordinates are the features themselves.
    """

    plain: Probe
    probe: Probe
    graphs: list[Data]
    union: Data
    targets: list[Target]
    together: Target
    norms: Tensor
    start: Tensor
    nodes: Cells
    rows: Cells
    space: RowSpace | None

    def evaluate(self, position: Tensor) -> Evaluation:
        """Compute objective, gradient and loss of every graph at ``position [B, n_max, r]``."""
        position = position.detach().requires_grad_()
        recording = self.probe(with_features(self.union, self.nodes.gather(position)), complete=False)
        residual, plain = self.together.residual(recording, 1)
        objective = self.rows.pad(residual[0]).square().sum((1, 2)) / self.norms
        if not objective.requires_grad:
            raise ValueError(f"layer {self.probe.name!r} does not depend on the features; choose another")
        (gradient,) = torch.autograd.grad(objective.sum(), position)
        return Evaluation(objective.detach(), gradient, self.rows.pad(plain[0]).square().sum((1, 2)) / self.norms)

    @property
    def relaxable(self) -> bool:
        """Whether ReLUs before the layer's own can be leaked."""
        return self.probe.inner_relus > 0

    def relaxed(self, leak: float, start: Tensor) -> ManyProblem:
        """Return the same search from ``start [B, n_max, r]`` in a model whose inner ReLUs leak."""
        return replace(self, probe=self.probe.leaked(leak), start=start)

    def subset(self, kept: Sequence[int], start: Tensor) -> ManyProblem:
        """Return the search for some of the graphs, from ``start [b, n_max, r]``."""
        graphs, targets = [self.graphs[i] for i in kept], [self.targets[i] for i in kept]
        return _assemble(self.plain, graphs, targets, start, self.space)

    def features(self, position: Tensor, start: Tensor) -> Tensor:
        """Return the features ``[n, F]`` at one graph's ``position [n_max, r]``, nearest to ``start [n, F]``."""
        own = position[: start.size(0)]
        return own.clone() if self.space is None else self.space.features(own, start)


def many_problem(
    probe: Probe, graphs: Sequence[Data], targets: Sequence[Target], starts: Sequence[Tensor], *, reduce: bool
) -> ManyProblem:
    """Set up the search for the features of many graphs.

    Args:
        probe: Records the layer of the model as it was given.
        graphs: The references.
        targets: What each is to match, recorded alone.
        starts: Features of each graph at the start ``[n, F]``.
        reduce: Whether to search in the row space of the first linear maps where the model allows it.

    Raises:
        ValueError: If the model couples the graphs of a disjoint union.
    """
    union = union_of(graphs)
    at_start = with_features(union, torch.cat(list(starts)))
    if len(graphs) > 1:
        _check_apart(probe, graphs, at_start, starts)
    places = [union, at_start]
    plain, (first, second), space = reduced(probe, places) if reduce else Reduced(probe, places, None)
    sizes = [graph.x.size(0) for graph in graphs]
    here, begin = first.x, second.x
    references = [with_features(graph, x) for graph, x in zip(graphs, here.split(sizes), strict=True)]
    return _assemble(plain, references, list(targets), Cells.of(sizes, begin.device).pad(begin), space)


def _assemble(
    plain: Probe, graphs: list[Data], targets: list[Target], start: Tensor, space: RowSpace | None
) -> ManyProblem:
    device = start.device
    nodes = Cells.of([graph.x.size(0) for graph in graphs], device, height=start.size(1))
    rows = Cells.of([target.activation.size(0) for target in targets], device)
    union = union_of(graphs)
    probe = with_fixed_structure(plain, [union, with_features(union, nodes.gather(start))])
    activation = torch.cat([target.activation for target in targets])
    active = [target.active for target in targets if target.active is not None]
    together = Target(activation, torch.cat(active) if active else None, None)
    norms = torch.stack([target.activation.square().sum() for target in targets])
    return ManyProblem(plain, probe, graphs, union, targets, together, norms, start, nodes, rows, space)


def _check_apart(probe: Probe, graphs: Sequence[Data], union: Data, starts: Sequence[Tensor]) -> None:
    """Compare the graphs in their union with each alone, at features that differ from graph to graph."""
    with torch.no_grad():
        together = probe(union, complete=False).activation
        pairs = zip(graphs, starts, strict=True)
        alone = [probe(with_features(graph, x), complete=False).activation for graph, x in pairs]
    if not agree(together, torch.cat(alone)):
        raise ValueError(
            "this model couples the graphs of a disjoint union (a norm over all nodes, perhaps): "
            "use find_metamer for each graph, or let its forward take batch"
        )
