"""Annealed moves of single ones in all rows at once: the fast solver for binary features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from metamerlib.search.annealing import Schedule, accept, attribute_change, independent_nodes
from metamerlib.search.bits.problem import BitProblem, Curvature, Look

SPARE_SLOTS = 8
MEMORY_OF_CURVATURE = 0.5
FIRST_REFRESHES = (5, 15, 30)
IDLE_STEPS = 60
MOST_SCORES = 2**22


class Moves(NamedTuple):
    """Changes of slots; the entries of one move stand together.

    Attributes:
        rows: ``[m * size]``.
        slots: ``[m * size]``.
        bits: Feature that each slot gets ``[m * size]``, F to empty it.
        size: Entries per move: 1 for a swap within a row, 2 for a one that goes from one row to another.
        change: Predicted change of the objective ``[m]``.
        threshold: Largest change that is accepted ``[m]``.
    """

    rows: Tensor
    slots: Tensor
    bits: Tensor
    size: int
    change: Tensor
    threshold: Tensor

    def __len__(self) -> int:
        return self.change.numel()

    def take(self, index: Tensor) -> Moves:
        """Return some of the moves, in the order of ``index``."""
        entries = (index[:, None] * self.size + torch.arange(self.size, device=index.device)).flatten()
        rows, slots, bits = (part[entries] for part in self[:3])
        return Moves(rows, slots, bits, self.size, self.change[index], self.threshold[index])

    def enough(self, objective: float) -> int:
        """Count the moves that together promise all that there is to be gained, one more than there are if not."""
        gains = (-self.change).clamp(min=0).sort(descending=True).values.cumsum(0)
        return 1 + int((gains < objective).sum())

    @property
    def nodes(self) -> Tensor:
        """Rows of each move ``[m, size]``."""
        return self.rows.reshape(-1, self.size)


@dataclass(frozen=True)
class _State:
    columns: Tensor
    position: Tensor
    kept: int
    look: Look


@dataclass(frozen=True)
class BitSwaps(Schedule):
    r"""Simulated annealing over swaps within rows and, where only the graph's ones are counted, moves between rows.

    Each step takes a random one out of every row, scores a random pool of features in its place by

    .. math:: \Delta_{if} = g_i (q_f - q_r) + c_i |V_f - V_r|^2

    with :math:`g_i` the gradient in the coordinates of row i and :math:`c_i V V^T` its curvature, and keeps the best
    feature if it is below T times an exponential variable (the Metropolis rule). Of these moves, those in rows that
    are no neighbours are made at once; each is then held to account for the true change of the residual at and
    next to its node, and undone where that exceeds its threshold. T is a multiple of the objective for each row
    that falls geometrically with the steps, and is zero at the end, where the solver stops once nothing is left to
    do. At the first step, and where a few moves promise all that there is to be gained, it takes the best one out of
    each row, looks at all features, and makes only these few. Memory is that of the ones and of one pool.

    Attributes:
        steps: Length of the schedule.
        pool: Number of features that are scored.
        hot: First temperature.
        cold: Last temperature above zero.
        quench: Share of the steps at zero.
        probes: Backward passes of each estimate of the curvature, which are averaged as the search goes on.
        refresh: Steps between two estimates.
    """

    moves: ClassVar[str] = "bits"

    pool: int = 256
    hot: float = 0.5
    cold: float = 0.03
    quench: float = 0.1
    probes: int = 4
    refresh: int = 60

    def iterate(self, problem: BitProblem) -> Iterator[tuple[Callable[[], Tensor], float]]:
        """Yield each ``[n, K]`` columns of ones with its loss; end when no move is left."""
        generator = torch.Generator().manual_seed(problem.seed)
        state, curvature, step, idle, near = _begin(problem, problem.start), None, 0, 0, True
        while idle < IDLE_STEPS:
            yield partial(getattr, state, "columns"), state.look.loss
            if step % self.refresh == 0 or step in FIRST_REFRESHES:
                state = _begin(problem, state.columns)
                curvature = self._curvature(problem, state, curvature, generator)
            assert curvature is not None
            heat = 0.0 if near else self.temperature(step) * state.look.objective / len(state.columns)
            moves = self._propose(problem, state, curvature, step, near, heat, generator)
            few, proposed = moves.enough(state.look.objective), len(moves)
            if near:
                moves = moves.take(moves.change.argsort()[:few])
            after = _accepted(problem, state, moves) if len(moves) else state
            idle = 0 if after is not state or heat > 0 else idle + 1
            near = few <= proposed and few**2 <= len(state.columns) and idle < 2
            state, step = after, step + 1

    def _curvature(
        self, problem: BitProblem, state: _State, known: Curvature | None, generator: torch.Generator
    ) -> Curvature:
        new = problem.curvature(state.position, self.probes, generator)
        if known is None:
            return new
        return new._replace(influence=torch.lerp(new.influence, known.influence, MEMORY_OF_CURVATURE))

    def _propose(
        self,
        problem: BitProblem,
        state: _State,
        curvature: Curvature,
        step: int,
        near: bool,
        heat: float,
        generator: torch.Generator,
    ) -> Moves:
        """Take a one out of each row, and put one into the same rows, or into half of the rows from the other half."""
        device, count, empty = state.columns.device, len(state.columns), problem.num_features
        between = not problem.per_node and (step % 2 == 0 if near else step % 3 == 2)
        rows = torch.randperm(count, generator=generator, device="cpu").to(device)
        halves = between and not near
        takers, givers = (rows[: count // 2], rows[count - count // 2 :]) if halves else (rows, rows)
        slot, removed, relief = _drawn_ones(problem, state, curvature, givers, None if near else generator)
        pool = torch.randperm(empty, generator=generator, device="cpu")[: empty if near else self.pool].to(device)
        added, cost = _best_additions(problem, state, curvature, takers, pool, None if between else removed)
        pairs = count // 2 if between else count
        threshold = (-torch.rand(pairs, generator=generator, device="cpu").log() * heat).to(cost)
        if not between:
            moves = Moves(rows, slot, added, 1, cost + relief, threshold)
        else:
            free = state.columns[takers] == empty
            cost = cost.masked_fill(~free.any(1), torch.inf)
            t, g = _best_first(cost, relief, pairs)
            rows = torch.stack([takers[t], givers[g]], 1).flatten()
            slots = torch.stack([free[t].byte().argmax(1), slot[g]], 1).flatten()
            bits = torch.stack([added[t], torch.full_like(t, empty)], 1).flatten()
            moves = Moves(rows, slots, bits, 2, cost[t] + relief[g], threshold)
        moves = moves.take((moves.change < threshold).nonzero()[:, 0])
        return _allowed(problem, state, _spread(problem, moves))


def _drawn_ones(
    problem: BitProblem, state: _State, curvature: Curvature, rows: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw a one of each row; return its slot, its feature, and the change when it leaves, infinite for no one.

    Without a generator it is the one of least change.
    """
    columns = state.columns[rows]
    empty = columns == problem.num_features
    if generator is not None:
        draw = torch.rand(columns.shape, generator=generator, device="cpu", dtype=torch.float32).to(columns.device)
        slot = draw.masked_fill(empty, -1).argmax(1, keepdim=True)
        columns, empty = columns.gather(1, slot), empty.gather(1, slot)
    slopes = problem.slopes_of_ones(_gradient(state)[rows], columns)
    relief = torch.addcmul(-slopes, curvature.influence[rows, None], curvature.own[columns])
    relief, best = relief.masked_fill(empty, torch.inf).min(1)
    feature = columns.gather(1, best[:, None])[:, 0]
    return best if generator is None else slot[:, 0], feature, relief


