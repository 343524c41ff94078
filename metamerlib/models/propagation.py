"""Faster message passing where the structure is fixed: one sparse matrix per convolution, built once."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import APPNP, GCNConv, MessagePassing

from metamerlib.models.convolutions import sums_neighbours


class Multiply(torch.autograd.Function):
    """Multiply by a constant sparse matrix, with its transpose kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None, None
        return ctx.transposed @ grads[0], None, None


class SparsePropagation:
    """Stand in for ``conv.propagate`` of a convolution that sums (or averages) weighted neighbours.

    The matrix ``[N, N]`` is stored as CSR with its transpose, O(E) memory, and is rebuilt when the edges or
    weights change. It equals PyG's gather and scatter up to rounding.
    """

    def __init__(self, conv: MessagePassing, mean: bool) -> None:
        self.conv, self.mean = conv, mean
        self.edges: tuple[Tensor, Tensor | None] | None = None
        self.matrices: tuple[Tensor, Tensor] | None = None

    def __call__(self, edge_index: Tensor, size: Any = None, **kwargs: Any) -> Tensor:
        weight = kwargs.get("edge_weight", kwargs.get("norm"))
        if weight is not None and weight.requires_grad:
            return type(self.conv).propagate(self.conv, edge_index, size=size, **kwargs)
        x = kwargs["x"] if isinstance(kwargs["x"], Tensor) else kwargs["x"][0]
        if not self._is_current(edge_index, weight):
            self.matrices = self._build(edge_index, weight, x)
            self.edges = (edge_index, weight)
        assert self.matrices is not None
        return Multiply.apply(x, *self.matrices)

    def _is_current(self, edge_index: Tensor, weight: Tensor | None) -> bool:
        if self.edges is None:
            return False
        old_index, old_weight = self.edges
        if old_index is edge_index and old_weight is weight:
            return True
        if old_index.shape != edge_index.shape or not torch.equal(old_index, edge_index):
            return False
        return weight is old_weight or (
            weight is not None and old_weight is not None and torch.equal(weight, old_weight)
        )

    def _build(self, edge_index: Tensor, weight: Tensor | None, x: Tensor) -> tuple[Tensor, Tensor]:
        num_nodes = x.size(0)
        source, destination = edge_index
        values = x.new_ones(source.numel()) if weight is None else weight.detach().to(x.dtype)
        if self.mean:
            degree = x.new_zeros(num_nodes).index_add_(0, destination, x.new_ones(source.numel()))
            values = values / degree.clamp(min=1)[destination]
        return to_csr(destination, source, values, num_nodes), to_csr(source, destination, values, num_nodes)


def to_csr(row: Tensor, column: Tensor, values: Tensor, size: int) -> Tensor:
    """Return a sparse matrix ``[size, size]`` in CSR; entries of one place stay apart, and add up in a product."""
    order = torch.argsort(row * size + column)
    counts = torch.bincount(row, minlength=size)
    pointer = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        column, values, device = column[order], values[order], values.device
        return torch.sparse_csr_tensor(pointer, column, values, (size, size), device=device, check_invariants=False)


def fix_structure(model: nn.Module) -> nn.Module:
    """Speed up a private copy of a model whose graph will not change.

    Convolutions of PyG that sum or average weighted neighbours multiply by a sparse matrix, and keep their
    normalised weights. All others stay as they are.

    Args:
        model: A private copy; it is changed in place and returned.
    """
    for conv in list(model.modules()):
        if not sums_neighbours(conv) or conv.explain or conv._message_forward_hooks:
            continue
        if isinstance(conv, GCNConv | APPNP):
            conv.cached = True
        conv.propagate = SparsePropagation(conv, conv.aggr == "mean")  # type: ignore[assignment]
    return model
