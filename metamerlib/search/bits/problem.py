"""Binary features as sparse rows, and what a search among them asks of the model.

A matrix of bits is kept as the columns of its ones, ``[n, K]``: row i lists where row i is one, in any order,
and F stands in the slots that are empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from metamerlib.graphs.sampling import gaussian
from metamerlib.search.features.problem import FeatureProblem
from metamerlib.search.loop import Evaluation

SAMPLED_ROWS = 128


def columns_of(x: Tensor, spare: int = 0) -> Tensor:
    """Return the columns of the ones ``[n, K + spare]`` of bits ``[n, F]``, K the largest number in a row.

    Example:
        >>> columns_of(torch.tensor([[0, 1, 1], [1, 0, 0]]))
        tensor([[1, 2],
                [0, 3]])
    """
    rows, ones = x.nonzero(as_tuple=True)
    counts = torch.bincount(rows, minlength=x.size(0))
    slots = torch.arange(rows.numel(), device=x.device) - (counts.cumsum(0) - counts)[rows]
    width = int(counts.max()) + spare if counts.numel() else spare
    columns = torch.full((x.size(0), width), x.size(1), device=x.device)
    columns[rows, slots] = ones
    return columns


def bits_of(columns: Tensor, num_features: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the bits ``[n, F]`` whose ones stand in the given columns ``[n, K]``.

    Example:
        >>> bits_of(torch.tensor([[1, 2], [0, 3]]), 3)
        tensor([[0., 1., 1.],
                [1., 0., 0.]])
    """
    bits = torch.zeros(columns.size(0), num_features + 1, dtype=dtype, device=columns.device)
    return bits.scatter_(1, columns, 1.0)[:, :num_features].contiguous()


def move_ones(x: Tensor, count: int, *, seed: int) -> Tensor:
    """Return bits ``[n, F]`` of which ``count`` random ones have gone to random zeros of any row.

    A search from there has a known answer, the bits that it started from.

    Example:
        >>> (move_ones(torch.eye(4), 1, seed=0) != torch.eye(4)).sum().item()
        2
    """
    flat, generator = x.flatten().clone(), torch.Generator().manual_seed(seed)
    places = [(flat == value).nonzero()[:, 0] for value in (1, 0)]
    if not 0 <= count <= min(len(there) for there in places):
        raise ValueError(f"cannot move {count} ones: there are {len(places[0])} ones and {len(places[1])} zeros")
    for there, value in zip(places, (0, 1), strict=True):
        flat[there[torch.randperm(len(there), generator=generator, device="cpu")[:count].to(there.device)]] = value
    return flat.view_as(x)


def largest_ones(
    keys: Tensor, counts: Tensor, *, per_node: bool, reference: Tensor | None = None, most_kept: int | None = None
) -> Tensor:
    """Return bits ``[n, F]``, true for the largest keys.

    Args:
        keys: Real numbers ``[n, F]``.
        counts: Number of ones of each row ``[n]``; only their sum counts unless ``per_node``.
        per_node: Whether each row gets its own number of ones.
        reference: Bits ``[n, F]`` of which few may be true; None for no limit.
        most_kept: Their number.

    Example:
        >>> keys = torch.tensor([[0.1, 0.5], [0.4, 0.9]])
        >>> largest_ones(keys, torch.tensor([1, 1]), per_node=False)
        tensor([[False,  True],
                [False,  True]])
        >>> largest_ones(keys, torch.tensor([1, 1]), per_node=True)
        tensor([[False,  True],
                [False,  True]])
    """
    if reference is not None and most_kept is not None:
        there = reference.flatten().nonzero()[:, 0]
        order = keys.flatten()[there].argsort(descending=True)
        keys = keys.flatten().index_fill(0, there[order[most_kept:]], -torch.inf).view_as(keys)
    if not per_node:
        bits = torch.zeros(keys.numel(), dtype=torch.bool, device=keys.device)
        bits[keys.flatten().topk(int(counts.sum()), sorted=False).indices] = True
        return bits.view_as(keys)
    most = int(counts.max())
    order = keys.topk(most, 1).indices
    chosen = torch.arange(most, device=keys.device) < counts[:, None]
    return torch.zeros_like(keys, dtype=torch.bool).scatter_(1, order, chosen)


