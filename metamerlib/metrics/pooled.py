"""How well a pooled row is matched: against the spread of a collection's rows, and its nearest other graph."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metamerlib.checks import as_tensor


class PooledMatch(NamedTuple):
    """The error of a pooled row beside the differences between graphs.

    Attributes:
        centred_error: Over the root mean square distance of the collection's rows from their mean.
        nearest_ratio: Distance to the own reference over the distance from there to the nearest other graph.
        twins: Other graphs of the collection with the reference's own row.
    """

    centred_error: float
    nearest_ratio: float
    twins: int


def pooled_match(found: Tensor, reference: Tensor, rows: Tensor) -> PooledMatch:
    r"""Measure how well a graph's pooled row is matched at the resolution at which a model tells graphs apart.

    .. math:: e = \frac{\|h' - h\|}{\sqrt{\operatorname{mean}_g \|h_g - \bar h\|^2}}, \qquad
        \rho = \frac{\|h' - h\|}{\min_{g : h_g \ne h} \|h_g - h\|}

    Pooled rows of a collection often have nearly one direction, so that an error relative to their norm is small for
    any two graphs. Rows that equal the reference's up to rounding are those of the reference itself and of its twins,
    which the model does not tell apart either; they are no nearest other graph.

    Args:
        found: Row of the metamer [1, d].
        reference: Row of the reference [1, d].
        rows: Rows of the graphs of its collection [G, d]; the reference's own may be among them.

    Returns:
        The centred error (infinite where all rows are equal and the error is not zero), the ratio (NaN without
        another row), and the number of twins.

    Raises:
        ValueError: If the shapes do not fit.

    >>> rows = torch.tensor([[0.0, 0.0], [0.0, 0.0], [2.0, 0.0], [4.0, 0.0]])
    >>> pooled_match(torch.tensor([[0.5, 0.0]]), rows[:1], rows).nearest_ratio
    0.25
    """
    for what, got in (("found", found), ("reference", reference), ("rows", rows)):
        as_tensor(what, got, "G", "d")
    if found.shape != reference.shape or len(reference) != 1 or rows.shape[1:] != reference.shape[1:]:
        raise ValueError(
            f"got rows of shapes {list(found.shape)}, {list(reference.shape)} and {list(rows.shape)}; "
            "pass [1, d], [1, d] and [G, d]"
        )
    rounding = 1000 * torch.finfo(reference.dtype).eps * reference.double().norm()
    found, reference, rows = (each.detach().double().flatten(1) for each in (found, reference, rows))
    away = (rows - reference).norm(dim=1)
    other = away[away > rounding]
    if len(other) == len(rows):
        rows = torch.cat([reference, rows])
    spread = (rows - rows.mean(dim=0)).square().sum(dim=1).mean().sqrt()
    error = (found - reference).norm()
    centred = 0.0 if error == 0 else float(error / spread)
    ratio = float(error / other.min()) if len(other) else float("nan")
    return PooledMatch(centred, ratio, len(rows) - len(other) - 1)
