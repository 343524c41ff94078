"""Say what a table shows: invariants that must hold, and findings with an interval and a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from metamerlib.plain import as_count, as_list, as_number, as_real, as_text, shown

VERDICTS = ("holds", "fails", "inconclusive", "not tested")
COLUMNS = (
    "id",
    "statement",
    "verdict",
    "effect",
    "low",
    "high",
    "effect_means",
    "paper_says",
    "figure",
    "certificate",
    "reconsider",
)


def check(text: str, condition: Any) -> None:
    """Print that an invariant holds, or raise AssertionError with its text.

    >>> check("two and two are four", 2 + 2 == 4)
    holds: two and two are four
    """
    as_text("text", text)
    kind = str(getattr(condition, "dtype", ""))
    if not isinstance(condition, bool | np.bool_) and not ("bool" in kind and np.ndim(condition) == 0):
        raise TypeError(f"{text}: expected True or False, got {shown(condition)}; use .all() or a comparison")
    if not bool(condition):
        raise AssertionError(text)
    print(f"holds: {text}")


def claim(
    id: str,
    statement: str,
    effect: float,
    low: float,
    high: float,
    verdict: str,
    *,
    effect_means: str,
    paper_says: str = "",
    figure: str = "",
    certificate: str = "",
    reconsider: str = "",
) -> dict[str, Any]:
    """Print a statement with its verdict in one line and return it as a row; every known verdict passes.

    Args:
        id: Permanent name of the claim.
        statement: A sentence that can be true or false; the verdict is on it as it stands.
        effect: Size of the effect; NaN only where the verdict is "not tested".
        low: Lower end of its interval; NaN where there is none.
        high: Upper end of its interval; NaN where there is none.
        verdict: "holds", "fails", "inconclusive" or "not tested", by a rule written before the run.
        effect_means: What the number is, with its unit and what its interval is over.
        paper_says: What the paper says of it; empty for a finding of our own.
        figure: Id of the figure that shows it.
        certificate: How well the searches behind it matched, and which control they passed.
        reconsider: Which result would change the verdict.

    Raises:
        ValueError: An unknown verdict, a number that is missing or infinite, or one outside its interval.

    Example:
        >>> row = claim("depth", "Deep layers forget more.", 0.1234, 0.1, 0.15, "holds", effect_means="kept, 4 minus 2")
        depth: holds: Deep layers forget more. 0.123 [0.1, 0.15]
    """
    as_text("id", id, "feature-extreme")
    as_text("statement", statement, "Deep layers forget more.")
    as_text("effect_means", effect_means, "kept, deep minus shallow, mean over runs")
    if not isinstance(verdict, str) or verdict not in VERDICTS:
        raise ValueError(f"verdict of {id!r} is {shown(verdict)}; expected one of {', '.join(VERDICTS)}")
    numbers = tuple(
        as_number(f"{what} of {id!r}", got) for what, got in (("effect", effect), ("low", low), ("high", high))
    )
    if any(math.isinf(number) for number in numbers):
        raise ValueError(f"claim {id!r} has numbers {numbers}; expected finite ones (count infinite rows apart)")
    if math.isnan(numbers[0]) and verdict != "not tested":
        raise ValueError(f"effect of {id!r} is NaN with verdict {verdict!r}; only 'not tested' goes without one")
    if math.isnan(numbers[1]) != math.isnan(numbers[2]):
        raise ValueError(f"interval of {id!r} is [{low}, {high}]; give both ends, or NaN for both")
    if numbers[1] > numbers[2]:
        raise ValueError(f"interval of {id!r} is [{low}, {high}]; expected low <= high")
    if numbers[0] < numbers[1] or numbers[0] > numbers[2]:
        raise ValueError(f"effect of {id!r} is {effect}, outside its interval [{low}, {high}]")
    row = dict(zip(COLUMNS[3:6], numbers, strict=True))
    words = {
        "effect_means": effect_means,
        "paper_says": paper_says,
        "figure": figure,
        "certificate": certificate,
        "reconsider": reconsider,
    }
    for name, text in words.items():
        if not isinstance(text, str):
            raise TypeError(f"{name} of {id!r} must be text, got {shown(text)}; leave it out where there is none")
    print(f"{id}: {verdict}: {statement} {effect_text(*numbers)}".rstrip())
    return {"id": id, "statement": statement, "verdict": verdict, **row, **words}


def effect_text(effect: float, low: float, high: float) -> str:
    """Return an effect with its interval as text; "" where there is none.

    >>> effect_text(0.1234, 0.1, 0.15), effect_text(2.0, math.nan, math.nan), effect_text(math.nan, 0.0, 0.0)
    ('0.123 [0.1, 0.15]', '2', '')
    """
    if math.isnan(effect):
        return ""
    return f"{effect:.3g}" + ("" if math.isnan(low) else f" [{low:.3g}, {high:.3g}]")


def claims_table(claims: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return claims as a table of `COLUMNS`, one row each; ids must differ."""
    if not all(isinstance(claim, dict) for claim in as_list("claims", claims, "rows of `claim`")):
        raise TypeError("claims_table needs a list of rows of `claim`")
    table = pd.DataFrame(list(claims), columns=list(COLUMNS))
    if table["id"].duplicated().any():
        raise ValueError(f"claims share an id: {sorted(table['id'][table['id'].duplicated()])}")
    return table


