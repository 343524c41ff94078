"""Straight-through descent on all pairs of nodes: the dense reference solver for structure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metamerlib.graphs.edges import among, pair_keys
from metamerlib.search.edges.limits import EdgeLimits
from metamerlib.search.edges.messages import Call
from metamerlib.search.edges.problem import StructureProblem

MOST_NODES = 6000
GAP = 0.05


@dataclass(frozen=True)
class EdgeSTE:
    """Hidden scores for all pairs, the best |E| of which are the edges (Bengio et al., 2013).

    The gradient with respect to the adjacency matrix at the binary graph is passed on to the scores unchanged and
    fed to Adam, whose learning rate falls to zero along a cosine. Takes O(N^2) time and memory a step.

    Attributes:
        steps: Length of the schedule.
        learning_rate: First step size of Adam.
        seed: Seed of the scores at the start.
    """

    moves: ClassVar[str] = "edges"

    steps: int = 300
    learning_rate: float = 0.01
    seed: int = 0

    def iterate(self, problem: StructureProblem) -> Iterator[tuple[Callable[[], Tensor], float]]:
        """Yield each set of edges ``[2, |E|]`` with its loss.

        Raises:
            ValueError: If the graph is too large for a dense matrix.
        """
        num_nodes = problem.num_nodes
        if num_nodes > MOST_NODES:
            raise ValueError(
                f"solver='ste' holds all pairs of {num_nodes} nodes, and stops at {MOST_NODES}; use solver='swaps'"
            )
        if not problem.guided:
            raise ValueError(
                "solver='ste' follows the messages of convolutions, and none of this model's could be listened to; "
                "use solver='swaps'"
            )
        low, high = torch.triu_indices(num_nodes, num_nodes, 1, device=problem.start.device)
        keys = pair_keys((low, high), num_nodes)
        known = among(keys, problem.limits.reference.keys)
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.rand(keys.shape, generator=generator, device="cpu", dtype=problem.graph.x.dtype).to(
            problem.graph.x
        )
        scores = GAP * (noise / 10 + among(keys, pair_keys(problem.start, num_nodes).sort().values))
        scores.requires_grad_()
        optimiser = torch.optim.Adam([scores], lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, self.steps))
        pairs = problem.start
        while True:
            look = problem.look_closely(pairs)
            yield pairs.clone, look.loss
            degree = torch.bincount(pairs.reshape(-1), minlength=num_nodes).to(noise)
            scores.grad = adjacency_gradient(look.calls, degree)[low, high] / look.objective
            optimiser.step()
            schedule.step()
            kept = best_pairs(scores.detach(), known, problem.limits)
            pairs = torch.stack([low[kept], high[kept]])


def adjacency_gradient(calls: list[Call], degree: Tensor) -> Tensor:
    """Return the slope of half the squared residual for every undirected edge ``[N, N]``, degrees included.

    Args:
        calls: Propagations with their gradients.
        degree: Of every node ``[N]``.
    """
    total = torch.zeros((degree.numel(),) * 2, dtype=degree.dtype, device=degree.device)
    for call in calls:
        left, right = call.left(degree), call.right(degree)
        one_way = (call.gradient * left[:, None]) @ (call.message * right[:, None]).T
        steps = [(call.left(degree + by) / left, call.right(degree + by) / right) for by in (1, -1)]
        shrink, dim = ((more - less) / 2 for more, less in zip(*steps, strict=True))
        own = shrink * (call.gradient * call.gathered).sum(1) + dim * (call.message * call.returned).sum(1)
        total += one_way + one_way.T + own[:, None] + own
    return total


def best_pairs(scores: Tensor, known: Tensor, limits: EdgeLimits) -> Tensor:
    """Return the positions of the |E| pairs of highest score whose overlap with the reference is allowed.

    Args:
        scores: Of all pairs ``[P]``.
        known: Which of them are edges of the reference ``[P]``.
        limits: What is allowed.
    """
    size = len(limits.reference)
    best = scores.topk(size).indices
    held = int(known[best].sum())
    wanted = min(max(held, limits.lowest), limits.highest)
    if wanted == held:
        return best
    inside = scores.masked_fill(~known, -torch.inf).topk(wanted).indices
    outside = scores.masked_fill(known, -torch.inf).topk(size - wanted).indices
    return torch.cat([inside, outside])
