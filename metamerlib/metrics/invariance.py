"""Agreement of the model set against agreement of the input."""

from __future__ import annotations

import math
from numbers import Real

from metamerlib.plain import shown


def check_likeness(what: str, got: object) -> None:
    """Raise unless a similarity is a number from -1 to 1, or NaN where it does not apply."""
    if isinstance(got, bool) or not isinstance(got, Real):
        raise TypeError(f"{what} must be a number from -1 to 1, got {shown(got)}")
    if not (math.isnan(float(got)) or abs(float(got)) <= 1 + 1e-6):
        raise ValueError(f"{what} must lie in [-1, 1], got {got!r}; give a share or a cosine")


def excess_invariance(s_match: float, s_feat: float) -> float:
    r"""Subtract the similarity of the inputs from that of the predictions.

    .. math:: S_{match} - S_{feat}

    Args:
        s_match: share of nodes that keep their class.
        s_feat: similarity of the inputs, of the features or of the structure.

    Returns:
        A signed difference: positive where the model sees sameness that the inputs
        do not have, negative where it sees a difference that they do not have.

    >>> excess_invariance(1.0, 0.25)
    0.75
    """
    for name, share in (("s_match", s_match), ("s_feat", s_feat)):
        check_likeness(name, share)
    return s_match - s_feat


def consistency(s_match: float, s_feat: float) -> float:
    r"""Score how well the model's agreement follows that of the inputs.

    .. math:: \min(1, \max(0, 1 - |S_{match} - S_{feat}|))

    Our reading of the consistency score of arXiv 2510.17378, whose formula is not
    public. It rewards two disagreements as much as two agreements, so report both
    shares beside it.

    Args:
        s_match: share of nodes that keep their class.
        s_feat: similarity of the inputs, of the features or of the structure.

    Returns:
        A score between 0 and 1; NaN if either share is NaN.

    >>> consistency(1.0, 0.25)
    0.25
    """
    difference = abs(excess_invariance(s_match, s_feat))
    return difference if difference != difference else min(1.0, max(0.0, 1.0 - difference))
