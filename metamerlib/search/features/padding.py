"""Blocks of rows of different heights, padded to one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Padding(NamedTuple):
    """Where the rows of B blocks of different heights stand in a padded ``[B, height]``.

    Attributes:
        place: Place of each row, block times height plus row ``[N]``; None where all blocks are equally high.
        shape: B and the height.
    """

    place: Tensor | None
    shape: tuple[int, int]

    @classmethod
    def of(cls, heights: Sequence[int], device: torch.device, *, height: int | None = None) -> Padding:
        """Lay out blocks of the given heights ``[B]``, padded to the highest or to ``height``.

        Example:
            >>> Padding.of([1, 2], torch.device("cpu")).place.tolist()
            [0, 2, 3]
        """
        height = max(heights) if height is None else height
        shape = (len(heights), height)
        if all(own == height for own in heights):
            return cls(None, shape)
        inside = torch.arange(height, device="cpu") < torch.tensor(heights, device="cpu")[:, None]
        return cls(inside.reshape(-1).nonzero()[:, 0].to(device), shape)

    def pad(self, rows: Tensor) -> Tensor:
        """Spread ``rows [N, d]`` over ``[B, height, d]``, zero where a block is lower."""
        if self.place is not None:
            padded = rows.new_zeros(self.shape[0] * self.shape[1], rows.size(1))
            rows = padded.index_copy(0, self.place, rows)
        return rows.reshape(*self.shape, -1)

    def gather(self, padded: Tensor) -> Tensor:
        """Collect the rows ``[N, d]`` of ``padded [B, height, d]``."""
        rows = padded.reshape(self.shape[0] * self.shape[1], -1)
        return rows if self.place is None else rows.index_select(0, self.place)
