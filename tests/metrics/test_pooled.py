import math

import pytest
import torch

from metamerlib.metrics.pooled import pooled_match

# Four graphs on a line far from the origin; the mean is 101 and the mean square distance from it 6.
ROWS = torch.tensor([[99.0], [99.0], [101.0], [105.0]])
SPREAD = math.sqrt((4 + 4 + 0 + 16) / 4)


def test_error_is_relative_to_the_spread_and_distance_to_the_nearest_graph():
    match = pooled_match(torch.tensor([[99.5]]), ROWS[:1], ROWS)
    assert match.centred_error == pytest.approx(0.5 / SPREAD) and match.nearest_ratio == pytest.approx(0.25)
    assert match.twins == 1


def test_a_common_offset_changes_nothing():
    far = 1e4 + ROWS.double()
    near = pooled_match(ROWS[:1].double() + 0.5, ROWS[:1].double(), ROWS.double())
    assert pooled_match(far[:1] + 0.5, far[:1], far) == pytest.approx(near)


def test_the_reference_need_not_be_among_the_rows():
    whole, others = (pooled_match(ROWS[3:] - 1, ROWS[3:], rows) for rows in (ROWS, ROWS[:3]))
    assert whole == others and whole.nearest_ratio == 0.25 and whole.twins == 0


def test_an_exact_match_and_equal_rows():
    assert pooled_match(ROWS[:1], ROWS[:1], ROWS)[:2] == (0.0, 0.0)
    alone = pooled_match(ROWS[:1] + 1, ROWS[:1], ROWS[:2])
    assert alone.centred_error == math.inf and math.isnan(alone.nearest_ratio) and alone.twins == 1


def test_rows_of_other_widths_are_refused():
    with pytest.raises(ValueError, match=r"shapes \[1, 1\], \[1, 1\] and \[4, 2\]"):
        pooled_match(ROWS[:1], ROWS[:1], torch.zeros(4, 2))
