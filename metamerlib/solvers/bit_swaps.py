"""Moves of single ones in random blocks of rows: the fast solver for binary features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from metamerlib.bits import BitProblem, Curvature

SPARE_SLOTS = 8
GROWTH, DECAY = 1.1, 0.8
LEAST_ROWS = 8
DOUBT = 2.0
IDLE_STEPS = 2


class Moves(NamedTuple):
    """Changes of slots, best first; the entries of one move stand together.

    Attributes:
        rows: ``[m * size]``.
        slots: ``[m * size]``.
        bits: Feature that each slot gets ``[m * size]``, F to empty it.
        size: Entries per move: 1 for a swap within a row, 2 for a one that goes from one row to another.
        change: Predicted change of the objective ``[m]``, negative.
    """

    rows: Tensor
    slots: Tensor
    bits: Tensor
    size: int
    change: Tensor

    def first(self, count: int) -> Moves:
        """Return the best moves."""
        last = count * self.size
        return Moves(self.rows[:last], self.slots[:last], self.bits[:last], self.size, self.change[:count])

    @property
    def number(self) -> int:
        """How many there are."""
        return self.rows.numel() // self.size

    def plausible(self, objective: float) -> int:
        """Count the moves that together promise no more than there is to be gained, and at least one."""
        return min(self.number, 1 + int((-self.change.cumsum(0) < objective).sum()))


@dataclass(frozen=True)
class _State:
    columns: Tensor
    position: Tensor
    objective: float
    loss: float
    gradient: Tensor
    kept: int


class _Look(NamedTuple):
    """Changes of the objective, to second order, for a block of rows.

    Attributes:
        rows: ``[b]``.
        columns: Ones of the block ``[b, K]``.
        pool: Features that may be added ``[p]``.
        additions: ``[b, p]``.
        removals: ``[b, K]``.
    """

    rows: Tensor
    columns: Tensor
    pool: Tensor
    additions: Tensor
    removals: Tensor


@dataclass(frozen=True)
class BitSwaps:
    """Descent by swaps within rows and, where only the graph's number of ones is kept, moves between rows.

    Each step draws a block of rows and a pool of features, scores every addition and removal by

    .. math:: \\Delta_{if} = \\pm g_i q_f + c_i |V_f|^2

    with :math:`g_i` the gradient in the coordinates of row i and :math:`c_i V V^T` its curvature, and for a swap
    adds the cross term :math:`-2 c_i V_a V_r`. Of the moves that promise less, the best are applied together,
    fewer by half until the true objective falls. Block and pool adapt: at the first step, and where a few moves
    promise all that there is to be gained, they hold everything. It ends where no move of any row is left. Memory
    is that of the ones and of one block.

    Attributes:
        block: Share of the rows in the first block.
        pool: Number of features in the first pool.
        additions: Best additions of a row that are paired with its best removals.
        removals: Best removals.
        probes: Backward passes of each estimate of the curvature.
        refresh: Steps between two estimates.
    """

    block: float = 1.0
    pool: int = 256
    additions: int = 6
    removals: int = 4
    probes: int = 4
    refresh: int = 30

    def iterate(self, problem: BitProblem) -> Iterator[tuple[Callable[[], Tensor], float]]:
        """Yield every trial, ``[n, K]`` columns of ones, with its loss; end when no move improves."""
        generator = torch.Generator().manual_seed(problem.seed)
        state = _begin(problem, problem.start)
        yield partial(getattr, state, "columns"), state.loss
        block, pool, step, idle, near = self.block, self.pool, 0, 0, True
        curvature = problem.curvature(state.position, self.probes, generator)
        while True:
            if step and step % self.refresh == 0:
                state = _begin(problem, state.columns)
                curvature = problem.curvature(state.position, self.probes, generator)
            step += 1
            between = not problem.per_node and step % 2 == 1
            sizes = (1.0, problem.num_features) if near else (block, pool)
            moves = self._propose(problem, state, curvature, sizes, between, generator)
            count, failed = moves.plausible(state.objective), False
            near = step == 1 or (count < moves.number and count**2 <= len(state.columns))
            while count:
                trial = _applied(problem, state, moves.first(count))
                yield partial(getattr, trial, "columns"), trial.loss
                if trial.objective < state.objective:
                    break
                failed = True
                if count == 1:
                    curvature.influence[moves.rows[: moves.size]] *= DOUBT
                count //= 2
            idle = 0 if moves.number else idle + 1
            if count:
                state = trial
            if failed:
                block = max(block * DECAY, LEAST_ROWS / len(state.columns))
            elif count:
                block = min(block * GROWTH, 1.0)
            elif block < 1 or pool < problem.num_features:
                block, pool, idle = min(2 * block, 1.0), min(2 * pool, problem.num_features), 0
            elif idle >= IDLE_STEPS:
                return

    def _propose(
        self,
        problem: BitProblem,
        state: _State,
        curvature: Curvature,
        sizes: tuple[float, int],
        between: bool,
        generator: torch.Generator,
    ) -> Moves:
        num_rows, device = len(state.columns), state.columns.device
        rows = torch.randperm(num_rows, generator=generator)[: max(1, int(sizes[0] * num_rows))].to(device)
        pool = torch.randperm(problem.num_features, generator=generator)[: sizes[1]].to(device)
        look = _look(problem, state, curvature, rows, pool)
        moves = _between_rows(look, problem.num_features) if between else self._within_rows(look, curvature)
        return _allowed(problem, state, moves)

    def _within_rows(self, look: _Look, curvature: Curvature) -> Moves:
        additions = min(self.additions, look.additions.size(1))
        removals = min(self.removals, look.removals.size(1))
        add, which = look.additions.topk(additions, 1, largest=False, sorted=False)
        remove, slot = look.removals.topk(removals, 1, largest=False, sorted=False)
        added, removed = look.pool[which], look.columns.gather(1, slot)
        cross = torch.bmm(curvature.factor[added], curvature.factor[removed].mT)
        pairs = add[:, :, None] + remove[:, None, :] - 2 * curvature.influence[look.rows, None, None] * cross
        change, pair = pairs.flatten(1).min(1)
        good = (change < 0).nonzero()[:, 0]
        good, pair = good[change[good].argsort()], pair[:, None]
        bit = added.gather(1, pair // removals)[good, 0]
        return Moves(look.rows[good], slot.gather(1, pair % removals)[good, 0], bit, 1, change[good])


def _begin(problem: BitProblem, columns: Tensor) -> _State:
    """Return the state with coordinates free of accumulated rounding, and an empty slot in every row."""
    features = problem.num_features
    if not problem.per_node and bool((columns < features).all(1).any()):
        columns = functional.pad(columns, (0, SPARE_SLOTS), value=features)
    position = problem.position(columns)
    rows = torch.arange(len(columns), device=columns.device)
    kept = 0 if problem.most_kept is None else _shared(problem, rows, columns)
    return _evaluated(problem, columns, position, kept)


def _evaluated(problem: BitProblem, columns: Tensor, position: Tensor, kept: int) -> _State:
    objective, gradient, loss = problem.evaluate(position)
    return _State(columns, position, float(objective), float(loss), gradient[0], kept)


def _shared(problem: BitProblem, rows: Tensor, columns: Tensor) -> int:
    """Count the ones in ``columns [m, k]`` that the reference has in the same rows, slot by slot."""
    reference = problem.reference[rows]
    return sum(
        int(((reference == slot[:, None]) & (slot < problem.num_features)[:, None]).sum()) for slot in columns.unbind(1)
    )


def _applied(problem: BitProblem, state: _State, moves: Moves) -> _State:
    old = state.columns[moves.rows, moves.slots]
    columns = state.columns.clone()
    columns[moves.rows, moves.slots] = moves.bits
    kept = state.kept
    if problem.most_kept is not None:
        kept += _shared(problem, moves.rows, moves.bits[:, None]) - _shared(problem, moves.rows, old[:, None])
    return _evaluated(problem, columns, problem.moved(state.position, moves.rows, old, moves.bits), kept)


def _look(problem: BitProblem, state: _State, curvature: Curvature, rows: Tensor, pool: Tensor) -> _Look:
    columns, gradient = state.columns[rows], state.gradient[rows]
    influence = curvature.influence[rows, None]
    additions = torch.addcmul(problem.slopes(gradient, pool), influence, curvature.own[pool])
    removals = influence * curvature.own[columns] - problem.slopes_of_ones(gradient, columns)
    removals = removals.masked_fill(columns == problem.num_features, torch.inf)
    full = problem.most_kept is not None and state.kept >= problem.most_kept
    barred = torch.cat([columns, problem.reference[rows]], 1) if full else columns
    place = torch.full((problem.num_features + 1,), pool.numel(), device=pool.device)
    place[pool] = torch.arange(pool.numel(), device=pool.device)
    additions = functional.pad(additions, (0, 1)).scatter_(1, place[barred], torch.inf)[:, :-1]
    return _Look(rows, columns, pool, additions, removals)


def _between_rows(look: _Look, empty: int) -> Moves:
    """Pair rows that gain most by one more with rows that gain most by one less."""
    add, which = look.additions.min(1)
    remove, slot = look.removals.min(1)
    free = look.columns == empty
    add = add.masked_fill(~free.any(1), torch.inf)
    order = (add - remove).nan_to_num(nan=torch.inf).argsort()
    half = len(order) // 2
    givers, takers = order[len(order) - half :], order[:half]
    givers, takers = givers[remove[givers].argsort()], takers[add[takers].argsort()]
    change = add[takers] + remove[givers]
    good = (change < 0).nonzero()[:, 0]
    givers, takers = givers[good], takers[good]
    rows = torch.stack([look.rows[takers], look.rows[givers]], 1)
    slots = torch.stack([free[takers].byte().argmax(1), slot[givers]], 1)
    bits = torch.stack([look.pool[which[takers]], torch.full_like(givers, empty)], 1)
    return Moves(rows.flatten(), slots.flatten(), bits.flatten(), 2, change[good])


def _allowed(problem: BitProblem, state: _State, moves: Moves) -> Moves:
    """Leave out moves that would bring back more ones of the reference than may stay."""
    if problem.most_kept is None:
        return moves
    back = (problem.reference[moves.rows] == moves.bits[:, None]).any(1) & (moves.bits < problem.num_features)
    back = back.reshape(-1, moves.size).any(1)
    kept = ~back | (back.cumsum(0) <= problem.most_kept - state.kept)
    rows, slots, bits = (part.reshape(-1, moves.size)[kept].flatten() for part in moves[:3])
    return Moves(rows, slots, bits, moves.size, moves.change[kept])
