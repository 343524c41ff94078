r"""What travels along the edges of a model: the messages of every propagation, and the pull of the loss on their sums.

If x gathers :math:`y_x = l_x \sum_{z \in N(x)} r_z v_z`, an edge from z adds :math:`l_x r_z v_z` to it. With G the
gradient of half the squared residual with respect to y, the loss changes by
:math:`2 G_x \cdot \Delta y_x + \|J_x \Delta y_x\|^2` to second order, J being the Jacobian of the residual.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing

from metamerlib.models.convolutions import Factor, factors, sums_neighbours
from metamerlib.models.propagation import to_csr
from metamerlib.probing.agreement import agree
from metamerlib.probing.probe import Probe

SMALLEST_SHARE = 1e-6
NAMES = ("x", "value", "v", "a", "h")


@dataclass
class Call:
    """One propagation in a forward pass.

    Attributes:
        left: Factor :math:`l_x` as a function of the degree.
        right: Factor :math:`r_z` as a function of the degree.
        message: v ``[N, D]``.
        gathered: y ``[N, D]``.
        gradient: G ``[N, D]``, of the latest backward pass.
        returned: Gradient with respect to v ``[N, D]``.
    """

    left: Factor
    right: Factor
    message: Tensor
    gathered: Tensor
    gradient: Tensor
    returned: Tensor


class _Multiply(torch.autograd.Function):
    """Multiply by a sparse matrix, and note both gradients in passing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, transposed: Tensor, call: Call) -> Tensor:
        ctx.transposed, ctx.call = transposed, call
        out = matrix @ x
        call.gathered = out.detach()  # the output itself would hold the call in a cycle, and with it the memory
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        ctx.call.gradient, ctx.call.returned = grads[0], ctx.transposed @ grads[0]
        return ctx.call.returned, None, None, None