class Curvature(NamedTuple):
    """Second derivatives of the objective in every row: :math:`H_i = c_i V V^T` between two columns.

    Attributes:
        influence: c ``[n]``, the trace of the second derivatives with respect to the coordinates of row i.
        factor: V ``[F + 1, q]``, shared by all rows; its last row, for an empty slot, is zero.
        own: Squared lengths of the rows of V ``[F + 1]``.
        turned: Coordinates ``[F + 1, r]`` whose products with those of the features are :math:`V V^T`; None where
            the coordinates are the features.
    """

    influence: Tensor
    factor: Tensor
    own: Tensor
    turned: Tensor | None


class Look(NamedTuple):
    """One look at a set of ones.

    Attributes:
        objective: Squared residual over the squared norm of the target.
        loss: :math:`L_{act}`.
        rows: Share of each node in the objective ``[N]``; None where rows of the activation are not nodes.
        gradient: Gradient of the objective ``[n, r]``; None if it was not asked for.
    """

    objective: float
    loss: float
    rows: Tensor | None
    gradient: Tensor | None


@dataclass(frozen=True)
class BitProblem:
    """Find bits whose activations equal the target, with the number of ones of the start.

    Attributes:
        problem: The search for real features from the same start, one copy of the graph.
        start: Columns of the ones of the free rows ``[n, K]``.
        reference: Those of the reference ``[n, K']``.
        num_features: F.
        per_node: Whether every row keeps its number of ones, or only the graph does.
        most_kept: Number of ones of the reference that may stay, or None for any.
        seed: Seed of the solver's choices.
        keys: Real numbers whose largest entries are the ones of the start ``[n, F]``; None for solvers that
            need none.
    """

    problem: FeatureProblem
    start: Tensor
    reference: Tensor
    num_features: int
    per_node: bool
    most_kept: int | None
    seed: int
    keys: Tensor | None = None

    @cached_property
    def table(self) -> Tensor | None:
        """Coordinates of every feature and of an empty slot ``[F + 1, r]``; None if they are the features."""
        space = self.problem.space
        return None if space is None else functional.pad(space.basis * space.scale, (0, 0, 0, 1))

    def position(self, columns: Tensor) -> Tensor:
        """Return the coordinates ``[n, r]`` of rows with ones in ``columns [n, K]``."""
        if self.table is None:
            return bits_of(columns, self.num_features, self.problem.start.dtype)
        return functional.embedding_bag(columns, self.table, mode="sum")

    def moved(self, position: Tensor, rows: Tensor, old: Tensor, new: Tensor) -> Tensor:
        """Return the coordinates ``[n, r]`` after the ones ``old [m]`` of some rows gave way to ``new [m]``."""
        if self.table is not None:
            return position.index_add(0, rows, self.table[new] - self.table[old])
        position = position.clone()
        for columns, value in ((old, 0.0), (new, 1.0)):
            there = columns < self.num_features
            position[rows[there], columns[there]] = value
        return position

    def scores(
        self, gradient: Tensor, influence: Tensor, curvature: Curvature, pool: Tensor, removed: Tensor | None
    ) -> Tensor:
        """Estimate the change of the objective when a row gets a one, to second order, up to a number of the row.

        .. math:: g_i q_f + c_i |V_f|^2 - 2 c_i V_f V_r

        Args:
            gradient: Of the rows ``[b, r]``.
            influence: c of the rows ``[b]``.
            curvature: V.
            pool: Features that a row may get ``[p]``.
            removed: Features r that leave the rows at the same time ``[b]``, F for none; None for none anywhere.

        Returns:
            ``[b, p]``.
        """
        weight = influence[:, None]
        if self.table is None or curvature.turned is None:
            change = torch.addcmul(gradient[:, pool], weight, curvature.own[pool])
            cross = None if removed is None else curvature.factor[removed] @ curvature.factor[pool].T
            return change if cross is None else change.addcmul_(weight, cross, value=-2)
        if removed is not None:
            gradient = torch.addcmul(gradient, weight, curvature.turned[removed], value=-2)
        seen = torch.cat([self.table[pool], curvature.own[pool, None]], dim=1)
        return torch.cat([gradient, weight], dim=1) @ seen.T

    def slopes_of_ones(self, gradient: Tensor, columns: Tensor) -> Tensor:
        """Return the derivatives ``[b, K]`` by the ones in ``columns [b, K]``; zero for empty slots."""
        if self.table is None:
            return functional.pad(gradient, (0, 1)).gather(1, columns)
        return torch.bmm(self.table[columns], gradient[:, :, None])[:, :, 0]

    def evaluate(self, position: Tensor) -> Evaluation:
        """Compute objective, gradient and loss at ``position [n, r]``."""
        return self.problem.evaluate(position[None])

    def look(self, position: Tensor, *, gradient: bool = True) -> Look:
        """Look at ``position [n, r]``, node by node."""
        position = position.detach().requires_grad_(gradient)
        with torch.set_grad_enabled(gradient):
            residual, plain = self.problem.residuals(position[None])
            norm = self.problem.target.activation.square().sum()
            each = residual[0].square().sum(1) / norm
            slope = torch.autograd.grad(each.sum(), position)[0] if gradient else None
        rows = self.problem.target.at_nodes(each.detach(), self.problem.graph.x.size(0))
        return Look(float(each.detach().sum()), float(plain.square().sum() / norm), rows, slope)

    def curvature(self, position: Tensor, probes: int, generator: torch.Generator) -> Curvature:
        """Estimate the Gauss-Newton curvature of every row by random projections of the residual.

        With J the Jacobian of the residual and u standard normal, the rows of :math:`s = J^T u` obey
        :math:`E[s_i s_i^T] = J_i^T J_i`. One backward pass gives a sample for every row at once. The trace is
        kept for each row and the rest is averaged over rows, which costs little: on Cora 98 % of the variance
        of the exact curvature of swaps is left. What is not finite counts as no curvature.

        Args:
            position: ``[n, r]``.
            probes: Number of backward passes.
            generator: Draws u.
        """
        total, parts = position.new_zeros(position.size(0)), []
        for sample in self._samples(position, probes, generator):
            square = sample.square().sum(1)
            total += square
            direction = sample / square.sqrt().clamp(min=torch.finfo(sample.dtype).tiny)[:, None]
            if self.table is None:
                chosen = torch.randperm(len(direction), generator=generator, device="cpu")[
                    : max(1, SAMPLED_ROWS // probes)
                ]
                parts.append(direction[chosen.to(direction.device)])
            else:
                parts.append(direction.T @ direction / (probes * len(direction)))
        if self.table is None:
            rows = torch.cat(parts)
            factor, turned = functional.pad(rows.T / len(rows) ** 0.5, (0, 0, 0, 1)), None
        else:
            strength, axes = torch.linalg.eigh(torch.stack(parts).sum(0).double().nan_to_num())
            root = (axes * strength.clamp(min=0).sqrt()).to(position.dtype)
            factor = self.table @ root
            turned = factor @ root.T
        return Curvature(total.nan_to_num() / probes, factor, factor.square().sum(1), turned)

    def _samples(self, position: Tensor, probes: int, generator: torch.Generator) -> Iterator[Tensor]:
        rows = position.detach().requires_grad_()
        residual, _ = self.problem.residuals(rows[None])
        norm = self.problem.target.activation.norm()
        for _ in range(probes):
            u = gaussian(residual.shape, generator, residual, torch.float64)
            (sample,) = torch.autograd.grad((residual * u).sum() / norm, rows, retain_graph=True)
            yield sample
