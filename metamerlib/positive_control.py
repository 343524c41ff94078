"""Does the search for edges find a metamer that is known to be near?"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch_geometric.data import Data

from metamerlib.edge_sets import both_directions, switched_edges, undirected_pairs
from metamerlib.metamer import find_metamer
from metamerlib.metrics.structure import edge_jaccard
from metamerlib.solvers.edge_swaps import EdgeSwaps
from metamerlib.structure_problem import with_edges


def switch_away(graph: Data, switches: int, seed: int = 0) -> Data:
    """Return the graph after random double-edge switches, none of which takes back another.

    Args:
        graph: Simple and undirected.
        switches: Number of switches, each of which replaces two edges; at most as many as there are edges for.
        seed: Seed of the switches.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> edge_jaccard(graph, switch_away(graph, 5)) == 68 / 88
        True
    """
    pairs = undirected_pairs(graph)
    if not 0 <= 2 * switches <= pairs.size(1):
        raise ValueError(f"switches must lie in 0..{pairs.size(1) // 2} for {pairs.size(1)} edges, got {switches}")
    left = pairs.size(1) - 2 * switches
    moved = switched_edges(pairs, int(graph.num_nodes), left, left, torch.Generator().manual_seed(seed))
    return with_edges(graph, both_directions(moved))


def positive_control(
    model: nn.Module, graph: Data, plant: Data, *, layer: int, switches: int, max_steps: int = 300, seed: int = 0
) -> dict[str, Any]:
    """Start some switches away from a graph that is an exact metamer, and descend at temperature zero.

    Args:
        model: Any torch model of graphs.
        graph: The reference.
        plant: The reference itself, or an exact metamer of it.
        layer: The matched layer.
        switches: Distance of the start from the plant.
        max_steps: Steps of the search.
        seed: Seed of the switches and of the search.

    Returns:
        start_loss, loss, start_jaccard and jaccard (with the plant's edges), recovered (all edges are the plant's).
    """
    start = switch_away(plant, switches, seed)
    descent = EdgeSwaps(steps=max_steps, degrees="keep", quench=1.0, close=0.5)
    found = find_metamer(
        model, graph, layer=layer, vary="structure", start=start, solver=descent, max_steps=max_steps, rtol=1e-8,
        seed=seed,
    )  # fmt: skip
    shared = edge_jaccard(found.graph, plant)
    return {
        "start_loss": float(found.history["loss"].iloc[0]),
        "loss": found.loss,
        "start_jaccard": edge_jaccard(start, plant),
        "jaccard": shared,
        "recovered": shared == 1.0,
    }
