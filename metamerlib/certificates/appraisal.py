"""Every measure of one trained model on one graph, each with the reason where it does not apply."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch_geometric.data import Data

from metamerlib.exact.switching import switch_metamer, switchable
from metamerlib.graphs.edges import both_directions
from metamerlib.graphs.edit import with_edges
from metamerlib.manifold.dimension import metamer_dimension
from metamerlib.manifold.volume import log_volume_change
from metamerlib.metrics.comparison import compare
from metamerlib.metrics.matching import node_relative_errors
from metamerlib.metrics.transfer import transfer
from metamerlib.metrics.visible import visible_likeness
from metamerlib.models.calling import Forward
from metamerlib.models.training import accuracy
from metamerlib.probing.agreement import agree
from metamerlib.probing.probe import Probe
from metamerlib.search.edges.limits import EdgeLimits
from metamerlib.search.edges.starts import edge_start
from metamerlib.search.find import find_metamer
from metamerlib.search.metamer import Metamer

Layers = tuple[Any, Any]
PLACES = ("hidden", "logits")
NAN = float("nan")

COLUMNS: Mapping[str, str] = {
    "test_accuracy": "share of test nodes that the model classifies correctly",
    "metamer": "1 if the metamer of the logits is matched and different, else 0",
    "matched": "1 if the model can hardly tell that metamer from the reference, else 0",
    "different": "1 if its features are far from the reference's, else 0",
    "excess_features": "S_match minus S_feat at the logits, the features moved",
    "excess_structure": "S_match minus S_struct at the logits, the edges moved",
    "prediction_match": "S_match: share of nodes that keep their predicted class, the features moved",
    "feature_cosine": "S_feat: mean cosine between a node's features in both graphs",
    "feature_cosine_start": "the same where the search began",
    "wl_kernel": "S_struct: normalised Weisfeiler-Lehman kernel of both graphs, the edges moved",
    "kept_hidden": "share of what the first layer sees that a metamer of the last hidden layer keeps",
    "kept_logits": "the same for a metamer of the logits",
    "visible_cosine_hidden": "mean row cosine in what the first layer sees, metamer of the last hidden layer",
    "visible_cosine_logits": "the same for a metamer of the logits",
    "visible_share": "visible directions of the features over all: r / F; 1 leaves no null space",
    "exact_share": "share of the edges that can be exchanged without any change of the model's activations",
    "dimension_share": "dimension of a node's metamers over its inputs, logits, mean over the sample of nodes",
    "volume_per_unit": "log volume of a node's near-metamers over the number of logits, mean over the sample",
    "transfer": "chance-corrected share of nodes whose class the other models keep, mean over them",
    "relative_error_hidden": "distance of the activations over the norm of the target, last hidden layer",
    "relative_error_logits": "the same at the logits",
    "relative_error_structure": "the same at the logits, the edges moved",
    "node_error_p95_hidden": "95th percentile over nodes of the relative error, last hidden layer",
    "node_error_p95_logits": "the same at the logits",
    "dead_units_hidden": "entries of the last hidden layer that are active in the target and dead in the metamer",
    "status_hidden": "how the search for a metamer of the last hidden layer ended",
    "status_logits": "how the search at the logits ended",
    "status_structure": "how the search for edges ended",
    "reasons": "why a measure is missing, by name",
}
MEASURES = ("features", "structure", "exact", "dimension", "volume", "transfer")


@dataclass(frozen=True)
class Setting:
    """What one model is measured with.

    Attributes:
        layers: The last hidden layer, or None, and the layer of the logits, or None for the model's output.
        seed: Of the starts, the sample of nodes and the switches.
        nodes: Size of the sample for dimension and volume.
        rtol: Loss at which a search has converged.
        max_steps: Largest number of evaluations of a search; None for the solver's own.
        judges: Other models by name, which are shown the metamer of the logits.
        forward: Replaces the default call.
    """

    layers: Layers
    seed: int
    nodes: int
    rtol: float
    max_steps: int | None
    judges: Any
    forward: Forward | None


def appraise(model: nn.Module, graph: Data, measures: list[str], setting: Setting) -> dict[str, Any]:
    """Measure a trained model; what does not apply is NaN, and ``reasons`` says why.

    Args:
        model: In evaluation mode; it is left as it was.
        graph: The reference.
        measures: Some of ``MEASURES``; accuracy is always there.
        setting: How to measure.

    Returns:
        One value for each of ``COLUMNS``, and ``seconds``.
    """
    began = time.perf_counter()
    hidden, logits = setting.layers
    setting = replace(setting, layers=(hidden, model if logits is None else logits))
    row: dict[str, Any] = {name: "" if name.startswith(("status", "reasons")) else NAN for name in COLUMNS}
    reasons: dict[str, str] = {}
    found: dict[str, Metamer] = {}
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "accuracy": lambda: _accuracy(model, graph, setting),
        "features": lambda: _logits(model, graph, setting, found, reasons),
        "hidden layer": lambda: _hidden(model, graph, setting, reasons),
        "structure": lambda: _structure(model, graph, setting),
        "exact": lambda: {"exact_share": exact_share(model, graph, seed=setting.seed, forward=setting.forward)},
        "dimension": lambda: _dimension(model, graph, setting),
        "volume": lambda: _volume(model, graph, setting, reasons),
        "transfer": lambda: _transfer(setting, found),
    }
    asked = {"accuracy", *measures, *(["hidden layer"] if "features" in measures else [])}
    for name, part in parts.items():
        if name not in asked:
            continue
        try:
            row |= part()
        except (TypeError, ValueError) as error:  # the refusals of the tools, each with its remedy
            reasons[name] = str(error)
    row["reasons"] = " | ".join(f"{name}: {reason}" for name, reason in reasons.items())
    return row | {"seconds": time.perf_counter() - began}


def exact_share(model: nn.Module, graph: Data, *, seed: int = 0, forward: Forward | None = None) -> float:
    """Return the share of the edges that can be exchanged so that no activation of a model changes.

    All edges of a model whose output is the same on a random graph with as many edges; else those in a switch that
    colour refinement cannot see at any depth, which is checked on the model by single switches and by a long chain.

    Args:
        model: Any torch model of graphs.
        graph: Simple and undirected.
        seed: Of the switches.
        forward: Replaces the default call.

    Raises:
        ValueError: If the model tells the switched graph apart: it reads more than colours.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("decalin")
        >>> model = ml.GNN(conv="gcn", in_channels=graph.num_features, hidden_channels=4, out_channels=2, num_layers=2)
        >>> round(exact_share(model, graph), 3), exact_share(torch.nn.Linear(graph.num_features, 2), graph)
        (0.909, 1.0)
    """
    if not graph.edge_index.size(1):
        raise ValueError("the graph has no edges")
    probe = Probe.fitting(model, model, graph, forward=forward)
    with torch.no_grad():
        other = with_edges(graph, both_directions(edge_start("erdos-renyi", EdgeLimits.of(graph), None, seed)))
        if agree(probe(other).activation, probe(graph).activation):
            return 1.0
    held = switchable(graph)
    for number, draw in ((None, seed), (1, seed), (1, seed + 1), (1, seed + 2)) if held.edges else ():
        switch_metamer(graph, num_switches=number, model=model, seed=draw, forward=forward)
    return held.edges / held.num_edges


def _accuracy(model: nn.Module, graph: Data, setting: Setting) -> dict[str, Any]:
    if graph.get("y") is None or graph.get("test_mask") is None:
        raise ValueError("the graph holds no labels y with a test_mask")
    probe = Probe.fitting(model, model, graph, forward=setting.forward)
    with torch.no_grad():
        output = probe(graph).activation
    return {"test_accuracy": accuracy(output, graph, "test_mask")}


def _search(model: nn.Module, graph: Data, layer: Any, setting: Setting, **options: Any) -> Metamer:
    return find_metamer(
        model, graph, layer=layer, seed=setting.seed, rtol=setting.rtol, max_steps=setting.max_steps,
        forward=setting.forward, **options,
    )  # fmt: skip


def _logits(
    model: nn.Module, graph: Data, setting: Setting, found: dict[str, Metamer], reasons: dict[str, str]
) -> dict[str, Any]:
    metamer = found["logits"] = _search(model, graph, setting.layers[1], setting)
    scores = compare(model, metamer, null_draws=0, seed=setting.seed, forward=setting.forward)
    if scores["visible_reason"]:
        reasons["kept and visible_cosine"] = scores["visible_reason"]
    names = ("prediction_match", "feature_cosine", "feature_cosine_start")
    return {
        **{name: scores[name] for name in names},
        "metamer": float(scores["is_metamer"]),
        "matched": float(scores["matched"]),
        "different": float(scores["different"]),
        "excess_features": scores["excess_invariance"],
        "kept_logits": scores["kept"],
        "visible_cosine_logits": scores["visible_cosine"],
        "visible_share": scores["visible_rank"] / graph.x.size(1),
        "relative_error_logits": scores["relative_error"],
        "node_error_p95_logits": scores["node_error_p95"],
        "status_logits": metamer.status,
    }


def _hidden(model: nn.Module, graph: Data, setting: Setting, reasons: dict[str, str]) -> dict[str, Any]:
    if setting.layers[0] is None:
        raise ValueError("no hidden layer is named; let the factory return (model, (hidden, logits)), or pass layers=")
    metamer = _search(model, graph, setting.layers[0], setting)
    seen = visible_likeness(model, metamer, forward=setting.forward)
    if metamer.dead_units is None:
        reasons["dead_units"] = "the layer is no rectified one, or its pre-activation is out of reach"
    return {
        "kept_hidden": seen.kept,
        "visible_cosine_hidden": seen.visible_cosine,
        "relative_error_hidden": metamer.relative_error,
        "node_error_p95_hidden": node_relative_errors(metamer.activation, metamer.target).p95,
        "dead_units_hidden": NAN if metamer.dead_units is None else float(metamer.dead_units),
        "status_hidden": metamer.status,
    }


def _structure(model: nn.Module, graph: Data, setting: Setting) -> dict[str, Any]:
    metamer = _search(model, graph, setting.layers[1], setting, vary="structure")
    scores = compare(model, metamer, null_draws=0, seed=setting.seed, forward=setting.forward)
    return {
        "excess_structure": scores["excess_invariance"],
        "wl_kernel": scores["wl_kernel"],
        "relative_error_structure": scores["relative_error"],
        "status_structure": metamer.status,
    }


def _sample(graph: Data, setting: Setting) -> torch.Tensor:
    generator = torch.Generator().manual_seed(setting.seed)
    return torch.randperm(graph.x.size(0), generator=generator, device="cpu")[: setting.nodes]


def _dimension(model: nn.Module, graph: Data, setting: Setting) -> dict[str, Any]:
    table = metamer_dimension(model, graph, setting.layers[1], nodes=_sample(graph, setting), forward=setting.forward)
    return {"dimension_share": float((table["dimension"] / table["inputs"]).mean())}


def _volume(model: nn.Module, graph: Data, setting: Setting, reasons: dict[str, str]) -> dict[str, Any]:
    chosen = _sample(graph, setting)
    probe = Probe.fitting(model, setting.layers[1], graph, forward=setting.forward)
    with torch.no_grad():
        width = probe(graph).activation.size(1)
    total = log_volume_change(model, graph, setting.layers[1], nodes=chosen, forward=setting.forward)["total"]
    infinite = ~total.map(math.isfinite)
    if bool(infinite.any()):
        count = int(infinite.sum())
        reasons["volume"] = f"infinite on {count} of {len(total)} nodes: rows of the Jacobian are dependent"
        return {}
    return {"volume_per_unit": float(total.mean()) / width}


def _transfer(setting: Setting, found: dict[str, Metamer]) -> dict[str, Any]:
    if not setting.judges:
        raise ValueError("no other models are given; pass judges=")
    if "logits" not in found:
        raise ValueError("needs a metamer of the logits; ask for the measure features, too")
    table = transfer(found["logits"], setting.judges, forward=setting.forward, seed=setting.seed)
    return {"transfer": float(table["transfer"].mean())}
