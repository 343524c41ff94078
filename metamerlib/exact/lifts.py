"""Two-lifts: graphs of twice the size with the activations of two copies."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import as_tensor, check_structure
from metamerlib.graphs.edit import sort_edges
from metamerlib.plain import as_fraction, as_seed


def double(graph: Data) -> Data:
    """Put two copies of a graph side by side, node v of the second one as v + N.

    Args:
        graph: a graph of N nodes and E directed edges.

    Returns:
        Graph of 2 N nodes and 2 E edges; every attribute of nodes and edges stands twice, others once.

    Example:
        >>> import metamerlib as ml
        >>> both = double(ml.load_graph("decalin"))
        >>> both.num_nodes, both.num_edges, both.x.shape
        (20, 44, torch.Size([20, 1]))
    """
    num_nodes = check_structure(graph)
    both = copy.copy(graph)
    for name, value in graph.to_dict().items():
        if name == "edge_index":
            both.edge_index = torch.cat([value, value + num_nodes], dim=1)
        elif isinstance(value, Tensor) and value.dim() > 0 and (graph.is_node_attr(name) or graph.is_edge_attr(name)):
            both[name] = torch.cat([value, value])
    if "num_nodes" in graph:
        both.num_nodes = 2 * num_nodes
    return both


def two_lift(graph: Data, share: float | None = None, *, signs: Tensor | None = None, seed: int = 0) -> Data:
    """Cross a set of edges between two copies of a graph.

    A crossed edge (a, b) becomes (a, b + N) and (a + N, b), the others (a, b) and (a + N, b + N). Node v and its
    copy v + N see the neighbourhood that v sees in the graph, so each layer that normalises per node gives
    both the activation of v (Bilu and Linial, Combinatorica 26, 2006, for the lifts).

    Args:
        graph: undirected graph, both directions of every edge stored.
        share: chance that an edge is crossed, 0 to 1; default 0.5. At 0 this is :func:`double`.
        signs: which edges are crossed in place of a share, bool ``[E]``, alike for both directions.
        seed: seed of the choice.

    Returns:
        Graph of 2 N nodes and 2 E edges, edge_index sorted; attributes as in :func:`double`.

    Raises:
        ValueError: if a direction is missing, the share lies outside [0, 1], both are given, or the signs of the
            two directions differ.

    Example:
        >>> triangle = Data(edge_index=torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]]), num_nodes=3)
        >>> hexagon = two_lift(triangle, 1.0)
        >>> sorted(hexagon.edge_index[1][hexagon.edge_index[0] == 0].tolist())
        [4, 5]
    """
    num_nodes, seed = check_structure(graph), as_seed(seed)
    source, target = graph.edge_index
    if share is not None:
        as_fraction("share", share)
    if signs is not None:
        as_tensor("signs", signs, dtype="number", empty=True)
    places = (torch.minimum(source, target) * num_nodes + torch.maximum(source, target)).unique(return_inverse=True)
    number, edge = len(places[0]), places[1]
    if not bool((torch.bincount(edge, torch.where(source < target, 1.0, -1.0), minlength=number) == 0).all()):
        raise ValueError("got an edge without its reverse, or a loop; give a simple undirected graph")
    if signs is None:
        chance = 0.5 if share is None else share
        drawn = torch.rand(number, generator=torch.Generator().manual_seed(seed), device="cpu", dtype=torch.float64)
        crossed = (drawn < chance).to(edge.device)[edge]
    elif share is not None or signs.shape != source.shape:
        raise ValueError(f"give share or signs [{len(source)}], got share={share} and signs {list(signs.shape)}")
    else:
        crossed = as_tensor("signs", signs, dtype="bool", empty=True)
        ends = torch.bincount(edge[crossed], minlength=number)
        if bool(((ends != 0) & (ends != 2)).any()):
            raise ValueError("signs differ between the two directions of an edge; give both the same")
    lift = double(graph)
    move = torch.where(crossed, num_nodes, 0)
    lift.edge_index = torch.cat(
        [torch.stack([source, target + move]), torch.stack([source + num_nodes, target + num_nodes - move])], dim=1
    )
    return sort_edges(lift)
