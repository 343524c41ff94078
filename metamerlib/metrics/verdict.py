"""Whether a match is good enough to be called a metamer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real

import pandas as pd

from metamerlib.plain import as_fraction, as_mapping, shown


@dataclass(frozen=True)
class Verdict:
    """The decision, the five values that it rests on, and the best that the null reaches.

    A verdict is true or false by its ``is_metamer``.
    """

    is_metamer: bool
    prediction_match: float
    pearson: float
    spearman: float
    snr_db: float
    relative_error: float
    null_max_pearson: float
    null_max_spearman: float
    null_max_snr_db: float

    def __bool__(self) -> bool:
        return self.is_metamer


def is_metamer(
    scores: Mapping[str, float],
    null: pd.DataFrame,
    *,
    min_prediction_match: float = 0.99,
    max_relative_error: float = 0.05,
) -> Verdict:
    """Decide whether a match is a metamer.

    Enough predictions must agree (left out where the agreement is NaN: a model
    without classes), the relative error must be small, and Pearson's r, Spearman's
    rho and the ratio of signal to noise must each lie above their maximum over the
    null distribution. A null without draws is not beaten. Beating the null is a weak
    mark by itself: report the relative error beside the verdict.

    Args:
        scores: prediction_match, pearson, spearman, snr_db and relative_error.
        null: draws of the null distribution, as :func:`null_distribution` gives them.
        min_prediction_match: least share of predictions that agree.
        max_relative_error: largest relative error, itself allowed.

    Returns:
        The verdict with its reasons.

    Raises:
        ValueError: if one of the five values or of the null's columns is missing.

    >>> good = dict(prediction_match=1.0, pearson=0.99, spearman=0.98, snr_db=40.0, relative_error=0.01)
    >>> null = pd.DataFrame({"pearson": [0.3, 0.5], "spearman": [0.2, 0.4], "snr_db": [-1.0, 0.5]})
    >>> is_metamer(good, null).is_metamer
    True
    """
    as_mapping("scores", scores, "numbers by name, such as metamerlib.compare gives")
    for name, share in (("min_prediction_match", min_prediction_match), ("max_relative_error", max_relative_error)):
        as_fraction(name, share)
    if not isinstance(null, pd.DataFrame):
        raise TypeError(f"null must be a DataFrame of draws, got {shown(null)}; see null_distribution")
    correlates = ("pearson", "spearman", "snr_db")
    needed = ("prediction_match", *correlates, "relative_error")
    if missing := [*(set(needed) - set(scores)), *(set(correlates) - set(null.columns))]:
        raise ValueError(f"got no {', '.join(sorted(set(missing)))}; pass {', '.join(needed)} and their null")
    for name in needed:
        if isinstance(scores[name], bool) or not isinstance(scores[name], Real):
            raise TypeError(f"{name} must be a number, got {shown(scores[name])}")
    values = {name: float(scores[name]) for name in needed}
    best = {name: float(null[name].max()) for name in correlates}
    agrees = math.isnan(values["prediction_match"]) or values["prediction_match"] >= min_prediction_match
    beats_null = all(values[name] > best[name] for name in correlates)
    close = values["relative_error"] <= max_relative_error
    return Verdict(agrees and beats_null and close, **values, **{f"null_max_{name}": best[name] for name in correlates})
