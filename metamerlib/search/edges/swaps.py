"""Annealed exchanges of edges: the solver for the structure of sparse graphs, O(E) memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metamerlib.graphs.edges import EdgeSet, both_directions
from metamerlib.search.annealing import Schedule, accept, attribute_change
from metamerlib.search.edges.messages import Metric, metric_of
from metamerlib.search.edges.moves import (
    Influence,
    Moves,
    admissible,
    disjoint,
    influence,
    rewirings,
    score_rewirings,
    score_switches,
    switches,
)
from metamerlib.search.edges.problem import Look, StructureProblem

PROBES = 4
FINAL_LOOKS = 64
FEW_NODES = 64
REFRESH = 50


@dataclass(frozen=True)
class EdgeSwaps(Schedule):
    """Simulated annealing over exchanges of edges, proposed by the pull of the loss on the messages.

    A block of R x C exchanges is scored to second order in one matrix product. Each row takes a random column whose
    score is below T times an exponential variable (the Metropolis rule); of these, exchanges that share no node are
    put into the graph at once, and the true loss of each node says which of them stay under the same rule. The
    temperature falls geometrically, and is zero at the end. There, where few nodes hold nearly all of the residual, the
    best switch of edges at these nodes is made, one at a time.

    Attributes:
        steps: Length of the schedule.
        degrees: keep (switches of two edges only) or free (an edge may also move one of its ends).
        rows: R.
        columns: C.
        rank: Coordinates of each propagation.
        hot: First temperature, in mean squared norms of the target's rows.
        cold: Last temperature above zero.
        quench: Share of the steps at zero.
        close: Share of the nodes that are few.
        seed: Seed of all that is random.
    """

    moves: ClassVar[str] = "edges"

    degrees: str = "free"
    rows: int = 1024
    columns: int = 1024
    rank: int = 10
    hot: float = 0.01
    cold: float = 0.0005
    quench: float = 0.08
    close: float = 0.1
    seed: int = 0

    def iterate(self, problem: StructureProblem) -> Iterator[tuple[Callable[[], Tensor], float]]:
        """Yield each set of edges ``[2, |E|]`` with its loss."""
        generator = torch.Generator().manual_seed(self.seed)
        pairs, step = problem.start.clone(), 0
        unit = float(problem.target.activation.square().sum(1).mean())
        metrics: list[Metric] = []
        while True:
            look, degree, metrics = looked(problem, pairs, step, metrics, self.rank, generator)
            yield pairs.clone, look.loss
            heat = unit * self.temperature(step)
            near = heat == 0 and bool(metrics) and _few_nodes_left(look, self.close)
            after = self._finish(problem, pairs, look, metrics, degree) if near else pairs
            if after is pairs:
                shift = self.degrees == "free" and step % 2 == 0
                moves = self._propose(problem, pairs, look, metrics, degree, shift, heat, generator)
                after = accepted(problem, pairs, look, moves)
            pairs, step = after, step + 1

    def _propose(
        self,
        problem: StructureProblem,
        pairs: Tensor,
        look: Look,
        metrics: list[Metric],
        degree: Tensor,
        shift: bool,
        heat: float,
        generator: torch.Generator,
    ) -> Moves:
        """Draw a block of exchanges and keep those that look acceptable and can be made together."""
        device, size = pairs.device, pairs.size(1)
        slots = draw(size, self.rows, generator).to(device)
        rows = turn(pairs[:, slots], generator)
        seen = influence(look.calls, metrics, degree, both_directions(pairs), shift=shift) if metrics else None
        others = draw(problem.num_nodes if shift else size, self.columns, generator).to(device)
        columns = others if shift else turn(pairs[:, others], generator)
        threshold = -torch.rand(rows.size(1), generator=generator, device="cpu").log().to(device) * heat
        row, column, score = _match(seen, rows, columns, threshold, generator)
        chosen, threshold = (slots[row], rows[:, row]), threshold[row]
        if shift:
            moves = rewirings(*chosen, columns[column], score, threshold)
        else:
            moves = switches(*chosen, others[column], columns[:, column], score, threshold)
        moves = possible(problem, pairs, moves)
        return within(problem, pairs, disjoint(moves, problem.num_nodes))

    def _finish(
        self, problem: StructureProblem, pairs: Tensor, look: Look, metrics: list[Metric], degree: Tensor
    ) -> Tensor:
        """Make the best switch of two edges at the nodes that hold the residual, judged by the true objective."""
        assert look.rows is not None
        held = look.rows[pairs].sum(0)
        slots = held.topk(min(self.rows, int((held > 0).sum()))).indices
        rows, columns = pairs[:, slots], torch.cat([pairs[:, slots], pairs[:, slots].flip(0)], dim=1)
        seen = influence(look.calls, metrics, degree, both_directions(pairs), shift=False)
        score = score_switches(seen, rows, columns).reshape(-1)
        score, best = score.topk(min(4 * FINAL_LOOKS, score.numel()), largest=False)
        row, column = best // columns.size(1), best % columns.size(1)
        others = slots.repeat(2)[column]
        moves = switches(slots[row], rows[:, row], others, columns[:, column], score, torch.zeros_like(score))
        moves, least, found = possible(problem, pairs, moves), look.objective, pairs
        for place in range(min(len(moves), FINAL_LOOKS)):
            after = within(problem, pairs, moves.take(torch.tensor([place], device=pairs.device))).apply(pairs)
            objective = problem.look(after).objective
            if objective < least:
                least, found = objective, after
        return found


def _few_nodes_left(look: Look, share: float) -> bool:
    """Tell whether this share of the nodes, or a few, hold nine tenths of the residual, as near a solution."""
    if look.rows is None:
        return False
    count = look.rows.numel()
    largest = look.rows.topk(min(count, max(FEW_NODES, int(share * count)))).values
    return float(largest.sum()) >= 0.9 * look.objective > 0


def possible(problem: StructureProblem, pairs: Tensor, moves: Moves) -> Moves:
    """Leave out moves that would make a loop, or an edge that is there or must not come back."""
    present, forbidden = EdgeSet(pairs, problem.num_nodes).keys, problem.limits.forbidden
    return moves.take(admissible(moves, problem.num_nodes, present, forbidden).nonzero().reshape(-1))


def metrics_of(look: Look, degree: Tensor, rank: int) -> list[Metric]:
    """Return a metric for each propagation that was probed."""
    return [
        metric_of(call, probes, call.right(degree), rank) for call, probes in zip(look.calls, look.probes, strict=True)
    ]


def looked(
    problem: StructureProblem, pairs: Tensor, step: int, metrics: list[Metric], rank: int, generator: torch.Generator
) -> tuple[Look, Tensor, list[Metric]]:
    """Look at a set of edges: what is there, the degrees ``[N]``, and a metric for each propagation.

    The metrics are measured anew every `REFRESH` steps; those of before hold as long as there are as many propagations.
    """
    probed = step % REFRESH == 0
    look = problem.look_closely(pairs, PROBES if probed else 0, generator)
    degree = torch.bincount(pairs.reshape(-1), minlength=problem.num_nodes).to(problem.target.activation.dtype)
    if probed and math.isfinite(look.objective):
        metrics = metrics_of(look, degree, rank)
    return look, degree, metrics if len(metrics) == len(look.calls) else []


def draw(size: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw different numbers below ``size``, all of them if there are not more."""
    if size <= 8 * count:
        return torch.randperm(size, generator=generator, device="cpu")[:count]
    return torch.randint(size, (count,), generator=generator, device="cpu").unique()


