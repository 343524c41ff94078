"""Whether two graphs are the same up to the names of their nodes."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.graphs.refinement import combine_classes, refine, row_classes
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


def _invariants(graph: Data, matrix: sparse.csr_array) -> Tensor:
    counts = cycle_counts(graph)
    component = sparse.csgraph.connected_components(matrix, directed=False)[1]
    sizes = np.bincount(component)[component] if len(component) else component
    return torch.from_numpy(np.stack([counts.node_triangles, counts.node_four_cycles, sizes], axis=1))


def _paired(colours: Tensor, node: Tensor, partner: Tensor) -> Tensor:
    paired = colours.clone()
    paired[node] = paired[partner] = len(colours)
    return paired