class _Matrices:
    """Sparse matrices of the latest edges, shared by the convolutions that weigh them alike."""

    def __init__(self) -> None:
        self.key: tuple[Tensor, Tensor | None, bool] | None = None
        self.pair: tuple[Tensor, Tensor] | None = None

    def of(self, edge_index: Tensor, weight: Tensor | None, mean: bool, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.key is None or self.pair is None or not self._same(edge_index, weight, mean):
            source, target = edge_index
            values = x.new_ones(source.numel()) if weight is None else weight.to(x.dtype)
            if mean:
                degree = torch.bincount(target, minlength=x.size(0)).clamp(min=1)
                values = values / degree[target].to(x.dtype)
            self.pair = (to_csr(target, source, values, x.size(0)), to_csr(source, target, values, x.size(0)))
            self.key = (edge_index, weight, mean)
        return self.pair

    def _same(self, edge_index: Tensor, weight: Tensor | None, mean: bool) -> bool:
        assert self.key is not None
        known, heavy, averaged = self.key
        if averaged != mean or known.shape != edge_index.shape or (weight is None) != (heavy is None):
            return False
        if weight is not None and heavy is not None and not torch.equal(weight, heavy):
            return False
        return torch.equal(known, edge_index)


class Propagation:
    """Stand in for ``conv.propagate`` and note what it gathers."""

    def __init__(self, conv: MessagePassing, calls: list[Call], matrices: _Matrices) -> None:
        self.conv, self.calls, self.matrices = conv, calls, matrices
        self.left, self.right = factors(conv)
        self.linear = sums_neighbours(conv) and not conv.explain

    def __call__(self, edge_index: Tensor, size: Any = None, **kwargs: Any) -> Tensor:
        name = _message_name(kwargs)
        if name is None:
            return type(self.conv).propagate(self.conv, edge_index, size=size, **kwargs)
        source = kwargs[name][0] if isinstance(kwargs[name], tuple) else kwargs[name]
        flat = self._flat(source.detach())
        call = Call(self.left, self.right, flat, *(flat.new_zeros(0) for _ in range(3)))
        self.calls.append(call)
        if not self.linear:
            return self._watched(call, edge_index, source, size, kwargs, name)
        weight = kwargs.get("edge_weight", kwargs.get("norm"))
        matrix, transposed = self.matrices.of(edge_index, weight, self.conv.aggr == "mean", source)
        if not torch.is_grad_enabled():
            return matrix @ source
        return _Multiply.apply(_leaf(source), matrix, transposed, call)

    def _flat(self, x: Tensor) -> Tensor:
        """Return one row for each node ``[N, D]``."""
        return x.movedim(self.conv.node_dim, 0).reshape(x.size(self.conv.node_dim), -1)

    def _watched(
        self, call: Call, edge_index: Tensor, source: Tensor, size: Any, kwargs: dict[str, Any], name: str
    ) -> Tensor:
        if not torch.is_grad_enabled():
            return type(self.conv).propagate(self.conv, edge_index, size=size, **kwargs)
        leaf = _leaf(source)
        both = isinstance(kwargs[name], tuple)
        kwargs = {**kwargs, name: (leaf, *kwargs[name][1:]) if both else leaf}
        out = type(self.conv).propagate(self.conv, edge_index, size=size, **kwargs)
        call.gathered = self._flat(out.detach())

        def note(name: str) -> Callable[[Tensor], None]:
            return lambda gradient: setattr(call, name, self._flat(gradient))

        out.register_hook(note("gradient"))
        leaf.register_hook(note("returned"))
        return out


def _leaf(x: Tensor) -> Tensor:
    return x if x.requires_grad else x.detach().requires_grad_()


def _message_name(kwargs: dict[str, Any]) -> str | None:
    """Return which argument of a propagation nodes send: x, value, v, a or h, else the only matrix there is."""
    tensors = {}
    for name, value in kwargs.items():
        first = value[0] if isinstance(value, tuple) and value else value
        if isinstance(first, Tensor) and first.is_floating_point():
            tensors[name] = first
    for name in NAMES:
        if name in tensors:
            return name
    wide = [name for name, value in tensors.items() if value.dim() == 2 and "edge" not in name]
    return wide[0] if len(wide) == 1 else None


def listen_where_true(probe: Probe, plain: Probe, graphs: list[Data]) -> tuple[list[Call], bool]:
    """Listen to the convolutions of a private copy whose stand-ins compute what they stand for.

    Each is compared with the plain copy on every graph, without and with gradients. If they do not fit together,
    they are tried one by one, and those that differ are left as they are.

    Args:
        probe: Records a layer of the private copy, which is changed.
        plain: Records the same layer of a copy that notes nothing.
        graphs: The reference and the start.

    Returns:
        The list of calls, and whether every convolution is listened to.
    """
    with torch.no_grad():
        wanted = [plain(graph, complete=False).activation for graph in graphs]
    calls = listen(probe.model)
    convs = _convolutions(probe.model)
    heard = {conv: vars(conv).get("propagate") for conv in convs}
    if _fits(probe, calls, graphs, wanted):
        return calls, all(isinstance(stand_in, Propagation) for stand_in in heard.values())
    own = {conv: vars(twin).get("propagate") for conv, twin in zip(convs, _convolutions(plain.model), strict=True)}
    for conv in convs:
        _set_propagate(conv, own[conv])
    for conv in convs:
        if own[conv] is None and isinstance(heard[conv], Propagation):
            _set_propagate(conv, heard[conv])
            if not _fits(probe, calls, graphs, wanted):
                _set_propagate(conv, None)
    calls.clear()
    return calls, False


def _convolutions(model: nn.Module) -> list[MessagePassing]:
    return [module for module in model.modules() if isinstance(module, MessagePassing)]


def _set_propagate(conv: MessagePassing, propagate: Any) -> None:
    vars(conv).pop("propagate", None)
    if propagate is not None:
        conv.propagate = propagate


def _fits(probe: Probe, calls: list[Call], graphs: list[Data], wanted: list[Tensor]) -> bool:
    """Tell whether a copy that is listened to gives the plain activations, and gradients of every message."""
    try:
        for graph, activation in zip(graphs, wanted, strict=True):
            calls.clear()
            with torch.no_grad():
                same = agree(probe(graph, complete=False).activation, activation)
            calls.clear()
            seen = probe(graph, complete=False).activation
            if not same or not agree(seen.detach(), activation):
                return False
            if calls:
                seen.sum().backward()
            shape = graph.x.size(0)
            if any(call.message.size(0) != shape or not _is_whole(call) for call in calls):
                return False
    except Exception:  # a foreign convolution may fail in any way when it is listened to
        return False
    return True


def _is_whole(call: Call) -> bool:
    return all(part.shape == call.message.shape for part in (call.gathered, call.gradient, call.returned))


def listen(model: nn.Module) -> list[Call]:
    """Note every propagation of a private copy from now on, in a list that the caller clears before each pass.

    Convolutions that sum or average multiply by a sparse matrix, which takes O(E) memory whatever the width.
    """
    calls: list[Call] = []
    matrices = _Matrices()
    for conv in _convolutions(model):
        if conv.flow == "source_to_target" and "propagate" not in vars(conv):
            conv.propagate = Propagation(conv, calls, matrices)
    return calls


@dataclass(frozen=True)
class Metric:
    """How strongly the residual answers to what the nodes gather in one propagation.

    Attributes:
        forward: Maps what is gathered to coordinates whose squares are costs ``[D, K]``.
        backward: Maps gradients likewise ``[D, K]``.
        weight: Curvature of each node ``[N]``.
    """

    forward: Tensor
    backward: Tensor
    weight: Tensor


def metric_of(call: Call, probes: Tensor, right: Tensor, rank: int) -> Metric:
    r"""Estimate the curvature of the loss in one propagation.

    With random signs :math:`\xi`, the mean of :math:`J^T \xi \xi^T J` is :math:`J^T J` (Hutchinson, 1990). It is
    taken to be one matrix for all nodes times one number for each; the coordinates are the principal axes of the
    messages.

    Args:
        call: The propagation.
        probes: :math:`J^T \xi` for m random :math:`\xi` ``[m, N, D]``.
        right: Factor of each message ``[N]``.
        rank: Largest number K of coordinates.
    """
    flat = probes.reshape(-1, probes.size(-1)).double()
    common = flat.T @ flat / flat.size(0)
    trace = common.trace().clamp(min=torch.finfo(torch.float64).tiny)
    weight = probes.square().sum((0, 2)) / (probes.size(0) * trace.to(probes.dtype))
    values, axes = torch.linalg.eigh(common)
    roots = values.clamp(min=float(values[-1]) * SMALLEST_SHARE).clamp(min=torch.finfo(torch.float64).tiny).sqrt()
    whiten, colour = (axes * roots) @ axes.T, (axes / roots) @ axes.T
    sent = (call.message * right[:, None]).double()
    _, main = torch.linalg.eigh(whiten @ (sent.T @ sent) @ whiten)
    main = main[:, -rank:]
    dtype = probes.dtype
    return Metric((whiten @ main).to(dtype), (colour @ main).to(dtype), weight)
