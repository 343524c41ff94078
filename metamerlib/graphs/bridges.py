"""Edges that lie on no cycle."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.graphs.edges import undirected_pairs


def bridges(graph: Data) -> Tensor:
    """Say which edges are bridges: without one of them, its two ends are in different components.

    Each edge outside a spanning forest gets a random number of 64 bits, each edge of the forest the exclusive or of
    those that cross it; a bridge is crossed by none and gets 0. Others do so with probability :math:`2^{-64}`.

    Args:
        graph: Simple and undirected, both directions of every edge stored.

    Returns:
        A mask ``[E]``, alike for both directions.

    Example:
        >>> import metamerlib as ml
        >>> int(bridges(ml.load_graph("bicyclopentyl")).sum())  # two rings and the bond that joins them
        2
    """
    pairs, num_nodes = undirected_pairs(graph).cpu().numpy(), int(graph.num_nodes or 0)
    source, target = graph.edge_index.cpu().numpy()
    if not len(source):
        return torch.zeros(0, dtype=torch.bool, device=graph.edge_index.device)
    parent, depth = _forest(pairs, num_nodes)
    low, high = pairs
    inside = (parent[low] == high) | (parent[high] == low)
    numbers = np.random.default_rng(0).integers(1, 2**63, size=int((~inside).sum()), dtype=np.uint64)
    crossed = np.zeros(num_nodes, dtype=np.uint64)  # by the edge to the parent
    for ends in (low, high):
        np.bitwise_xor.at(crossed, ends[~inside], numbers)
    order = np.argsort(-depth, kind="stable")
    levels = np.split(order, np.flatnonzero(np.diff(depth[order])) + 1)
    for nodes in levels:
        nodes = nodes[parent[nodes] >= 0]
        np.bitwise_xor.at(crossed, parent[nodes], crossed[nodes])
    alone = (parent >= 0) & (crossed == 0)
    found = (alone[source] & (parent[source] == target)) | (alone[target] & (parent[target] == source))
    return torch.from_numpy(found).to(graph.edge_index.device)


def _forest(pairs: np.ndarray, num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the parent of every node in a forest of shortest paths, -1 for roots, and its depth."""
    ends = np.concatenate([pairs, pairs[::-1]], axis=1)
    matrix = sparse.csr_array((np.ones(ends.shape[1]), ends), shape=(num_nodes, num_nodes))
    component = sparse.csgraph.connected_components(matrix, directed=False)[1]
    # One more node above the first of each component makes the forest a tree.
    roots = np.unique(component, return_index=True)[1]
    top = np.stack([np.full(len(roots), num_nodes), roots])
    ends = np.concatenate([ends, top, top[::-1]], axis=1)
    matrix = sparse.csr_array((np.ones(ends.shape[1]), ends), shape=(num_nodes + 1, num_nodes + 1))
    order, parent = sparse.csgraph.breadth_first_order(matrix, num_nodes, directed=False)
    depth = np.zeros(num_nodes + 1, dtype=np.int64)
    for node in order[1:]:
        depth[node] = depth[parent[node]] + 1
    parent = np.where(parent[:num_nodes] == num_nodes, -1, parent[:num_nodes]).astype(np.int64)
    return parent, depth[:num_nodes]
