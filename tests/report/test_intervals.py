import math

import numpy as np
import pytest
from scipy import stats

from metamerlib.report.findings import mean_interval
from metamerlib.report.intervals import crossed_interval


def test_where_only_rows_differ_the_rows_are_the_replicates():
    rows = [0.2, 0.5, 0.9]
    table = np.repeat(np.array(rows)[:, None], 3, axis=1)
    assert crossed_interval(table) == pytest.approx(mean_interval(rows))
    assert crossed_interval(table.T) == pytest.approx(mean_interval(rows))


def test_row_and_column_effects_add_up():
    a, b = np.array([2.0, -2.0, 0.0]), np.array([2.0, 0.0, -2.0])
    mean, low, high = crossed_interval(a[:, None] + b[None, :])
    rows, columns = a.var(ddof=1) / 3, b.var(ddof=1) / 3
    cells = (9 / 8) * np.square(a[:, None] + b[None, :]).sum() / 81
    half = stats.t.ppf(0.975, 2) * math.sqrt(rows + columns - cells)
    assert (mean, low, high) == pytest.approx((0.0, -half, half))


def test_left_out_cells_do_not_count():
    table = np.array([[np.nan, 1.0, 3.0], [1.0, np.nan, 3.0], [1.0, 3.0, np.nan]])
    assert crossed_interval(table)[0] == 2.0


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        table = rng.normal(size=(6, 1)) + rng.normal(size=(1, 6)) + rng.normal(size=(6, 6))
        _, low, high = crossed_interval(table)
        held += low <= 0 <= high
    assert 0.9 <= held / 400 <= 0.99


def test_one_replicate_has_no_interval():
    mean, low, high = crossed_interval([[1.0, 2.0]])
    assert mean == 1.5 and math.isnan(low) and math.isnan(high)


@pytest.mark.parametrize("table, message", [([1.0, 2.0], "pass a table"), ([[math.nan]], "holds no number")])
def test_what_is_no_table_is_refused(table, message):
    with pytest.raises(ValueError, match=message):
        crossed_interval(table)
