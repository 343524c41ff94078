"""Whether two graphs are the same up to the names of their nodes."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.graphs.edges import undirected_pairs
from metamerlib.graphs.refinement import (
    combine_classes,
    counted_attributes,
    edge_classes,
    initial_colours,
    refine,
    row_classes,
)
from metamerlib.metrics.cycles import cycle_counts
from metamerlib.metrics.structure import adjacency, check_colours
from metamerlib.plain import as_count

WORK = 20_000_000  # nodes and edges that refinements may visit by default


def are_isomorphic(
    graph: Data,
    other: Data,
    *,
    labels: tuple[Tensor, Tensor] | None = None,
    max_refinements: int | None = None,
) -> bool | None:
    """Decide whether some renaming of the nodes turns one graph into the other.

    Numbers of triangles and squares through a node and the size of its component are its first colour; colours are
    refined; where a colour has several nodes, one is paired with each candidate in turn (individualisation and
    refinement, McKay 1981).

    Args:
        graph: a graph with edge_index [2, E], read as simple and undirected.
        other: another one.
        labels: integer colours [N] and [N'] that must be kept too.
        max_refinements: how many refinements to spend, by default as many as visit twenty million nodes and edges.

    Returns:
        True, False, or None where the search ended without an answer.

    >>> import torch
    >>> path = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
    >>> other = Data(edge_index=torch.tensor([[0, 0], [1, 2]]), num_nodes=3)
    >>> are_isomorphic(path, other)
    True
    """
    if max_refinements is not None:
        max_refinements = as_count("max_refinements", max_refinements, least=0)
    both, size = [adjacency(each) for each in (graph, other)], graph.num_nodes or 0
    if labels is not None:
        check_colours(labels, (both[0].shape[0], both[1].shape[0]))
    if both[0].shape != both[1].shape or both[0].nnz != both[1].nnz:
        return False
    edges = torch.from_numpy(np.stack(sparse.block_diag(both).nonzero())).long()
    colours = torch.cat(row_classes(*(_invariants(*each) for each in zip((graph, other), both, strict=True))))
    if labels is not None:
        colours = combine_classes(colours, torch.cat([label.cpu() for label in labels]).long())
    left = max(20, WORK // (edges.size(1) + 2 * size + 1)) if max_refinements is None else max_refinements
    open_ = [colours]
    while open_:
        if left == 0:
            return None
        left -= 1
        colours = refine(open_.pop(), edges)
        counts = colours[:size].bincount(minlength=2 * size)
        if not torch.equal(counts, colours[size:].bincount(minlength=2 * size)):
            continue
        shared = torch.where(counts > 1, counts, 2 * size + 1)
        if not bool((counts > 1).any()):
            return True
        nodes = (colours == shared.argmin()).nonzero().flatten()
        open_ += [_paired(colours, nodes[0], node) for node in nodes[nodes >= size]]
    return False


def only_renamed(graph: Data, other: Data, *, max_refinements: int | None = None) -> bool | None:
    """Decide whether two graphs are the same up to the names of the nodes, with all that nodes and edges carry.

    Every edge becomes a node between its ends, whose colour are the edge's attributes.

    Args:
        graph: a simple undirected graph, both directions of every edge stored.
        other: another one.
        max_refinements: as in :func:`are_isomorphic`.

    Returns:
        True, False, or None where the search ended without an answer.

    >>> import torch
    >>> ends = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    >>> one, other = (Data(x=torch.tensor(x)[:, None], edge_index=ends) for x in ([0, 1, 1], [1, 1, 0]))
    >>> only_renamed(one, other), only_renamed(one, Data(x=torch.tensor([[1], [0], [1]]), edge_index=ends))
    (True, False)
    """
    for each in (graph, other):
        undirected_pairs(each)  # refuses what is not simple and undirected
    if max_refinements is not None:
        max_refinements = as_count("max_refinements", max_refinements, least=0)
    if graph.num_nodes != other.num_nodes or graph.num_edges != other.num_edges:
        return False
    both = _side_by_side(graph, other)
    nodes, size = initial_colours(both), int(graph.num_nodes or 0)
    classes = edge_classes(both)
    classes = torch.zeros_like(both.edge_index[0]) if classes is None else classes
    halves = []
    for part in (0, 1):
        mine = (both.edge_index[0] >= size) == bool(part)
        ends, kinds = both.edge_index[:, mine] - part * size, classes[mine]
        forward = ends[0] < ends[1]
        between = size + torch.arange(int(forward.sum()), device=forward.device)
        pairs = torch.cat([torch.stack([ends[0][forward], between]), torch.stack([ends[1][forward], between])], dim=1)
        whole = Data(edge_index=torch.cat([pairs, pairs.flip(0)], dim=1), num_nodes=size + len(between))
        labels = torch.cat([nodes[part * size : (part + 1) * size], int(nodes.max()) + 1 + kinds[forward]])
        halves.append((whole, labels))
    (one, first), (two, second) = halves
    return are_isomorphic(one, two, labels=(first, second), max_refinements=max_refinements)


def _side_by_side(graph: Data, other: Data) -> Data:
    """Put two graphs into one, with what nodes and edges carry, but without classes and masks."""
    size = int(graph.num_nodes or 0)
    both = Data(num_nodes=2 * size, edge_index=torch.cat([graph.edge_index, other.edge_index + size], dim=1))
    for name in (name for names in counted_attributes(graph) for name in names):
        both[name] = torch.cat([graph[name], other[name]])
    return both


def _invariants(graph: Data, matrix: sparse.csr_array) -> Tensor:
    counts = cycle_counts(graph)
    component = sparse.csgraph.connected_components(matrix, directed=False)[1]
    sizes = np.bincount(component)[component] if len(component) else component
    return torch.from_numpy(np.stack([counts.node_triangles, counts.node_four_cycles, sizes], axis=1))


def _paired(colours: Tensor, node: Tensor, partner: Tensor) -> Tensor:
    paired = colours.clone()
    paired[node] = paired[partner] = len(colours)
    return paired
