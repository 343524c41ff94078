"""Does the search for edges find a metamer that is known to be near?"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch_geometric.data import Data

from metamerlib.checks import check_graph, check_module, check_positive
from metamerlib.graphs.rewiring import switch_away
from metamerlib.metrics.structure import edge_jaccard
from metamerlib.search.edges.swaps import EdgeSwaps
from metamerlib.search.find import find_metamer


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
    check_module(model)
    check_graph(graph, integers=True)
    check_graph(plant, integers=True)
    check_positive("max_steps", max_steps, integer=True)
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
