"""The equation that every metamer solves, in float64, and its linear part.

A metamer has the reference's activations on the matched nodes. Features enter most models through linear maps
only, so that the equation is one for their visible coordinates ``[n, c]``; what is orthogonal to these
changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.graphs.collection import union_of_copies
from metamerlib.graphs.edit import with_features
from metamerlib.manifold.linearisation import Linearisation
from metamerlib.probing.agreement import agree
from metamerlib.probing.probe import Probe, Recording
from metamerlib.probing.relu import SignPattern
from metamerlib.probing.row_space import RowSpace
from metamerlib.probing.target import Target, by_copy

_DENSE_ENTRIES, _DENSE_SIDE = 2**23, 1024


@dataclass(frozen=True)
class Constraint:
    """The residual of a match as a function of the free features.

    Attributes:
        probe: Records the layer of a private float64 copy that takes coordinates.
        graph: Reference, or as much of it as the matched nodes can see, x ``[M, c]``.
        target: What is matched, with rows counted in ``graph``.
        free: Free rows of ``graph`` ``[n]``, or None for all.
        space: Directions that the model sees, all scales one; None if the coordinates are the features.
        whole: Records the layer of the model as it was given, in float64.
        reference: The whole reference in float64, x ``[N, F]``.
        nodes: S in the reference, or None for all rows.
        free_nodes: Free rows of the reference ``[n]``, or None for all.
        start: Free features where a move begins ``[n, F]``: the reference's, or those of a metamer.
        method: auto, dense or matrix-free: how linear equations are solved.
    """

    probe: Probe
    graph: Data
    target: Target
    free: Tensor | None
    space: RowSpace | None
    whole: Probe
    reference: Data
    nodes: Tensor | None
    free_nodes: Tensor | None
    start: Tensor
    method: str

    @property
    def base(self) -> Tensor:
        """Free features of the reference ``[n, F]``."""
        return self.rows_of(self.reference)

    def rows_of(self, graph: Data) -> Tensor:
        """Return the free features ``[n, F]`` of a graph like the reference."""
        x = graph.x.detach().to(self.reference.x)
        return x if self.free_nodes is None else x[self.free_nodes]

    def graph_of(self, x: Tensor) -> Data:
        """Return the reference with other free features ``[n, F]``."""
        rows = x if self.free_nodes is None else self.reference.x.index_copy(0, self.free_nodes, x)
        return with_features(self.reference, rows).clone()

    def visible(self, x: Tensor) -> Tensor:
        """Return the coordinates ``[..., c]`` of features ``[..., F]``."""
        return x if self.space is None else x @ self.space.basis

    def lift(self, u: Tensor) -> Tensor:
        """Return the least features ``[..., F]`` with coordinates ``[..., c]``."""
        return u if self.space is None else u @ self.space.basis.T

    def invisible(self, x: Tensor) -> Tensor:
        """Return the part of features ``[n, F]`` that the model cannot see."""
        return torch.zeros_like(x) if self.space is None else self.space.invisible(x)

    def residual(self, u: Tensor) -> Tensor:
        """Return the one-sided residual over the norm of the target ``[m]`` at coordinates ``[n, c]``.

        Units that a ReLU silences in the reference need only stay silent; see :meth:`Target.residual`.
        """
        residual, _ = self.target.residual(self.record(u[None]), 1)
        return residual.reshape(-1) / self.target.activation.norm()

    def relative_errors(self, u: Tensor) -> Tensor:
        """Return the relative error ``[B]`` at coordinates ``[B, n, c]``, in one disjoint union."""
        with torch.no_grad():
            _, plain = self.target.residual(self.record(u), u.size(0))
        return plain.square().sum((1, 2)).sqrt() / self.target.activation.norm()

    def true_error(self, x: Tensor) -> float:
        """Recompute the relative error of features ``[n, F]`` on the whole graph and the model as it was given."""
        with torch.no_grad():
            wanted, found = (self.whole(g, complete=False).activation for g in (self.reference, self.graph_of(x)))
        if self.nodes is not None:
            wanted, found = wanted[self.nodes], found[self.nodes]
        return float((found - wanted).norm() / wanted.norm())

    def linearise(self, u: Tensor) -> Linearisation:
        """Return the linear part of the residual at coordinates ``[n, c]``."""
        rows = self.target.activation.numel()
        small = rows * u.numel() <= _DENSE_ENTRIES and min(rows, u.numel()) <= _DENSE_SIDE
        dense = small if self.method == "auto" else self.method == "dense"
        return Linearisation(self.residual, u, dense=dense)

    def pattern(self, u: Tensor) -> Tensor:
        """Return which units of all ReLUs up to the layer are on ``[units]``."""
        watch = SignPattern()
        with torch.no_grad():
            self.probe._run(self._graph_at(u[None]), watch, False)
        return torch.cat([u.new_zeros(0, dtype=torch.bool), *watch.signs])

    def record(self, u: Tensor) -> Recording:
        """Record the layer at coordinates ``[B, n, c]``, one copy of the graph after the other."""
        return self.probe(self._graph_at(u), complete=False)

    def _graph_at(self, u: Tensor) -> Data:
        copies, size = u.size(0), self.graph.x.size(0)
        rows = u.reshape(-1, u.size(-1))
        if self.free is not None:
            places = self.free + size * torch.arange(copies, device=u.device)[:, None]
            rows = self.graph.x.repeat(copies, 1).index_copy(0, places.reshape(-1), rows)
        return with_features(union_of_copies(self.graph, copies), rows)


def check_apart(constraint: Constraint, u: Tensor) -> bool:
    """Tell whether copies of the graph in one disjoint union keep apart, at coordinates ``[B, n, c]``."""
    if u.size(0) == 1:
        return True
    with torch.no_grad():
        alone = torch.stack([constraint.record(one[None]).activation for one in u])
        together = by_copy(constraint.record(u).activation, u.size(0))
    return agree(together, alone)


def check_direction(direction: object, constraint: Constraint, *, name: str = "direction") -> Tensor:
    """Return a finite change of the free features ``[n, F]`` in float64, or say what else it is."""
    shape = list(constraint.base.shape)
    if not isinstance(direction, Tensor) or list(direction.shape) != shape:
        got = list(direction.shape) if isinstance(direction, Tensor) else type(direction).__name__
        raise ValueError(f"{name} must be a tensor {shape}, one row for each free node, got {got}")
    if not direction.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {direction.dtype}; convert with direction.double()")
    if direction.device.type == "meta":
        raise ValueError(f"{name} is on the meta device, where tensors hold no values; make it on the CPU")
    if not torch.isfinite(direction).all():
        raise ValueError(f"{name} holds NaN or infinite entries")
    return direction.detach().to(constraint.base)
