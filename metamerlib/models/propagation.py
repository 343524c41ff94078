"""Stand-ins for the propagation of convolutions; the one for a fixed structure multiplies by one sparse matrix."""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch_geometric.nn import APPNP, GCNConv, MessagePassing
from torch_geometric.utils import to_torch_csr_tensor

from metamerlib.models.convolutions import sums_neighbours


class Note(Protocol):
    """What may be noted of a product: what came out of it, and the gradients on both of its sides."""

    gathered: Tensor
    gradient: Tensor
    returned: Tensor


class Multiply(torch.autograd.Function):
    """Multiply by a constant sparse matrix, with its transpose kept for the gradient; note it all where asked to."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, transposed: Tensor, note: Note | None = None) -> Tensor:
        ctx.transposed, ctx.note = transposed, note
        out = matrix @ x
        if note is not None:
            note.gathered = out.detach()  # the output itself would hold the note in a cycle, and with it the memory
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        returned = ctx.transposed @ grads[0]
        if ctx.note is not None:
            ctx.note.gradient, ctx.note.returned = grads[0], returned
        return returned, None, None, None


class StandIn:
    """Stand in for ``conv.propagate``; a subclass defines ``__call__(edge_index, size=None, **kwargs)``."""

    def __init__(self, conv: MessagePassing) -> None:
        self.conv = conv

    def __call__(self, edge_index: Tensor, size: Any = None, **kwargs: Any) -> Tensor:
        """Propagate as the convolution's class does."""
        return type(self.conv).propagate(self.conv, edge_index, size=size, **kwargs)

    @staticmethod
    def weight_in(kwargs: dict[str, Any]) -> Tensor | None:
        """Return what a call multiplies the messages by ``[E]``, or None."""
        return kwargs.get("edge_weight", kwargs.get("norm"))

    @staticmethod
    def sender_in(kwargs: dict[str, Any], name: str = "x") -> Tensor:
        """Return what nodes send in a call ``[N, D]``: of a pair (senders, receivers) the first."""
        return kwargs[name][0] if isinstance(kwargs[name], tuple) else kwargs[name]


def stand_in_of(conv: nn.Module) -> Any:
    """Return what stands in for a convolution's propagation, or None."""
    return vars(conv).get("propagate")


def put_stand_in(conv: nn.Module, stand_in: Any) -> None:
    """Let something propagate in a convolution's place; None gives its own propagation back."""
    vars(conv).pop("propagate", None)
    if stand_in is not None:
        vars(conv)["propagate"] = stand_in


class Matrices:
    """Sparse matrix ``[N, N]`` of the latest edges and weights and its transpose, in O(E) memory."""

    def __init__(self) -> None:
        self._key: tuple[Tensor, Tensor | None, bool] | None = None
        self._pair: tuple[Tensor, Tensor] | None = None

    def of(self, edge_index: Tensor, weight: Tensor | None, mean: bool, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return both, made anew where edges, weights, or whether neighbours are averaged, have changed.

        Raises:
            IndexError: If an edge ends outside, as between nodes of two types: the product would read other memory.
        """
        if self._pair is None or not self._is_current(edge_index, weight, mean):
            last = int(edge_index.max()) if edge_index.numel() else -1
            if last >= x.size(0):
                raise IndexError(f"edges end at nodes up to {last}, there are {x.size(0)}")
            source, target = edge_index
            values = x.new_ones(source.numel()) if weight is None else weight.detach().to(x.dtype)
            if mean:
                values = values / torch.bincount(target, minlength=x.size(0))[target].to(x.dtype)
            size = x.size(0)
            self._pair = to_csr(target, source, values, size), to_csr(source, target, values, size)
            self._key = edge_index, weight, mean
        return self._pair

    def _is_current(self, edge_index: Tensor, weight: Tensor | None, mean: bool) -> bool:
        assert self._key is not None
        old_index, old_weight, old_mean = self._key
        return old_mean == mean and _equal(old_index, edge_index) and _equal(old_weight, weight)


def _equal(old: Tensor | None, new: Tensor | None) -> bool:
    if old is new or old is None or new is None:
        return old is new
    return old.shape == new.shape and torch.equal(old, new)


class SparsePropagation(StandIn):
    """Stand in for ``conv.propagate`` of a convolution that sums (or averages) weighted neighbours.

    It equals PyG's gather and scatter up to rounding.
    """

    def __init__(self, conv: MessagePassing) -> None:
        super().__init__(conv)
        self.mean = conv.aggr == "mean"
        self.matrices = Matrices()

    def __call__(self, edge_index: Tensor, size: Any = None, **kwargs: Any) -> Tensor:
        weight = self.weight_in(kwargs)
        if weight is not None and weight.requires_grad:
            return super().__call__(edge_index, size, **kwargs)
        x = self.sender_in(kwargs)
        return Multiply.apply(x, *self.matrices.of(edge_index, weight, self.mean, x))


def to_csr(row: Tensor, column: Tensor, values: Tensor, size: int) -> Tensor:
    """Return a sparse matrix ``[size, size]`` in CSR; entries of one place are added up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # CSR is in beta, and its invariants are not checked
        with values.device:
            return to_torch_csr_tensor(torch.stack([row, column]), values, (size, size))


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
        put_stand_in(conv, SparsePropagation(conv))
    return model
