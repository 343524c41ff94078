"""Say what a table shows: invariants that must hold, and findings with an interval and a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from metamerlib.plain import as_list, as_real, as_text, shown

VERDICTS = ("reproduces", "does not", "depends", "not tested")


def check(text: str, condition: Any) -> None:
    """Print that an invariant holds, or raise AssertionError with its text.

    >>> check("two and two are four", 2 + 2 == 4)
    holds: two and two are four
    """
    as_text("text", text)
    kind = str(getattr(condition, "dtype", ""))
    if not isinstance(condition, bool | np.bool_) and not (np.ndim(condition) == 0 and "bool" in kind):
        raise TypeError(f"{text}: expected True or False, got {shown(condition)}; use .all() or a comparison")
    if not bool(condition):
        raise AssertionError(text)
    print(f"holds: {text}")


def claim(id: str, text: str, effect: float, low: float, high: float, verdict: str) -> dict[str, Any]:
    """Print a finding in one line and return it as a row; every known verdict passes.

    Args:
        id: permanent name of the claim.
        text: the claim, in words that make the sign of `effect` plain.
        effect: its size; NaN only where the verdict is "not tested".
        low: ends of its interval; NaN where there is none.
        high: ends of its interval; NaN where there is none.
        verdict: "reproduces", "does not", "depends" or "not tested".

    >>> row = claim("depth", "the match rises with depth", 0.1234, 0.1, 0.15, "reproduces")
    depth: reproduces: the match rises with depth: 0.123 [0.1, 0.15]
    """
    if verdict not in VERDICTS:
        raise ValueError(f"verdict of {id!r} is {verdict!r}; expected one of {', '.join(VERDICTS)}")
    if math.isnan(effect) and verdict != "not tested":
        raise ValueError(f"effect of {id!r} is NaN with verdict {verdict!r}; only 'not tested' goes without one")
    if low > high:
        raise ValueError(f"interval of {id!r} is [{low}, {high}]; expected low <= high")
    numbers = "" if math.isnan(effect) else f": {effect:.3g} [{low:.3g}, {high:.3g}]"
    print(f"{id}: {verdict}: {text}{numbers}")
    values = {"effect": float(effect), "low": float(low), "high": float(high)}
    return {"id": id, "text": text, **values, "verdict": verdict}


def claims_table(claims: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return claims as a table with columns id, text, effect, low, high, verdict; ids must differ."""
    table = pd.DataFrame(list(claims), columns=["id", "text", "effect", "low", "high", "verdict"])
    if table["id"].duplicated().any():
        raise ValueError(f"claims share an id: {sorted(table['id'][table['id'].duplicated()])}")
    return table


def as_numbers(what: str, values: object) -> np.ndarray:
    """Return a list of numbers as an array."""
    try:
        return np.asarray(as_list(what, values, "numbers"), dtype=float).reshape(-1)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what} must be a list of numbers, got {shown(values)}") from error


def mean_interval(values: Iterable[float], level: float = 0.95) -> tuple[float, float, float]:
    """Return the mean over seeds and the ends of its t-interval: effect, low, high.

    A t-interval and not a bootstrap, since percentiles of three to ten seeds cover far too little.
    One value has no interval: its ends are NaN.

    >>> [round(value, 2) for value in mean_interval([1.0, 2.0, 3.0])]
    [2.0, -0.48, 4.48]
    """
    from scipy import stats

    if not 0 < as_real("level", level) < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}; 0.95 is usual")
    array = as_numbers("values", values)
    if array.size == 0:
        raise ValueError("no values; a mean needs one at least")
    if np.isnan(array).any():
        raise ValueError(f"{np.isnan(array).sum()} of {array.size} values are NaN; drop failed points first")
    if np.isinf(array).any():
        raise ValueError(f"{np.isinf(array).sum()} of {array.size} values are infinite, so no mean is; leave them out")
    mean = float(array.mean())
    if array.size == 1:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf((1 + level) / 2, array.size - 1) * array.std(ddof=1) / math.sqrt(array.size))
    return mean, mean - half, mean + half


def interval_text(values: Iterable[float], digits: int = 3, *, unit: str = "", empty: str = "none") -> str:
    """Return the mean and half its 95 % t-interval as text; missing values are left out.

    Args:
        values: One number for each seed or node.
        digits: Behind the point.
        unit: Written behind the mean.
        empty: The text where no value is left.

    Example:
        >>> interval_text([1.0, 2.0, 3.0], 1), interval_text([0.5]), interval_text([math.inf, 1.0])
        ('2.0 ± 2.5', '0.500', 'infinite on 50%')
    """
    array = np.asarray(list(values), dtype=float)
    array = array[~np.isnan(array)]
    if array.size == 0:
        return empty
    if np.isinf(array).any():
        return f"infinite on {np.isinf(array).mean():.0%}"
    mean, low, high = mean_interval(array)
    return f"{mean:.{digits}f}{unit}" + ("" if math.isnan(low) else f" ± {high - mean:.{digits}f}")


def verdict(holds: Any, tested: bool = True) -> str:
    """Return the word for a claim that holds in all cases, in none, or in some.

    Args:
        holds: One truth value, or one for each case.
        tested: False where there is too little to judge by.

    Example:
        >>> verdict(True), verdict([True, False]), verdict(False), verdict(True, tested=False)
        ('reproduces', 'depends', 'does not', 'not tested')
    """
    cases = np.atleast_1d(np.asarray(holds, dtype=bool))
    if not tested:
        return "not tested"
    return "reproduces" if cases.all() else "depends" if cases.any() else "does not"
