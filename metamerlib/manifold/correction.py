"""Bring a point back on to the set of metamers by Gauss-Newton steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.manifold.constraint import Constraint, match_constraint
from metamerlib.manifold.linearisation import Linearisation
from metamerlib.search.metamer import Metamer, check_target_of

TOLERANCE = 1e-8
_CORRECTIONS = 12
LARGEST_CORRECTION = 0.5
SOLVE: dict[str, Any] = {"tolerance": 1e-6, "max_steps": 600}


class Correction(NamedTuple):
    """Features brought back to the manifold.

    Attributes:
        x: Features of the free rows ``[n, F]``.
        error: Norm of the one-sided residual over that of the target; it bounds the relative error.
        rounds: Number of least-norm corrections.
    """

    x: Tensor
    error: float
    rounds: int


def correct(
    constraint: Constraint,
    x: Tensor,
    *,
    tolerance: float = TOLERANCE,
    linear: Linearisation | None = None,
    max_rounds: int = _CORRECTIONS,
) -> Correction:
    r"""Apply least-norm Gauss-Newton corrections until features match.

    .. math:: x \leftarrow x - J^+ r(x)

    with r the one-sided residual, so that units which the reference silences need only stay silent. J is
    computed anew whenever the error falls too slowly with the old one.

    Args:
        constraint: The match.
        x: Features of the free rows ``[n, F]``.
        tolerance: Largest error.
        linear: J at a place nearby.
        max_rounds: Largest number of corrections.

    Returns:
        The corrected features; whether they match is told by their error.
    """
    u = start = constraint.visible(x)
    with torch.no_grad():
        residual = constraint.residual(u)
    error, rounds, fresh = residual.norm().item(), 0, False
    while error > tolerance and rounds < max_rounds:
        if linear is None:
            linear, fresh = constraint.linearise(u), True
        trial = u - linear.least_norm(residual, **SOLVE).x
        with torch.no_grad():
            residual_there = constraint.residual(trial)
        there = residual_there.norm().item()
        rounds += 1
        if there < error:
            slow = there > 0.1 * error
            u, residual, error = trial, residual_there, there
            linear, fresh = (None, False) if slow else (linear, False)
        elif fresh or not there < float("inf"):
            break
        else:
            linear = None
    return Correction(x + constraint.lift(u - start), error, rounds)


def constraint_of(
    model: nn.Module, start: Metamer | Data, *, layer: Any, nodes: Any, free_nodes: Any, **options: Any
) -> tuple[Constraint, Tensor]:
    """Set up the match that a graph or a metamer stands for, and return the free features to begin with.

    Raises:
        ValueError: If a layer is missing, or given beside a metamer that has its own.
    """
    if not isinstance(start, Metamer):
        if layer is None:
            raise ValueError("layer is missing; a graph has none of its own")
        constraint = match_constraint(model, start, layer=layer, nodes=nodes, free_nodes=free_nodes, **options)
        return constraint, constraint.base
    if not isinstance(start.reference, Data) or not _same_edges(start.graph, start.reference):
        raise ValueError(
            "the metamer has other edges than its reference, but only its features can move; pass one that was found "
            "with vary='features', or its graph"
        )
    if nodes is not None or free_nodes is not None:
        raise ValueError("a metamer has its own nodes and free_nodes; drop them, or pass its reference")
    layer = start.layer if layer is None else layer
    constraint = match_constraint(
        model, start.reference, layer=layer, nodes=start.nodes, free_nodes=start.free_nodes, **options
    )
    if constraint.probe.name != start.layer:
        raise ValueError(f"the metamer matches layer {start.layer!r}, got layer={layer!r}; drop layer")
    check_target_of(start, constraint.target.activation)
    return constraint, constraint.rows_of(start.graph)


def _same_edges(graph: Data, other: Data) -> bool:
    weights = graph.edge_weight, other.edge_weight
    same = weights[0] is None if weights[1] is None else weights[0] is not None and torch.equal(*weights)
    return same and torch.equal(graph.edge_index, other.edge_index)
