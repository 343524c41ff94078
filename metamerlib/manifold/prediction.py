"""Where a search from a given start would end if the model were linear."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import as_tensor, check_graph, check_nodes
from metamerlib.manifold.tangent import project_to_tangent
from metamerlib.models.calling import Forward


def linear_prediction(
    model: nn.Module,
    graph: Data,
    start: Tensor,
    *,
    layer: int | str | nn.Module,
    nodes: Any = None,
    free_nodes: Any = None,
    forward: Forward | None = None,
    device: str | torch.device | None = None,
) -> Tensor:
    r"""Predict the metamer that a search reaches from a start, without searching and without a free parameter.

    .. math:: X_0 + P (X - X_0) = X + (I - P) (X_0 - X)

    with X the reference, :math:`X_0` the start and P the projector on the rows of the Jacobian J of the matched
    activations at the reference. Of all points whose activations J says to be the reference's it is the one
    nearest to the start; for a linear model these are the metamers. J is decomposed in float64.

    Args:
        model: Any torch model of graphs; a private copy is converted to float64.
        graph: The reference, x ``[N, F]``.
        start: Features of the free nodes where the search begins ``[n, F]``, in the order of free_nodes.
        layer: 1-based number for :class:`metamerlib.GNN`, else a module or its name.
        nodes: Matched nodes: indices or a mask; None for all.
        free_nodes: Nodes whose features may differ; None for all.
        forward: Replaces the default call, ``forward(model, graph) -> Tensor``.
        device: Where to run; None leaves everything where it is.

    Returns:
        The predicted features of the free nodes ``[n, F]``, in float64.

    Raises:
        ValueError: If start has another shape than the free features, or an argument is out of range.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
        >>> linear_prediction(model, graph, 0 * graph.x, layer=2, nodes=[0]).shape
        torch.Size([34, 34])
    """
    check_graph(graph)
    free, rows = check_nodes("free_nodes", free_nodes, len(graph.x)), graph.x.detach()
    rows = rows if free is None else rows[free]
    as_tensor("start", start, "n", "F")
    if start.shape != rows.shape:
        raise ValueError(f"start must hold the free features {list(rows.shape)}, got {list(start.shape)}")
    rows, start = rows.double(), start.detach().double()
    options = dict(layer=layer, nodes=nodes, free_nodes=free_nodes, method="auto", forward=forward, device=device)
    return rows + project_to_tangent(model, graph, start.to(rows) - rows, **options).to(rows)
