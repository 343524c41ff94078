"""Moves of edges, scored by the thousand in one matrix product."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metamerlib.graphs.edges import among, pair_keys
from metamerlib.search.edges.messages import Call, Metric


@dataclass(frozen=True)
class Moves:
    """Moves that may be made together.

    Attributes:
        slots: Edges that are replaced ``[2, m]``; the second is -1 where a move replaces one edge only.
        new: Pairs that take their place ``[2, 2, m]`` (slot, end, move).
        ends: Nodes that gain or lose an edge ``[4, m]``; a node may stand twice.
        score: Estimated change of the squared residual ``[m]``.
        threshold: Largest change that is accepted ``[m]``.
    """

    slots: Tensor
    new: Tensor
    ends: Tensor
    score: Tensor
    threshold: Tensor

    def __len__(self) -> int:
        return self.score.numel()

    def take(self, index: Tensor) -> Moves:
        """Return some of the moves."""
        return Moves(*(field[..., index] for field in (self.slots, self.new, self.ends, self.score, self.threshold)))

    def apply(self, pairs: Tensor) -> Tensor:
        """Return the pairs ``[2, |E|]`` after all moves."""
        pairs = pairs.clone()
        for slot, new in zip(self.slots, self.new, strict=True):
            there = slot >= 0
            pairs[:, slot[there]] = new[:, there]
        return pairs


@dataclass(frozen=True)
class Influence:
    """Effect of one edge more or less on the squared residual, in coordinates whose squares are costs.

    Attributes:
        message: U: what a node sends ``[N, K]``.
        pull: Slope for what a node gathers, its own factor included ``[N, K]``.
        weight: Curvature for what a node gathers, for each propagation ``[N, L]``.
        square: :math:`|U|^2` for each propagation ``[N, L]``.
        parts: Number of coordinates of each propagation, L numbers.
        more: The node with one edge more, or None where degrees stay.
        less: The node with one edge less.
    """

    message: Tensor
    pull: Tensor
    weight: Tensor
    square: Tensor
    parts: list[int]
    more: Shifted | None = None
    less: Shifted | None = None

    def wide(self, weight: Tensor) -> Tensor:
        """Repeat ``[n, L]`` for every coordinate ``[n, K]``."""
        return torch.cat([weight[:, k : k + 1].expand(-1, size) for k, size in enumerate(self.parts)], dim=1)


@dataclass(frozen=True)
class Shifted:
    """A node whose degree changes by one.

    Attributes:
        constant: Change of the squared residual but for the new message itself ``[N]``.
        pull: Slope for the new message ``[N, K]``.
        weight: Curvature for it ``[N, L]``.
        message: What the node then sends ``[N, K]``.
        square: :math:`|U|^2` of that ``[N, L]``.
    """

    constant: Tensor
    pull: Tensor
    weight: Tensor
    message: Tensor
    square: Tensor


def influence(calls: list[Call], metrics: list[Metric], degree: Tensor, edges: Tensor, *, shift: bool) -> Influence:
    """Put the propagations of a model side by side.

    Args:
        calls: Propagations with gradients of half the squared residual.
        metrics: One for each.
        degree: Of every node ``[N]``, floating point.
        edges: Directed edges ``[2, 2 |E|]``.
        shift: Whether moves may change degrees.
    """
    parts = [metric.forward.size(1) for metric in metrics]
    here = [_seen(call, metric, degree) for call, metric in zip(calls, metrics, strict=True)]
    message, pull, weight, square = (torch.cat(field, dim=1) for field in zip(*here, strict=True))
    if not shift:
        return Influence(message, pull, weight, square, parts)
    more, less = (
        Shifted(*_join([_shifted(c, m, degree, edges, by) for c, m in zip(calls, metrics, strict=True)]))
        for by in (1, -1)
    )
    return Influence(message, pull, weight, square, parts, more, less)


def _join(fields: list[tuple[Tensor, ...]]) -> list[Tensor]:
    first, *others = zip(*fields, strict=True)
    return [torch.stack(first).sum(0), *(torch.cat(other, dim=1) for other in others)]


def _seen(call: Call, metric: Metric, degree: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    left, right = call.left(degree)[:, None], call.right(degree)[:, None]
    message = (call.message * right) @ metric.forward
    pull = 2 * left * (call.gradient @ metric.backward)
    return message, pull, left.square() * metric.weight[:, None], message.square().sum(1, keepdim=True)


def _shifted(call: Call, metric: Metric, degree: Tensor, edges: Tensor, by: int) -> tuple[Tensor, ...]:
    """See :class:`Shifted`; what the node gathered is scaled anew, and so is what it sends to its neighbours."""
    after = (degree + by).clamp(min=0)
    left, right = call.left(after)[:, None], call.right(after)[:, None]
    shrink, dim = left / call.left(degree)[:, None] - 1, right / call.right(degree)[:, None] - 1
    gathered, message = call.gathered @ metric.forward, call.message @ metric.forward
    pull, curvature = 2 * (call.gradient @ metric.backward), metric.weight[:, None]
    constant = (shrink * pull * gathered).sum(1) + (curvature * shrink.square() * gathered.square()).sum(1)
    sent = call.message * call.right(degree)[:, None]
    constant = constant + 2 * dim[:, 0] * (call.message * call.returned).sum(1)
    heard = (call.left(degree).square() * metric.weight)[edges[1]]
    heard = torch.zeros_like(degree).index_add_(0, edges[0], heard)
    constant = constant + dim[:, 0].square() * heard * (sent @ metric.forward).square().sum(1)
    slope = left * pull + 2 * left * curvature * shrink * gathered
    fresh = message * right
    return constant, slope, left.square() * curvature, fresh, fresh.square().sum(1, keepdim=True)


def switches(slots: Tensor, edges: Tensor, others: Tensor, second: Tensor, score: Tensor, threshold: Tensor) -> Moves:
    """Return the moves that take edges (a, b) and (c, d) to (a, d) and (c, b).

    Args:
        slots: Places of the first edges ``[m]``.
        edges: Ends of the first edges ``[2, m]``.
        others: Places of the second edges ``[m]``.
        second: Ends of the second edges ``[2, m]``.
        score: See :class:`Moves`.
        threshold: See :class:`Moves`.
    """
    (a, b), (c, d) = edges, second
    new = torch.stack([torch.stack([a, d]), torch.stack([c, b])])
    return Moves(torch.stack([slots, others]), new, torch.stack([a, b, c, d]), score, threshold)


def rewirings(slots: Tensor, edges: Tensor, nodes: Tensor, score: Tensor, threshold: Tensor) -> Moves:
    """Return the moves that take edges (a, b) ``[2, m]`` at their places ``[m]`` to (a, c), c in ``nodes [m]``."""
    (a, b), new = edges, torch.stack([torch.stack([edges[0], nodes])] * 2)
    return Moves(
        torch.stack([slots, torch.full_like(slots, -1)]), new, torch.stack([a, b, nodes, nodes]), score, threshold
    )


def score_switches(seen: Influence, rows: Tensor, columns: Tensor) -> Tensor:
    r"""Estimate the change for every switch of a row's edge (a, b) and a column's (c, d) to (a, d) and (c, b).

    .. math:: \sum_x p_x \cdot (U_z - U_y) + w_x |U_z - U_y|^2

    over the four ends x, each of which hears z in place of y.

    Args:
        seen: What one edge more or less does.
        rows: Directed edges ``[2, R]``.
        columns: Directed edges ``[2, C]``.

    Returns:
        Scores ``[R, C]``.
    """
    (a, b), (c, d) = rows, columns
    u, w, q = seen.message, seen.weight, seen.square

    def slope(x: Tensor, y: Tensor) -> Tensor:
        return seen.pull[x] - 2 * seen.wide(w[x]) * u[y]

    def constant(x: Tensor, y: Tensor) -> Tensor:
        straight = (seen.pull[x] * u[y] + seen.pull[y] * u[x]).sum(1, keepdim=True)
        return (w[x] * q[y] + w[y] * q[x]).sum(1, keepdim=True) - straight

    one = u.new_ones(1, 1)
    left = [slope(a, b), u[b], slope(b, a), u[a], w[a], w[b], q[b], q[a], constant(a, b), one.expand(a.numel(), 1)]
    right = [u[d], slope(c, d), u[c], slope(d, c), q[d], q[c], w[c], w[d], one.expand(c.numel(), 1), constant(c, d)]
    return torch.cat(left, dim=1) @ torch.cat(right, dim=1).T


def score_rewirings(seen: Influence, rows: Tensor, columns: Tensor) -> Tensor:
    """Estimate the change for every replacement of a row's edge (a, b) by (a, c), c a column's node.

    Args:
        seen: What one edge more or less does, shifted degrees included.
        rows: Directed edges ``[2, R]``.
        columns: Nodes ``[C]``.

    Returns:
        Scores ``[R, C]``.
    """
    (a, b), c = rows, columns
    u, w, q, more, less = seen.message, seen.weight, seen.square, seen.more, seen.less
    assert more is not None and less is not None
    lost = less.constant[b] - (less.pull[b] * u[a]).sum(1) + (less.weight[b] * q[a]).sum(1)
    fixed = lost - (seen.pull[a] * u[b]).sum(1) + (w[a] * q[b]).sum(1)
    one = u.new_ones(1, 1)
    left = [seen.pull[a] - 2 * seen.wide(w[a]) * u[b], u[a], w[a], q[a], fixed[:, None], one.expand(a.numel(), 1)]
    ones, constant = one.expand(c.numel(), 1), more.constant[c][:, None]
    right = [more.message[c], more.pull[c], more.square[c], more.weight[c], ones, constant]
    return torch.cat(left, dim=1) @ torch.cat(right, dim=1).T


def admissible(moves: Moves, num_nodes: int, present: Tensor, forbidden: Tensor) -> Tensor:
    """Say which moves make no loop and no edge that exists or is forbidden.

    Args:
        moves: Candidates.
        num_nodes: N.
        present: Sorted keys of the edges.
        forbidden: Sorted keys of pairs that may not be added.
    """
    fine = torch.ones(len(moves), dtype=torch.bool, device=moves.score.device)
    for slot, (one, other) in zip(moves.slots, moves.new, strict=True):
        keys = pair_keys((one, other), num_nodes)
        bad = (one == other) | among(keys, present) | among(keys, forbidden)
        fine &= ~(bad & (slot >= 0))
    return fine & (moves.slots[0] != moves.slots[1])


def disjoint(moves: Moves, num_nodes: int, rounds: int = 3) -> Moves:
    """Keep moves no two of which share a node; the earlier ones go first."""
    count = len(moves)
    alive = torch.ones(count, dtype=torch.bool, device=moves.score.device)
    kept = torch.zeros_like(alive)
    for _ in range(rounds):
        index = alive.nonzero().reshape(-1)
        if not index.numel():
            break
        owner = torch.full((num_nodes,), count, dtype=torch.long, device=index.device)
        ends = moves.ends[:, index]
        owner.scatter_reduce_(0, ends.reshape(-1), index.repeat(4), "amin")
        kept[index[(owner[ends] == index).all(0)]] = True
        used = torch.zeros(num_nodes, dtype=torch.bool, device=index.device)
        used[moves.ends[:, kept].reshape(-1)] = True
        alive &= ~used[moves.ends].any(0)
    return moves.take(kept.nonzero().reshape(-1))
