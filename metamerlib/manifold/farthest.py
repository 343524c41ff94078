"""Metamers that are as far from their reference, and from each other, as their norm allows."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_graph, check_positive
from metamerlib.manifold.constraint import check_direction
from metamerlib.manifold.correction import TOLERANCE, constraint_of
from metamerlib.manifold.repulsion import Ball, Repulsion
from metamerlib.models.calling import Forward
from metamerlib.plain import as_seed
from metamerlib.search.metamer import Metamer


def farthest_metamer(
    model: nn.Module,
    start: Metamer | Data,
    *,
    layer: int | str | nn.Module | None = None,
    nodes: Any = None,
    free_nodes: Any = None,
    direction: Tensor | None = None,
    centre: Tensor | None = None,
    radius: float | None = None,
    max_steps: int = 40,
    tolerance: float = TOLERANCE,
    method: str = "auto",
    forward: Forward | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
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
        model: Any torch model of graphs; a private copy is converted to float64.
        start: A graph, which is its own reference, or a metamer to begin with.
        layer: As for :func:`metamerlib.walk`.
        nodes: As for :func:`metamerlib.walk`.
        free_nodes: As for :func:`metamerlib.walk`.
        method: As for :func:`metamerlib.walk`.
        forward: As for :func:`metamerlib.walk`.
        dtype: As for :func:`metamerlib.walk`.
        device: As for :func:`metamerlib.walk`.
        direction: D ``[n, F]``, one row for each free node; None for the way from the reference.
        centre: C ``[n, F]``; None for zero.
        radius: R; None for the distance of the reference from the centre.
        max_steps: Largest number of steps.
        tolerance: Largest relative error.

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
    constraint, x = constraint_of(
        model, start, layer=layer, nodes=nodes, free_nodes=free_nodes, method=method, forward=forward, dtype=dtype,
        device=device,
    )  # fmt: skip
    ball = Ball.of(constraint, centre, radius)
    if direction is None:
        repulsion = Repulsion.of(constraint, [constraint.base], tolerance, ball)
    else:
        check_direction(direction, constraint)
        unit = direction.detach().to(constraint.base)
        if not unit.any():
            raise ValueError("direction is zero; give the change of the free features to go along")
        repulsion = Repulsion.of(constraint, [-ball.radius * unit / unit.norm()], tolerance, ball)
    settings = {"solver": "farthest" if direction is None else "farthest along a direction"}
    return repulsion.search(x, max_steps, began, settings)


def several_metamers(
    model: nn.Module,
    graph: Data,
    *,
    layer: int | str | nn.Module,
    count: int = 4,
    nodes: Any = None,
    free_nodes: Any = None,
    max_steps: int = 40,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    method: str = "auto",
    forward: Forward | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
) -> list[Metamer]:
    """Search for metamers of one reference that are far from it and from each other.

    One after another, each from a random start, minimises a smooth maximum of its cosines with the reference
    and with those before it, at a norm of at most the reference's; see :func:`farthest_metamer`.

    Args:
        model: As for :func:`farthest_metamer`.
        graph: As for :func:`farthest_metamer`.
        layer: As for :func:`farthest_metamer`.
        nodes: As for :func:`farthest_metamer`.
        free_nodes: As for :func:`farthest_metamer`.
        max_steps: As for :func:`farthest_metamer`.
        tolerance: As for :func:`farthest_metamer`.
        method: As for :func:`farthest_metamer`.
        forward: As for :func:`farthest_metamer`.
        dtype: As for :func:`farthest_metamer`.
        device: As for :func:`farthest_metamer`.
        count: Number of metamers.
        seed: Seed of the starts.

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
    check_graph(graph)
    constraint, x = constraint_of(
        model, graph, layer=layer, nodes=nodes, free_nodes=free_nodes, method=method, forward=forward, dtype=dtype,
        device=device,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    others, found = [constraint.base], []
    for number in range(count):
        began = time.perf_counter()
        repulsion = Repulsion.of(constraint, others, tolerance)
        noise = torch.randn(x.shape, generator=generator, device="cpu", dtype=torch.float64).to(x)
        settings = {"solver": "several", "seed": seed, "number": number}
        found.append(repulsion.search(repulsion.somewhere(noise), max_steps, began, settings))
        others.append(constraint.rows_of(found[-1].graph))
    return found
