"""Sets of undirected edges: pairs, keys and membership."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import check_positive, check_structure
from metamerlib.plain import shown


def nodes_by_degree(graph: Data, count: int | None = None) -> Tensor:
    """Return nodes in the order of their degrees, or some that are spread evenly over that order.

    Args:
        graph: N nodes; the degree of a node is the number of edges that end there. Equal degrees are in the order
            of the nodes.
        count: How many, from the least degree to the greatest; None for all. More than N are all.

    Returns:
        Indices ``[min(count, N)]``.

    Raises:
        ValueError: If count is less than 1, or the graph has no edges to read.

    Example:
        >>> star = Data(edge_index=torch.tensor([[0, 1, 0, 2, 0, 3], [1, 0, 2, 0, 3, 0]]), num_nodes=4)
        >>> nodes_by_degree(star).tolist(), nodes_by_degree(star, 2).tolist()
        ([1, 2, 3, 0], [1, 0])
    """
    num_nodes = check_structure(graph)
    if count is not None:
        check_positive("count", count, integer=True)
    order = torch.bincount(graph.edge_index[1], minlength=num_nodes).argsort(stable=True)
    if count is None or count >= num_nodes:
        return order
    places = np.linspace(0, num_nodes - 1, count).round().astype(int)
    return order[torch.from_numpy(places).to(order.device)]


def undirected_pairs(graph: Data) -> Tensor:
    """Return the undirected edges of a simple graph as pairs (low, high) ``[2, |E|]``.

    Args:
        graph: Both directions of every edge stored, no self-loop, no edge twice.

    Raises:
        ValueError: If the graph is not simple and undirected.

    Example:
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> undirected_pairs(path).tolist()
        [[0, 1], [1, 2]]
    """
    num_nodes = check_structure(graph)
    source, target = graph.edge_index
    loops = int((source == target).sum())
    keys = source * num_nodes + target
    forward, backward = (keys[mask].sort().values for mask in (source < target, source > target))
    backward = ((backward % num_nodes) * num_nodes + backward // num_nodes).sort().values
    repeated = keys.numel() - keys.unique().numel()
    if loops or repeated or not torch.equal(forward, backward):
        raise ValueError(
            f"the graph must be simple and undirected with both directions stored; got {loops} self-loops, "
            f"{repeated} repeated edges and {forward.numel()} against {backward.numel()} edges by direction; use "
            "torch_geometric.utils.to_undirected and remove_self_loops"
        )
    return torch.stack([forward // num_nodes, forward % num_nodes])


def both_directions(pairs: Tensor) -> Tensor:
    """Return the edge index ``[2, 2 |E|]`` of undirected pairs ``[2, |E|]``."""
    if not isinstance(pairs, Tensor) or pairs.dim() != 2 or pairs.size(0) != 2:
        raise ValueError(f"pairs must be a tensor [2, |E|], got {shown(pairs)}")
    return torch.cat([pairs, pairs.flip(0)], dim=1)


def pair_keys(pairs: Tensor | tuple[Tensor, Tensor], num_nodes: int) -> Tensor:
    """Return one integer for each unordered pair of nodes ``[2, n]``, the same for both orders."""
    return torch.minimum(pairs[0], pairs[1]) * num_nodes + torch.maximum(pairs[0], pairs[1])


def among(keys: Tensor, known: Tensor) -> Tensor:
    """Say which keys stand in a sorted tensor of known ones; much faster than ``isin`` where few are asked for."""
    if not known.numel():
        return torch.zeros_like(keys, dtype=torch.bool)
    return known[torch.searchsorted(known, keys).clamp(max=known.numel() - 1)] == keys


@dataclass(frozen=True)
class EdgeSet:
    """The undirected edges of a simple graph.

    Attributes:
        pairs: Edges (low, high) ``[2, |E|]``.
        num_nodes: N.

    Example:
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> edges = EdgeSet.of(path)
        >>> len(edges), edges.most, edges.holds(torch.tensor([[1, 0], [0, 2]])).tolist()
        (2, 3, [True, False])
    """

    pairs: Tensor
    num_nodes: int

    @classmethod
    def of(cls, graph: Data) -> EdgeSet:
        """Take the edges of a graph, or raise where it is not simple and undirected; see :func:`undirected_pairs`."""
        return cls(undirected_pairs(graph), int(graph.num_nodes or 0))

    def __len__(self) -> int:
        return self.pairs.size(1)

    @property
    def most(self) -> int:
        """Number of pairs of nodes, N (N - 1) / 2."""
        return self.num_nodes * (self.num_nodes - 1) // 2

    @cached_property
    def keys(self) -> Tensor:
        """Sorted keys of the edges ``[|E|]``."""
        return pair_keys(self.pairs, self.num_nodes).sort().values

    def holds(self, pairs: Tensor) -> Tensor:
        """Say which pairs ``[2, n]``, in any order of their ends, are edges ``[n]``."""
        return among(pair_keys(pairs, self.num_nodes), self.keys)
