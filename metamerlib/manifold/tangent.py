"""Directions in which features can move without the matched activations changing, to first order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_nodes, check_positive
from metamerlib.manifold.constraint import Constraint, check_direction, match_constraint
from metamerlib.models.calling import Forward

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
        check_direction(direction, self.constraint)
        direction = direction.to(self.vectors)
        flat = self.vectors.reshape(self.vectors.size(0), -1)
        seen = self.constraint.visible(direction).reshape(-1)
        tangent = ((flat @ seen) @ flat).reshape(self.vectors.shape[1:])
        return self.constraint.lift(tangent) + self.constraint.invisible(direction)


def tangent_basis(
    model: nn.Module,
    graph: Data,
    *,
    layer: int | str | nn.Module,
    nodes: Any = None,
    free_nodes: Any = None,
    forward: Forward | None = None,
    dtype: torch.dtype | None = None,
    memory: int = MEMORY,
    device: str | torch.device | None = None,
) -> TangentBasis:
    r"""Compute an orthonormal basis of the null space of the Jacobian of the matched activations.

    .. math:: T = \{v : J v = 0\}, \quad J = \partial h_S / \partial X_{free}

    where the rank of J is locally constant, T is the tangent space of the manifold of metamers at the graph. For
    a ReLU layer, units that are off bind nothing. J is decomposed by SVD in float64, in orthonormal coordinates
    of what the first linear maps see, and the basis completed by QR.

    Args:
        model: Any torch model of graphs; a private copy is converted to float64.
        graph: x ``[N, F]``, edge_index ``[2, E]``, optional edge_weight ``[E]`` and batch.
        layer: 1-based number for :class:`metamerlib.GNN`, else a module or its name.
        nodes: Matched nodes S: indices or a mask; None for all.
        free_nodes: Nodes whose features may differ; None for all.
        forward: Replaces the default call, ``forward(model, graph) -> Tensor``.
        dtype: None or torch.float64.
        memory: Bytes that the basis may take.
        device: Where to run; None leaves everything where it is.

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
    constraint = match_constraint(
        model, graph, layer=layer, nodes=nodes, free_nodes=free_nodes, forward=forward, method="dense", dtype=dtype,
        device=device,
    )  # fmt: skip
    u = constraint.visible(constraint.base)
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
    model: nn.Module,
    graph: Data,
    direction: Tensor,
    *,
    layer: int | str | nn.Module,
    nodes: Any = None,
    free_nodes: Any = None,
    method: str = "matrix-free",
    tolerance: float = 1e-10,
    max_steps: int = 2000,
    forward: Forward | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
) -> Tensor:
    """Return the part of a direction along which the matched activations do not change, to first order.

    .. math:: v - J^+ J v

    by LSQR with products of J and its transpose only, so that whole graphs fit.

    Args:
        model: As for :func:`tangent_basis`.
        graph: As for :func:`tangent_basis`.
        layer: As for :func:`tangent_basis`.
        nodes: As for :func:`tangent_basis`.
        free_nodes: As for :func:`tangent_basis`.
        forward: As for :func:`tangent_basis`.
        dtype: As for :func:`tangent_basis`.
        device: As for :func:`tangent_basis`.
        direction: Change of the free features ``[n, F]``.
        method: matrix-free, dense (SVD of J), or auto.
        tolerance: Least-squares equations are solved to this share of ``J v``.
        max_steps: Largest number of steps of LSQR.

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
    constraint = match_constraint(
        model, graph, layer=layer, nodes=nodes, free_nodes=free_nodes, forward=forward, method=method, dtype=dtype,
        device=device,
    )  # fmt: skip
    check_direction(direction, constraint)
    x, v = constraint.base, direction.detach().to(constraint.base)
    linear = constraint.linearise(constraint.visible(x))
    tangent = linear.project(constraint.visible(v), tolerance=tolerance, max_steps=max_steps)
    return constraint.lift(tangent) + constraint.invisible(v)
