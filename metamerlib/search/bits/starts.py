"""Where a search for bits begins."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.search.bits.problem import largest_ones
from metamerlib.search.request import Request


def frequency_keys(x: Tensor, seed: int) -> Tensor:
    """Draw keys ``[n, F]`` that are positive with each column's frequency of ones in ``x [n, F]``.

    A key is the log-odds of its column plus logistic noise; taking as many of the largest keys as there are
    ones adjusts independent draws to the exact number.
    """
    share = x.double().mean(0)
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(x.shape, generator=generator, device="cpu").to(x)
    return torch.logit(share, eps=1e-9).to(x.dtype) + torch.logit(uniform, eps=1e-7)


def draw_start(graph: Data, request: Request, seed: int, most_kept: int | None) -> tuple[Tensor, Tensor]:
    """Return the bits of the free rows at the start, and keys that are positive there, both ``[n, F]``."""
    free, reference = request.free_nodes, free_rows(graph.x, request.free_nodes)
    if request.start is None or (isinstance(request.start, str) and request.start == "frequencies"):
        keys = free_rows(frequency_keys(graph.x, seed), free)
        counts = reference.sum(1).long()
        ones = largest_ones(
            keys, counts, per_node=request.ones == "node", reference=reference.bool(), most_kept=most_kept
        )
        return ones, keys - keys[ones].min()
    given = request.start if isinstance(request.start, Tensor) else graph.x
    ones = free_rows(given.to(graph.x.device), free).bool()
    noise = torch.rand(ones.shape, generator=torch.Generator().manual_seed(seed), device="cpu").to(graph.x)
    return ones, torch.where(ones, 1 + noise, -1 - noise)


def free_rows(x: Tensor, free: Tensor | None) -> Tensor:
    """Return the rows of the features that may move; all of them for None."""
    return x if free is None else x[free]
