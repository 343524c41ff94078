"""What is matched (target, nodes, residual) and what may vary (free rows, coordinates, start)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from metamerlib.capture import Probe, Recording, with_features
from metamerlib.checks import check_choice, check_features
from metamerlib.propagation import fix_structure
from metamerlib.rowspace import RowSpace, agree, projected, row_space, sees_only


class Evaluation(NamedTuple):
    """One look at B positions: what the solver minimises, its gradient, and what is reported.

    Attributes:
        objective: Squared residual over the squared norm of the target ``[B]``.
        gradient: Gradient of each objective at its own position ``[B, n, r]``.
        loss: :math:`L_{act}` ``[B]``.
    """

    objective: Tensor
    gradient: Tensor
    loss: Tensor


@dataclass(frozen=True)
class Target:
    """Activations to be matched.

    Attributes:
        activation: ``[|S|, d_k]``.
        active: Where a rectified target is positive ``[|S|, d_k]``; None for other activations.
        nodes: S, or None for all rows.
    """

    activation: Tensor
    active: Tensor | None
    nodes: Tensor | None

    @classmethod
    def of(cls, recording: Recording, nodes: Tensor | None) -> Target:
        """Take the target from a recording of the reference.

        Raises:
            ValueError: If all activations of S are zero, where no relative loss is defined.
        """
        h = _rows(recording.activation, nodes).detach().clone()
        if not torch.isfinite(h).all():
            raise ValueError("the target activation holds NaN or infinite entries; check the model's weights")
        if not h.any():
            raise ValueError("the target activation is zero on all matched nodes; the relative loss is undefined")
        active = _rows(recording.pre_activation, nodes) > 0 if recording.rectified else None
        return cls(h, active, nodes)

    def residual(self, recording: Recording, copies: int) -> tuple[Tensor, Tensor]:
        """Return the residual that is minimised and the plain one, both ``[B, |S|, d_k]``.

        For a rectified layer, with :math:`z'` the pre-activation of the candidate,

        .. math:: r = h' - h + [z > 0] \\min(z', 0),

        which is :math:`z' - h` on active units and :math:`\\max(z', 0)` on the others where there is no
        residual connection. It vanishes exactly when the activations are equal there, and unlike
        :math:`h' - h` it has a gradient on dead units.
        """
        plain = _rows(_split(recording.activation, copies), self.nodes) - self.activation
        if self.active is None or recording.pre_activation is None:
            return plain, plain.detach()
        z = _rows(_split(recording.pre_activation, copies), self.nodes)
        return plain + self.active * z.clamp(max=0), plain.detach()

    def at_nodes(self, rows: Tensor, num_nodes: int) -> Tensor | None:
        """Return numbers of the matched rows ``[|S|]`` at their nodes ``[N]``; None if rows are not nodes."""
        if self.nodes is not None:
            return rows.new_zeros(num_nodes).index_copy_(0, self.nodes, rows)
        return rows if rows.numel() == num_nodes else None

    def dead_units(self, recording: Recording) -> int | None:
        """Count units that are active in the target and dead in a recording; None if z is out of reach."""
        if self.active is None or recording.pre_activation is None:
            return None
        z = _rows(recording.pre_activation, self.nodes)
        return int(((self.activation > 0) & (z <= 0)).sum())


@dataclass(frozen=True)
class FeatureProblem:
    """Find features whose activations equal the target, from B starts at once.

    The B copies of the graph are one disjoint union, so that any convolution can treat them as one batch.

    Attributes:
        probe: Records the layer of a private copy, projected on to the row space where there is one.
        graph: Disjoint union of B copies.
        target: What is matched.
        start: Coordinates of the free rows ``[B, n, r]``.
        all_rows: Coordinates of every row ``[B * N, r]``; free rows are overwritten.
        free_rows: Positions of the free rows in the union ``[B * n]``, or None if all rows are free.
        space: Row space of the first linear maps; None if the coordinates are the features themselves.
        features_start: Features of the free rows at the start ``[B, n, F]``.
    """

    probe: Probe
    graph: Data
    target: Target
    start: Tensor
    all_rows: Tensor
    free_rows: Tensor | None
    space: RowSpace | None
    features_start: Tensor

    def evaluate(self, position: Tensor) -> Evaluation:
        """Compute objective, gradient and loss at ``position [B, n, r]``."""
        position = position.detach().requires_grad_()
        residual, plain = self.residuals(position)
        norm = self.target.activation.square().sum()
        objective = residual.square().sum((1, 2)) / norm
        (gradient,) = torch.autograd.grad(objective.sum(), position)
        return Evaluation(objective.detach(), gradient, plain.square().sum((1, 2)) / norm)

    def residuals(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Return the residual that is minimised and the plain one ``[B, |S|, d_k]`` at ``position [B, n, r]``.

        Raises:
            ValueError: If the layer does not depend on the features.
        """
        rows = position.reshape(-1, position.size(-1))
        if self.free_rows is not None:
            rows = self.all_rows.index_copy(0, self.free_rows, rows)
        recording = self.probe(with_features(self.graph, rows), complete=False)
        residual, plain = self.target.residual(recording, position.size(0))
        if position.requires_grad and torch.is_grad_enabled() and not residual.requires_grad:
            raise ValueError(f"layer {self.probe.name!r} does not depend on the features; choose another")
        return residual, plain

    @property
    def relaxable(self) -> bool:
        """Whether ReLUs before the layer's own can be leaked."""
        return self.probe.inner_relus > 0

    def relaxed(self, leak: float, start: Tensor) -> FeatureProblem:
        """Return the same search from ``start [B, n, r]`` in a model whose inner ReLUs leak."""
        return replace(self, probe=self.probe.leaked(leak), start=start)

    def features(self, position: Tensor, copy: int) -> Tensor:
        """Return the features ``[n, F]`` of the free rows of one copy at ``position [n, r]``."""
        if self.space is None:
            return position
        return self.space.features(position, self.features_start[copy])


