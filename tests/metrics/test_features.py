import math

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.metrics.pairwise import cosine_similarity, paired_cosine_distances

from metamerlib.metrics import features

GENERATOR = torch.Generator().manual_seed(0)
BINARY = (torch.rand(30, 12, generator=GENERATOR) < 0.3).double()
OTHER = (torch.rand(30, 12, generator=GENERATOR) < 0.3).double()
REAL = torch.randn(30, 12, generator=GENERATOR, dtype=torch.float64)


def test_cosine_leaves_out_and_counts_zero_rows():
    x = torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    reference = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-2.0, 0.0]], dtype=torch.float64)
    assert features.feature_cosine(x, reference) == pytest.approx(((math.sqrt(0.5) - 1) / 2, 1))
    nothing = features.feature_cosine(0 * x, reference)
    assert math.isnan(nothing.mean) and nothing.zero_rows == 3


def test_equal_features_are_perfect():
    assert features.feature_cosine(REAL, REAL).mean == pytest.approx(1, abs=1e-15)
    assert features.relative_frobenius(REAL, REAL) == 0
    assert features.feature_jaccard(BINARY, BINARY) == 1
    assert features.tfidf_cosine(BINARY, BINARY) == pytest.approx(1, abs=1e-15)
    assert features.retrieval_rank(REAL, REAL) == (1, 1)
    labels = (REAL[:, 0] > 0).long()
    mask = torch.arange(30) < 20
    judge = features.feature_classifier_match(REAL, REAL, labels, train_mask=mask, test_mask=~mask)
    assert judge.match == 1 and judge.accuracy == judge.accuracy_reference > 0.5


def test_jaccard_by_hand_and_only_for_binary_features():
    x = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    assert features.feature_jaccard(x, torch.eye(2)) == 2 / 3
    assert features.feature_jaccard(0 * x, 0 * x) == 1
    assert math.isnan(features.feature_jaccard(0.5 * x, x))
    assert math.isnan(features.feature_jaccard(x, x - 1))


def test_tfidf_agrees_with_scikit_learn():
    transform = TfidfTransformer().fit(BINARY.numpy())
    weighted = [transform.transform(x.numpy()).toarray() for x in (OTHER, BINARY)]
    kept = (weighted[0].any(1)) & (weighted[1].any(1))
    expected = 1 - paired_cosine_distances(weighted[0][kept], weighted[1][kept]).mean()
    assert features.tfidf_cosine(OTHER, BINARY) == pytest.approx(expected)


def test_tfidf_counts_on_the_whole_corpus():
    rows = torch.tensor([3, 4, 5])
    on_rows = features.tfidf_cosine(OTHER, BINARY, rows=rows)
    assert on_rows == features.tfidf_cosine(OTHER[rows], BINARY[rows], corpus=BINARY)
    assert on_rows != features.tfidf_cosine(OTHER[rows], BINARY[rows])
    assert math.isnan(features.tfidf_cosine(REAL, BINARY))


def test_relative_frobenius_by_hand():
    reference = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert features.relative_frobenius(reference + torch.eye(2), reference) == pytest.approx(math.sqrt(2) / 5)
    assert features.relative_frobenius(reference, 0 * reference) == math.inf


def test_classifier_sees_swapped_features():
    labels = torch.arange(30) % 2
    reference = REAL.clone()
    reference[:, 0] = 10 * (2 * labels - 1)
    moved = reference.clone()
    moved[:15, 0] *= -1
    everywhere = torch.ones(30, dtype=torch.bool)
    judge = features.feature_classifier_match(moved, reference, labels, test_mask=everywhere)
    assert judge == (0.5, 0.5, 1)
    rows = torch.arange(15)
    judge = features.feature_classifier_match(moved, reference, labels, test_mask=everywhere, rows=rows)
    assert judge == (0, 0, 1)


def test_classifier_gives_the_same_answer_for_sparse_features():
    sparse = torch.eye(40, dtype=torch.float64)
    labels = torch.arange(40) // 20
    assert features.feature_classifier_match(sparse, sparse, labels).match == 1
    assert features.feature_classifier_match(sparse.roll(20, 0), sparse, labels).match == 0


