"""Contextual stochastic block model: graphs whose best possible judge has a closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import as_tensor, check_graph, check_nodes, check_positive, check_structure
from metamerlib.graphs.edit import on_the_cpu
from metamerlib.graphs.sampling import sample_edges, stratified_masks
from metamerlib.plain import as_count, as_real, as_seed, shown


@on_the_cpu()
def sample(
    *,
    num_nodes: int = 400,
    num_features: int = 16,
    p: float = 0.02,
    q: float = 0.005,
    mu: float | Tensor = 0.25,
    sigma: float = 1.0,
    seed: int = 0,
) -> Data:
    r"""Sample a contextual stochastic block model with two classes.

    .. math:: y_i \sim \text{Bernoulli}(1/2), \quad x_i \sim N(\pm\mu, \sigma^2 I), \quad
        P(A_{ij} = 1) = p \text{ if } y_i = y_j \text{ else } q

    Labels are independent, not balanced by force: else the labels of all others
    would give the last one away and the Bayes classifier would be another.

    Args:
        num_nodes: nodes of the graph.
        num_features: columns of x.
        p: edge probability inside a class, in (0, 1).
        q: edge probability across classes, in (0, 1); above p for a heterophilous graph.
        mu: mean of class 1, [num_features]; a number stands for every entry. Class 0 has -mu.
        sigma: standard deviation of every feature.
        seed: fixes labels, features, edges and masks.

    Returns:
        Data with x [num_nodes, num_features] float32, y [num_nodes] in {0, 1}, edge_index, masks
        (60/20/20 within each class), p, q, sigma (float) and mu [num_features] float32.

    Raises:
        ValueError: if p or q is outside (0, 1), sigma is not positive, mu has another shape or
            is not finite, or a size is below one.

    Example:
        >>> graph = sample(num_nodes=50, num_features=4, seed=1)
        >>> graph.x.shape, graph.num_classes
        (torch.Size([50, 4]), 2)
    """
    p, q, sigma = as_real("p", p), as_real("q", q), as_real("sigma", sigma)
    num_nodes, num_features = as_count("num_nodes", num_nodes), as_count("num_features", num_features)
    seed = as_seed(seed)
    mu = as_tensor("mu", mu, dtype="number") if isinstance(mu, Tensor) else as_real("mu", mu)
    mean = torch.as_tensor(mu, dtype=torch.float32).detach().cpu()
    _check(num_features, p, q, mean, sigma)
    mean = mean.expand(num_features).clone()
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (num_nodes,), generator=generator, device="cpu")
    noise = torch.randn(num_nodes, num_features, generator=generator, device="cpu", dtype=torch.float32)
    x = (2 * y - 1).float().outer(mean) + sigma * noise
    graph = Data(x=x, edge_index=sample_edges(y, p, q, generator), y=y)
    graph.update(stratified_masks(y, generator))
    graph.name, graph.num_classes = "csbm", 2
    graph.p, graph.q, graph.mu, graph.sigma = float(p), float(q), mean, float(sigma)
    return graph


def _check(num_features: int, p: float, q: float, mean: Tensor, sigma: float) -> None:
    for name, value in (("p", p), ("q", q)):
        if not 0 < value < 1:
            raise ValueError(f"{name} = {value}: expected a probability strictly between 0 and 1, e.g. 0.02")
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma = {sigma}: expected a positive, finite standard deviation, e.g. 1.0")
    if mean.dim() > 1 or (mean.dim() == 1 and len(mean) != num_features):
        raise ValueError(f"mu has shape {list(mean.shape)}: expected a number or shape [{num_features}]")
    if not mean.isfinite().all():
        raise ValueError("mu has entries that are not finite: expected real numbers")


def bayes_log_odds(graph: Data, nodes: Tensor | None = None) -> Tensor:
    r"""Compute the log-odds of class 1, given the labels of all other nodes.

    .. math:: \frac{2 \mu \cdot x_i}{\sigma^2} + \sum_{j \neq i} y_j \left[ A_{ij} \log\frac{p}{q}
        + (1 - A_{ij}) \log\frac{1 - p}{1 - q} \right], \quad y_j = \pm 1

    Exact for one node at a time. The sum over all pairs comes from the class
    counts, so the cost is O(E log E + N F).

    Args:
        graph: a graph of `sample`, or the same with other x or edge_index (a metamer of it).
        nodes: nodes to judge, [n] integers or [N] bool; all by default.

    Returns:
        Log-odds [n], float64, on the device of x.

    Raises:
        ValueError: if p, q, mu, sigma, x or y is missing, or the graph is not simple and undirected.

    Example:
        >>> graph = sample(num_nodes=50, seed=1)
        >>> bayes_log_odds(graph, torch.tensor([3, 7])).shape
        torch.Size([2])
    """
    check_graph(graph)
    _check_sampled(graph, "x", "y", "p", "q", "mu", "sigma")
    y, mean = graph.y, graph.mu
    if not isinstance(y, Tensor) or y.shape != graph.x.shape[:1] or not bool(((y == 0) | (y == 1)).all()):
        raise ValueError(f"y must hold one class 0 or 1 for each of the {graph.x.size(0)} nodes, got {shown(y)}")
    as_tensor("mu", mean, graph.x.size(1))
    for name in ("p", "q", "sigma"):
        check_positive(name, graph[name], below=None if name == "sigma" else 1)
    nodes = check_nodes("nodes", nodes, graph.x.size(0))
    row, col = _simple_edges(graph)
    sign = 2 * graph.y.double() - 1
    neighbours = torch.zeros_like(sign).index_add_(0, row, sign[col])
    edge, no_edge = math.log(graph.p / graph.q), math.log((1 - graph.p) / (1 - graph.q))
    evidence = edge * neighbours + no_edge * (sign.sum() - sign - neighbours)
    log_odds = 2 * (graph.x.double() @ graph.mu.double()) / graph.sigma**2 + evidence
    return log_odds if nodes is None else log_odds[nodes]


def bayes_gradient(graph: Data) -> Tensor:
    r"""Return the gradient of the log-odds of a node with respect to its own features.

    .. math:: 2 \mu / \sigma^2

    Args:
        graph: see `bayes_log_odds`.

    Returns:
        ``[F]``, float64, the same for every node.

    Example:
        >>> bayes_gradient(sample(num_nodes=20, num_features=2, mu=0.25))
        tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    check_structure(graph)
    _check_sampled(graph, "mu", "sigma")
    as_tensor("mu", graph.mu, "F")
    check_positive("sigma", graph.sigma)
    return 2 * graph.mu.double() / graph.sigma**2