def shown_claims(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of claims as a page shows it: verdict first, effect and interval as one text, no index."""
    effects = [effect_text(*row) for row in table[["effect", "low", "high"]].itertuples(index=False)]
    shown = pd.DataFrame(
        {
            "verdict": table["verdict"],
            "statement": table["statement"],
            "effect [interval]": effects,
            "of": table["effect_means"],
            "the paper says": table["paper_says"].replace("", "(our own)"),
        }
    )
    return shown.set_axis(table["id"], axis="index")


def as_numbers(what: str, values: object) -> np.ndarray:
    """Return a list of numbers as an array."""
    try:
        found = np.asarray(as_list(what, values, "numbers"))
        if found.dtype.kind == "c":
            raise TypeError("complex")
        return found.astype(float).reshape(-1)
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
    array, digits = as_numbers("values", values), as_count("digits", digits, least=0, most=15)
    for what, text in (("unit", unit), ("empty", empty)):
        if not isinstance(text, str):
            raise TypeError(f"{what} must be text, got {shown(text)}")
    array = array[~np.isnan(array)]
    if array.size == 0:
        return empty
    if np.isinf(array).any():
        return f"infinite on {np.isinf(array).mean():.0%}"
    mean, low, high = mean_interval(array)
    return f"{mean:.{digits}f}{unit}" + ("" if math.isnan(low) else f" ± {high - mean:.{digits}f}")


def verdict(holds: Any, fails: Any = None, *, tested: bool = True) -> str:
    """Return the verdict on a statement by its rule.

    Args:
        holds: The rule's condition: one truth value, or one for each case, all of which must be true.
        fails: The condition of the opposite, likewise; without one, what does not hold fails.
        tested: False where there is too little to judge by.

    Example:
        >>> verdict(True), verdict(False), verdict(False, False), verdict([True, False], [False, False])
        ('holds', 'fails', 'inconclusive', 'inconclusive')
        >>> verdict(True, tested=False)
        'not tested'
    """
    if not _truths("tested", tested).all():
        return "not tested"
    each = _truths("holds", holds)
    opposite = ~each.all() if fails is None else _truths("fails", fails)
    if each.size == 0:
        raise ValueError("a verdict needs one case at least, and got none")
    if each.all():
        return "holds"
    return "fails" if opposite.all() else "inconclusive"


def _truths(what: str, got: object) -> np.ndarray:
    """Return one truth value or several as an array."""
    try:
        found = np.asarray(got)
    except (TypeError, ValueError):
        found = np.asarray(None)
    if found.dtype != bool and found.size:
        raise TypeError(f"{what} must be True or False, or a list of these, got {shown(got)}; use a comparison")
    return found.astype(bool)


def sound_trainings(
    table: pd.DataFrame, within: list[str], arms: list[str], *, accuracy: str = "val_accuracy", share: float = 0.9
) -> pd.Series:
    """Tell which rows rest on a training that did not fail; the others are to be shown and not averaged.

    Args:
        table: Rows with a seed and an accuracy.
        within: Columns whose values are not compared with each other, such as the graph.
        arms: Columns that together name an arm, such as the architecture.
        accuracy: Column of the accuracy.
        share: A training fails below this share of the best arm's mean accuracy over its seeds.

    Returns:
        One truth value for each row.

    Example:
        >>> runs = pd.DataFrame({"graph": "a", "act": ["relu", "elu"], "seed": 0, "val_accuracy": [0.8, 0.5]})
        >>> sound_trainings(runs, ["graph"], ["act"]).tolist()
        [True, False]
    """
    runs = table.drop_duplicates([*within, *arms, "seed"])
    best = runs.groupby([*within, *arms], observed=True)[accuracy].mean().groupby(within, observed=True).max()
    bound = table[within].merge(best.rename("best").reset_index(), on=within, how="left")["best"].to_numpy()
    return table[accuracy] >= share * bound


def share_interval(successes: int, count: int, level: float = 0.95) -> tuple[float, float, float]:
    """Return a share of independent trials and the ends of its exact interval (Clopper and Pearson, 1934).

    For shares near 0 or 1, where a t-interval of equal values has no width.

    >>> [round(value, 3) for value in share_interval(18, 18)]
    [1.0, 0.815, 1.0]
    """
    from scipy import stats

    successes, count = as_count("successes", successes, least=0), as_count("count", count)
    if successes > count:
        raise ValueError(f"{successes} successes in {count} trials; expected 0 <= successes <= count and count >= 1")
    if not 0 < as_real("level", level) < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}; 0.95 is usual")
    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, successes, count - successes + 1)) if successes else 0.0
    high = float(stats.beta.ppf(1 - tail, successes + 1, count - successes)) if successes < count else 1.0
    return successes / count, low, high
