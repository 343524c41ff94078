"""Join two metamers of one reference by a path of metamers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

import pandas as pd
import torch
from torch import Tensor, nn

from metamerlib.checks import check_positive
from metamerlib.manifold.constraint import Constraint
from metamerlib.manifold.correction import TOLERANCE, correct
from metamerlib.manifold.matching import MatchOptions, match
from metamerlib.search.metamer import Metamer, check_target_of

_SMALLEST_SHARE = 2.0**-12


@dataclass(frozen=True)
class Path:
    """A path through metamers.

    Attributes:
        positions: Features of the free rows ``[K, n, F]``, in float64; the ends are the two metamers.
        table: One row per position: share (of the straight line), relative_error, gap (distance to the position
            before), detour (distance to the straight line).
        status: joined, or blocked where the path could not be continued.
        length: Sum of the gaps.
        straight: Distance of the ends.
    """

    positions: Tensor
    table: pd.DataFrame
    status: str
    length: float
    straight: float


def join(
    model: nn.Module | Constraint,
    first: Metamer,
    second: Metamer,
    *,
    points: int = 20,
    largest_gap: float = 2.0,
    max_points: int = 400,
    tolerance: float = TOLERANCE,
    **options: Unpack[MatchOptions],
) -> Path:
    """Follow the straight line between two metamers of one reference, corrected to metamers all along.

    The place on the line, plus what remains of the detour made so far, is corrected by least-norm Gauss-Newton.
    A point that cannot be corrected, or lies farther from the one before than ``largest_gap`` times the spacing of
    ``points`` points on the line, is tried again nearer; so the path is continuous at that distance.

    Args:
        model: Any torch model of graphs, or the constraint that both metamers meet; see :func:`metamerlib.walk`.
        first: Metamers of the same reference, layer, nodes and free nodes; both are corrected first.
        second: Metamers of the same reference, layer, nodes and free nodes; both are corrected first.
        points: Number of steps on the line where none has to be repeated.
        largest_gap: Largest distance of successive points, in spacings of the line.
        max_points: Largest number of points.
        tolerance: Largest relative error.
        **options: forward, method, dtype and device, as for :func:`metamerlib.walk`.

    Returns:
        The path; where it is blocked it ends at the last point that was reached.

    Raises:
        ValueError: If the two are not metamers of one reference in one sense, or an argument is out of range.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
        >>> ends = [ml.find_metamer(model, graph, layer=2, nodes=[0], seed=seed) for seed in (0, 1)]
        >>> ml.join(model, *ends).status
        'joined'
    """
    for name, number in (("points", points), ("max_points", max_points)):
        check_positive(name, number, integer=True)
    check_positive("largest_gap", largest_gap)
    check_positive("tolerance", tolerance, below=1)
    _check_pair(first, second)
    made = isinstance(model, Constraint)
    constraint = match(model, None if made else first, **options)
    for metamer in (first, second) if made else (second,):  # a match that is set up here has looked at the first
        check_target_of(metamer, constraint.target.activation)
    ends = [correct(constraint, constraint.rows_of(m.graph), tolerance=tolerance) for m in (first, second)]
    start, goal = ends[0].x, ends[1].x
    if max(end.error for end in ends) > tolerance:
        return _path(constraint, [(0.0, start)], start, goal, "blocked")
    places, status = _follow(constraint, start, goal, points, largest_gap, max_points, tolerance)
    return _path(constraint, places, start, goal, status)


def _check_pair(first: object, second: object) -> None:
    for got in (first, second):
        if not isinstance(got, Metamer):
            raise TypeError(f"join takes two metamers, got {type(got).__name__}; make them with find_metamer")
    assert isinstance(first, Metamer) and isinstance(second, Metamer)
    a, b = first.reference, second.reference
    same = (
        a.x.shape == b.x.shape and torch.equal(a.edge_index, b.edge_index) and torch.equal(a.x.double(), b.x.double())
    )
    if not same:
        raise ValueError("the two metamers have different references; join metamers of one graph")
    if first.layer != second.layer:
        raise ValueError(f"the two metamers match layers {first.layer!r} and {second.layer!r}; choose one layer")
    for name in ("nodes", "free_nodes"):
        one, other = getattr(first, name), getattr(second, name)
        if (one is None) != (other is None) or (one is not None and one.tolist() != other.tolist()):
            raise ValueError(f"the two metamers have different {name}; find both with the same")
    for metamer in (first, second):
        if not torch.equal(metamer.graph.edge_index, metamer.reference.edge_index):
            raise ValueError("a metamer has other edges than its reference; only features can be joined")


def _follow(
    constraint: Constraint,
    start: Tensor,
    goal: Tensor,
    points: int,
    largest_gap: float,
    max_points: int,
    tolerance: float,
) -> tuple[list[tuple[float, Tensor]], str]:
    limit = largest_gap * (goal - start).norm().item() / points
    share, x, stride, places = 0.0, start, 1.0 / points, [(0.0, start)]
    while share < 1:
        if stride < _SMALLEST_SHARE / points or len(places) >= max_points:
            return places, "blocked"
        ahead = min(1.0, share + stride)
        ahead = 1.0 if 1 - ahead < 1e-9 else ahead
        trial = goal if ahead == 1 else x + (ahead - share) / (1 - share) * (goal - x)
        found = correct(constraint, trial, tolerance=tolerance)
        if found.error > tolerance or (found.x - x).norm() > limit:
            stride /= 2
            continue
        share, x, stride = ahead, found.x, min(2 * stride, 1.0 / points)
        places.append((share, x))
    return places, "joined"


def _path(constraint: Constraint, places: list[tuple[float, Tensor]], start: Tensor, goal: Tensor, status: str) -> Path:
    rows, before = [], start
    for share, x in places:
        rows.append(
            {
                "share": share,
                "relative_error": constraint.relative_errors(constraint.visible(x)[None]).item(),
                "gap": (x - before).norm().item(),
                "detour": (x - start - share * (goal - start)).norm().item(),
            }
        )
        before = x
    table = pd.DataFrame(rows)
    positions = torch.stack([x for _, x in places])
    return Path(positions, table, status, float(table["gap"].sum()), (goal - start).norm().item())