def _check_sampled(graph: Data, *names: str) -> None:
    missing = [name for name in names if graph.get(name) is None]
    if missing:
        raise ValueError(f"the graph has no {', '.join(missing)}: expected a graph of csbm.sample")


def _simple_edges(graph: Data) -> Tensor:
    row, col = graph.edge_index
    forward = (row * len(graph.y) + col).sort().values
    backward = (col * len(graph.y) + row).sort().values
    simple = bool((forward.diff() > 0).all() and (row != col).all()) and torch.equal(forward, backward)
    weight = graph.get("edge_weight")
    if not simple or not (weight is None or bool((weight == 1).all())):
        raise ValueError(
            "the Bayes classifier judges simple undirected graphs: expected both directions of each edge, "
            "no self-loops, no duplicates and no weights other than 1"
        )
    return graph.edge_index


def bayes_predict(graph: Data, nodes: Tensor | None = None) -> Tensor:
    """Predict classes with the Bayes classifier of the model that the graph was sampled from.

    Args:
        graph: see `bayes_log_odds`.
        nodes: nodes to judge, [n] integers or [N] bool; all by default.

    Returns:
        Classes [n], 0 or 1 (int64); a tie goes to 0.

    Example:
        >>> graph = sample(num_nodes=200, mu=3.0)
        >>> bool((bayes_predict(graph) == graph.y).all())
        True
    """
    return (bayes_log_odds(graph, nodes) > 0).long()
