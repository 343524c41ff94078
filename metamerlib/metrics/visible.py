"""How much of what a model's first layer sees is still there at a metamer.

A metamer from a random start keeps the start in every direction that the first linear maps do not read. That
part is the same for every layer and every training, so likeness is measured here without it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from metamerlib.checks import as_tensor, check_module
from metamerlib.metrics.features import feature_cosine, row_places
from metamerlib.metrics.invariance import check_likeness
from metamerlib.models.calling import Forward
from metamerlib.probing.probe import Probe
from metamerlib.probing.reduce import reduced
from metamerlib.probing.row_space import RowSpace, row_space
from metamerlib.search.metamer import Metamer, check_metamer

SMALLEST_DENOMINATOR = 1e-3
NAN = float("nan")


class VisibleLikeness(NamedTuple):
    """Likeness to the reference, with what no model can see set apart.

    Attributes:
        visible_cosine: Likeness of the metamer in the visible coordinates.
        visible_cosine_start: The same where the search began, about 0 from a random start.
        visible_cosine_shuffled: The same beside the reference's rows of other nodes.
        feature_cosine_nullspace: S_feat of the null-space metamer from the same start.
        rise: S_feat of the metamer minus that of the start.
        kept: The rise over that of the null-space metamer.
        visible_rank: Number r of visible directions.
        visible_reason: Why these are NaN; empty where they are numbers.
    """

    visible_cosine: float = NAN
    visible_cosine_start: float = NAN
    visible_cosine_shuffled: float = NAN
    feature_cosine_nullspace: float = NAN
    rise: float = NAN
    kept: float = NAN
    visible_rank: float = NAN
    visible_reason: str = ""


def visible_cosine(x: Tensor, reference: Tensor, basis: Tensor | None = None, *, rows: Tensor | None = None) -> float:
    r"""Average the cosine of corresponding rows in the visible coordinates, centred at the reference's mean row.

    .. math:: \operatorname{mean}_v \cos(u'_v - c, u_v - c), \quad U = X Q, \quad c = \operatorname{mean}_v u_v

    over the rows with :math:`x_v \neq 0`. Random features with the reference's moments score about 0, and every
    input that the first linear maps cannot tell from the reference scores 1.

    Args:
        x: Features of the metamer ``[N, F]``.
        reference: Features of the reference ``[N, F]``.
        basis: Q ``[F, r]``, orthonormal columns that span what is seen
            (:func:`metamerlib.probing.row_space.row_space`); None for all F directions.
        rows: Rows that are averaged ``[n]``; None for all. The centre is the mean of every row.

    Returns:
        A number between -1 and 1; NaN without a row to average.

    Raises:
        ValueError: If the shapes do not fit, or the columns of the basis are not orthonormal.

    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> visible_cosine(x, x), visible_cosine(x.flip(0), x)
    (1.0, -1.0)
    """
    for what, got in (("x", x), ("reference", reference)):
        as_tensor(what, got, "N", "F", dtype="number", empty=True)
    if x.shape != reference.shape:
        raise ValueError(
            f"got features of shape {list(x.shape)} beside {list(reference.shape)}; pass two tables [N, F]"
        )
    rows = row_places("rows", rows, len(x))
    u, v = x.detach().double(), reference.detach().double()
    if basis is not None:
        q = _checked(basis, x.size(1)).to(u)
        u, v = u @ q, v @ q
    centre = v.mean(dim=0)
    chosen = torch.arange(len(x), device=x.device) if rows is None else rows
    chosen = chosen[(reference[chosen] != 0).any(dim=1)]
    return feature_cosine(u[chosen] - centre, v[chosen] - centre).mean if len(chosen) else NAN


def kept(found: float, start: float, nullspace: float) -> float:
    r"""Divide the rise of S_feat over the start by the rise of the null-space metamer.

    .. math:: \frac{S_{feat}(X') - S_{feat}(X_0)}{S_{feat}(X_{null}) - S_{feat}(X_0)}

    1 where a layer keeps everything that the first linear maps see, 0 where the metamer is as unlike the
    reference as its start.

    Args:
        found: S_feat of the metamer.
        start: S_feat of the features that the search began with.
        nullspace: S_feat of :math:`X + (X_0 - X)(I - Q Q^T)`, the null-space metamer from the same start.

    Returns:
        The share, which is not cut to 0 to 1; NaN where the denominator is below 0.001 (the start is the
        reference, or hardly anything is seen).

    >>> round(kept(0.3, 0.1, 0.5), 3)
    0.5
    """
    for what, got in (("found", found), ("start", start), ("nullspace", nullspace)):
        check_likeness(what, got)
    possible = nullspace - start
    return (found - start) / possible if possible >= SMALLEST_DENOMINATOR else NAN


def visible_likeness(model: nn.Module, metamer: Metamer, *, forward: Forward | None = None) -> VisibleLikeness:
    """Measure how much of what the first linear maps see the features of a metamer keep.

    Args:
        model: The model that is inspected; it is left as it was.
        metamer: The metamer to measure, on its free rows.
        forward: A call ``forward(model, graph) -> output`` in place of the default.

    Returns:
        The likeness; NaN with a reason where the model reads the features in another way than through linear
        maps alone.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("davis")
        >>> model = ml.GNN(conv="gcn", in_channels=graph.num_features, hidden_channels=4, out_channels=2, num_layers=2)
        >>> round(visible_likeness(model, ml.nullspace_metamer(model, graph)).kept, 3)
        1.0
    """
    check_module(model)
    check_metamer("metamer", metamer)
    if metamer.reference.x is None:
        return VisibleLikeness(visible_reason=without_space(model, metamer))
    probe = Probe(model, metamer.layer, forward=forward)
    with torch.no_grad():
        space = reduced(probe, [metamer.reference, metamer.start], complete=True).space
    return likeness_in(space, metamer) if space else VisibleLikeness(visible_reason=without_space(model, metamer))


def likeness_in(space: RowSpace, metamer: Metamer, *, partners: Tensor | None = None) -> VisibleLikeness:
    """Measure a metamer in a row space that the model is known to see no more than.

    Args:
        space: The row space.
        metamer: The metamer.
        partners: The other node that stands for each in the shuffle ``[N]``; None moves every row on by one.
    """
    x, reference, start = metamer.graph.x, metamer.reference.x, metamer.start.x
    free = torch.arange(len(x), device=x.device) if metamer.free_nodes is None else metamer.free_nodes
    others = torch.arange(len(x), device=x.device).roll(1) if partners is None else partners.to(x.device)
    unseen = reference + space.invisible(start - reference)
    found, begun, spared = (feature_cosine(each[free], reference[free]).mean for each in (x, start, unseen))
    return VisibleLikeness(
        visible_cosine(x, reference, space.basis, rows=free),
        visible_cosine(start, reference, space.basis, rows=free),
        visible_cosine(x, reference[others], space.basis, rows=free),
        spared,
        found - begun,
        kept(found, begun, spared),
        float(space.rank),
    )


def without_space(model: nn.Module, metamer: Metamer) -> str:
    """Say why there is no row space that a model sees no more than."""
    x = metamer.reference.x
    if x is None:
        return "the graph has no features"
    if row_space(model, x.size(1)) is None:
        return f"no linear map of the model takes {x.size(1)} features"
    return "the model reads the features in another way than through its first linear maps alone"


def _checked(basis: Tensor, num_features: int) -> Tensor:
    as_tensor("basis", basis)
    if basis.dim() != 2 or basis.size(0) != num_features:
        raise ValueError(f"got a basis of shape {list(basis.shape)}; pass Q [{num_features}, r]")
    q = basis.detach().double()
    if (q.T @ q - torch.eye(q.size(1), dtype=q.dtype, device=q.device)).abs().max() > 1e-4:
        raise ValueError("the columns of the basis are not orthonormal; pass row_space(model, F).basis, or use QR")
    return basis
