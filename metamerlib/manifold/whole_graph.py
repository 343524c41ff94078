"""Dimension of the set of metamers of a whole graph, all nodes matched at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_positive
from metamerlib.graphs.edit import with_features
from metamerlib.manifold.dimension import gap_after, rank_of, singular_values
from metamerlib.manifold.jacobians import LocalModel, prepare
from metamerlib.manifold.subgraphs import restricted, weights_of
from metamerlib.models.calling import Forward
from metamerlib.models.convolutions import row_of
from metamerlib.models.gnn import Layer
from metamerlib.probing.agreement import agree
from metamerlib.probing.probe import plain_activation
from metamerlib.typing import Device


def whole_graph_dimension(
    model: nn.Module,
    graph: Data,
    layer: int | str | nn.Module = 1,
    *,
    forward: Forward | None = None,
    dtype: torch.dtype | None = None,
    memory: int = 2**30,
    tolerance: float | None = None,
    device: Device = None,
) -> pd.Series:
    r"""Count the directions in which all features can move without any node's activation changing.

    .. math:: dim = N F - rank(J), \quad J\ [N d_k, N F]

    For one GCN or SGC layer :math:`h = f(P X W^T + b)` the rank is known from its factors: it is
    :math:`rank(P)\, rank(W)` where :math:`f'` has no zero, and :math:`\sum_i rank(P[S_i])` with S_i the nodes
    where unit i is active where rows are lost and W has full row rank. Otherwise J is computed as a whole, which
    only small graphs allow.

    Args:
        model: As for :func:`metamerlib.metamer_dimension`.
        graph: As for :func:`metamerlib.metamer_dimension`.
        layer: As for :func:`metamerlib.metamer_dimension`.
        forward: As for :func:`metamerlib.metamer_dimension`.
        dtype: As for :func:`metamerlib.metamer_dimension`.
        device: As for :func:`metamerlib.metamer_dimension`.
        memory: Bytes that the largest matrix may take.
        tolerance: Singular values at or below this times the largest one count as zero; None for LAPACK's.

    Returns:
        inputs (N F), rank, dimension, and gap as in :func:`metamerlib.metamer_dimension`; NaN where the rank is
        known from factors through a nonlinear activation.

    Raises:
        ValueError: If the matrix exceeds the memory, or as for :func:`metamerlib.metamer_dimension`.

    Example:
        >>> import metamerlib as ml
        >>> from metamerlib.manifold.whole_graph import whole_graph_dimension
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=1)
        >>> table = whole_graph_dimension(model, graph)
        >>> int(table["inputs"]), int(table["dimension"] + table["rank"])
        (1156, 1156)
    """
    if tolerance is not None:
        check_positive("tolerance", tolerance, below=1)
    local, _ = prepare(
        model, graph, layer, None, forward=forward, dtype=dtype, memory=memory, device=device, pre_activation=True
    )
    inputs = local.reach.num_nodes * local.num_features
    factors = _factors(local)
    rank, gap = _by_factors(local, *factors, tolerance) if factors else (None, 0.0)
    if rank is None:
        rank, gap = _by_jacobian(local, inputs, tolerance)
    return pd.Series({"inputs": inputs, "rank": rank, "dimension": inputs - rank, "gap": gap})


def _factors(local: LocalModel) -> tuple[Tensor, Tensor] | None:
    """Return P ``[N, N]`` and W ``[d, c]`` where z = P X W^T + b, or None."""
    block = local.plain.module
    if local.derivative is None or not isinstance(block, Layer):
        return None
    conv: Any = block.conv
    row = row_of(conv)
    if row is None or not row.product:
        return None
    with torch.no_grad():
        z = local.plain(local.graph, complete=False).pre_activation
    if z is None or conv.lin.weight.size(1) != local.graph.x.size(1) or local.plain.module_name != "layers.0":
        return None
    _check(local.reach.num_nodes**2, "the matrix P", local.memory)
    twin = restricted(local.plain, local.graph)
    once, weight = weights_of(twin).dense(), conv.lin.weight
    spread = torch.linalg.matrix_power(once, row.hops(conv))
    moved = spread @ (local.graph.x @ weight.T)
    if not agree(moved - moved.mean(0), z - z.mean(0)):
        return None
    # A symmetric matrix has the rank of its powers, and is better conditioned.
    return (once if torch.equal(once, once.T) else spread), weight


def _by_factors(local: LocalModel, spread: Tensor, weight: Tensor, tolerance: float | None) -> tuple[int | None, float]:
    z = local.plain(local.graph, complete=False).pre_activation
    assert z is not None and local.derivative is not None
    z = z.detach().requires_grad_()
    (slope,) = torch.autograd.grad(local.derivative(z).sum(), z)
    seen = singular_values(weight)
    units = rank_of(seen, (weight.size(0), weight.size(1)), tolerance)
    active = slope != 0
    if bool(active.all()):
        strength = _by_components(spread)
        rank = rank_of(strength, (spread.size(0), spread.size(1)), tolerance)
        linear = bool((slope == slope[0, 0]).all())
        gap = _product_gap(strength, rank, seen, units) if linear else float("nan")
        return rank * units, gap
    if units < weight.size(0):
        return None, 0.0
    size = (spread.size(0), spread.size(1))
    return sum(rank_of(singular_values(spread[rows]), size, tolerance) for rows in active.T), float("nan")


def _by_components(matrix: Tensor) -> Tensor:
    """Return the singular values of a square matrix, from the blocks that its components are, in falling order."""
    count, label = connected_components(csr_matrix(matrix.cpu().numpy()), directed=False)
    found = []
    for number in range(count):
        place = torch.from_numpy(np.flatnonzero(label == number)).to(matrix.device)
        block = matrix[place][:, place]
        symmetric = torch.equal(block, block.T)
        found.append(torch.linalg.eigvalsh(block).abs() if symmetric else torch.linalg.svdvals(block))
    return torch.cat(found).sort(descending=True).values


def _product_gap(first: Tensor, rank: int, second: Tensor, units: int) -> float:
    """Return the gap of a Kronecker product: its singular values are the products of those of its factors."""
    zero = [s[0] * t[n] for s, t, n in ((first, second, units), (second, first, rank)) if n < t.numel()]
    largest = float(max(zero, default=0.0))
    return float(first[rank - 1] * second[units - 1]) / largest if largest else float("inf")


def _by_jacobian(local: LocalModel, inputs: int, tolerance: float | None) -> tuple[int, float]:
    _check(local.whole.numel() * local.graph.x.numel(), "the Jacobian of the whole graph", local.memory)

    def activation(x: Tensor) -> Tensor:
        return plain_activation(local.plain, with_features(local.graph, x)).reshape(-1)

    matrix = torch.autograd.functional.jacobian(activation, local.graph.x).reshape(local.whole.numel(), -1)
    strength = singular_values(matrix)
    rank = rank_of(strength, (matrix.size(0), inputs), tolerance)
    return rank, gap_after(strength, rank)


def _check(entries: int, what: str, memory: int) -> None:
    if 8 * entries > memory:
        raise ValueError(
            f"{what} takes {8 * entries / 2**20:.0f} MiB, memory allows {memory / 2**20:.0f}; raise memory= (bytes)"
        )
