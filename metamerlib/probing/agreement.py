"""When two activations count as equal."""

from __future__ import annotations

import torch
from torch import Tensor

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 3e-2}


def same_rows(a: Tensor, b: Tensor) -> bool:
    """Tell whether two activations are equal row by row, up to the rounding of float64."""
    if a.shape != b.shape or not agree(a, b):
        return False
    size = b.norm(dim=1)
    return bool(((a - b).norm(dim=1) <= 1e-9 * (size + 1e-3 * size.max())).all())


def agree(a: Tensor, b: Tensor) -> bool:
    """Tell whether two activations are equal up to the rounding of their dtype."""
    return a.shape == b.shape and bool((a - b).norm() <= TOLERANCE[b.dtype] * b.norm())
