"""Every metric of one metamer at once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_module
from metamerlib.graphs.collection import check_graphs
from metamerlib.metrics import features, matching
from metamerlib.metrics.invariance import consistency, excess_invariance
from metamerlib.metrics.null import (
    NULL_DRAWS,
    at_nodes,
    null_distribution,
    other_graphs,
    paired_nodes,
    random_partners,
    standard_draws,
)
from metamerlib.metrics.pooled import PooledMatch, pooled_match
from metamerlib.metrics.structure_scores import equal, same_edges, structure_scores
from metamerlib.metrics.verdict import is_metamer, verdict_columns
from metamerlib.metrics.visible import VisibleLikeness, likeness_in, without_space
from metamerlib.models.calling import Forward
from metamerlib.plain import as_count, as_integer, as_seed
from metamerlib.probing.probe import Probe, Recording
from metamerlib.probing.reduce import Reduced, reduced
from metamerlib.search.metamer import Metamer, check_metamer, check_target_of

NAN = float("nan")
FEATURE_METRICS = (
    "feature_cosine",
    "feature_jaccard",
    "tfidf_cosine",
    "relative_frobenius",
    "classifier_match",
    "classifier_accuracy",
    "retrieval_rank",
    "retrieval_first",
)


MAX_QUERIES, MOST_DRAWS = 2000, 1_000_000


def compare(
    model: nn.Module,
    metamer: Metamer,
    *,
    forward: Forward | None = None,
    null_draws: int = NULL_DRAWS,
    seed: int = 0,
    others: Sequence[Data] | None = None,
) -> pd.Series:
    """Measure how close a metamer's activations are and how far its input is from the reference.

    Everything is measured anew from the metamer's graphs on a private copy of the
    model. Matching is measured on the matched nodes, features on the free nodes,
    structure on the whole graph. ``_start`` marks the same measure at the point where
    the search began, ``_shuffled`` the metamer beside the rows of other nodes of the
    reference. The excess invariance subtracts the similarity of what was changed: mean
    cosine for features, WL kernel for edges, their mean where both were.

    Args:
        model: the model that is inspected; it is left as it was.
        metamer: the metamer to measure.
        forward: a call ``forward(model, graph) -> output`` in place of the default.
        null_draws: draws of each kind of chance match; with 0 only the start is a null.
        seed: seed of the null, the shuffles and the choice of at most 2000 free rows
            that are searched for among the reference's rows.
        others: for a layer with one row per graph: graphs of the same collection, which
            stand for the reference in a further kind of chance match, and say how near the next graph is:
            hand in the whole collection.

    Returns:
        One float per metric, NaN where a metric does not apply (predictions of a model
        without classes, which has output_agreement in their place; a model has none where it has one output for
        each node, or the reference real labels y; Jaccard of real features), the verdict ``is_metamer`` with its
        halves ``matched`` and ``different``, in ``failed`` the names of the marks that were missed, and in
        ``visible_reason`` why a model has no visible coordinates.

    Raises:
        ValueError: if null_draws is negative.

    >>> import metamerlib as ml
    >>> graph = ml.load_graph("karate")
    >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
    >>> metamer = ml.find_metamer(model, graph, layer=1, max_steps=50)
    >>> scores = ml.compare(model, metamer, null_draws=10)
    >>> abs(scores["L_act"] - metamer.loss) < 1e-6
    True
    """
    check_module(model)
    check_metamer("metamer", metamer)
    if as_integer("null_draws", null_draws) < 0:
        raise ValueError(f"got null_draws={null_draws}; use 0 or more")
    null_draws, seed = as_count("null_draws", null_draws, most=MOST_DRAWS, least=0), as_seed(seed)
    if others is not None:
        _check_others(others, metamer)
    metamer = _beside(model, metamer)
    probe, nodes = Probe.fitting(model, metamer.layer, metamer.reference, forward=forward), metamer.nodes
    pooled = PooledMatch(NAN, NAN, 0)
    with torch.no_grad():
        found, reference, start = (probe(g) for g in (metamer.graph, metamer.reference, metamer.start))
        if "target" not in metamer.settings:
            check_target_of(metamer, at_nodes(reference, nodes).activation)
        seen = _as_the_model_sees(probe, metamer)
        rewire = not getattr(model, "fixed_edges", False)
        draws = standard_draws(
            seen.probe, seen.graphs[0], reference, start=start, draws=null_draws, seed=seed, rewire=rewire
        )
        if others is not None and metamer.nodes is None and _pooled(reference, metamer):
            nearby = [copy.copy(other).to(metamer.reference.x.device) for other in others]
            draws["graphs"] = other_graphs(probe, reference, nearby, draws=null_draws, seed=seed)
            if len(reference.activation) == 1:
                rows = torch.cat([probe(other).activation for other in nearby])
                pooled = pooled_match(found.activation, reference.activation, rows)
        null = null_distribution(draws, reference, nodes)
        shuffled = next(paired_nodes(reference, draws=1, seed=seed), replace(reference, output=None))
        floats = metamer.reference.get("y") is not None and metamer.reference.y.is_floating_point()
        recordings = [at_nodes(each, nodes) for each in (found, reference, start, shuffled)]
        scores: dict[str, Any] = _matching(*recordings, regression=floats)
        scores |= _features(metamer, reference.output, seed)
        scores |= _visible(model, metamer, seen, seed)
        scores |= structure_scores(metamer, seed)
    input_similarity = _input_similarity(metamer, scores)
    scores["excess_invariance"] = excess_invariance(scores["prediction_match"], input_similarity)
    scores["consistency"] = consistency(scores["prediction_match"], input_similarity)
    scores |= {f"null_max_{name}": float(null[name].max()) for name in ("pearson", "spearman", "snr_db")}
    scores |= {"centred_error": pooled.centred_error, "nearest_ratio": pooled.nearest_ratio}
    return pd.Series(scores | verdict_columns(is_metamer(scores)), dtype=object)


def _as_the_model_sees(probe: Probe, metamer: Metamer) -> Reduced:
    """Return a probe and the reference in row-space coordinates, where the whole model reads no more than these.

    Hundreds of forward passes on r coordinates instead of F features give the same null, sooner.
    """
    return reduced(probe, [metamer.reference, metamer.start], complete=True)


def _check_others(others: Sequence[Data], metamer: Metamer) -> None:
    check_graphs(others)
    got, wanted = others[0].num_features, metamer.reference.num_features
    if got != wanted:
        raise ValueError(f"others have {got} features, the reference has {wanted}; pass graphs of its collection")


def _pooled(reference: Recording, metamer: Metamer) -> bool:
    """Tell whether the layer has one row for each graph, so that rows of other graphs can stand in for it."""
    batch = metamer.reference.get("batch")
    graphs = 1 if batch is None else int(batch.max()) + 1
    return len(reference.activation) == graphs


def _beside(model: nn.Module, metamer: Metamer) -> Metamer:
    """Bring the graphs to the device of the model; the metamer given stays where it is."""
    device = next((parameter.device for parameter in model.parameters()), metamer.target.device)
    nodes, free_nodes = metamer.nodes, metamer.free_nodes
    return replace(
        metamer,
        graph=copy.copy(metamer.graph).to(device),
        reference=copy.copy(metamer.reference).to(device),
        start=copy.copy(metamer.start).to(device),
        nodes=None if nodes is None else nodes.to(device),
        free_nodes=None if free_nodes is None else free_nodes.to(device),
    )


def _matching(
    found: Recording, reference: Recording, start: Recording, shuffled: Recording, *, regression: bool
) -> dict[str, float]:
    activation, target, output = found.activation, reference.activation, reference.output
    nodes = matching.node_relative_errors(activation, target)
    return {
        "L_act": matching.activation_loss(activation, target),
        "relative_error": matching.relative_error(activation, target),
        "node_error_median": nodes.median,
        "node_error_p95": nodes.p95,
        "silent_nodes": float(nodes.silent),
        "pearson": matching.pearson(activation, target),
        "spearman": matching.spearman(activation, target),
        "snr_db": matching.snr_db(activation, target),
        "dead_units": _dead_units(found, target),
        "prediction_match": NAN if regression else matching.prediction_match(found.output, output),
        "chance_match": NAN if regression else matching.chance_agreement(output),
        "start_match": NAN if regression else matching.prediction_match(start.output, output),
        "shuffled_match": NAN if regression else matching.prediction_match(found.output, shuffled.output),
        "prediction_auc": NAN if regression else matching.prediction_auc(found.output, output),
        "output_agreement": _agreement(found.output, output, regression),
        "output_agreement_start": _agreement(start.output, output, regression),
    }


def _agreement(found: Tensor | None, reference: Tensor | None, regression: bool) -> float:
    """Score numbers that are no classes: those of a model trained on real labels, or one for each node."""
    if found is None or reference is None or not (regression or reference.size(-1) == 1):
        return NAN
    return matching.output_agreement(found, reference)


def _dead_units(found: Recording, target: Tensor) -> float:
    before = found.pre_activation
    return float(matching.dead_units(before, target)) if found.rectified and before is not None else NAN


def _features(metamer: Metamer, output: Tensor | None, seed: int) -> dict[str, float]:
    graph, reference, start = metamer.graph, metamer.reference, metamer.start
    if graph.x is None or reference.x is None or start.x is None:
        names = [f"{name}{suffix}" for suffix in ("", "_start", "_shuffled") for name in FEATURE_METRICS]
        return dict.fromkeys(["zero_rows", "classifier_accuracy_reference", "neighbour_cosine", *names], NAN)
    rng = np.random.default_rng([seed, 3])
    device = graph.x.device
    rows = torch.arange(len(graph.x), device=device) if metamer.free_nodes is None else metamer.free_nodes
    queries = rows[torch.from_numpy(rng.permutation(len(rows))[:MAX_QUERIES]).sort().values.to(device)]
    partners = random_partners(len(graph.x), rng).to(device)
    lesson = _lesson(reference, output)
    shuffled_lesson = [None if part is None else part[partners.to(part.device)] for part in lesson]
    measured = [
        _feature_scores(graph.x, reference.x, rows, queries, lesson),
        _feature_scores(start.x, reference.x, rows, queries, lesson),
        _feature_scores(graph.x, reference.x[partners], rows, queries, shuffled_lesson),
    ]
    scores = measured[0]
    scores["neighbour_cosine"] = features.neighbour_cosine(reference.x, rows=queries)
    for suffix, baseline in zip(("_start", "_shuffled"), measured[1:], strict=True):
        scores |= {f"{name}{suffix}": baseline[name] for name in FEATURE_METRICS}
    return scores


def _visible(model: nn.Module, metamer: Metamer, seen: Reduced, seed: int) -> dict[str, float | str]:
    if seen.space is None:
        return VisibleLikeness(visible_reason=without_space(model, metamer))._asdict()
    partners = random_partners(len(metamer.reference.x), np.random.default_rng([seed, 3, 1]))
    return likeness_in(seen.space, metamer, partners=partners)._asdict()


def _feature_scores(
    x: Tensor, reference: Tensor, rows: Tensor, queries: Tensor, lesson: list[Tensor | None]
) -> dict[str, float]:
    cosine = features.feature_cosine(x[rows], reference[rows])
    labels, train_mask, test_mask = lesson
    judge = features.ClassifierMatch(NAN, NAN, NAN)
    if labels is not None:
        judge = features.feature_classifier_match(
            x, reference, labels, train_mask=train_mask, test_mask=test_mask, rows=rows
        )
    retrieval = features.retrieval_rank(x, reference, rows=queries)
    return {
        "feature_cosine": cosine.mean,
        "zero_rows": float(cosine.zero_rows),
        "feature_jaccard": features.feature_jaccard(x[rows], reference[rows]),
        "tfidf_cosine": features.tfidf_cosine(x, reference, rows=rows),
        "relative_frobenius": features.relative_frobenius(x[rows], reference[rows]),
        "classifier_match": judge.match,
        "classifier_accuracy": judge.accuracy,
        "classifier_accuracy_reference": judge.accuracy_reference,
        "retrieval_rank": retrieval.median_rank,
        "retrieval_first": retrieval.first,
    }


def _lesson(graph: Data, output: Tensor | None) -> list[Tensor | None]:
    """Choose what the feature classifier learns: labels, training rows, test rows.

    The true labels where there are labels and a training mask, else the model's own
    predictions on every node, and then no row is left to test on.
    """
    num_nodes = len(graph.x)
    labels, train, test = (getattr(graph, name, None) for name in ("y", "train_mask", "test_mask"))
    whole = labels is not None and labels.shape == (num_nodes,) and not labels.is_floating_point()
    if whole and train is not None and train.shape == (num_nodes,):
        return [labels, train, test]
    if output is not None and matching.has_classes(output) and len(output) == num_nodes:
        return [output.argmax(dim=1), None, None]
    return [None, None, None]


def _input_similarity(metamer: Metamer, scores: dict[str, float]) -> float:
    graph, reference = metamer.graph, metamer.reference
    moved = []
    if not equal(graph.x, reference.x):
        moved.append(scores["feature_cosine"])
    if not same_edges(graph, reference):
        moved.append(scores["wl_kernel"])
    return sum(moved) / len(moved) if moved else 1.0
