"""Count near-metamers among random neighbours of a graph, to check what the Jacobian says of their volume."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_positive
from metamerlib.graphs.edit import with_features
from metamerlib.graphs.sampling import gaussian
from metamerlib.manifold.dimension import singular_values
from metamerlib.manifold.jacobians import MEMORY, LocalModel, prepare
from metamerlib.models.calling import Forward
from metamerlib.plain import as_count, as_seed
from metamerlib.probing.probe import plain_activation
from metamerlib.typing import Device, Layer

_BATCH = 1000


def sample_log_volume(
    model: nn.Module,
    graph: Data,
    node: int,
    layer: Layer = 1,
    *,
    noise: float = 0.01,
    nearness: float = 0.3,
    num_samples: int = 100_000,
    seed: int = 0,
    forward: Forward | None = None,
    device: Device = None,
) -> pd.Series:
    r"""Estimate the log-volume of a node's near-metamers from random features, beside its first-order formula.

    Features of the receptive field get Gaussian noise of size sigma. Of the m units that answer, the share of
    samples with :math:`\|h'_v - h_v\| \le \epsilon` is to first order

    .. math:: P = V_m\, \epsilon^m (2 \pi \sigma^2)^{-m/2} / \sqrt{\det J_v J_v^T},

    with V_m the volume of the unit ball, so that the share measured gives the determinant without a derivative
    being taken, apart from the choice of epsilon.

    Args:
        model: As for :func:`metamerlib.metamer_dimension`.
        graph: As for :func:`metamerlib.metamer_dimension`.
        layer: As for :func:`metamerlib.metamer_dimension`.
        forward: As for :func:`metamerlib.metamer_dimension`.
        device: As for :func:`metamerlib.metamer_dimension`.
        node: v.
        noise: sigma; small against the curvature of the activation.
        nearness: epsilon over sigma times the smallest singular value; small for the formula to hold.
        num_samples: Number of samples.
        seed: Seed of the noise.

    Returns:
        node, sampled (estimate of -1/2 logdet), low and high (its 95 % interval), formula, epsilon, units (m) and
        hits. sampled is NaN without a hit.

    Raises:
        ValueError: If an argument is out of range, the node does not answer at all, or the layer couples all nodes.

    Example:
        >>> import metamerlib as ml
        >>> from metamerlib.manifold.monte_carlo import sample_log_volume
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=2, out_channels=4, num_layers=2, act="tanh")
        >>> found = sample_log_volume(model, graph, 11)
        >>> bool(abs(found["sampled"] - found["formula"]) < 0.2)
        True
    """
    check_positive("noise", noise)
    check_positive("nearness", nearness)
    noise, nearness = float(noise), float(nearness)
    check_positive("num_samples", num_samples, integer=True)
    node, seed = as_count("node", node, least=0), as_seed(seed)
    local, chosen = prepare(model, graph, layer, node, forward=forward, dtype=None, memory=MEMORY, device=device)
    if local.margin is None:
        raise ValueError(f"layer {local.probe.name!r} couples all nodes; samples need a subgraph of their own")
    (jacobian,) = local.jacobians(chosen)
    answering = (jacobian.matrix != 0).any(1)
    units = int(answering.sum())
    if units == 0:
        raise ValueError(f"no unit of node {node} answers to the features; choose another node")
    strength = singular_values(jacobian.matrix[answering])
    epsilon = nearness * noise * float(strength[-1])
    hits = _hits(local, chosen, noise, epsilon, num_samples, seed)
    constant = _log_ball(units) + units * math.log(epsilon) - units / 2 * math.log(2 * math.pi * noise**2)
    share = hits / num_samples
    sampled = math.log(share) - constant if hits else math.nan
    half = 1.96 * math.sqrt((1 - share) / hits) if hits else math.nan
    values: dict[str, Any] = {"node": int(chosen), "sampled": sampled, "low": sampled - half, "high": sampled + half}
    return pd.Series(
        {**values, "formula": float(-strength.log().sum()), "epsilon": epsilon, "units": units, "hits": hits}
    )


def _hits(local: LocalModel, chosen: Tensor, noise: float, epsilon: float, num_samples: int, seed: int) -> int:
    """Count samples whose activation is within epsilon of the reference's."""
    generator = torch.Generator().manual_seed(seed)
    nodes = chosen.repeat(min(_BATCH, num_samples))
    graph, centres, rows = local.union(nodes, local.reach.fields(nodes))
    size = (rows.numel(), graph.x.size(1))
    hits = 0
    for done in range(0, num_samples, nodes.numel()):
        moved = noise * gaussian(size, generator, graph.x, torch.float64)
        with torch.no_grad():
            h = plain_activation(local.probe, with_features(graph, graph.x.index_add(0, rows, moved)))[centres]
        near = (h - local.whole[chosen]).norm(dim=1) <= epsilon
        hits += int(near[: num_samples - done].sum())
    return hits


def _log_ball(dimension: int) -> float:
    """Return the logarithm of the volume of the unit ball."""
    return dimension / 2 * math.log(math.pi) - math.lgamma(dimension / 2 + 1)
