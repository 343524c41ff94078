"""Does a search for edges find a graph of the wanted activations that is known to exist?"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch_geometric.data import Data

from metamerlib.checks import check_graph, check_module, check_positive
from metamerlib.graphs.rewiring import switch_away
from metamerlib.metrics.structure import edge_jaccard
from metamerlib.search.find import find_metamer


def positive_control(
    model: nn.Module,
    graph: Data,
    plant: Data,
    *,
    layer: int,
    switches: int | None = None,
    max_overlap: float | None = None,
    solver: Any = "auto",
    max_steps: int = 300,
    seed: int = 0,
) -> dict[str, Any]:
    """Search for a known metamer, from a random start or from some switches away from it.

    A control says something of a search only if it is that search: the same solver, temperatures, degrees and limit
    of the overlap. A search that anneals forgets where it began, so its control is blind.

    Args:
        model: Any torch model of graphs.
        graph: The reference.
        plant: The reference itself, or an exact metamer of it, within the limit of the overlap.
        layer: The matched layer.
        switches: Distance of the start from the plant; None for a blind control, which begins at random edges.
        max_overlap: Share of the reference's edges that may stay, as in :func:`metamerlib.find_metamer`.
        solver: As in :func:`metamerlib.find_metamer`.
        max_steps: Steps of the search.
        seed: Seed of the switches and of the search.

    Returns:
        plant_loss, start_loss, loss, overlap (with the reference), start_jaccard and jaccard (with the plant's edges),
        recovered (all edges are the plant's), steps.

    Example:
        >>> import metamerlib as ml
        >>> from metamerlib.exact.lifts import double, two_lift
        >>> graph = ml.load_graph("decalin")
        >>> model = ml.GNN(conv="gcn", in_channels=1, hidden_channels=8, out_channels=2, num_layers=2)
        >>> crossed = two_lift(graph, 1.0)
        >>> found = positive_control(
        ...     model, double(graph), crossed, layer=2, max_overlap=0.0, solver="retreat", max_steps=60
        ... )
        >>> found["loss"] < 1e-9, found["overlap"]
        (True, 0.0)
    """
    check_module(model)
    check_graph(graph, integers=True)
    check_graph(plant, integers=True)
    check_positive("max_steps", max_steps, integer=True)
    start = None if switches is None else switch_away(plant, switches, seed)
    options: dict[str, Any] = {"vary": "structure", "max_overlap": max_overlap, "rtol": 1e-8, "seed": seed}
    found = find_metamer(model, graph, layer=layer, start=start, solver=solver, max_steps=max_steps, **options)
    planted = find_metamer(model, graph, layer=layer, start=plant, max_steps=1, **options)
    shared = edge_jaccard(found.graph, plant)
    return {
        "plant_loss": planted.loss,
        "start_loss": float(found.history["loss"].iloc[0]),
        "loss": found.loss,
        "overlap": found.settings["overlap"],
        "start_jaccard": edge_jaccard(found.start, plant),
        "jaccard": shared,
        "recovered": shared == 1.0,
        "steps": found.steps,
    }
