"""Directions in which features can move without the matched activations changing, to first order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_nodes, check_positive
from metamerlib.manifold.constraint import Constraint, check_direction
from metamerlib.manifold.linearisation import LSQR_STEPS
from metamerlib.manifold.matching import MatchOptions, match

MEMORY = 2**28


@dataclass(frozen=True)
class TangentBasis:
    """Orthonormal basis of the tangent space of the metamers of a reference.

    The directions that the first linear maps cannot see belong to it and are known without being stored.

    Attributes:
        vectors: Tangent directions in visible coordinates ``[k, n, c]``, orthonormal.
        rank: Rank of the Jacobian.
        dimension: Number of all tangent directions, ``n F - rank``; k of them are stored.
        constraint: The equation whose solutions are meant.
    """

    vectors: Tensor
    rank: int
    dimension: int
    constraint: Constraint

    def features(self, indices: Any = None) -> Tensor:
        """Return stored directions as features ``[k, n, F]``.

        Args:
            indices: Which ones ``[k]``; None for all.
        """
        chosen = check_nodes("indices", indices, self.vectors.size(0))
        return self.constraint.lift(self.vectors if chosen is None else self.vectors[chosen])

    def project(self, direction: Tensor) -> Tensor:
        """Return the tangent part of a direction ``[n, F]`` of the features, invisible directions included."""
        direction = check_direction(direction, self.constraint)
        flat = self.vectors.reshape(self.vectors.size(0), -1)
        seen = self.constraint.visible(direction).reshape(-1)
        tangent = ((flat @ seen) @ flat).reshape(self.vectors.shape[1:])
        return self.constraint.lift(tangent) + self.constraint.invisible(direction)


def tangent_basis(
    model: nn.Module | Constraint,
    graph: Data | None = None,
    *,
    memory: int = MEMORY,
    **options: Unpack[MatchOptions],
) -> TangentBasis:
    r"""Compute an orthonormal basis of the null space of the Jacobian of the matched activations.

    .. math:: T = \{v : J v = 0\}, \quad J = \partial h_S / \partial X_{free}

    where the rank of J is locally constant, T is the tangent space of the manifold of metamers at the graph. For
    a ReLU layer, units that are off bind nothing. J is decomposed by SVD in float64, in orthonormal coordinates
    of what the first linear maps see, and the basis completed by QR.

    Args:
        model: Any torch model of graphs, of which a private copy is converted to float64, or in the place of model,
            graph and options the constraint that :func:`metamerlib.manifold.match` makes of them.
        graph: x ``[N, F]``, edge_index ``[2, E]``, optional edge_weight ``[E]`` and batch.
        memory: Bytes that the basis may take.
        **options: Those of :func:`metamerlib.manifold.match`; the method is dense.

    Raises:
        ValueError: If the basis would exceed the memory, or an argument is out of range.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
        >>> ml.tangent_basis(model, graph, layer=2, nodes=[0]).rank
        4
    """
    check_positive("memory", memory, integer=True)
    if options.get("method", "dense") != "dense":
        raise ValueError(f"a basis needs the whole Jacobian, got method={options['method']!r}; drop method")
    constraint = replace(match(model, graph, **options), method="dense")
    u = constraint.visible(constraint.start)
    rows = constraint.target.activation.numel()
    needed = 8 * u.numel() * max(u.numel(), 2 * rows)
    if needed > memory:
        raise ValueError(
            f"the basis of {u.numel()} coordinates against {rows} activations takes {needed / 2**20:.0f} MiB, memory "
            f"allows {memory / 2**20:.0f}; use project_to_tangent, name fewer free_nodes, or raise memory= (bytes)"
        )
    normal = constraint.linearise(u).right
    rank = normal.size(0)
    complete, _ = torch.linalg.qr(normal.T, mode="complete")
    vectors = complete[:, rank:].T.reshape(-1, *u.shape).contiguous()
    return TangentBasis(vectors, rank, constraint.base.numel() - rank, constraint)


def project_to_tangent(
    model: nn.Module | Constraint,
    graph: Data | None = None,
    direction: Tensor | None = None,
    *,
    tolerance: float = 1e-10,
    max_steps: int = LSQR_STEPS,
    **options: Unpack[MatchOptions],
) -> Tensor:
    """Return the part of a direction along which the matched activations do not change, to first order.

    .. math:: v - J^+ J v

    by LSQR with products of J and its transpose only, so that whole graphs fit.

    Args:
        model: As for :func:`tangent_basis`.
        graph: As for :func:`tangent_basis`.
        direction: Change of the free features ``[n, F]``.
        tolerance: Least-squares equations are solved to this share of ``J v``.
        max_steps: Largest number of steps of LSQR.
        **options: Those of :func:`metamerlib.manifold.match`; the method is matrix-free if none is given.

    Returns:
        ``[n, F]`` in float64.

    Raises:
        ValueError: If the direction does not fit the free features, or an argument is out of range.

    Example:
        >>> import torch, metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
        >>> tangent = ml.project_to_tangent(model, graph, torch.ones(34, 34), layer=2)
        >>> bool(tangent.norm() < 34)
        True
    """
    check_positive("tolerance", tolerance, below=1)
    check_positive("max_steps", max_steps, integer=True)
    if not isinstance(model, Constraint):
        options = {"method": "matrix-free", **options}
    constraint = match(model, graph, **options)
    v = check_direction(direction, constraint)
    linear = constraint.linearise(constraint.visible(constraint.start))
    tangent = linear.project(constraint.visible(v), tolerance=tolerance, max_steps=max_steps)
    return constraint.lift(tangent) + constraint.invisible(v)
