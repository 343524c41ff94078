import math
from dataclasses import FrozenInstanceError

import pytest

from metamerlib.metrics.verdict import is_metamer, verdict_columns

MATCHED = {"relative_error": 0.05, "node_error_p95": 0.2, "prediction_match": 0.99}
POOLED = {"centred_error": 0.05, "nearest_ratio": 0.5}
OTHER_FEATURES = {"retrieval_first": 0.49, "feature_cosine": 0.39, "neighbour_cosine": 0.4}
OTHER_EDGES = {"edge_overlap": 0.49, "isomorphic": 0.0}
SAME_FEATURES = {"retrieval_first": 1.0, "feature_cosine": 1.0, "neighbour_cosine": 0.4}
SAME_EDGES = {"edge_overlap": 1.0, "isomorphic": 1.0}
GOOD = MATCHED | POOLED | OTHER_FEATURES | SAME_EDGES


def test_a_metamer_is_matched_and_different():
    verdict = is_metamer(GOOD)
    assert verdict and verdict.matched and verdict.different and verdict.failed == ()
    assert verdict_columns(verdict) == {"matched": True, "different": True, "failed": "", "is_metamer": True}
    with pytest.raises(FrozenInstanceError):
        verdict.matched = False


@pytest.mark.parametrize(
    ("name", "value", "mark"),
    [
        ("relative_error", 0.051, "relative error"),
        ("relative_error", math.nan, "relative error"),
        ("node_error_p95", 0.21, "node errors"),
        ("prediction_match", 0.98, "predictions"),
        ("centred_error", 0.051, "centred error"),
        ("nearest_ratio", 0.51, "nearest graph"),
    ],
)
def test_each_mark_of_the_match_fails_alone_and_is_named(name, value, mark):
    verdict = is_metamer(GOOD | {name: value})
    assert not verdict.matched and verdict.different and not verdict and verdict.failed == (mark,)


@pytest.mark.parametrize(
    ("name", "value", "mark"),
    [
        ("retrieval_first", 0.5, "retrieval"),
        ("feature_cosine", 0.4, "likeness"),
        ("feature_cosine", math.nan, "likeness"),
    ],
)
def test_each_mark_of_other_features_fails_alone_and_is_named(name, value, mark):
    verdict = is_metamer(GOOD | {name: value})
    assert verdict.matched and not verdict.different and not verdict and verdict.failed == (mark,)


@pytest.mark.parametrize(
    ("name", "value", "mark"),
    [
        ("edge_overlap", 0.5, "overlap"),
        ("isomorphic", 1.0, "isomorphism"),
        ("isomorphic", math.nan, "isomorphism"),
    ],
)
def test_each_mark_of_other_edges_fails_alone_and_is_named(name, value, mark):
    structure = MATCHED | SAME_FEATURES | OTHER_EDGES
    assert is_metamer(structure)
    verdict = is_metamer(structure | {name: value})
    assert verdict.matched and not verdict.different and verdict.failed == (mark,)


def test_the_reference_is_matched_and_no_metamer_of_itself():
    exact = {"relative_error": 0.0, "node_error_p95": 0.0, "prediction_match": 1.0}
    verdict = is_metamer(exact | SAME_FEATURES | SAME_EDGES)
    assert verdict.matched and not verdict.different and verdict.failed == ("retrieval", "likeness")


def test_where_both_moved_one_difference_is_enough():
    assert is_metamer(MATCHED | OTHER_FEATURES | {"edge_overlap": 0.9, "isomorphic": 0.0})
    assert is_metamer(MATCHED | SAME_FEATURES | {"feature_cosine": 0.9} | OTHER_EDGES)


def test_marks_that_do_not_apply_are_left_out():
    bare = MATCHED | OTHER_FEATURES
    assert is_metamer(bare) and is_metamer(MATCHED | OTHER_EDGES)
    assert is_metamer(bare | dict.fromkeys((*POOLED, "prediction_match", "node_error_p95"), math.nan))


def test_rows_without_neighbours_are_held_against_a_half():
    orthogonal = GOOD | {"neighbour_cosine": 0.0}
    assert is_metamer(orthogonal | {"feature_cosine": 0.49}) and not is_metamer(orthogonal | {"feature_cosine": 0.5})


def test_thresholds_are_arguments():
    assert not is_metamer(GOOD, max_relative_error=0.01) and not is_metamer(GOOD, max_node_error=0.1)
    assert is_metamer(GOOD | {"prediction_match": 0.5}, min_prediction_match=0.5)
    assert not is_metamer(GOOD, max_nearest_ratio=0.4) and not is_metamer(GOOD, max_retrieved=0.3)
    assert not is_metamer(MATCHED | OTHER_EDGES, max_edge_overlap=0.3)


def test_missing_values_are_named():
    with pytest.raises(ValueError, match="got no node_error_p95, prediction_match"):
        is_metamer({"relative_error": 0.0} | OTHER_FEATURES)
    with pytest.raises(ValueError, match="got neither retrieval_first, feature_cosine, neighbour_cosine nor"):
        is_metamer(MATCHED | {"feature_cosine": 0.1})
