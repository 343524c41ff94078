r"""The messages of every propagation of a model, and the gradients with respect to their sums.

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
from metamerlib.models.propagation import Matrices, Multiply, StandIn, put_stand_in, stand_in_of
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


class Propagation(StandIn):
    """Stand in for ``conv.propagate`` and note what it gathers."""

    def __init__(self, conv: MessagePassing, calls: list[Call], matrices: Matrices) -> None:
        super().__init__(conv)
        self.calls, self.matrices = calls, matrices
        self.left, self.right = factors(conv)
        self.linear = sums_neighbours(conv) and not conv.explain

    def __call__(self, edge_index: Tensor, size: Any = None, **kwargs: Any) -> Tensor:
        name = _message_name(kwargs)
        if name is None:
            return super().__call__(edge_index, size, **kwargs)
        source = self.sender_in(kwargs, name)
        flat = self._flat(source.detach())
        call = Call(self.left, self.right, flat, *(flat.new_zeros(0) for _ in range(3)))
        self.calls.append(call)
        if not self.linear:
            return self._watched(call, edge_index, source, size, kwargs, name)
        matrix, transposed = self.matrices.of(edge_index, self.weight_in(kwargs), self.conv.aggr == "mean", source)
        if not torch.is_grad_enabled():
            return matrix @ source
        return Multiply.apply(_leaf(source), matrix, transposed, call)

    def _flat(self, x: Tensor) -> Tensor:
        """Return one row for each node ``[N, D]``."""
        return x.movedim(self.conv.node_dim, 0).reshape(x.size(self.conv.node_dim), -1)

    def _watched(
        self, call: Call, edge_index: Tensor, source: Tensor, size: Any, kwargs: dict[str, Any], name: str
    ) -> Tensor:
        if not torch.is_grad_enabled():
            return super().__call__(edge_index, size, **kwargs)
        leaf = _leaf(source)
        both = isinstance(kwargs[name], tuple)
        kwargs = {**kwargs, name: (leaf, *kwargs[name][1:]) if both else leaf}
        out = super().__call__(edge_index, size, **kwargs)
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
    heard = {conv: stand_in_of(conv) for conv in convs}
    if _fits(probe, calls, graphs, wanted):
        return calls, all(isinstance(stand_in, Propagation) for stand_in in heard.values())
    own = {conv: stand_in_of(twin) for conv, twin in zip(convs, _convolutions(plain.model), strict=True)}
    for conv in convs:
        put_stand_in(conv, own[conv])
    for conv in convs:
        if own[conv] is None and isinstance(heard[conv], Propagation):
            put_stand_in(conv, heard[conv])
            if not _fits(probe, calls, graphs, wanted):
                put_stand_in(conv, None)
    calls.clear()
    return calls, False


def _convolutions(model: nn.Module) -> list[MessagePassing]:
    return [module for module in model.modules() if isinstance(module, MessagePassing)]


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
    matrices = Matrices()
    for conv in _convolutions(model):
        if conv.flow == "source_to_target" and stand_in_of(conv) is None:
            put_stand_in(conv, Propagation(conv, calls, matrices))
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
