"""Local dimension of the set of metamers of a node."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import as_tensor, check_positive
from metamerlib.manifold.jacobians import MEMORY, prepare
from metamerlib.models.calling import Forward
from metamerlib.typing import Device, Layer, Nodes


def metamer_dimension(
    model: nn.Module,
    graph: Data,
    layer: Layer = 1,
    nodes: Nodes = None,
    *,
    forward: Forward | None = None,
    dtype: torch.dtype | None = None,
    memory: int = MEMORY,
    tolerance: float | None = None,
    device: Device = None,
) -> pd.DataFrame:
    """Count the directions in which a node's receptive field can move without its activation changing.

    .. math:: dim_v = n_v F - rank(J_v)

    with J_v ``[d_k, n_v * F]`` the Jacobian of the activation with respect to the features of the n_v nodes of
    the receptive field. Where the rank is locally constant, the metamers of v near the reference are a manifold
    of this dimension (constant-rank theorem). The rank is computed in float64 by QR and SVD of J_v itself, in
    orthonormal coordinates of the features that the model can see. Receptive fields are detected on the model,
    and are the whole graph where a norm or attention over all nodes couples everything.

    Args:
        model: Any torch model of graphs; a private copy is converted to float64.
        graph: x ``[N, F]``, edge_index ``[2, E]``, optional edge_weight ``[E]`` and batch.
        layer: 1-based number for :class:`metamerlib.GNN`, else a module or its name.
        nodes: Indices or a mask; None for all.
        forward: Replaces the default call, ``forward(model, graph) -> Tensor``.
        dtype: None or torch.float64.
        memory: Bytes that the Jacobians computed at once may take.
        tolerance: Singular values at or below this times the largest one count as zero; None for LAPACK's
            ``max(d_k, n_v * F)`` times the rounding unit.
        device: Where to run; None leaves everything where it is.

    Returns:
        One row per node: node, receptive_field (n_v), inputs (n_v F), rank, dimension, and gap, the ratio of
        the smallest singular value that counts and the next one, infinite where that is zero or there is none.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, the layer has no gradient to the features or no row for each
            node, dtype is not float64, or the Jacobian of a single node exceeds the memory.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2, act="elu")
        >>> table = ml.metamer_dimension(model, graph, layer=1, nodes=[0, 11])
        >>> table[["node", "receptive_field", "inputs", "rank", "dimension"]].values.tolist()
        [[0, 17, 578, 8, 570], [11, 2, 68, 8, 60]]
    """
    if tolerance is not None:
        check_positive("tolerance", tolerance, below=1)
    local, chosen = prepare(model, graph, layer, nodes, forward=forward, dtype=dtype, memory=memory, device=device)
    rows = {}
    for found in local.jacobians(chosen):
        strength = singular_values(found.matrix)
        rank = rank_of(strength, (found.matrix.size(0), found.inputs), tolerance)
        counts = {"receptive_field": found.field.numel(), "inputs": found.inputs, "rank": rank}
        rows[found.node] = {**counts, "dimension": found.inputs - rank, "gap": gap_after(strength, rank)}
    return pd.DataFrame([{"node": node, **rows[node]} for node in chosen.tolist()])


def singular_values(matrix: Tensor) -> Tensor:
    """Return the singular values of a matrix ``[d, m]``, in falling order, with a zero for each row of zeros.

    A wide matrix is first reduced to the triangular factor of its transpose, which has the same ones.
    """
    as_tensor("matrix", matrix, "d", "m", empty=True)
    rows = matrix[(matrix != 0).any(1)]
    if rows.size(0) == 0:
        return matrix.new_zeros(min(matrix.shape))
    if rows.size(1) > rows.size(0):
        rows = _triangle(rows.T)
    found = torch.linalg.svdvals(rows)
    missing = min(matrix.shape) - found.numel()
    return torch.cat([found, found.new_zeros(missing)])


def _triangle(tall: Tensor) -> Tensor:
    """Return a triangular factor of a tall matrix ``[m, d]``, in two rounds of QR, which stay in the cache."""
    height = max(1024, 4 * tall.size(1))
    whole = tall.size(0) // height * height
    if whole > 2 * height:
        factors = torch.linalg.qr(tall[:whole].reshape(-1, height, tall.size(1)), mode="r").R
        tall = torch.cat([factors.reshape(-1, tall.size(1)), tall[whole:]])
    return torch.linalg.qr(tall, mode="r").R


def rank_of(strength: Tensor, shape: tuple[int, int], tolerance: float | None = None) -> int:
    """Count the singular values ``[n]`` of a matrix of this shape that are not zero but for rounding."""
    if strength.numel() == 0:
        return 0
    share = max(shape) * torch.finfo(strength.dtype).eps if tolerance is None else tolerance
    return int((strength > share * strength[0]).sum())


def gap_after(strength: Tensor, rank: int) -> float:
    """Return the ratio of singular values number ``rank`` and ``rank + 1``, infinite where the latter is zero."""
    if rank == strength.numel() or strength[rank] == 0:
        return float("inf")
    return float(strength[rank - 1] / strength[rank]) if rank else float("nan")