def turn(edges: Tensor, generator: torch.Generator) -> Tensor:
    """Give each edge ``[2, n]`` a random direction."""
    flip = (torch.rand(edges.size(1), generator=generator, device="cpu") < 0.5).to(edges.device)
    return torch.where(flip, edges.flip(0), edges)


def _match(
    seen: Influence | None, rows: Tensor, columns: Tensor, threshold: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Give each row a random column whose score is below the row's threshold; the best column crowds."""
    count, width = rows.size(1), columns.size(-1)
    offset = torch.randint(width, (count,), generator=generator, device="cpu").to(rows.device)
    if seen is None:
        row = torch.arange(count, device=rows.device)
        return row, offset, threshold.new_zeros(count)
    score = (score_rewirings if columns.dim() == 1 else score_switches)(seen, rows, columns)
    priority = torch.randint(1, 2**15, (2 * width,), generator=generator, device="cpu", dtype=torch.int16)
    turned = priority.to(rows.device).unfold(0, width, 1)[offset]
    best, column = ((score < threshold[:, None]) * turned).max(1)
    row = (best > 0).nonzero().reshape(-1)
    return row, column[row], score[row, column[row]]


def within(problem: StructureProblem, pairs: Tensor, moves: Moves) -> Moves:
    """Drop moves that would bring the overlap with the reference out of its limits, whichever others stay."""
    limits = problem.limits
    if limits.hold_by_themselves:
        return moves
    gain = torch.zeros_like(moves.slots[0])
    old = limits.reference.holds(pairs)
    for slot, new in zip(moves.slots, moves.new, strict=True):
        there = slot >= 0
        gain += there * (limits.reference.holds(new).long() - old[slot].long())
    return moves.take(limits.room(int(old.sum()), gain).nonzero().reshape(-1))


def accepted(problem: StructureProblem, pairs: Tensor, look: Look, moves: Moves) -> Tensor:
    """Make the moves whose true change is below their thresholds; fewer and fewer until the loss agrees."""
    if not len(moves):
        return pairs
    change = moves.score
    together = None
    if look.rows is not None:
        together = problem.look(moves.apply(pairs))
        change = _attribute(problem, pairs, together, look, moves)
    exact = problem.whole and look.rows is not None and len(look.calls) == 1 and bool((moves.slots[1] >= 0).all())

    def attempt(good: Tensor) -> Tensor | None:
        chosen = moves.take(good)
        after = chosen.apply(pairs)
        if exact:
            return after
        allowed = look.objective + float(chosen.threshold.sum())
        if together is not None and good.numel() == len(moves):
            value = together.objective
        else:
            value = problem.look(after).objective
        better = value <= allowed and (value < look.objective or float(chosen.threshold.sum()) > 0)
        return after if better else None

    after = accept(change, moves.threshold, attempt)
    return pairs if after is None else after


def _attribute(problem: StructureProblem, pairs: Tensor, together: Look, look: Look, moves: Moves) -> Tensor:
    """Return the change of each move; exact with one propagation and degrees kept, where only ends change."""
    assert together.rows is not None and look.rows is not None
    owner = torch.full((problem.num_nodes,), -1, device=pairs.device)
    index = torch.arange(len(moves), device=pairs.device)
    for ends in moves.ends:
        owner[ends] = index
    return attribute_change(together.rows - look.rows, owner, len(moves), both_directions(pairs))
