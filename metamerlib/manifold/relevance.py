"""How much of a direction that matters lies inside the set of metamers of a node."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.graphs import csbm
from metamerlib.manifold.dimension import rank_of
from metamerlib.manifold.jacobians import MEMORY, LocalModel, NodeJacobian, prepare
from metamerlib.models.calling import Forward
from metamerlib.typing import Device, Layer, Nodes


def tangent_share(
    model: nn.Module,
    graph: Data,
    directions: Tensor,
    *,
    layer: Layer,
    nodes: Nodes = None,
    forward: Forward | None = None,
    dtype: torch.dtype | None = None,
    memory: int = MEMORY,
    device: Device = None,
) -> pd.DataFrame:
    r"""Compute which share of a direction of a node's own features the node's activation cannot see.

    .. math:: \frac{\|P_v g_v\|^2}{\|g_v\|^2}, \quad P_v = I - J_v^+ J_v

    with J_v ``[d_k, F]`` the Jacobian of the activation of v with respect to the features of v alone, all others
    held fixed. A direction drawn at random has the share ``1 - rank / F`` on average, the dimension share.

    Args:
        model: Any torch model of graphs; a private copy is converted to float64.
        graph: x ``[N, F]``, edge_index ``[2, E]``, optional edge_weight ``[E]`` and batch.
        directions: g ``[F]`` for all nodes, or ``[N, F]``, one row for each node of the graph.
        layer: 1-based number for :class:`metamerlib.GNN`, else a module or its name.
        nodes: Indices or a mask; None for all.
        forward: Replaces the default call, ``forward(model, graph) -> Tensor``.
        dtype: None or torch.float64.
        memory: Bytes that the Jacobians computed at once may take.
        device: Where to run; None leaves everything where it is.

    Returns:
        One row per node: node, rank (of J_v), dimension_share, tangent_share.

    Raises:
        ValueError: If the directions do not fit the features, are not finite or zero, or as for
            :func:`metamerlib.metamer_dimension`.

    Example:
        >>> import torch, metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
        >>> shares = ml.manifold.tangent_share(model, graph, torch.ones(34), layer=2, nodes=[0, 11])
        >>> shares["rank"].tolist()
        [4, 4]
    """
    local, chosen = prepare(model, graph, layer, nodes, forward=forward, dtype=dtype, memory=memory, device=device)
    wanted = _directions(directions, graph).to(local.graph.x)
    rows = {found.node: _row(local, found, wanted[found.node]) for found in local.jacobians(chosen)}
    return pd.DataFrame([{"node": node, **rows[node]} for node in chosen.tolist()])


def bayes_relevant_share(
    model: nn.Module, graph: Data, *, layer: Layer, nodes: Nodes = None, **options: Any
) -> pd.DataFrame:
    r"""Compute which share of the evidence in a node's features the node's activation cannot see.

    The direction is the gradient of the log-odds of the Bayes classifier, :math:`2 \mu / \sigma^2`. A model that
    forgets only what tells nothing of the class has the share 0; one that forgets at random, the dimension share.

    Args:
        model: As for :func:`tangent_share`.
        graph: A graph of :func:`metamerlib.csbm.sample`, or a metamer of one.
        layer: As for :func:`tangent_share`.
        nodes: As for :func:`tangent_share`.
        **options: Further ones of :func:`tangent_share`.

    Returns:
        One row per node: node, rank, dimension_share, relevant_share.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.csbm.sample(num_nodes=60, num_features=8, seed=1)
        >>> model = ml.GNN(conv="gcn", in_channels=8, hidden_channels=8, out_channels=2, num_layers=2)
        >>> sorted(ml.manifold.bayes_relevant_share(model, graph, layer=2, nodes=[3]).columns)
        ['dimension_share', 'node', 'rank', 'relevant_share']
    """
    gradient = csbm.bayes_gradient(graph)
    table = tangent_share(model, graph, gradient, layer=layer, nodes=nodes, **options)
    return table.rename(columns={"tangent_share": "relevant_share"})


def _directions(directions: object, graph: Data) -> Tensor:
    shape = list(graph.x.shape)
    if not isinstance(directions, Tensor) or list(directions.shape) not in (shape, shape[1:]):
        got = list(directions.shape) if isinstance(directions, Tensor) else type(directions).__name__
        raise ValueError(f"directions must be a tensor {shape[1:]} or {shape}, one row for each node, got {got}")
    wide = directions.detach().to(torch.float64).expand(shape)
    if not torch.isfinite(wide).all() or (wide == 0).all(1).any():
        raise ValueError("directions must be finite and not zero: a zero direction has no share")
    return wide


def _row(local: LocalModel, found: NodeJacobian, direction: Tensor) -> dict[str, float]:
    """Return the shares at one node, from the columns of its own features."""
    own = found.matrix.reshape(found.matrix.size(0), found.field.numel(), -1)[:, found.field == found.node].flatten(1)
    seen = direction if local.space is None else direction @ local.space.basis
    if own.numel() == 0:  # the node does not see itself
        bound, rank = seen.new_zeros(()), 0
    else:
        _, strength, right = torch.linalg.svd(own, full_matrices=False)
        rank = rank_of(strength, (own.size(0), own.size(1)))
        bound = (right[:rank] @ seen).square().sum()
    share = 1 - float(bound / direction.square().sum())
    return {"rank": rank, "dimension_share": 1 - rank / local.num_features, "tangent_share": max(share, 0.0)}
