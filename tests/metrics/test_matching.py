import math

import pytest
import scipy.stats
import torch
from sklearn.metrics import roc_auc_score

from metamerlib.metrics import matching

TARGET = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 12.0]], dtype=torch.float64)
FOUND = torch.tensor([[3.0, 4.0], [1.0, 2.0], [0.0, 9.0]], dtype=torch.float64)
SCORES = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0], [5.0, 4.0]], dtype=torch.float64)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    draw = torch.randn(2, 20, 5, dtype=torch.float64, generator=generator)
    return draw[0].relu(), (draw[0] + 0.5 * draw[1]).relu()


def test_loss_is_one_ratio_of_sums():
    assert matching.activation_loss(FOUND, TARGET) == pytest.approx(14 / 169)
    assert matching.relative_error(FOUND, TARGET) == pytest.approx(math.sqrt(14) / 13)
    assert matching.snr_db(FOUND, TARGET) == pytest.approx(10 * math.log10(169 / 14))


def test_node_errors_leave_out_silent_nodes():
    errors = matching.node_relative_errors(FOUND, TARGET)
    assert errors == pytest.approx((0.125, 0.2375, 1))
    silent = matching.node_relative_errors(FOUND, torch.zeros_like(TARGET))
    assert math.isnan(silent.median) and math.isnan(silent.p95) and silent.silent == 3


def test_equal_activations_are_perfect():
    assert matching.activation_loss(TARGET, TARGET) == matching.relative_error(TARGET, TARGET) == 0
    assert matching.pearson(TARGET, TARGET) == matching.spearman(TARGET, TARGET) == 1
    assert matching.snr_db(TARGET, TARGET) == math.inf
    assert matching.prediction_match(SCORES, SCORES) == matching.prediction_auc(SCORES, SCORES) == 1


def test_target_of_zeros():
    zero = torch.zeros(2, 2)
    assert matching.activation_loss(zero, zero) == 0
    assert matching.activation_loss(zero + 1, zero) == math.inf
    assert matching.snr_db(zero + 1, zero) == -math.inf
    assert math.isnan(matching.pearson(zero + 1, zero)) and math.isnan(matching.spearman(zero, zero))


def test_ten_per_cent_of_noise_are_twenty_decibels(pair):
    target, noise = pair
    noise = noise * 0.1 * target.norm() / noise.norm()
    assert matching.snr_db(target + noise, target) == pytest.approx(20)


def test_correlations_agree_with_scipy_under_ties(pair):
    a, b = (h.flatten().numpy() for h in pair)
    assert matching.pearson(*pair) == pytest.approx(scipy.stats.pearsonr(a, b).statistic)
    assert matching.spearman(*pair) == pytest.approx(scipy.stats.spearmanr(a, b).statistic)


def test_scores_do_not_depend_on_the_order_of_nodes(pair):
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    for measure in (matching.relative_error, matching.pearson, matching.spearman, matching.snr_db):
        assert measure(pair[0][order], pair[1][order]) == pytest.approx(measure(*pair))


def test_float32_is_measured_in_float64():
    # In float32 the squares of these activations would be infinite.
    target = torch.full((1000, 1), 1e25, dtype=torch.float32)
    assert matching.relative_error(1.5 * target, target) == pytest.approx(0.5)


def test_not_a_number_is_not_a_score():
    broken = torch.tensor([[1.0, float("nan")]])
    whole = torch.tensor([[1.0, 2.0]])
    for measure in (matching.relative_error, matching.pearson, matching.spearman, matching.snr_db):
        with pytest.raises(ValueError, match="holds 1 NaN or infinite entries"):
            measure(broken, whole)


def test_agreement_of_numbers_by_hand():
    y = torch.tensor([[0.0], [1.0], [2.0], [3.0]], dtype=torch.float64)
    assert matching.output_agreement(y, y) == 1 and matching.output_agreement(3 - y, y) == -1
    # Variances 1.25 both, covariance 1.25, means one apart: 2.5 / 3.5.
    assert matching.output_agreement(y + 1, y) == pytest.approx(2.5 / 3.5)
    assert matching.output_agreement(100 * y + 100, 100 * y) == pytest.approx(2.5 / 3.5)
    assert matching.output_agreement(torch.cat([y, 3 - y], 1), torch.cat([y, y], 1)) == 0
    assert math.isnan(matching.output_agreement(0 * y, 0 * y))


def test_predictions_on_nodes():
    other = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    assert matching.prediction_match(other, SCORES) == 0.5
    assert matching.prediction_match(other, SCORES, torch.tensor([1, 3])) == 1
    assert matching.chance_agreement(SCORES) == 0.75**2 + 0.25**2
    assert matching.chance_agreement(SCORES, torch.tensor([0, 2])) == 1
    expected = roc_auc_score(SCORES.argmax(1), other[:, 1] - other[:, 0])
    assert matching.prediction_auc(other, SCORES) == pytest.approx(expected)


@pytest.mark.parametrize("output", [None, torch.zeros(4, 1), torch.zeros(4), torch.zeros(4, 2, 2)])
def test_models_without_classes_have_no_prediction_scores(output):
    assert not matching.has_classes(output)
    assert math.isnan(matching.prediction_match(output, output))
    assert math.isnan(matching.chance_agreement(output))
    assert math.isnan(matching.prediction_auc(output, output))


def test_auc_needs_two_classes_that_are_both_predicted():
    assert math.isnan(matching.prediction_auc(torch.eye(3), torch.eye(3)))
    assert math.isnan(matching.prediction_auc(SCORES, SCORES, torch.tensor([0, 2])))


def test_dead_units_are_active_only_in_the_target():
    before = torch.tensor([[0.0, -1.0], [3.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    assert matching.dead_units(before, TARGET) == 3


@pytest.mark.parametrize("shape", [(3, 3), (2, 2), (6,)])
def test_shapes_must_agree(shape):
    for measure in (matching.activation_loss, matching.pearson, matching.node_relative_errors):
        with pytest.raises(ValueError, match=r"got shape .* beside \[3, 2\]"):
            measure(torch.zeros(shape), TARGET)
    with pytest.raises(ValueError, match="no entry"):
        matching.activation_loss(TARGET[:0], TARGET[:0])
