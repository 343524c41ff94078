"""How many bits the edges of a graph can carry, and how far random edges scatter the activations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.certificates.rate_distortion import Spectrum, log2_binomial
from metamerlib.checks import as_tensor, check_graph, check_module
from metamerlib.graphs.edges import both_directions, undirected_pairs
from metamerlib.graphs.edit import with_edges
from metamerlib.graphs.rewiring import class_mixing, mixed_edges
from metamerlib.models.calling import Forward
from metamerlib.plain import as_count, as_flag, as_seed
from metamerlib.probing.probe import Probe
from metamerlib.search.edges.limits import EdgeLimits
from metamerlib.search.edges.starts import edge_start
from metamerlib.typing import Layer

MOST_DRAWS = 1_000_000  # each is one run of the model; a covariance is known to a thousandth long before
HELD = 30_000_000  # numbers of draws that are kept; beyond, the draws are made twice


def edge_bits(graph: Data, *, degrees: bool = False, fresh: bool = False, classes: Tensor | None = None) -> float:
    r"""Count the bits that a simple graph with as many nodes and edges carries.

    Free edges: :math:`\log_2 \binom{N (N - 1) / 2}{|E|}`. At fixed degrees d, the asymptotic number of graphs
    (Bender and Canfield, 1978; McKay, Congr. Numer. 33, 1981) with
    :math:`\lambda = \sum_v d_v (d_v - 1) / 4 |E|`,

    .. math:: \frac{(2 |E|)!}{|E|! \, 2^{|E|} \prod_v d_v!} \, e^{-\lambda - \lambda^2}

    times :math:`e^{-\mu}`, :math:`\mu = \sum_{uv \in E} d_u d_v / 2 |E|`, if none of the graph's own edges may stay. At
    fixed numbers of edges within and between classes, the product of the binomials of all pairs of classes.

    Args:
        graph: Simple and undirected.
        degrees: Whether every node keeps its degree.
        fresh: Whether none of the graph's own edges may stay.
        classes: Classes ``[N]`` whose mixing stays, instead of the degrees.

    Returns:
        Bits; never below zero.

    Raises:
        ValueError: If both degrees and classes are to stay, for which there is no count.

    Example:
        >>> import metamerlib as ml
        >>> round(edge_bits(ml.load_graph("karate"))), round(edge_bits(ml.load_graph("karate"), fresh=True))
        (322, 304)
    """
    as_flag("degrees", degrees)
    as_flag("fresh", fresh)
    pairs, num_nodes = undirected_pairs(graph), int(graph.num_nodes)
    size = pairs.size(1)
    if classes is not None:
        _check_family(degrees, classes, num_nodes)
        counts, nodes = class_mixing(pairs, classes).double(), torch.bincount(classes).double()
        places = torch.outer(nodes, nodes).triu(1) + torch.diag(nodes * (nodes - 1) / 2)
        places = places - counts if fresh else places
        return sum(log2_binomial(float(places[at]), float(counts[at])) for at in map(tuple, counts.nonzero().tolist()))
    if not degrees:
        slots = num_nodes * (num_nodes - 1) // 2 - (size if fresh else 0)
        return log2_binomial(slots, size) if slots >= size else 0.0
    degree = torch.bincount(pairs.reshape(-1), minlength=num_nodes).double()
    spread = float((degree * (degree - 1)).sum()) / (4 * max(size, 1))
    matchings = math.lgamma(2 * size + 1) - math.lgamma(size + 1) - size * math.log(2)
    nats = matchings - float(torch.lgamma(degree + 1).sum()) - spread - spread**2
    if fresh:
        nats -= float(degree[pairs].prod(0).sum()) / (2 * max(size, 1))
    return max(0.0, nats / math.log(2))


def edge_spectrum(
    model: nn.Module,
    graph: Data,
    *,
    layer: Layer,
    degrees: bool = False,
    fresh: bool = False,
    classes: Tensor | None = None,
    draws: int | None = None,
    seed: int = 0,
    forward: Forward | None = None,
) -> Spectrum:
    """Estimate how the activations scatter over random edges, and how far from their mean the target lies.

    Rows share edges, so their activations are not independent, least of all in the directions in which a real graph
    differs from random ones. The covariance of all rows together has rows times units axes, too many to be sampled;
    it is taken apart. In each principal axis of the pooled rows the target deviates along one direction, a vector
    over the rows: in these directions, as many as units, the draws give the joint covariance. In the others, where
    the target does not deviate, it is that of pooled rows.

    Args:
        model: Any torch model of graphs.
        graph: The reference, simple and undirected.
        layer: The matched layer, as in :func:`metamerlib.find_metamer`.
        degrees: Whether the random graphs keep the degrees.
        fresh: Whether they keep none of the graph's own edges.
        classes: Classes ``[N]`` whose mixing they keep, instead of the degrees; chance decides which edges come back.
        draws: Number of random graphs, at least 2; default: 64, or two for each unit of the layer if that is more.
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
    if draws is not None:
        draws = as_count("draws", draws, least=2, most=MOST_DRAWS)
    check_module(model)
    check_graph(graph)
    as_flag("degrees", degrees)
    as_flag("fresh", fresh)
    _check_family(degrees, classes, len(graph.x))
    seed = as_seed(seed)
    probe = Probe.fitting(model, layer, graph, forward=forward)
    target = probe.check(graph).activation.double()
    number = draws or max(64, 2 * target.size(-1))

    def activations() -> Iterator[Tensor]:
        for draw in range(number):
            pairs = _random_edges(graph, degrees, fresh, classes, seed + draw)
            with torch.no_grad():
                yield probe(with_edges(graph, both_directions(pairs)), complete=False).activation.double()

    if number * target.numel() > HELD:
        return scatter(activations, target)
    held = list(activations())
    return scatter(lambda: iter(held), target)