def feature_starts(
    graph: Data, free: Tensor | None, start: str | Tensor | None, num_restarts: int, seed: int
) -> Tensor:
    """Return features of the free rows for every restart ``[B, n, F]``.

    Args:
        graph: The reference, x ``[N, F]``.
        free: Rows that may move ``[n]``, or None for all.
        start: moments (the default), reference, or features ``[N, F]``.
        num_restarts: B; more than one needs random starts.
        seed: Seed of the noise.

    Raises:
        ValueError: If the start is unknown, does not fit the graph, or is asked for several times.
    """
    x = graph.x
    if isinstance(start, Tensor):
        check_features(start, x.size(0))
        if start.shape != x.shape or start.dtype != x.dtype:
            raise ValueError(f"start must be {x.dtype} {list(x.shape)}, got {start.dtype} {list(start.shape)}")
        rows = start.to(x.device).clone()
    elif start in (None, "moments"):
        mean, deviation = x.mean(0), x.std(0, correction=0)
        shape = (num_restarts, x.size(0) if free is None else free.numel(), x.size(1))
        generator = torch.Generator().manual_seed(seed)
        return mean + deviation * torch.randn(shape, generator=generator, dtype=x.dtype).to(x.device)
    else:
        check_choice("start", start, ["moments", "reference"])
        rows = x.clone()
    if num_restarts > 1:
        raise ValueError(f"num_restarts={num_restarts} needs random starts; with a given start there is only one")
    return (rows if free is None else rows[free])[None]


def feature_problem(
    probe: Probe, reference: Data, target: Target, starts: Tensor, free_nodes: Tensor | None, *, reduce: bool
) -> FeatureProblem:
    """Set up the search for features.

    Args:
        probe: Records the layer of the model as it was given.
        reference: The reference graph.
        target: What is matched.
        starts: Features of the free rows ``[B, n, F]``.
        free_nodes: Rows that may move ``[n]``, or None for all.
        reduce: Whether to search in the row space of the first linear maps where the model allows it.

    Raises:
        ValueError: If several starts are asked for and the model couples the graphs of a disjoint union.
    """
    copies, device = starts.size(0), starts.device
    graph = _union(reference, copies)
    rows = None
    if free_nodes is not None:
        offsets = torch.arange(copies, device=device)[:, None] * reference.x.size(0)
        rows = (free_nodes + offsets).reshape(-1)
    flat = starts.reshape(-1, starts.size(-1))
    at_start = with_features(graph, flat if rows is None else graph.x.index_copy(0, rows, flat))
    space = row_space(probe.model, reference.x.size(1)) if reduce else None
    seen = [(g, space.coordinates(g.x)) for g in (reference, at_start)] if space is not None else []
    if space is None or not sees_only(probe, space, seen):
        space, seen = None, [(reference, reference.x), (at_start, at_start.x)]
    small = probe if space is None else projected(probe, space)
    here, begin = (x for _, x in seen)
    inputs = with_features(graph, here.repeat(copies, 1))
    if copies > 1:
        _check_apart(small, with_features(reference, here), inputs, copies)
    fast = with_fixed_structure(small, [inputs, with_features(graph, begin)])
    position = (begin if rows is None else begin[rows]).reshape(copies, -1, begin.size(1))
    return FeatureProblem(fast, graph, target, position, inputs.x, rows, space, starts)


def _check_apart(probe: Probe, one: Data, union: Data, copies: int) -> None:
    with torch.no_grad():
        alone, together = (probe(graph, complete=False).activation for graph in (one, union))
    if not agree(together, alone.repeat(copies, 1)):
        raise ValueError(
            "this model couples the graphs of a disjoint union (a norm over all nodes, perhaps): "
            "use num_restarts=1, or let its forward take batch"
        )


def with_fixed_structure(probe: Probe, inputs: list[Data]) -> Probe:
    """Return a faster probe of the same layer, or the one given where the faster one differs on any input."""
    fast = probe.copy()
    fix_structure(fast.model)
    try:
        with torch.no_grad():
            for graph in inputs:
                if not agree(fast(graph, complete=False).activation, probe(graph, complete=False).activation):
                    return probe
    except (RuntimeError, IndexError):
        return probe
    return fast


def _union(graph: Data, copies: int) -> Data:
    if copies == 1:
        return graph
    union = Batch.from_data_list([Data.from_dict(graph.to_dict())] * copies)
    if graph.get("batch") is not None:
        shift = (int(graph.batch.max()) + 1) * torch.arange(copies, device=graph.x.device)
        union.batch = (graph.batch + shift[:, None]).reshape(-1)
    return union


def _split(rows: Tensor, copies: int) -> Tensor:
    return rows.reshape(copies, -1, rows.size(-1))


def _rows(values: Tensor | None, nodes: Tensor | None) -> Tensor:
    assert values is not None
    return values if nodes is None else values.index_select(-2, nodes)
