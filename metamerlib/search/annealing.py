"""Many moves at once, judged one by one: which are far enough apart, and what each of them changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

FAR_SHARE = 0.1
After = TypeVar("After")


def independent_nodes(priority: Tensor, edge_index: Tensor, rounds: int = 3) -> Tensor:
    """Choose nodes no two of which are neighbours, those of high priority first (Luby, 1986).

    Args:
        priority: ``[N]``; minus infinity for nodes that are not to be chosen.
        edge_index: Directed edges, each in both directions ``[2, E]``.
        rounds: The more, the fewer nodes are left out for nothing.

    Returns:
        A mask ``[N]``. Nodes of equal priority may be neighbours.

    Example:
        >>> path = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
        >>> independent_nodes(torch.tensor([3.0, 4.0, 2.0, 1.0]), path)
        tensor([False,  True, False,  True])
    """
    source, target = edge_index
    chosen = torch.zeros_like(priority, dtype=torch.bool)
    for _ in range(rounds):
        around = priority.scatter_reduce(0, target, priority[source], "amax")
        chosen |= (priority == around) & (priority > -torch.inf)
        taken = chosen.index_put((target,), chosen[source], accumulate=True)
        priority = priority.masked_fill(taken, -torch.inf)
    return chosen


def attribute_change(difference: Tensor, owner: Tensor, count: int, edge_index: Tensor) -> Tensor:
    """Divide the change of every node's residual among the moves at the node and, with less weight, next to it.

    With one propagation, and moves further apart than two edges, this is exact.

    Args:
        difference: Change of each node's squared residual ``[N]``.
        owner: Number of the move at each node ``[N]``, -1 where there is none.
        count: Number of moves.
        edge_index: Directed edges ``[2, E]``.

    Returns:
        The change that each move is held to account for ``[count]``.

    Example:
        >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> attribute_change(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, -1, -1]), 1, path)
        tensor([3.])
    """
    source, target = edge_index
    own = owner >= 0
    near = own[source]
    source, target = source[near], target[near]
    total = own.to(difference.dtype).index_add_(0, target, difference.new_full(target.shape, FAR_SHARE))
    share = difference / total.clamp(min=FAR_SHARE)
    change = difference.new_zeros(count).index_add_(0, owner[own], share[own])
    return change.index_add_(0, owner[source], FAR_SHARE * share[target])


@dataclass(frozen=True)
class Schedule:
    """A temperature that falls geometrically from hot to cold, and is zero for the last share of the steps.

    Attributes:
        steps: Length of the schedule.
        hot: First temperature.
        cold: Last temperature above zero.
        quench: Share of the steps at zero.

    Example:
        >>> schedule = Schedule(10, hot=1.0, cold=0.01, quench=0.2)
        >>> [round(schedule.temperature(step), 3) for step in (0, 4, 8)]
        [1.0, 0.1, 0.0]
    """

    steps: int = 2000
    hot: float = 1.0
    cold: float = 0.1
    quench: float = 0.1

    def temperature(self, step: int) -> float:
        """Return the temperature of a step, from 0."""
        hot_steps = (1 - self.quench) * self.steps
        share = step / max(1.0, hot_steps)
        return 0.0 if share >= 1 or hot_steps <= 0 else self.hot * (self.cold / self.hot) ** share


def accept(change: Tensor, threshold: Tensor, attempt: Callable[[Tensor], After | None]) -> After | None:
    """Make the moves whose change is below their thresholds, half as many until the objective agrees.

    Args:
        change: What each move is held to account for ``[m]``.
        threshold: Largest change that is accepted, drawn by the Metropolis rule ``[m]``.
        attempt: Makes the moves of these places, best first; None where the objective does not agree.

    Returns:
        What the attempt returned, or None where no move is left.

    Example:
        >>> accept(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([4.0, 4.0, 0.0]), lambda good: good.tolist())
        [1, 0]
    """
    good = (change < threshold).nonzero().reshape(-1)
    good = good[change[good].argsort()]
    while good.numel():
        after = attempt(good)
        if after is not None:
            return after
        good = good[: good.numel() // 2]
    return None
