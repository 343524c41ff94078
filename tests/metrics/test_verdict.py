import math
from dataclasses import FrozenInstanceError

import pandas as pd
import pytest

from metamerlib.metrics.verdict import is_metamer

NULL = pd.DataFrame({"pearson": [0.1, 0.9], "spearman": [0.8, 0.2], "snr_db": [3.0, math.nan]})
GOOD = {"prediction_match": 0.99, "pearson": 0.91, "spearman": 0.81, "snr_db": 26.1, "relative_error": 0.05}


def test_a_good_match_is_a_metamer_and_the_reasons_are_kept():
    verdict = is_metamer(GOOD, NULL)
    assert verdict and verdict.is_metamer is True
    assert {name: getattr(verdict, name) for name in GOOD} == GOOD
    assert (verdict.null_max_pearson, verdict.null_max_spearman, verdict.null_max_snr_db) == (0.9, 0.8, 3.0)
    with pytest.raises(FrozenInstanceError):
        verdict.is_metamer = False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prediction_match", 0.98),
        ("pearson", 0.9),
        ("spearman", 0.8),
        ("snr_db", 3.0),
        ("relative_error", 0.051),
        ("pearson", math.nan),
        ("relative_error", math.nan),
    ],
)
def test_each_of_the_five_can_fail_alone(name, value):
    assert not is_metamer(GOOD | {name: value}, NULL)


def test_thresholds_are_arguments():
    assert is_metamer(GOOD | {"prediction_match": 0.5}, NULL, min_prediction_match=0.5)
    assert not is_metamer(GOOD, NULL, max_relative_error=0.01)


def test_predictions_are_left_out_for_models_without_classes():
    assert is_metamer(GOOD | {"prediction_match": math.nan}, NULL)


def test_exact_match_beats_every_finite_null():
    exact = dict.fromkeys(("prediction_match", "pearson", "spearman"), 1.0)
    assert is_metamer(exact | {"snr_db": math.inf, "relative_error": 0.0}, NULL)


def test_a_null_without_draws_is_not_beaten():
    assert not is_metamer(GOOD, NULL[:0])


def test_missing_values_are_named():
    with pytest.raises(ValueError, match="got no snr_db, spearman"):
        is_metamer(
            {name: GOOD[name] for name in ("prediction_match", "pearson", "relative_error", "snr_db")},
            NULL[["pearson", "spearman"]],
        )
