"""Short cycles of a graph: what message passing cannot count."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch_geometric.data import Data

from metamerlib.metrics.structure import adjacency
from metamerlib.plain import as_count

CHUNK = 5_000_000  # walks of two steps that are held at once


@dataclass(frozen=True)
class CycleCounts:
    """Numbers of short cycles, of the graph and through each node [N]."""

    triangles: int
    four_cycles: int
    node_triangles: np.ndarray
    node_four_cycles: np.ndarray


def cycle_counts(graph: Data) -> CycleCounts:
    r"""Count triangles and cycles of four nodes, chords or not.

    With b_uv the number of common neighbours of u and v, node u is in
    :math:`\sum_{v \in N(u)} b_{uv} / 2` triangles and :math:`\sum_{v \ne u} b_{uv} (b_{uv} - 1) / 2` cycles of four
    nodes. Time grows with the sum of squared degrees; memory is bounded.

    Args:
        graph: a graph with edge_index [2, E], read as simple and undirected.

    >>> import torch
    >>> square = Data(edge_index=torch.tensor([[0, 1, 2, 3, 0], [1, 2, 3, 0, 2]]), num_nodes=4)
    >>> counts = cycle_counts(square)
    >>> counts.triangles, counts.four_cycles, counts.node_triangles.tolist()
    (2, 1, [2, 1, 2, 1])
    """
    matrix = adjacency(graph)
    degrees = np.diff(matrix.indptr)
    walks = np.cumsum(matrix @ degrees) if matrix.shape[0] else np.zeros(0)
    triangles, squares = np.zeros(len(degrees)), np.zeros(len(degrees))
    first = 0
    while first < len(degrees):
        done = walks[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(walks, done + CHUNK, side="right")))
        rows = matrix[first:last]
        common = (rows @ matrix).tocoo()
        apart = common.row + first != common.col
        pairs = common.data * (common.data - 1) / 2
        squares[first:last] = np.bincount(common.row[apart], pairs[apart], minlength=last - first)
        triangles[first:last] = rows.multiply(common.tocsr()).sum(axis=1) / 2
        first = last
    return CycleCounts(
        round(triangles.sum() / 3), round(squares.sum() / 4), triangles.astype(np.int64), squares.astype(np.int64)
    )


def count_ratio(count: int, other: int) -> float:
    """Divide a number of cycles by that of the reference: 1 where both have none, NaN where only the reference has.

    >>> count_ratio(3, 2), count_ratio(0, 0), count_ratio(1, 0)
    (1.5, 1.0, nan)
    """
    count, other = as_count("count", count, least=0), as_count("other", other, least=0)
    if other == 0:
        return 1.0 if count == 0 else math.nan
    return count / other


def clustering(graph: Data) -> np.ndarray:
    """Compute the local clustering coefficient of each node, 0 below two neighbours (Watts and Strogatz, 1998).

    >>> import torch
    >>> paw = Data(edge_index=torch.tensor([[0, 1, 2, 2], [1, 2, 0, 3]]), num_nodes=4)
    >>> clustering(paw).round(3).tolist()
    [1.0, 1.0, 0.333, 0.0]
    """
    degrees = np.diff(adjacency(graph).indptr)
    return 2 * cycle_counts(graph).node_triangles / np.maximum(degrees * (degrees - 1), 1)
