"""Adam: the reference solver, as in the paper."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metamerlib.search.loop import Evaluation, Problem


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, 2015) on all coordinates at once; ``plain``: on the features and the plain residual.

    Attributes:
        learning_rate: Step size in units of the coordinates.
    """

    moves: ClassVar[str] = "features"
    plain: ClassVar[bool] = True

    learning_rate: float = 0.003

    def iterate(self, problem: Problem) -> Iterator[tuple[Tensor, Evaluation]]:
        """Yield each position ``[B, n, r]`` with its evaluation."""
        position = problem.start.detach().clone().requires_grad_()
        optimiser = torch.optim.Adam([position], lr=self.learning_rate)
        while True:
            evaluation = problem.evaluate(position)
            yield position.detach(), evaluation
            position.grad = evaluation.gradient
            optimiser.step()
