"""How similar the features of two graphs on the same nodes are."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from torch import Tensor

from metamerlib.checks import as_tensor
from metamerlib.plain import as_count

MOST_COSINES = 50_000_000  # that are held at once


class RowCosine(NamedTuple):
    """A mean over rows, and the number of rows that it leaves out."""

    mean: float
    zero_rows: int


class ClassifierMatch(NamedTuple):
    """What a classifier of features alone makes of other features."""

    match: float
    accuracy: float
    accuracy_reference: float


class Retrieval(NamedTuple):
    """How near the own row is among all reference rows."""

    median_rank: float
    first: float


def feature_cosine(x: Tensor, reference: Tensor) -> RowCosine:
    r"""Average the cosine of corresponding rows.

    .. math:: S_{feat} = \operatorname{mean}_v \frac{x'_v \cdot x_v}{\|x'_v\| \, \|x_v\|}

    Args:
        x: features of the metamer [N, F].
        reference: features of the reference [N, F].

    Returns:
        The mean over the rows that are zero in neither (NaN if there are none), and
        how many rows are zero in at least one and hence left out.

    Raises:
        ValueError: if the two are not of one shape [N, F].

    >>> feature_cosine(torch.tensor([[1.0, 0.0], [2.0, 2.0], [0.0, 0.0]]), torch.eye(3)[:, :2])
    RowCosine(mean=0.8535533905932737, zero_rows=1)
    """
    x, reference = _floats(x, reference)
    dots = (x * reference).sum(dim=1, dtype=torch.float64)
    squares = [rows.square().sum(dim=1, dtype=torch.float64) for rows in (x, reference)]
    kept = (squares[0] > 0) & (squares[1] > 0)
    cosines = dots[kept] / (squares[0][kept] * squares[1][kept]).sqrt()
    return RowCosine(cosines.mean().item(), int((~kept).sum()))


def feature_jaccard(x: Tensor, reference: Tensor) -> float:
    r"""Compute the share of ones that two binary feature tables have in common.

    .. math:: |X \cap X'| / |X \cup X'|

    One ratio over all entries (node, feature), not a mean over nodes.

    Args:
        x: features of the metamer [N, F].
        reference: features of the reference [N, F].

    Returns:
        A share between 0 and 1, and 1 if there are no ones; NaN unless every entry
        of both is 0 or 1.

    Raises:
        ValueError: if the two are not of one shape [N, F].

    >>> feature_jaccard(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 1.0]]))
    0.3333333333333333
    """
    x, reference = _floats(x, reference)
    if any(((rows != 0) & (rows != 1)).any() for rows in (x, reference)):
        return float("nan")
    union = int(((x + reference) > 0).sum())
    return 1.0 if union == 0 else int((x * reference > 0).sum()) / union


def tfidf_cosine(x: Tensor, reference: Tensor, *, rows: Tensor | None = None, corpus: Tensor | None = None) -> float:
    r"""Average the cosine of corresponding rows after weighting rare features up.

    .. math:: w_f = 1 + \log \frac{1 + N}{1 + \#\{v : x_{vf} > 0\}}

    the smoothed inverse document frequency of scikit-learn's ``TfidfTransformer``,
    counted on the reference for both.

    Args:
        x: features of the metamer [N, F].
        reference: features of the reference [N, F].
        rows: the rows that are averaged [n]; None for all. The frequencies are
            counted on every row.
        corpus: features that the frequencies are counted on [M, F]; None for the
            reference's own.

    Returns:
        The mean over the rows that are zero in neither. NaN if an entry is negative:
        a weight of words is defined for counts, so a metamer with real values has none.

    Raises:
        ValueError: if the two are not of one shape [N, F].

    >>> round(tfidf_cosine(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.eye(2)), 4)
    0.8536
    """
    x, reference = _floats(x, reference)
    rows = row_places("rows", rows, len(x))
    if corpus is not None:
        corpus = as_tensor("corpus", corpus, "M", x.size(1), dtype="number").to(x)
    if (x < 0).any() or (reference < 0).any():
        return float("nan")
    corpus = reference if corpus is None else corpus
    weight = 1 + torch.log((1 + len(corpus)) / (1 + (corpus > 0).sum(dim=0)))
    if rows is not None:
        x, reference = x[rows], reference[rows]
    return feature_cosine(x * weight, reference * weight).mean


def relative_frobenius(x: Tensor, reference: Tensor) -> float:
    r"""Measure the distance of two feature tables, relative to the reference.

    .. math:: \|X' - X\|_F / \|X\|_F

    Args:
        x: features of the metamer [N, F].
        reference: features of the reference [N, F].

    Returns:
        The distance, 0 for equal tables; infinite beside a reference of zeros.

    Raises:
        ValueError: if the two are not of one shape [N, F].

    >>> relative_frobenius(torch.tensor([[3.0, 0.0]]), torch.tensor([[2.0, 0.0]]))
    0.5
    """
    x, reference = _floats(x, reference)
    distance, norm = (rows.square().sum(dtype=torch.float64).sqrt().item() for rows in (x - reference, reference))
    if norm == 0:
        return 0.0 if distance == 0 else float("inf")
    return distance / norm


def feature_classifier_match(
    x: Tensor,
    reference: Tensor,
    labels: Tensor,
    *,
    train_mask: Tensor | None = None,
    test_mask: Tensor | None = None,
    rows: Tensor | None = None,
) -> ClassifierMatch:
    """Ask a classifier that sees features and no graph whether it can tell the two apart.

    A logistic regression (features scaled to a largest magnitude of 1, scikit-learn's
    ridge of 1) is fitted to the reference's rows.

    Args:
        x: features of the metamer [N, F].
        reference: features of the reference [N, F].
        labels: classes to learn [N]: the true ones, or a model's predictions where
            the graph has none.
        train_mask: rows to learn from [N], boolean; None for all.
        test_mask: rows on which accuracy is measured [N], boolean; None for none.
        rows: the rows that are judged [n]; None for all.

    Returns:
        The share of rows on which the classifier says the same of both, its accuracy
        on the metamer's and on the reference's test rows. NaN where there is nothing
        to measure: no test rows, or a single class to learn from.

    Raises:
        ValueError: if the two are not of one shape [N, F] or the labels not [N].

    >>> x, labels = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]]), torch.tensor([0, 0, 1, 1])
    >>> feature_classifier_match(-x, x, labels, test_mask=torch.ones(4, dtype=torch.bool))
    ClassifierMatch(match=0.0, accuracy=0.0, accuracy_reference=1.0)
    """
    x, reference = _floats(x, reference)
    as_tensor("labels", labels, dtype="integer")
    if labels.shape != x.shape[:1]:
        raise ValueError(f"got labels of shape {list(labels.shape)}; pass one class per row, [{len(x)}]")
    for name, mask in (("train_mask", train_mask), ("test_mask", test_mask)):
        if mask is not None:
            as_tensor(name, mask, len(x), dtype="bool")
    rows = row_places("rows", rows, len(x))
    y = labels.cpu().numpy()
    train = np.ones(len(y), dtype=bool) if train_mask is None else train_mask.cpu().numpy()
    judged = np.arange(len(y)) if rows is None else rows.cpu().numpy()
    if len(np.unique(y[train])) < 2 or len(judged) == 0:
        return ClassifierMatch(float("nan"), float("nan"), float("nan"))
    features, known = _matrix(x), _matrix(reference)
    classifier = make_pipeline(MaxAbsScaler(), LogisticRegression(max_iter=1000)).fit(known[train], y[train])
    said, said_reference = classifier.predict(features[judged]), classifier.predict(known[judged])
    match = float((said == said_reference).mean())
    test = np.zeros(len(judged), dtype=bool) if test_mask is None else test_mask.cpu().numpy()[judged]
    if not test.any():
        return ClassifierMatch(match, float("nan"), float("nan"))
    right, right_reference = (answer[test] == y[judged][test] for answer in (said, said_reference))
    return ClassifierMatch(match, float(right.mean()), float(right_reference.mean()))


def retrieval_rank(x: Tensor, reference: Tensor, *, rows: Tensor | None = None, chunk_size: int = 1024) -> Retrieval:
    """Search the reference's rows for each row of the metamer and rank its own.

    All reference rows are sorted by their cosine to the metamer's row, and 1 means
    that the own row comes first. Rows at the same cosine share their mean rank, so
    that a row like no other in particular ranks in the middle; hence equal tables
    reach 1 throughout only if no two of their rows are parallel.

    Args:
        x: features of the metamer [N, F].
        reference: features of the reference [N, F].
        rows: the rows that are searched for [n]; None for all.
        chunk_size: rows that are compared at once, fewer where the table has very many.

    Returns:
        The median rank, between 1 and N, and the share of ranks that are 1.

    Raises:
        ValueError: if the two are not of one shape [N, F].

    >>> retrieval_rank(torch.eye(3).roll(1, 0), torch.eye(3))
    Retrieval(median_rank=2.5, first=0.0)
    """
    x, reference = _floats(x, reference)
    rows, chunk_size = row_places("rows", rows, len(x)), as_count("chunk_size", chunk_size)
    own = torch.arange(len(x), device=x.device) if rows is None else rows
    if own.numel() == 0:
        return Retrieval(float("nan"), float("nan"))
    directions = torch.nn.functional.normalize(reference, dim=1)
    slack = 64 * torch.finfo(directions.dtype).eps
    table = _sparse(directions) if directions.count_nonzero() < 0.1 * directions.numel() else directions
    ranks = []
    for part in own.split(_rows_at_once(chunk_size, len(x))):
        cosines = (table @ torch.nn.functional.normalize(x[part], dim=1).T).T
        to_own = cosines.gather(1, part.unsqueeze(1))
        nearer = (cosines > to_own + slack).sum(dim=1)
        tied = (cosines >= to_own - slack).sum(dim=1) - nearer
        ranks.append(nearer + (tied + 1).double() / 2)
    rank = torch.cat(ranks)
    return Retrieval(rank.quantile(0.5).item(), (rank == 1).double().mean().item())


def neighbour_cosine(x: Tensor, *, rows: Tensor | None = None, chunk_size: int = 1024) -> float:
    r"""Average the likeness of a row to its nearest neighbour among the rows that differ from it.

    .. math:: \operatorname{mean}_v \max_{u : x_u \nparallel x_v} \frac{x_v \cdot x_u}{\|x_v\| \, \|x_u\|}

    A metamer that is less like its reference than this is less like it than some other node of the graph is.

    Args:
        x: features [N, F].
        rows: the rows whose neighbours are looked for, among all [n]; None for all.
        chunk_size: rows that are compared at once, fewer where the table has very many.

    Returns:
        The mean over the rows that are not zero; NaN if there are none. Rows of one direction do not count as
        neighbours of each other; a row without any other counts with 0.

    >>> neighbour_cosine(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.6, 0.8]]))
    0.6000000238418579
    """
    x, _ = _floats(x, x)
    rows, chunk_size = row_places("rows", rows, len(x)), as_count("chunk_size", chunk_size)
    directions = torch.nn.functional.normalize(x, dim=1)
    slack = 64 * torch.finfo(directions.dtype).eps
    table = _sparse(directions) if directions.count_nonzero() < 0.1 * directions.numel() else directions
    own = torch.arange(len(x), device=x.device) if rows is None else rows
    nearest = []
    for part in own[directions[own].any(dim=1)].split(_rows_at_once(chunk_size, len(x))):
        cosines = (table @ directions[part].T).T
        other = (cosines < 1 - slack) & (x != 0).any(dim=1)
        best = cosines.masked_fill(~other, -math.inf).amax(dim=1)
        nearest.append(best.masked_fill(best.isinf(), 0.0).double())
    return torch.cat(nearest).mean().item() if nearest else float("nan")


def _rows_at_once(chunk_size: int, size: int) -> int:
    """Return how many rows are compared at once with a table of this size, so that memory does not grow with it."""
    return max(1, min(chunk_size, MOST_COSINES // max(1, size)))


def _floats(x: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    as_tensor("x", x, dtype="number", empty=True)
    as_tensor("reference", reference, dtype="number", empty=True)
    if x.shape != reference.shape or x.dim() != 2:
        raise ValueError(
            f"got features of shape {list(x.shape)} beside {list(reference.shape)}; pass two tables [N, F]"
        )
    dtype = torch.promote_types(torch.promote_types(x.dtype, reference.dtype), torch.float32)
    return x.detach().to(dtype), reference.detach().to(dtype)


def row_places(what: str, rows: Tensor | None, size: int) -> Tensor | None:
    """Return row numbers ``[n]`` after a look at their range; None stands for all."""
    if rows is None:
        return None
    as_tensor(what, rows, "n", dtype="integer", empty=True)
    if rows.numel() and not 0 <= int(rows.min()) <= int(rows.max()) < size:
        raise ValueError(f"{what} must lie in 0..{size - 1}, got {int(rows.min())}..{int(rows.max())}")
    return rows


def _sparse(x: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return x.to_sparse_csr()


def _matrix(x: Tensor) -> np.ndarray | csr_matrix:
    values = x.cpu().double().numpy()
    return csr_matrix(values) if np.count_nonzero(values) < 0.1 * values.size else values