def scatter(draws: Callable[[], Iterator[Tensor]], target: Tensor) -> Spectrum:
    """Return the spectrum of draws of activations ``[rows, units]`` about their mean, and the target's deviation.

    Args:
        draws: Gives the draws, at least 2 and the same ones each time; they are gone through twice, not kept.
        target: The target activation ``[rows, units]``.
    """
    rows, units = target.shape
    number, total, square = 0, torch.zeros_like(target), target.new_zeros(units, units)
    for h in draws():
        number, total, square = number + 1, total + (h - target), square + (h - target).T @ (h - target)
    mean = total / number
    pooled = (square - number * mean.T @ mean) / ((number - 1) * rows)
    values, axes = torch.linalg.eigh(pooled)
    apart = -mean @ axes  # the target's deviation [rows, units]
    size = apart.norm(dim=0)
    direction = apart / size.clamp(min=torch.finfo(apart.dtype).tiny)
    seen = torch.stack([(((h - target - mean) @ axes) * direction).sum(0) for h in draws()])
    joint, turn = torch.linalg.eigh(seen.T @ seen / (number - 1))
    deviations = (turn.T @ size).square()
    # The mean of finitely many draws is off by their covariance over their number.
    deviations = (deviations - joint.clamp(min=0) / number).clamp(min=0)
    none = torch.zeros_like(values)
    return Spectrum(
        torch.cat([values, joint]).clamp(min=0),
        torch.cat([torch.full_like(values, rows - 1), none + 1]),
        torch.cat([none, deviations]),
        float(target.square().sum()),
    )


def _check_family(degrees: bool, classes: Tensor | None, num_nodes: int) -> None:
    if classes is not None:
        as_tensor("classes", classes, num_nodes, dtype="integer")
        if int(classes.min()) < 0:
            raise ValueError(
                f"classes must be numbered from 0, got {int(classes.min())}; use unique(return_inverse=True)"
            )
    if degrees and classes is not None:
        raise ValueError("both degrees and classes are to stay, whose graphs nobody counts; choose one of them")


def _random_edges(graph: Data, degrees: bool, fresh: bool, classes: Tensor | None, seed: int) -> Tensor:
    """Draw edges ``[2, |E|]`` as a search begins, or of the same mixing of classes."""
    if classes is not None:
        return mixed_edges(undirected_pairs(graph), classes, torch.Generator().manual_seed(seed))
    bounds = EdgeLimits.of(graph, max_overlap=0.0 if fresh else None)
    return edge_start("configuration" if degrees else "erdos-renyi", bounds, None, seed)
