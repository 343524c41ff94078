"""Random splits, random edges of models with classes, and noise that is the same on every device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MASKS = ("train_mask", "val_mask", "test_mask")


def gaussian(
    shape: Sequence[int], source: int | torch.Generator | None, like: Tensor, dtype: torch.dtype | None = None
) -> Tensor:
    """Draw standard normal numbers on the CPU, the same for every device, and bring them to a tensor's.

    Args:
        shape: Of the numbers.
        source: Seed, a generator on the CPU, or None for the global one.
        like: Says where they are needed, and in which dtype.
        dtype: In which they are drawn; None for that of ``like``.

    Example:
        >>> one, other = (gaussian((2,), 0, torch.zeros(1, dtype=dtype)) for dtype in (torch.float32, torch.float64))
        >>> torch.equal(gaussian((2,), torch.Generator().manual_seed(0), other), other), one.dtype
        (True, torch.float32)
    """
    generator = torch.Generator().manual_seed(source) if isinstance(source, int) else source
    return torch.randn(tuple(shape), generator=generator, device="cpu", dtype=dtype or like.dtype).to(like)


def stratified_masks(y: Tensor, generator: torch.Generator, train: float = 0.6, val: float = 0.2) -> dict[str, Tensor]:
    """Split nodes at random, class by class.

    Args:
        y: classes, [N].
        generator: source of randomness, on the CPU.
        train: share of each class that goes to training.
        val: share that goes to validation; the rest is for testing.

    Returns:
        train_mask, val_mask, test_mask, each [N] bool; together they cover every node once.

    Example:
        >>> masks = stratified_masks(torch.tensor([0] * 5 + [1] * 5), torch.Generator())
        >>> [int(mask.sum()) for mask in masks.values()]
        [6, 2, 2]
    """
    masks = {name: torch.zeros(len(y), dtype=torch.bool) for name in MASKS}
    for label in y.unique():
        nodes = (y == label).nonzero().flatten()
        nodes = nodes[torch.randperm(len(nodes), generator=generator, device="cpu")]
        cuts = [round(train * len(nodes)), round((train + val) * len(nodes))]
        for mask, part in zip(masks.values(), nodes.tensor_split(cuts), strict=True):
            mask[part] = True
    return masks


def sample_edges(y: Tensor, p: float, q: float, generator: torch.Generator) -> Tensor:
    """Draw the edges of a stochastic block model, each pair of nodes once.

    Args:
        y: classes, [N].
        p: edge probability inside a class.
        q: edge probability across classes.
        generator: source of randomness, on the CPU.

    Returns:
        edge_index [2, E], sorted, both directions, no self-loops.

    Example:
        >>> sample_edges(torch.tensor([0, 0, 1]), 1.0, 0.0, torch.Generator()).tolist()
        [[0, 1], [1, 0]]
    """
    found = []
    for start, block in zip(range(0, len(y), 1024), y.split(1024), strict=True):
        chance = torch.where(block[:, None] == y, p, q)
        edge = torch.rand(chance.shape, generator=generator, device="cpu", dtype=torch.float32) < chance
        found.append(edge.triu(start + 1).nonzero() + torch.tensor([start, 0]))
    upper = torch.cat(found).T
    both = torch.cat([upper, upper.flip(0)], dim=1)
    return both[:, (both[0] * len(y) + both[1]).argsort()]
