"""Whether an input is a metamer: matched by the model, and different from the reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real

from metamerlib.plain import as_fraction, as_mapping, shown

MATCH = ("relative_error", "node_error_p95", "prediction_match", "centred_error", "nearest_ratio")
DIFFERENCE = ("retrieval_first", "feature_cosine", "neighbour_cosine", "edge_overlap", "isomorphic")


@dataclass(frozen=True)
class Verdict:
    """The two halves of the decision, and which of their marks were missed.

    A verdict is true or false by its ``is_metamer``.

    Attributes:
        matched: Whether the model can hardly tell the two inputs apart.
        different: Whether the inputs are far from each other.
        failed: The marks that were missed, by name, those of the match first.
    """

    matched: bool
    different: bool
    failed: tuple[str, ...]

    @property
    def is_metamer(self) -> bool:
        """Whether the input is matched and different."""
        return self.matched and self.different

    def __bool__(self) -> bool:
        return self.is_metamer


def is_metamer(
    scores: Mapping[str, float],
    *,
    max_relative_error: float = 0.05,
    max_node_error: float = 0.2,
    min_prediction_match: float = 0.99,
    max_nearest_ratio: float = 0.5,
    max_retrieved: float = 0.5,
    max_edge_overlap: float = 0.5,
) -> Verdict:
    """Decide whether an input is a metamer: matched and different.

    *Matched*: the relative error is small, that of nearly every node is bounded, and enough predictions agree (left
    out where the agreement is NaN: a model without classes). Where rows of other graphs were given for a pooled layer,
    the error relative to the spread of their rows is small, too, and the row is nearer to its own reference than
    half the way to the nearest other graph.

    *Different*, in the features: most rows are not nearest to their own reference row, and on average they are less
    like it than its nearest neighbour among the reference's own rows is (than one half, where all of these are
    orthogonal, as one-hot codes are, and have no neighbours). Or in the edges: at most half of the
    reference's are kept, and no renaming of the nodes turns the one graph into the other (undecided does not count).
    Where features and edges moved, one of them is enough.

    Args:
        scores: What :func:`metamerlib.compare` measures: relative_error, node_error_p95, prediction_match;
            centred_error and nearest_ratio, NaN or missing except at pooled layers; and those of retrieval_first,
            feature_cosine, neighbour_cosine, edge_overlap, isomorphic that belong to what moved.
        max_relative_error: Largest error relative to the activations, and at pooled layers to their spread.
        max_node_error: Largest 95th percentile of the relative errors of single nodes.
        min_prediction_match: Least share of predictions that agree.
        max_nearest_ratio: Largest distance to the own reference, over that from there to the nearest other graph.
        max_retrieved: Largest share of rows whose own reference row comes first among all.
        max_edge_overlap: Largest share of the reference's edges that are kept.

    Raises:
        ValueError: If a value of the match is missing, or all of the difference.

    Example:
        >>> scores = dict(relative_error=0.01, node_error_p95=0.02, prediction_match=1.0, feature_cosine=0.07)
        >>> bool(is_metamer(scores | dict(neighbour_cosine=0.4, retrieval_first=0.0)))
        True
        >>> is_metamer(scores | dict(neighbour_cosine=0.05, retrieval_first=0.0)).failed
        ('likeness',)
    """
    as_mapping("scores", scores, "numbers by name, such as metamerlib.compare gives")
    for name in (*MATCH, *DIFFERENCE):
        if isinstance(scores.get(name, 0.0), bool) or not isinstance(scores.get(name, 0.0), Real):
            raise TypeError(f"{name} must be a number, got {shown(scores[name])}")
    for name, share in (("max_relative_error", max_relative_error), ("min_prediction_match", min_prediction_match)):
        as_fraction(name, share)
    if missing := [name for name in MATCH[:3] if name not in scores]:
        raise ValueError(f"got no {', '.join(missing)}; pass {', '.join(MATCH[:3])}")
    if not any(set(part) <= set(scores) for part in (DIFFERENCE[:3], DIFFERENCE[3:])):
        raise ValueError(f"got neither {', '.join(DIFFERENCE[:3])} nor {', '.join(DIFFERENCE[3:])}; pass what moved")
    value = {name: float(scores.get(name, math.nan)) for name in (*MATCH, *DIFFERENCE)}
    match = {
        "relative error": value["relative_error"] <= max_relative_error,
        "node errors": _at_most(value["node_error_p95"], max_node_error),
        "predictions": _at_most(-value["prediction_match"], -min_prediction_match),
        "centred error": _at_most(value["centred_error"], max_relative_error),
        "nearest graph": _at_most(value["nearest_ratio"], max_nearest_ratio),
    }
    features = {
        "retrieval": value["retrieval_first"] < max_retrieved,
        "likeness": value["feature_cosine"] < (value["neighbour_cosine"] or 0.5),
    }
    edges = {"overlap": value["edge_overlap"] < max_edge_overlap, "isomorphism": value["isomorphic"] == 0}
    different = all(features.values()) or all(edges.values())
    moved = edges if value["edge_overlap"] < 1 else features
    missed = [name for name, passed in {**match, **({} if different else moved)}.items() if not passed]
    return Verdict(all(match.values()), different, tuple(missed))


def verdict_columns(verdict: Verdict) -> dict[str, bool | str]:
    """Return the columns of a verdict in a table: matched, different, failed (names, "" for none), is_metamer."""
    return {
        "matched": verdict.matched,
        "different": verdict.different,
        "failed": ", ".join(verdict.failed),
        "is_metamer": verdict.is_metamer,
    }


def _at_most(value: float, bound: float) -> bool:
    """Compare, and let a value pass that is NaN: the mark does not apply."""
    return math.isnan(value) or value <= bound
