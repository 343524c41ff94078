import math

import pytest

from metamerlib.metrics.invariance import consistency, excess_invariance


@pytest.mark.parametrize(
    ("s_match", "s_feat", "excess", "score"),
    [(1, 1, 0, 1), (1, 0, 1, 0), (0, 1, -1, 0), (0.25, 0.5, -0.25, 0.75), (0, 0, 0, 1), (1, -0.5, 1.5, 0)],
)
def test_by_hand(s_match, s_feat, excess, score):
    assert excess_invariance(s_match, s_feat) == excess
    assert consistency(s_match, s_feat) == score


def test_no_score_without_both_shares():
    assert math.isnan(consistency(math.nan, 1.0)) and math.isnan(consistency(1.0, math.nan))
