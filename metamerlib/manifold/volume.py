"""How much a layer shrinks the volume of a node's metamers."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_positive
from metamerlib.manifold.dimension import rank_of, singular_values
from metamerlib.manifold.jacobians import MEMORY, LocalModel, NodeJacobian, prepare
from metamerlib.manifold.subgraphs import restricted, weights_of
from metamerlib.models.calling import Forward
from metamerlib.models.convolutions import row_of
from metamerlib.typing import Device, Layer, Nodes


def log_volume_change(
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
    r"""Measure the cross-section of the tube that a node's near-metamers fill, as a logarithm.

    To first order the features with :math:`\|h'_v - h_v\| \le \epsilon` fill a tube of cross-section
    proportional to :math:`1 / \sqrt{\det J_v J_v^T}`. Where h = f(z) elementwise, its logarithm has two parts,

    .. math:: -\tfrac12 \log\det J_v J_v^T = -\sum_i \log|f'(z_i)| - \tfrac12 \log\det J_z J_z^T,

    both from QR and SVD of J_z itself. Where a unit does not answer at all (an inactive ReLU) the set gains a
    dimension and the volume is infinite; ``active`` leaves such units out.

    Args:
        model: As for :func:`metamerlib.metamer_dimension`.
        graph: As for :func:`metamerlib.metamer_dimension`.
        layer: As for :func:`metamerlib.metamer_dimension`.
        nodes: As for :func:`metamerlib.metamer_dimension`.
        forward: As for :func:`metamerlib.metamer_dimension`.
        dtype: As for :func:`metamerlib.metamer_dimension`.
        memory: As for :func:`metamerlib.metamer_dimension`.
        tolerance: As for :func:`metamerlib.metamer_dimension`.
        device: As for :func:`metamerlib.metamer_dimension`.

    Returns:
        One row per node: node, activation (first term; 0 at logits), active (the whole on the units that
        answer), linear (second term) and total. activation and linear are NaN where h is not an elementwise
        function of a pre-activation in reach. Infinite where rows of the Jacobian are dependent.

    Raises:
        TypeError, ValueError: As for :func:`metamerlib.metamer_dimension`.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=4, out_channels=4, num_layers=1)
        >>> table = ml.log_volume_change(model, graph, layer=1, nodes=[0])
        >>> table["activation"].item(), bool((table["total"] == table["linear"]).all())
        (0.0, True)
    """
    if tolerance is not None:
        check_positive("tolerance", tolerance, below=1)
    local, chosen = prepare(
        model, graph, layer, nodes, forward=forward, dtype=dtype, memory=memory, device=device, pre_activation=True
    )
    rows = {jacobian.node: _terms(local, jacobian, tolerance) for jacobian in local.jacobians(chosen)}
    return pd.DataFrame([{"node": node, **rows[node]} for node in chosen.tolist()])


def _terms(local: LocalModel, jacobian: NodeJacobian, tolerance: float | None) -> dict[str, float]:
    matrix = jacobian.matrix
    if jacobian.pre_activation is None or local.derivative is None:
        answering = (matrix != 0).any(1)
        terms = {"activation": math.nan, "active": _linear(matrix[answering], jacobian, tolerance), "linear": math.nan}
        return {**terms, "total": _linear(matrix, jacobian, tolerance)}
    shrink = -log_slope(local.derivative, jacobian.pre_activation)
    answering = torch.isfinite(shrink)
    linear = _linear(matrix, jacobian, tolerance)
    activation = float(shrink.sum())
    total = activation + linear
    active = total
    if not bool(answering.all()):
        active = float(shrink[answering].sum()) + _linear(matrix[answering], jacobian, tolerance)
    return {"activation": activation, "active": active, "linear": linear, "total": total}


def _linear(matrix: Tensor, jacobian: NodeJacobian, tolerance: float | None) -> float:
    """Return -1/2 logdet(J J^T) of the rows ``[d, m]`` of a Jacobian, infinite where they are dependent."""
    strength = singular_values(matrix)
    if rank_of(strength, (matrix.size(0), jacobian.inputs), tolerance) < matrix.size(0):
        return math.inf
    return float(-strength.log().sum())


def log_slope(function: nn.Module, z: Tensor) -> Tensor:
    r"""Return :math:`\log|f'(z)|` entry by entry, minus infinity where the derivative is zero.

    Example:
        >>> log_slope(nn.ELU(), torch.tensor([-800.0, 2.0])).tolist()
        [-800.0, 0.0]
    """
    # Beyond the range of the numbers, where 1 - tanh^2 and e^z are rounded to zero, only the logarithms are right.
    if isinstance(function, nn.ELU) and function.alpha == 1:
        return z.clamp(max=0)
    if isinstance(function, nn.Tanh):
        return 2 * (math.log(2) - z.abs() - torch.nn.functional.softplus(-2 * z.abs()))
    with torch.enable_grad():
        place = z.detach().requires_grad_()
        (slope,) = torch.autograd.grad(function(place).sum(), place)
    return slope.abs().log()


def split_linear(model: nn.Module, graph: Data, nodes: Nodes = None, *, device: Device = None) -> pd.DataFrame:
    r"""Split the linear term of a first GCN or SGC layer into what its weights and what its neighbourhoods do.

    .. math:: -\tfrac12 \log\det J_z J_z^T = -\tfrac12 \log\det W W^T - d \log\|\hat a_v\|

    with :math:`z_v = \hat a_v X W^T + b`, W ``[d, F]``.

    Args:
        model: A :class:`metamerlib.GNN` whose convolution is gcn or sgc, without norm in its first layer.
        graph: As for :func:`metamerlib.metamer_dimension`.
        nodes: As for :func:`metamerlib.metamer_dimension`.
        device: As for :func:`metamerlib.metamer_dimension`.

    Returns:
        One row per node: node, weights (first term) and aggregation (second term).

    Raises:
        ValueError: If the first layer is another.

    Example:
        >>> import metamerlib as ml
        >>> from metamerlib.manifold.volume import split_linear
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=4, out_channels=4, num_layers=1)
        >>> parts, table = split_linear(model, graph), ml.log_volume_change(model, graph)
        >>> bool(((parts["weights"] + parts["aggregation"] - table["linear"]).abs() < 1e-9).all())
        True
    """
    local, chosen = prepare(model, graph, 1, nodes, forward=None, dtype=None, memory=MEMORY, device=device)
    block = local.plain.module
    conv: Any = block.conv
    row = row_of(conv)
    if row is None or not row.product or not isinstance(block.norm, nn.Identity):
        raise ValueError(
            f"the first layer is {block}; only gcn and sgc without a norm split, others have no closed form"
        )
    weight = conv.lin.weight
    stand_in = weights_of(restricted(local.plain, local.graph))
    lengths = stand_in.row_norms(chosen, row.hops(conv))
    strength = singular_values(weight)
    full = rank_of(strength, (weight.size(0), local.num_features)) == weight.size(0)
    weights = float(-strength.log().sum()) if full else math.inf
    aggregation = -weight.size(0) * lengths.log()
    return pd.DataFrame({"node": chosen.tolist(), "weights": weights, "aggregation": aggregation.tolist()})
