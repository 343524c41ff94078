"""Whether metamers of one model are metamers for other models, its judges."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_graph, check_model
from metamerlib.graphs.edit import with_features
from metamerlib.metrics import matching
from metamerlib.metrics.invariance import check_likeness
from metamerlib.metrics.null import random_partners
from metamerlib.models.calling import Forward, call, first_scores, private_copy, takes_features_alone, unwrapped
from metamerlib.plain import as_seed, check_forward
from metamerlib.search.metamer import Metamer, check_metamer

Judges = nn.Module | Sequence[nn.Module] | Mapping[str, nn.Module]
SMALLEST_ROOM = 0.05
NAN = float("nan")


def transfer(
    metamer: Metamer,
    judges: Judges,
    graph: Data | None = None,
    *,
    nullspace: Metamer | None = None,
    forward: Forward | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    r"""Ask other models whether a metamer is one for them, too.

    With a the share of matched nodes whose class under the judge is the same on metamer and reference, and b the
    larger of the same shares for the start of the search and for features shuffled over the nodes,

    .. math:: transfer = (a - b) / (1 - b)

    is 1 where the judge takes the metamer for the reference and 0 where it does no better than on noise (idea:
    Feather et al., 2023, doi 10.1038/s41593-023-01442-0, for networks of vision and sound).

    Args:
        metamer: Found on any model.
        judges: One model, several, or several by name; each must give class scores ``[N, C]`` on the reference.
        graph: Where labels y ``[N]`` and the test mask ``[N]`` are read; None for the reference.
        nullspace: A null-space metamer of the same source model, shown to the judges beside: how much of the
            transfer is a first layer in common.
        forward: A call ``forward(judge, graph) -> output`` in place of the default.
        seed: Of the shuffled rows.

    Returns:
        One row for each judge: ``judge``, the shares ``agreement``, ``agreement_start``, ``agreement_shuffled`` and
        ``agreement_nullspace``; ``transfer`` and ``transfer_nullspace`` by the formula; ``score_error``, the distance
        of its scores from those on the reference relative to these; ``accuracy`` on the reference,
        ``accuracy_metamer`` and ``accuracy_start`` on the test nodes; ``note``, why an entry is NaN.

    Raises:
        TypeError: If metamer is none, a judge is no model or the labels are not those of nodes.
        ValueError: If there is no judge, a judge fails on the reference or has no classes for its nodes.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("davis")
        >>> model = ml.GNN(conv="gcn", in_channels=graph.num_features, hidden_channels=4, out_channels=2, num_layers=2)
        >>> ml.transfer(ml.nullspace_metamer(model, graph), {"itself": model})["agreement"].item()
        1.0
    """
    named, seed = _named(judges), as_seed(seed)
    check_metamer("metamer", metamer)
    if nullspace is not None:
        check_metamer("nullspace", nullspace)
    check_forward(forward)
    labelled = metamer.reference if graph is None else graph
    check_graph(labelled)
    if labelled.num_nodes != metamer.reference.num_nodes:
        raise ValueError(
            f"graph has {labelled.num_nodes} nodes and the metamer's reference {metamer.reference.num_nodes}; pass "
            "the graph that the metamer stands for"
        )
    partners = random_partners(len(metamer.reference.x), np.random.default_rng([seed, 5]))
    shown = {
        "reference": metamer.reference,
        "metamer": metamer.graph,
        "start": metamer.start,
        "shuffled": with_features(metamer.reference, metamer.reference.x[partners.to(metamer.reference.x.device)]),
    }
    if nullspace is not None:
        shown["nullspace"] = nullspace.graph
    rows = []
    for name, judge in named.items():
        scores = _scores(name, judge, shown, forward)
        rows.append({"judge": name, **_row(scores, metamer.nodes, labelled)})
    return pd.DataFrame(rows)


def normalised_agreement(agreement: float, baseline: float) -> float:
    """Return (a - b) / (1 - b), or NaN where the baseline b leaves no room above it.

    Args:
        agreement: A share a, or NaN where there is none.
        baseline: The share b that chance gives.

    >>> normalised_agreement(0.75, 0.5)
    0.5
    """
    check_likeness("agreement", agreement)
    check_likeness("baseline", baseline)
    return (agreement - baseline) / (1 - baseline) if 1 - baseline >= SMALLEST_ROOM else NAN


def _named(judges: Judges) -> dict[str, nn.Module]:
    if isinstance(judges, nn.Module):
        judges = [judges]
    if not isinstance(judges, Mapping):
        if not isinstance(judges, Sequence) or isinstance(judges, str):
            raise TypeError(f"judges must be a model, several, or several by name; got {type(judges).__name__}")
        judges = {f"judge {place}": judge for place, judge in enumerate(judges)}
    if not judges:
        raise ValueError("judges is empty; pass one model at least")
    for name, judge in judges.items():
        if not isinstance(judge, nn.Module):
            raise TypeError(f"judge {name!r} must be a torch.nn.Module, got {type(judge).__name__}")
    return dict(judges)


def _scores(name: str, judge: nn.Module, shown: dict[str, Data], forward: Forward | None) -> dict[str, Tensor]:
    """Return the judge's class scores ``[N, C]`` on every graph shown, from a private copy."""
    twin = private_copy(unwrapped(judge))
    device = next((parameter.device for parameter in twin.parameters()), shown["reference"].x.device)
    graphs = {key: copy.copy(graph).to(device) for key, graph in shown.items()}
    reference = graphs["reference"]
    check_model(twin, reference, alone=forward is None and takes_features_alone(twin, reference))
    scores: dict[str, Tensor] = {}
    for key, graph in graphs.items():
        try:
            with torch.no_grad():
                output = first_scores((forward or call)(twin, graph))
        except Exception as error:  # a foreign model may raise anything
            raise ValueError(
                f"judge {name!r} fails on the {key}: {type(error).__name__}: {error}; pass forward=lambda model, "
                "graph: model(...), or leave it out"
            ) from error
        if output is None or not matching.has_classes(output) or len(output) != len(graph.x):
            shape = None if output is None else list(output.shape)
            raise ValueError(
                f"judge {name!r} returns {shape} on the {key}; expected class scores [{len(graph.x)}, C] with C of two "
                "or more"
            )
        scores[key] = output
    return scores


