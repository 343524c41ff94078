"""Metamers that are as far from their reference, and from each other, as their norm allows."""

from __future__ import annotations

import time
from typing import Unpack

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_graph, check_positive
from metamerlib.graphs.sampling import gaussian
from metamerlib.manifold.constraint import Constraint, check_direction
from metamerlib.manifold.correction import TOLERANCE
from metamerlib.manifold.matching import MatchOptions, match
from metamerlib.manifold.repulsion import Ball, Repulsion
from metamerlib.plain import as_seed
from metamerlib.search.metamer import Metamer


def farthest_metamer(
    model: nn.Module | Constraint,
    start: Metamer | Data | None = None,
    *,
    direction: Tensor | None = None,
    centre: Tensor | None = None,
    radius: float | None = None,
    max_steps: int = 40,
    tolerance: float = TOLERANCE,
    **options: Unpack[MatchOptions],
) -> Metamer:
    r"""Search for the metamer that is farthest from its reference among those of no larger norm.

    .. math:: \min_{X'} \langle X', X \rangle \quad \text{subject to} \quad
        h_S(X') = h_S(X), \; \|X'\|_F \le \|X\|_F

    over the free features. Without a bound there is none: null spaces are unbounded. On the sphere of equal norms,
    where the minimum lies, the distance and the cosine say the same, :math:`\|X' - X\|^2 = 2 \|X\|^2 (1 - \cos)`.
    Each step goes towards the minimum over the ball on the tangent space, which is known in closed form, as far as
    least-norm corrections bring it back (and all the way for a linear model); the search is local.

    With a ``direction`` D it maximises :math:`\langle X', D \rangle` instead: the metamer that goes farthest towards
    a class, a word, or whatever D stands for. ``centre`` and ``radius`` put another ball,
    :math:`\|X' - C\|_F \le R`, in the place of the reference's norm; the reference must lie inside.

    Args:
        model: Any torch model of graphs, of which a private copy is converted to float64, or in the place of model,
            graph and options the constraint that :func:`metamerlib.manifold.match` makes of them.
        start: A graph, which is its own reference, or a metamer to begin with.
        direction: D ``[n, F]``, one row for each free node; None for the way from the reference.
        centre: C ``[n, F]``; None for zero.
        radius: R; None for the distance of the reference from the centre.
        max_steps: Largest number of steps.
        tolerance: Largest relative error.
        **options: As for :func:`metamerlib.walk`.

    Returns:
        A metamer in float64, as its reference is. Its status is converged (no direction lowers the cosine by more
        than about 1e-4), stalled (no
        step could be corrected) or max_steps; its history has columns step, loss, seconds, distance, cosine and,
        with a direction, along (:math:`\langle X', D \rangle / \|D\|`).

    Raises:
        ValueError: If an argument is out of range, or the free features of the reference are zero.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
        >>> far = ml.farthest_metamer(model, graph, layer=2, nodes=[0], max_steps=5)
        >>> bool(far.history["distance"].iloc[-1] > 6)
        True
    """
    began = time.perf_counter()
    check_positive("max_steps", max_steps, integer=True)
    check_positive("tolerance", tolerance, below=1)
    constraint = match(model, start, **options)
    ball = Ball.of(constraint, centre, radius)
    if direction is None:
        repulsion = Repulsion.of(constraint, [constraint.base], tolerance, ball)
    else:
        unit = check_direction(direction, constraint)
        if not unit.any():
            raise ValueError("direction is zero; give the change of the free features to go along")
        repulsion = Repulsion.of(constraint, [-ball.radius * unit / unit.norm()], tolerance, ball)
    settings = {"solver": "farthest" if direction is None else "farthest along a direction"}
    return repulsion.search(constraint.start, max_steps, began, settings)


def several_metamers(
    model: nn.Module | Constraint,
    graph: Data | None = None,
    *,
    count: int = 4,
    max_steps: int = 40,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    **options: Unpack[MatchOptions],
) -> list[Metamer]:
    """Search for metamers of one reference that are far from it and from each other.

    One after another, each from a random start, minimises a smooth maximum of its cosines with the reference
    and with those before it, at a norm of at most the reference's; see :func:`farthest_metamer`.

    Args:
        model: As for :func:`farthest_metamer`.
        graph: As for :func:`farthest_metamer`.
        max_steps: As for :func:`farthest_metamer`.
        tolerance: As for :func:`farthest_metamer`.
        count: Number of metamers.
        seed: Seed of the starts.
        **options: As for :func:`metamerlib.walk`.

    Returns:
        The metamers, each with a status of its own.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
        >>> far = ml.several_metamers(model, graph, layer=2, nodes=[0], count=2, max_steps=5)
        >>> [bool(m.relative_error < 1e-7) for m in far]
        [True, True]
    """
    check_positive("count", count, integer=True)
    check_positive("max_steps", max_steps, integer=True)
    seed = as_seed(seed)
    check_positive("tolerance", tolerance, below=1)
    if not isinstance(model, Constraint):
        check_graph(graph)
    constraint = match(model, graph, **options)
    generator = torch.Generator().manual_seed(seed)
    others, found = [constraint.base], []
    for number in range(count):
        began = time.perf_counter()
        repulsion = Repulsion.of(constraint, others, tolerance)
        noise = gaussian(constraint.base.shape, generator, constraint.base)
        settings = {"solver": "several", "seed": seed, "number": number}
        found.append(repulsion.search(repulsion.somewhere(noise), max_steps, began, settings))
        others.append(constraint.rows_of(found[-1].graph))
    return found
