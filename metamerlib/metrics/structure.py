"""How similar two graphs are in their edges, the features left aside."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import homophily

from metamerlib.checks import as_tensor, check_structure
from metamerlib.graphs.refinement import refine_once
from metamerlib.plain import as_integer, shown


def wl_kernel(graph: Data, other: Data, *, h: int = 3, labels: tuple[Tensor, Tensor] | None = None) -> float:
    r"""Compute the normalised Weisfeiler-Lehman subtree kernel of two graphs.

    .. math:: k(G, G') = \sum_{t=0}^{h} \sum_c n_t(c) \, n'_t(c), \qquad
        \hat k = k(G, G') / \sqrt{k(G, G) \, k(G', G')}

    with n_t(c) the number of nodes of colour c after t rounds of refinement
    (Shervashidze et al., JMLR 12, 2011). Nodes need not correspond, edge weights
    count only as present or zero. The kernel cannot see a switch of two edges whose
    ends share their colours: see :func:`edge_jaccard`.

    Args:
        graph: a graph with edge_index [2, E].
        other: a graph with edge_index [2, E'].
        h: rounds of refinement.
        labels: integer colours [N] and [N'] to start from; None for one colour.

    Returns:
        The similarity, at most 1, and 1 for isomorphic graphs.

    Raises:
        ValueError: if h is negative, a graph has no nodes, or the labels do not fit.

    >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
    >>> wl_kernel(path, path)
    1.0
    """
    sizes = _num_nodes(graph), _num_nodes(other)
    if as_integer("h", h) < 0 or min(sizes) == 0:
        raise ValueError(f"got h={h} and graphs of {sizes} nodes; use h >= 0 and graphs with nodes")
    if labels is not None:
        check_colours(labels, sizes)
    device = _edges(graph).device
    edges = torch.cat([_edges(graph), _edges(other).to(device) + sizes[0]], dim=1)
    colours = torch.zeros(sum(sizes), dtype=torch.long, device=device)
    if labels is not None:
        colours = torch.cat([labels[0].to(device), labels[1].to(device)]).long().unique(return_inverse=True)[1]
    generator = torch.Generator().manual_seed(0)
    across = within = beyond = 0
    classes, left = 0, h + 1
    while left:
        if left <= h:
            colours = refine_once(colours, edges, generator)
        # Colours only ever split: once their number stays, every further round adds the same.
        classes, before = int(colours.max()) + 1, classes
        rounds = left if classes == before else 1
        left -= rounds
        count = colours[: sizes[0]].bincount(minlength=sum(sizes))
        other_count = colours[sizes[0] :].bincount(minlength=sum(sizes))
        across += rounds * int((count * other_count).sum())
        within += rounds * int(count.square().sum())
        beyond += rounds * int(other_count.square().sum())
    return across / math.sqrt(within * beyond)


def edge_jaccard(graph: Data, other: Data) -> float:
    r"""Compute the share of undirected edges that two graphs on the same nodes have in common.

    .. math:: |E \cap E'| / |E \cup E'|

    Args:
        graph: a graph with edge_index [2, E]; an edge of weight zero does not count.
        other: a graph on the same nodes.

    Returns:
        A share between 0 and 1; 1 if neither has an edge.

    Raises:
        ValueError: if the graphs have different numbers of nodes.

    >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
    >>> edge = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=3)
    >>> edge_jaccard(path, edge)
    0.5
    """
    sizes = _num_nodes(graph), _num_nodes(other)
    if sizes[0] != sizes[1]:
        raise ValueError(f"got graphs of {sizes} nodes; compare edges of graphs on the same nodes")
    keys, other_keys = _edge_keys(graph), _edge_keys(other)
    union = torch.cat([keys, other_keys.to(keys.device)]).unique().numel()
    return 1.0 if union == 0 else (keys.numel() + other_keys.numel() - union) / union


def edge_overlap(graph: Data, reference: Data) -> float:
    """Compute the share of the reference's undirected edges that a graph holds.

    Args:
        graph: a graph with edge_index [2, E]; an edge of weight zero does not count.
        reference: a graph on the same nodes.

    Returns:
        A share between 0 and 1; 1 if the reference has no edge.

    Raises:
        ValueError: if the graphs have different numbers of nodes.

    >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
    >>> edge = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=3)
    >>> edge_overlap(edge, path), edge_overlap(path, edge)
    (0.5, 1.0)
    """
    keys, other_keys = _edge_keys(graph), _edge_keys(reference)
    union = (keys.numel() + other_keys.numel() + edge_flips(graph, reference)) / 2
    held = keys.numel() + other_keys.numel() - union
    return 1.0 if other_keys.numel() == 0 else held / other_keys.numel()


def edge_flips(graph: Data, other: Data) -> int:
    """Count the undirected edges to be put in or taken out to get from one graph to the other.

    Args:
        graph: a graph with edge_index [2, E]; an edge of weight zero does not count.
        other: a graph on the same nodes.

    Raises:
        ValueError: if the graphs have different numbers of nodes.

    >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
    >>> edge = Data(edge_index=torch.tensor([[0, 2], [2, 0]]), num_nodes=3)
    >>> edge_flips(path, edge)
    3
    """
    sizes = _num_nodes(graph), _num_nodes(other)
    if sizes[0] != sizes[1]:
        raise ValueError(f"got graphs of {sizes} nodes; compare edges of graphs on the same nodes")
    keys, other_keys = _edge_keys(graph), _edge_keys(other)
    union = torch.cat([keys, other_keys.to(keys.device)]).unique().numel()
    return 2 * union - keys.numel() - other_keys.numel()


def num_components(graph: Data) -> int:
    """Count the connected components.

    >>> num_components(Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=3))
    2
    """
    return int(sparse.csgraph.connected_components(adjacency(graph), directed=False)[0])


def edge_homophily(graph: Data, labels: Tensor | None = None) -> float:
    """Compute the share of edges that join nodes of one class (Zhu et al., NeurIPS 2020).

    Args:
        graph: a graph with edge_index [2, E].
        labels: classes [N], by default ``graph.y``.

    Returns:
        A share between 0 and 1; NaN without edges or without one class per node.

    >>> edges = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    >>> path = Data(edge_index=edges, y=torch.tensor([0, 0, 1]), num_nodes=3)
    >>> edge_homophily(path)
    0.5
    """
    num_nodes = _num_nodes(graph)
    if labels is not None:
        as_tensor("labels", labels, num_nodes, dtype="integer", empty=True)
    labels, edges = node_labels(graph) if labels is None else labels, _edges(graph)
    if labels is None or edges.size(1) == 0:
        return math.nan
    return float(homophily(edges, labels.to(edges.device), method="edge"))


def check_colours(labels: object, sizes: tuple[int, int]) -> None:
    """Raise unless colours are two tensors of integers, one for each node of two graphs."""
    if not isinstance(labels, list | tuple) or len(labels) != 2:
        raise TypeError(f"labels must be a pair of integer tensors, one for each graph, got {shown(labels)}")
    found = tuple(as_tensor("labels", each, "N", dtype="number", empty=True).numel() for each in labels)
    if found != sizes:
        raise ValueError(f"got {found} labels for graphs of {sizes} nodes; pass one per node")
    for each in labels:
        as_tensor("labels", each, dtype="integer", empty=True)


def node_labels(graph: Data) -> Tensor | None:
    """Return the classes of the nodes [N], or None where there is not one integer for each."""
    num_nodes, labels = _num_nodes(graph), graph.y
    whole = isinstance(labels, Tensor) and labels.shape == (num_nodes,) and not labels.is_floating_point()
    return labels if whole else None


def adjacency(graph: Data) -> sparse.csr_array:
    """Return the symmetric adjacency matrix [N, N] of zeros and ones, without loops.

    >>> path = Data(edge_index=torch.tensor([[0, 1], [1, 1]]), num_nodes=2)
    >>> adjacency(path).toarray().tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    size, keys = _num_nodes(graph), _edge_keys(graph).cpu().numpy()
    low, high = keys // max(size, 1), keys % max(size, 1)
    low, high = low[low != high], high[low != high]
    ends = np.concatenate([low, high]), np.concatenate([high, low])
    return sparse.csr_array((np.ones(len(ends[0])), ends), shape=(size, size))


def _edges(graph: Data) -> Tensor:
    edge_index, weight = graph.edge_index, graph.edge_weight
    if edge_index is None:
        raise ValueError("got a graph without edge_index; give its edges as a tensor [2, E]")
    return edge_index if weight is None else edge_index[:, weight.flatten() != 0]


def _edge_keys(graph: Data) -> Tensor:
    low, high = _edges(graph).sort(dim=0).values
    return (low * _num_nodes(graph) + high).unique()


def _num_nodes(graph: Data) -> int:
    return check_structure(graph, empty=True)