def _row(scores: dict[str, Tensor], nodes: Tensor | None, graph: Data) -> dict[str, float | str]:
    reference = scores["reference"]
    rows = None if nodes is None else nodes.to(reference.device)
    shares = {
        key: matching.prediction_match(scores[key], reference, rows) if key in scores else NAN
        for key in ("metamer", "start", "shuffled", "nullspace")
    }
    baseline = max(shares["start"], shares["shuffled"])
    notes = []
    if 1 - baseline < SMALLEST_ROOM:
        notes.append(f"transfer: the judge keeps its class on {baseline:.4g} of the nodes whatever it is shown")
    if "nullspace" not in scores:
        notes.append("nullspace: none was given")
    if not _has_test(graph):
        notes.append("accuracy: the graph has no labels with a test mask")
    found, wanted = (scores[key] if rows is None else scores[key][rows] for key in ("metamer", "reference"))
    return {
        "agreement": shares["metamer"],
        "agreement_start": shares["start"],
        "agreement_shuffled": shares["shuffled"],
        "agreement_nullspace": shares["nullspace"],
        "transfer": normalised_agreement(shares["metamer"], baseline),
        "transfer_nullspace": normalised_agreement(shares["nullspace"], baseline),
        "score_error": matching.relative_error(found, wanted),
        "accuracy": _accuracy(reference, graph),
        "accuracy_metamer": _accuracy(scores["metamer"], graph),
        "accuracy_start": _accuracy(scores["start"], graph),
        "note": "; ".join(notes),
    }


def _has_test(graph: Data) -> bool:
    y, mask = graph.get("y"), graph.get("test_mask")
    return y is not None and mask is not None and y.shape == mask.shape == graph.x.shape[:1] and bool(mask.any())


def _accuracy(scores: Tensor, graph: Data) -> float:
    if not _has_test(graph):
        return NAN
    right = scores.argmax(1).cpu() == graph.y.cpu()
    return float(right[graph.test_mask.cpu()].double().mean())