def _best_first(cost: Tensor, relief: Tensor, pairs: int) -> tuple[Tensor, Tensor]:
    """Return the rows that take a one and those that give one, best first; of the same rows, each does one."""
    t = g = torch.arange(pairs, device=cost.device)
    if len(cost) > pairs:
        order = (cost - relief).nan_to_num(nan=torch.inf).argsort()
        t, g = order[:pairs], order[len(order) - pairs :]
    return t[cost[t].argsort()], g[relief[g].argsort()]


def _best_additions(
    problem: BitProblem, state: _State, curvature: Curvature, rows: Tensor, pool: Tensor, removed: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the best new feature of each row, and the change that it makes beside that of the one that leaves."""
    place = torch.full((problem.num_features + 1,), pool.numel(), device=pool.device)
    place[pool] = torch.arange(pool.numel(), device=pool.device)
    full = problem.most_kept is not None and state.kept >= problem.most_kept
    parts = []
    for part in torch.arange(len(rows), device=rows.device).split(max(1, MOST_SCORES // pool.numel())):
        some = rows[part]
        leaving = None if removed is None else removed[part]
        cost = problem.scores(_gradient(state)[some], curvature.influence[some], curvature, pool, leaving)
        barred = torch.cat([state.columns[some], problem.reference[some]], 1) if full else state.columns[some]
        parts.append(functional.pad(cost, (0, 1)).scatter_(1, place[barred], torch.inf)[:, :-1].min(1))
    best, which = (torch.cat(each) for each in zip(*parts, strict=True))
    return pool[which], best


def _spread(problem: BitProblem, moves: Moves) -> Moves:
    """Leave out moves in neighbouring rows, those that promise least first."""
    edges, nodes = problem.problem.graph.edge_index, _nodes(problem, moves)
    gain = (moves.threshold - moves.change)[:, None].expand_as(nodes)
    priority = gain.new_full((problem.problem.graph.x.size(0),), -torch.inf).index_put((nodes,), gain)
    return moves.take(independent_nodes(priority, edges)[nodes].all(1).nonzero()[:, 0])


def _nodes(problem: BitProblem, moves: Moves) -> Tensor:
    free = problem.problem.free_rows
    return moves.nodes if free is None else free[moves.nodes]


def _gradient(state: _State) -> Tensor:
    assert state.look.gradient is not None
    return state.look.gradient


def _begin(problem: BitProblem, columns: Tensor) -> _State:
    """Return the state with coordinates free of accumulated rounding, and an empty slot in every row."""
    features = problem.num_features
    if not problem.per_node and bool((columns < features).all(1).any()):
        columns = functional.pad(columns, (0, SPARE_SLOTS), value=features)
    position = problem.position(columns)
    rows = torch.arange(len(columns), device=columns.device)
    kept = 0 if problem.most_kept is None else _shared(problem, rows, columns)
    return _State(columns, position, kept, problem.look(position))


def _shared(problem: BitProblem, rows: Tensor, columns: Tensor) -> int:
    """Count the ones in ``columns [m, k]`` that the reference has in the same rows, slot by slot."""
    reference = problem.reference[rows]
    return sum(
        int(((reference == slot[:, None]) & (slot < problem.num_features)[:, None]).sum()) for slot in columns.unbind(1)
    )


def _accepted(problem: BitProblem, state: _State, moves: Moves) -> _State:
    """Make the moves whose true change is below their thresholds; fewer and fewer until the objective agrees."""
    change = moves.change
    if state.look.rows is not None:
        together = problem.look(_moved(problem, state, moves), gradient=False)
        assert together.rows is not None
        owner = torch.full((len(state.look.rows),), -1, device=moves.rows.device)
        nodes, edges = _nodes(problem, moves), problem.problem.graph.edge_index
        owner[nodes] = torch.arange(len(moves), device=owner.device)[:, None].expand_as(nodes)
        change = attribute_change(together.rows - state.look.rows, owner, len(moves), edges)

    def attempt(good: Tensor) -> _State | None:
        chosen = moves.take(good)
        position = _moved(problem, state, chosen)
        look = problem.look(position)
        if not look.objective < state.look.objective + float(chosen.threshold.sum()):
            return None
        old = state.columns[chosen.rows, chosen.slots]
        columns = state.columns.clone()
        columns[chosen.rows, chosen.slots] = chosen.bits
        kept = state.kept
        if problem.most_kept is not None:
            kept += _shared(problem, chosen.rows, chosen.bits[:, None])
            kept -= _shared(problem, chosen.rows, old[:, None])
        return _State(columns, position, kept, look)

    return accept(change, moves.threshold, attempt) or state


def _moved(problem: BitProblem, state: _State, moves: Moves) -> Tensor:
    return problem.moved(state.position, moves.rows, state.columns[moves.rows, moves.slots], moves.bits)


def _allowed(problem: BitProblem, state: _State, moves: Moves) -> Moves:
    """Leave out moves that would bring back more ones of the reference than may stay."""
    if problem.most_kept is None:
        return moves
    back = (problem.reference[moves.rows] == moves.bits[:, None]).any(1) & (moves.bits < problem.num_features)
    back = back.reshape(-1, moves.size).any(1)
    return moves.take((~back | (back.cumsum(0) <= problem.most_kept - state.kept)).nonzero()[:, 0])
