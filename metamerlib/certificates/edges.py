"""How many bits the edges of a graph can carry, and how far random edges scatter the activations."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch_geometric.data import Data

from metamerlib.certificates.rate_distortion import Spectrum, log2_binomial
from metamerlib.checks import check_graph, check_module
from metamerlib.graphs.edges import both_directions, undirected_pairs
from metamerlib.graphs.edit import with_edges
from metamerlib.models.calling import Forward
from metamerlib.plain import as_flag, as_integer, as_seed
from metamerlib.probing.probe import Probe
from metamerlib.search.edges.limits import EdgeLimits
from metamerlib.search.edges.starts import edge_start


def edge_bits(graph: Data, *, degrees: bool = False) -> float:
    r"""Count the bits that a simple graph with as many nodes and edges carries.

    Free edges: :math:`\log_2 \binom{N (N - 1) / 2}{|E|}`. At fixed degrees d, the asymptotic number of graphs
    (Bender and Canfield, 1978; McKay and Wormald, 1991) with :math:`\lambda = \sum_v d_v (d_v - 1) / 4 |E|`,

    .. math:: \frac{(2 |E|)!}{|E|! \, 2^{|E|} \prod_v d_v!} \, e^{-\lambda - \lambda^2}

    Args:
        graph: Simple and undirected.
        degrees: Whether every node keeps its degree.

    Returns:
        Bits; never below zero.

    Example:
        >>> import metamerlib as ml
        >>> round(edge_bits(ml.load_graph("karate")))
        322
    """
    as_flag("degrees", degrees)
    pairs, num_nodes = undirected_pairs(graph), int(graph.num_nodes)
    size = pairs.size(1)
    if not degrees:
        return log2_binomial(num_nodes * (num_nodes - 1) / 2, size)
    degree = torch.bincount(pairs.reshape(-1), minlength=num_nodes).double()
    spread = float((degree * (degree - 1)).sum()) / (4 * max(size, 1))
    matchings = math.lgamma(2 * size + 1) - math.lgamma(size + 1) - size * math.log(2)
    nats = matchings - float(torch.lgamma(degree + 1).sum()) - spread - spread**2
    return max(0.0, nats / math.log(2))


def edge_spectrum(
    model: nn.Module,
    graph: Data,
    *,
    layer: int | str | nn.Module,
    degrees: bool = False,
    draws: int = 8,
    seed: int = 0,
    forward: Forward | None = None,
) -> Spectrum:
    """Estimate the variances of the activations over random edges.

    The deviations of every row from its mean over the draws are pooled, so that all rows share the principal axes.

    Args:
        model: Any torch model of graphs.
        graph: The reference, simple and undirected.
        layer: The matched layer, as in :func:`metamerlib.find_metamer`.
        degrees: Whether the random graphs keep the degrees.
        draws: Number of random graphs, at least 2.
        seed: Seed of the draws.
        forward: Replaces the default call.

    Example:
        >>> import metamerlib as ml
        >>> from metamerlib.certificates.rate_distortion import expected_loss
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
        >>> spectrum = edge_spectrum(model, graph, layer=1)
        >>> 0 < expected_loss(edge_bits(graph), spectrum) < expected_loss(0, spectrum)
        True
    """
    if as_integer("draws", draws) < 2:
        raise ValueError(f"draws must be at least 2, got {draws}")
    check_module(model)
    check_graph(graph)
    as_flag("degrees", degrees)
    seed = as_seed(seed)
    probe = Probe.fitting(model, layer, graph, forward=forward)
    norm = float(probe.check(graph).activation.double().square().sum())
    bounds = EdgeLimits.of(graph)
    name = "configuration" if degrees else "erdos-renyi"
    seen = []
    for draw in range(draws):
        pairs = edge_start(name, bounds, None, seed + draw)
        with torch.no_grad():
            seen.append(probe(with_edges(graph, both_directions(pairs)), complete=False).activation.double())
    stacked = torch.stack(seen)
    apart = (stacked - stacked.mean(0)).reshape(-1, stacked.size(-1))
    rows = stacked.size(1)
    values = torch.linalg.eigvalsh(apart.T @ apart / ((draws - 1) * rows)).clamp(min=0)
    return Spectrum(values, torch.full_like(values, rows), norm)
