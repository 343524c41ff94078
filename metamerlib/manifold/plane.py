"""Relative error on a plane of features: the picture of a metamer manifold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_positive
from metamerlib.graphs.sampling import gaussian
from metamerlib.manifold.constraint import Constraint, check_apart, check_direction
from metamerlib.manifold.matching import MatchOptions, match
from metamerlib.plain import as_seed

_ENTRIES = 2**21


@dataclass(frozen=True)
class PlaneSlice:
    """Relative error on a plane through the reference.

    Attributes:
        along: Offsets along the tangent direction ``[R]``, in units of the features.
        across: Offsets along the normal direction ``[R]``.
        relative_error: ``[R, R]``; row i has offset ``across[i]``, column j offset ``along[j]``.
        tangent: Unit direction ``[n, F]``.
        normal: Unit direction ``[n, F]``, orthogonal to it.
    """

    along: Tensor
    across: Tensor
    relative_error: Tensor
    tangent: Tensor
    normal: Tensor


def plane_slice(
    model: nn.Module | Constraint,
    graph: Data | None = None,
    *,
    tangent: Tensor | None = None,
    normal: Tensor | None = None,
    extent: float | tuple[float, float] = 1.0,
    resolution: int = 41,
    seed: int = 0,
    **options: Unpack[MatchOptions],
) -> PlaneSlice:
    r"""Evaluate the relative error on a plane through a graph, spanned by a tangent and a normal direction.

    .. math:: e(a, b) = \|h_S(X + a t + b n) - h_S(X)\| / \|h_S(X)\|

    The normal direction is made orthogonal to the tangent one, and both are made unit vectors. With
    differences of metamers as directions the plane contains these metamers.

    Args:
        model: Any torch model of graphs, of which a private copy is converted to float64, or in the place of model,
            graph and options the constraint that :func:`metamerlib.manifold.match` makes of them.
        graph: x ``[N, F]``, edge_index ``[2, E]``, optional edge_weight ``[E]`` and batch.
        tangent: Change of the free features ``[n, F]``; None for a random visible direction, projected on to
            the tangent space.
        normal: The same for the second direction; None for a random one, projected on to the normal space.
        extent: Largest offset in both directions, or one for each, in units of the features.
        resolution: R, number of offsets in each direction.
        seed: Seed of random directions.
        **options: As for :func:`metamerlib.walk`.

    Raises:
        ValueError: If the directions do not fit or span no plane, or an argument is out of range.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
        >>> ml.plane_slice(model, graph, layer=2, nodes=[0], resolution=5).relative_error.shape
        torch.Size([5, 5])
    """
    check_positive("resolution", resolution, integer=True)
    seed = as_seed(seed)
    both = tuple(extent) if isinstance(extent, list | tuple) else (extent, extent)
    if len(both) != 2:
        raise ValueError(f"extent must be one number or two, along and across, got {len(both)}")
    for size in both:
        check_positive("extent", size)
    both = tuple(map(float, both))
    constraint = match(model, graph, **options)
    for given in (tangent, normal):
        if given is not None:
            check_direction(given, constraint)
    t, n = _directions(constraint, tangent, normal, seed)
    along, across = (torch.linspace(-size, size, resolution, device="cpu").to(t) for size in both)
    base, visible = constraint.visible(constraint.base), [constraint.visible(v) for v in (t, n)]

    def places(index: Tensor) -> Tensor:
        a, b = along[index % resolution], across[index // resolution]
        return base + a[:, None, None] * visible[0] + b[:, None, None] * visible[1]

    index = torch.arange(resolution**2, device=t.device)
    size = max(1, _ENTRIES // (constraint.graph.x.numel() + constraint.graph.edge_index.numel()))
    if not check_apart(constraint, places(index[:2])):
        size = 1
    errors = torch.cat([constraint.relative_errors(places(part)) for part in index.split(size)])
    return PlaneSlice(along, across, errors.reshape(resolution, resolution), t, n)


def _directions(
    constraint: Constraint, tangent: Tensor | None, normal: Tensor | None, seed: int
) -> tuple[Tensor, Tensor]:
    base = constraint.base
    seen = constraint.visible(gaussian((2, *base.shape), seed, base))
    linear = constraint.linearise(constraint.visible(base)) if tangent is None or normal is None else None
    if tangent is None and linear is not None:
        tangent = constraint.lift(linear.project(seen[0]))
    if normal is None and linear is not None:
        normal = constraint.lift(seen[1] - linear.project(seen[1]))
    assert tangent is not None and normal is not None
    tangent, normal = (v.detach().to(base) for v in (tangent, normal))
    if not tangent.norm() > 0:
        raise ValueError("the tangent direction is zero; choose another")
    tangent = tangent / tangent.norm()
    size = normal.norm()
    for _ in range(2):
        normal = normal - (normal * tangent).sum() * tangent
    if not normal.norm() > 1e-9 * size:
        raise ValueError("the two directions span no plane; choose another normal direction")
    return tangent, normal / normal.norm()