def test_classifier_without_test_rows_or_classes():
    labels = (REAL[:, 0] > 0).long()
    judge = features.feature_classifier_match(REAL, REAL, labels)
    assert judge.match == 1 and math.isnan(judge.accuracy) and math.isnan(judge.accuracy_reference)
    assert math.isnan(features.feature_classifier_match(REAL, REAL, 0 * labels).match)
    with pytest.raises(ValueError, match=r"got labels of shape \[3\].*\[30\]"):
        features.feature_classifier_match(REAL, REAL, labels[:3])


@pytest.mark.parametrize("chunk_size", [7, 1024])
def test_retrieval_agrees_with_brute_force(chunk_size):
    x = REAL + 2 * torch.randn(30, 12, generator=GENERATOR, dtype=torch.float64)
    cosines = cosine_similarity(x.numpy(), REAL.numpy())
    ranks = (cosines >= np.diag(cosines)[:, None]).sum(1)
    found = features.retrieval_rank(x, REAL, chunk_size=chunk_size)
    assert found == (np.median(ranks), (ranks == 1).mean())
    rows = torch.tensor([4, 9])
    assert features.retrieval_rank(x, REAL, rows=rows).median_rank == ranks[[4, 9]].mean()


def test_large_tables_are_compared_row_by_row(monkeypatch):
    x = REAL.roll(1, 0) + 0.1
    whole = features.retrieval_rank(x, REAL), features.neighbour_cosine(REAL)
    monkeypatch.setattr(features, "MOST_COSINES", 1)
    seen = []
    product = torch.Tensor.__matmul__
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: seen.append(b.size(1)) or product(a, b))
    alone = features.retrieval_rank(x, REAL), features.neighbour_cosine(REAL)
    assert alone[0] == whole[0] and alone[1] == pytest.approx(whole[1]) and set(seen) == {1}


def test_retrieval_shares_ranks_among_ties():
    ones = torch.ones(5, 2)
    assert features.retrieval_rank(ones, ones) == (3, 0)
    assert features.retrieval_rank(0 * REAL, REAL) == (15.5, 0)


def test_scores_do_not_depend_on_the_order_of_nodes():
    order = torch.randperm(30, generator=GENERATOR)
    for measure in (features.feature_cosine, features.feature_jaccard, features.retrieval_rank):
        assert measure(OTHER[order], BINARY[order]) == pytest.approx(measure(OTHER, BINARY))


@pytest.mark.parametrize("measure", [features.feature_cosine, features.feature_jaccard, features.retrieval_rank])
def test_shapes_must_agree(measure):
    with pytest.raises(ValueError, match=r"got features of shape \[30, 11\] beside \[30, 12\]"):
        measure(REAL[:, 1:], REAL)


def test_neighbours_of_another_direction_by_hand():
    x = torch.tensor([[3.0, 4.0], [6.0, 8.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    # Nearest of another direction: 0.8 for both rows along (3, 4), 0.6 and 0.8 for the axes; zero rows are left out.
    assert features.neighbour_cosine(x) == pytest.approx((0.8 + 0.8 + 0.6 + 0.8) / 4)
    assert features.neighbour_cosine(x, rows=torch.tensor([2, 3])) == pytest.approx(0.6)
    assert features.neighbour_cosine(torch.eye(40)) == 0 and math.isnan(features.neighbour_cosine(torch.zeros(2, 2)))
    assert features.neighbour_cosine(-x[:2]) == 0


def test_neighbours_are_the_same_in_a_sparse_table():
    x = (torch.rand(60, 200, generator=torch.Generator().manual_seed(0)) < 0.05).float()
    cosines = torch.nn.functional.normalize(x, dim=1) @ torch.nn.functional.normalize(x, dim=1).T
    cosines[cosines > 1 - 1e-5] = 0
    assert features.neighbour_cosine(x) == pytest.approx(cosines[x.any(dim=1)].amax(dim=1).mean().item(), abs=1e-6)
