"""A search that begins at the reference, gives up its edges where that costs least, and anneals from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metamerlib.graphs.edges import both_directions
from metamerlib.search.edges.messages import Metric
from metamerlib.search.edges.moves import (
    Moves,
    disjoint,
    influence,
    rewirings,
    score_rewirings,
    score_switches,
    switches,
)
from metamerlib.search.edges.problem import Look, StructureProblem
from metamerlib.search.edges.swaps import (
    EdgeSwaps,
    accepted,
    draw,
    looked,
    possible,
    turn,
    within,
)

LONGEST = 2 / 3  # share of the steps after which the price rises at every step


@dataclass(frozen=True)
class EdgeRetreat:
    """Walk away from the reference under a rising price on its edges, then anneal as :class:`EdgeSwaps` does.

    Every edge of the reference that a move takes away earns the price, and moves are made whose cost it covers. At
    first it is next to nothing, so that only moves are made which the model hardly sees; it rises when few edges
    leave. Where such moves lead to a graph of the same activations and other edges, as they do from two copies
    of a graph, this search arrives there; one that begins at random edges does not. Until the overlap is within its
    limit, the start of the search stands for the result.

    Attributes:
        steps: Steps of both parts together.
        degrees: keep or free, as in :class:`EdgeSwaps`.
        rows: Edges that are to leave, in one block.
        columns: Exchanges tried for each.
        rank: Coordinates of each propagation.
        price: First price of an edge, in mean squared norms of the target's rows.
        rise: Factor of the price.
        few: Share of the edges still to leave below which few have left, in two steps.
        seed: Seed of all that is random.
    """

    moves: ClassVar[str] = "edges"

    steps: int = 2000
    degrees: str = "free"
    rows: int = 1024
    columns: int = 1024
    rank: int = 10
    price: float = 1e-6
    rise: float = 1.2
    few: float = 0.01
    seed: int = 0

    def iterate(self, problem: StructureProblem) -> Iterator[tuple[Callable[[], Tensor], float]]:
        """Yield each set of edges ``[2, |E|]`` with its loss; the start with its own until the limit is met."""
        if problem.limits.highest >= len(problem.limits.reference):
            raise ValueError(
                "retreat leaves the reference, which without a limit is its own metamer; pass max_overlap below 1"
            )
        generator = torch.Generator().manual_seed(self.seed)
        pairs, step, before = problem.limits.reference.pairs.clone(), 0, problem.look(problem.start).loss
        price = self.price * float(problem.target.activation.square().sum(1).mean())
        metrics: list[Metric] = []
        held = [len(problem.limits.reference)]
        while held[-1] > problem.limits.highest:
            yield problem.start.clone, before
            look, degree, metrics = looked(problem, pairs, step, metrics, self.rank, generator)
            shift = self.degrees == "free" and step % 2 == 0
            pairs = accepted(
                problem, pairs, look, self._propose(problem, pairs, look, metrics, degree, shift, price, generator)
            )
            held, step = [*held, problem.limits.held(pairs)], step + 1
            slow = step % 2 == 0 and held[-3] - held[-1] < self.few * held[-1]
            if slow or step > LONGEST * self.steps:
                price *= self.rise
        rest = EdgeSwaps(steps=max(1, self.steps - step), degrees=self.degrees, rank=self.rank, seed=self.seed)
        yield from rest.iterate(problem.beginning(pairs))

    def _propose(
        self,
        problem: StructureProblem,
        pairs: Tensor,
        look: Look,
        metrics: list[Metric],
        degree: Tensor,
        shift: bool,
        price: float,
        generator: torch.Generator,
    ) -> Moves:
        """Find for edges that are to leave an exchange that costs little, and keep those that can be made together."""
        old = problem.limits.reference.holds(pairs)
        pool, size = old.nonzero().reshape(-1), pairs.size(1)
        slots = pool[draw(len(pool), self.rows, generator).to(pool.device)]
        rows = turn(pairs[:, slots], generator)
        if shift:
            others = draw(problem.num_nodes, self.columns, generator).to(pool.device)
            columns, earned = others, torch.zeros_like(others, dtype=degree.dtype)
            useless = (rows[:, :, None] == columns).any(0)
        else:
            leaving = pool[draw(len(pool), self.columns, generator).to(pool.device)]
            others = torch.cat([leaving, draw(size, self.columns // 2, generator).to(pool.device)])
            columns, earned = turn(pairs[:, others], generator), price * old[others].to(degree.dtype)
            useless = (rows[:, :, None] == torch.stack([columns, columns.flip(0)])[:, :, None]).any(1).any(0)
        score = torch.zeros(useless.shape, dtype=degree.dtype, device=pool.device)
        if metrics:
            seen = influence(look.calls, metrics, degree, both_directions(pairs), shift=shift)
            score = (score_rewirings if shift else score_switches)(seen, rows, columns)
        # The cheapest column but for a little noise: estimates of equal cost are not always wrong in the same place.
        noise = -torch.rand(score.shape, generator=generator, device="cpu").log().to(score) * (0.3 * price)
        column = (score - earned + noise).masked_fill(useless, torch.inf).argmin(1)
        index = torch.arange(len(slots), device=pool.device)
        cost, worth = score[index, column], price + earned[column]
        row = ((cost < worth) & ~useless[index, column]).nonzero().reshape(-1)
        row = row[(cost - worth)[row].argsort()]
        column, cost, worth = column[row], cost[row], worth[row]
        if shift:
            moves = rewirings(slots[row], rows[:, row], columns[column], cost, worth)
        else:
            moves = switches(slots[row], rows[:, row], others[column], columns[:, column], cost, worth)
        return within(problem, pairs, disjoint(possible(problem, pairs, moves), problem.num_nodes))
