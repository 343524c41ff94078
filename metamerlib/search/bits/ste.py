"""Dense straight-through estimator: the reference solver for binary features, as in the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from metamerlib.search.bits.problem import BitProblem, columns_of, largest_ones


@dataclass(frozen=True)
class BitSTE:
    r"""Adam on real keys whose largest entries are the ones (Xu et al., 2025, arXiv 2510.17378).

    .. math:: P = \sigma(s \tilde X), \quad X' = P + \mathrm{stopgrad}(\mathrm{top}_\rho(\tilde X) - P)

    with :math:`\mathrm{top}_\rho` one for the share :math:`\rho` of largest keys. Every step sorts all keys.
    The paper names a margin regulariser and does not give it. Ours keeps keys away from the threshold:
    ``margin_weight`` times the mean of :math:`\max(0, m - |\tilde X - \theta|)`, with :math:`\theta` the
    smallest key of a one. All numbers below are our choice.

    Attributes:
        learning_rate: Step size of Adam in units of the keys.
        sharpness: s.
        margin: m.
        margin_weight: Weight of the regulariser beside :math:`L_{act}`.
    """

    moves: ClassVar[str] = "bits"
    dense: ClassVar[bool] = True

    learning_rate: float = 0.1
    sharpness: float = 1.0
    margin: float = 0.5
    margin_weight: float = 0.01

    def iterate(self, problem: BitProblem) -> Iterator[tuple[Callable[[], Tensor], float]]:
        """Yield the columns of the ones ``[n, K]`` of every step, with their loss."""
        if problem.keys is None:
            raise ValueError("the straight-through estimator needs keys; set them in the problem")
        keys = problem.keys.detach().clone().requires_grad_()
        counts = (problem.start < problem.num_features).sum(1)
        reference = None
        if problem.most_kept is not None:
            reference = torch.zeros_like(keys, dtype=torch.bool)
            there = problem.reference < problem.num_features
            reference[there.nonzero()[:, 0], problem.reference[there]] = True
        optimiser = torch.optim.Adam([keys], lr=self.learning_rate)
        while True:
            ones = largest_ones(
                keys.detach(), counts, per_node=problem.per_node, reference=reference, most_kept=problem.most_kept
            )
            evaluation = problem.evaluate(ones.to(keys.dtype))
            yield partial(columns_of, ones), float(evaluation.loss)
            keys.grad = evaluation.gradient[0] * self._slope(keys.detach()) + self._push(keys.detach(), ones)
            optimiser.step()

    def _slope(self, keys: Tensor) -> Tensor:
        soft = torch.sigmoid(self.sharpness * keys)
        return self.sharpness * soft * (1 - soft)

    def _push(self, keys: Tensor, ones: Tensor) -> Tensor:
        """Return the gradient of the margin regulariser."""
        distance = keys - torch.where(ones, keys, torch.inf).min()
        side = torch.where(ones, 1.0, -1.0)
        return -self.margin_weight / keys.numel() * side * (distance.abs() < self.margin)
