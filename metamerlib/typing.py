"""What callers hand in, under one name each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

Layer: TypeAlias = int | str | nn.Module
"""A 1-based number of :class:`metamerlib.GNN`, a module's name (``"act:0"``: its first call), or a module."""

Nodes: TypeAlias = int | Sequence[int] | Tensor | None
"""Indices of nodes, a boolean mask ``[N]``, or None for all."""

Device: TypeAlias = str | torch.device | None
"""Where to run; None leaves everything where it is."""
