"""Walk on the manifold of metamers: steps along the tangent, each corrected back on to the manifold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import pandas as pd
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_choice, check_positive
from metamerlib.graphs.sampling import gaussian
from metamerlib.manifold.constraint import Constraint, check_direction
from metamerlib.manifold.correction import LARGEST_CORRECTION, SOLVE, TOLERANCE, Correction, correct
from metamerlib.manifold.linearisation import Linearisation
from metamerlib.manifold.matching import MatchOptions, match
from metamerlib.plain import as_flag, as_seed
from metamerlib.search.metamer import Metamer

SMALLEST_STEP, LONGEST_STEP = 1e-4, 10.0


@dataclass(frozen=True)
class Walk:
    """A walk through metamers of one reference.

    Attributes:
        positions: Features of the free rows ``[K, n, F]``, in float64, at the kept steps.
        kept: Steps whose positions are kept ``[K]``; 0 is the start.
        table: One row per step: step, travelled (length of the way), distance (from the reference, in features),
            relative_error, step_length, corrections, pattern_changes (ReLU units that switched).
        status: finished, stuck (no step of the smallest length could be corrected) or off_manifold (the start
            could not be corrected).
        reference: The reference in float64.
        layer: Name of the layer.
        nodes: S, or None for all rows.
        free_nodes: Free rows, or None for all.
        relative_error: That of the last position, recomputed on the whole graph.
    """

    positions: Tensor
    kept: Tensor
    table: pd.DataFrame
    status: str
    reference: Data
    layer: str
    nodes: Tensor | None
    free_nodes: Tensor | None
    relative_error: float

    def graph(self, index: int = -1) -> Data:
        """Return the metamer at a kept position, by default the last."""
        graph = self.reference.clone()
        x = self.positions[index]
        graph.x = x if self.free_nodes is None else graph.x.index_copy(0, self.free_nodes, x)
        return graph


def walk(
    model: nn.Module | Constraint,
    start: Metamer | Data | None = None,
    *,
    steps: int = 50,
    step_length: float = 0.05,
    direction: str | Tensor = "random",
    invisible: bool = True,
    tolerance: float = TOLERANCE,
    keep_every: int = 1,
    seed: int = 0,
    **options: Unpack[MatchOptions],
) -> Walk:
    """Walk on the manifold of metamers of a graph, or of a metamer's reference.

    Each step goes along the projection of a direction on to the tangent space, and is corrected by least-norm
    Gauss-Newton until the one-sided residual, and with it the relative error, is at most ``tolerance``. A step
    whose correction fails, or moves by more than half of the step, is tried again at half the length; after a
    success the length doubles up to the one asked for. ReLU units that the reference silences need only stay
    silent, and inner ReLUs may switch: a step then crosses into another linear region.

    Args:
        model: Any torch model of graphs, of which a private copy is converted to float64, or in the place of model,
            graph and options the constraint that :func:`metamerlib.manifold.match` makes of them.
        start: A graph, which is its own reference, or a metamer, which is corrected first.
        steps: Number of steps.
        step_length: Largest step, as a share of the norm of the reference's free features.
        direction: random (a random direction, carried along: it is projected anew at every step), away (away
            from the reference), or a change of the free features ``[n, F]``, carried along.
        invisible: Whether to use directions that the first linear maps cannot see, where every step is exact.
        tolerance: Largest relative error.
        keep_every: Keep every k-th position, and the last.
        seed: Seed of the random direction.
        **options: Those of :func:`metamerlib.manifold.match`: layer, nodes, free_nodes, forward, method, dtype, device;
            a metamer has its own layer, nodes and free_nodes.

    Returns:
        The walk; its ``status`` says whether it took all steps.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or no tangent direction is left.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2, act="elu")
        >>> way = ml.walk(model, graph, layer=2, steps=5)
        >>> way.status, bool(way.table["relative_error"].max() <= 1e-8)
        ('finished', True)
    """
    for name, number in (("steps", steps), ("keep_every", keep_every)):
        check_positive(name, number, integer=True)
    check_positive("step_length", step_length)
    if step_length > LONGEST_STEP:
        raise ValueError(
            f"step_length is a share of the features' norm, got {step_length!r}; give at most {LONGEST_STEP:g}"
        )
    check_positive("tolerance", tolerance, below=1)
    seed, invisible = as_seed(seed), as_flag("invisible", invisible)
    if not isinstance(direction, Tensor):
        check_choice("direction", direction, ["random", "away"])
    constraint = match(model, start, **options)
    if isinstance(direction, Tensor):
        direction = check_direction(direction, constraint)
    walker = _Walker(
        constraint, direction, invisible=invisible, tolerance=tolerance, step_length=step_length, seed=seed
    )
    return walker.go(constraint.start, steps, keep_every)


class _Walker:
    """One walk: where it is heading, and how long its steps are."""

    def __init__(
        self,
        constraint: Constraint,
        direction: str | Tensor,
        *,
        invisible: bool,
        tolerance: float,
        step_length: float,
        seed: int,
    ) -> None:
        self.constraint, self.invisible, self.tolerance = constraint, invisible, tolerance
        self.longest = self.length = step_length * (constraint.base.norm().item() or 1.0)
        self.away = isinstance(direction, str) and direction == "away"
        base = constraint.base
        self.heading = direction if isinstance(direction, Tensor) else gaussian(base.shape, seed, base)

    def go(self, x: Tensor, steps: int, keep_every: int) -> Walk:
        constraint = self.constraint
        x, error, rounds = correct(constraint, x, tolerance=self.tolerance)
        kept, rows, travelled = [(0, x)], [], 0.0
        pattern = constraint.pattern(constraint.visible(x))
        status = "finished" if error <= self.tolerance else "off_manifold"
        rows.append(self._row(0, 0.0, x, 0.0, rounds, 0))
        for step in range(1, steps + 1 if status == "finished" else 1):
            found = self._step(x)
            if found is None:
                status = "stuck"
                break
            moved, new = (found.x - x).norm().item(), constraint.pattern(constraint.visible(found.x))
            x, travelled = found.x, travelled + moved
            rows.append(self._row(step, travelled, x, moved, found.rounds, int((new != pattern).sum())))
            pattern = new
            if step % keep_every == 0 or step == steps:
                kept.append((step, x))
        if kept[-1][0] != rows[-1]["step"]:
            kept.append((rows[-1]["step"], x))
        index, positions = zip(*kept, strict=True)
        return Walk(
            positions=torch.stack(positions), kept=torch.tensor(index, device="cpu"), table=pd.DataFrame(rows),
            status=status, reference=constraint.reference, layer=constraint.probe.name, nodes=constraint.nodes,
            free_nodes=constraint.free_nodes, relative_error=constraint.true_error(x),
        )  # fmt: skip

    def _step(self, x: Tensor) -> Correction | None:
        """Take one step, as long as can be corrected; None if even the smallest cannot."""
        constraint = self.constraint
        linear = constraint.linearise(constraint.visible(x))
        tangent = self._tangent(x, linear)
        while self.length >= SMALLEST_STEP * self.longest:
            trial = x + self.length * tangent
            found = correct(constraint, trial, tolerance=self.tolerance, linear=linear)
            moved = (found.x - trial).norm().item()
            if found.error <= self.tolerance and moved <= LARGEST_CORRECTION * self.length:
                self.length = min(2 * self.length, self.longest)
                return found
            self.length /= 2
        return None

    def _tangent(self, x: Tensor, linear: Linearisation) -> Tensor:
        constraint = self.constraint
        offset = x - constraint.base
        heading = offset if self.away and offset.norm() > 1e-6 * self.longest else self.heading
        tangent = constraint.lift(linear.project(constraint.visible(heading), **SOLVE))
        if self.invisible:
            tangent = tangent + constraint.invisible(heading)
        size = tangent.norm()
        if not size > 1e-9 * heading.norm():
            raise ValueError("no tangent direction is left: the match fixes all features; match fewer nodes")
        self.heading = tangent / size
        return self.heading

    def _row(self, step: int, travelled: float, x: Tensor, moved: float, rounds: int, changes: int) -> dict[str, Any]:
        constraint = self.constraint
        return {
            "step": step,
            "travelled": travelled,
            "distance": (x - constraint.base).norm().item(),
            "relative_error": constraint.relative_errors(constraint.visible(x)[None]).item(),
            "step_length": moved,
            "corrections": rounds,
            "pattern_changes": changes,
        }
