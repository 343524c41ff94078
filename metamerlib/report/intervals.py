"""Intervals for numbers that are crossed, as those of sources and judges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def crossed_interval(table: Any, level: float = 0.95) -> tuple[float, float, float]:
    r"""Return the mean of a table of crossed replicates and the ends of its interval: effect, low, high.

    Cells of one row share their source and cells of one column their judge, so they are not independent. The variance
    of the mean is clustered both ways (Cameron, Gelbach and Miller, 2011, doi 10.1198/jbes.2010.07136),

    .. math:: V = V_{rows} + V_{columns} - V_{cells}

    and at least the larger of the first two; the interval is that of Student's t with one degree of freedom less than
    the smaller side has replicates.

    Args:
        table: Numbers ``[rows, columns]``; NaN where a cell is left out.
        level: Of the interval.

    Returns:
        Mean, low, high; without an interval (NaN) where a side has fewer than two replicates.

    Raises:
        ValueError: If it is no table, or has no number.

    >>> [round(value, 2) for value in crossed_interval([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])]
    [2.0, -5.34, 9.34]
    """
    from scipy import stats

    values = np.asarray(table, dtype=float)
    if values.ndim != 2:
        raise ValueError(f"got {values.ndim} dimensions; pass a table [sources, judges]")
    there = ~np.isnan(values)
    values = values[there.any(axis=1)][:, there.any(axis=0)]
    there = ~np.isnan(values)
    count = int(there.sum())
    if count == 0:
        raise ValueError("the table holds no number; a mean needs one at least")
    mean = float(values[there].mean())
    smaller = min(values.shape)
    if smaller < 2:
        return mean, math.nan, math.nan
    rest = np.where(there, values - mean, 0.0)
    by_row, by_column = (
        rest.shape[side] / (rest.shape[side] - 1) * np.square(rest.sum(axis=1 - side)).sum() / count**2
        for side in (0, 1)
    )
    by_cell = count / (count - 1) * np.square(rest).sum() / count**2
    variance = max(by_row + by_column - by_cell, by_row, by_column)
    half = float(stats.t.ppf((1 + level) / 2, smaller - 1) * math.sqrt(variance))
    return mean, mean - half, mean + half
