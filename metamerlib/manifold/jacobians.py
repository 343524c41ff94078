"""Jacobians of node activations with respect to the features of their receptive fields.

Each node gets a subgraph of its own, as large as its receptive field; the subgraphs of a chunk of nodes make
one disjoint union, on which d_k backward passes give the Jacobians of the whole chunk. Sums over neighbours
keep the weights of the whole graph. Every chunk's activations are compared with those of the whole graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_device, check_graph, check_module, check_nodes, check_positive
from metamerlib.graphs.edit import with_features
from metamerlib.manifold.reach import Members, Reach, find_reach
from metamerlib.manifold.subgraphs import restricted, select, subgraph
from metamerlib.models.calling import Forward
from metamerlib.plain import shown
from metamerlib.probing.agreement import same_rows
from metamerlib.probing.probe import Probe, plain_activation
from metamerlib.probing.reduce import check_gradient, elsewhere, reduced, to_float64
from metamerlib.probing.row_space import RowSpace
from metamerlib.typing import Device, Layer

MEMORY = 2**30
_CHUNK = 2**27
_TAPE = 16


@dataclass(frozen=True)
class NodeJacobian:
    """Jacobian of one node's activation.

    Attributes:
        node: v.
        field: Nodes of the receptive field ``[n_v]``.
        matrix: ``[d_k, n_v * c]``; c coordinates per node, orthonormal directions of the features, outside of
            which every derivative is zero, so that rank and singular values are those of J_v.
        inputs: Number of features in the field, ``n_v * F``.
        pre_activation: z_v ``[d_k]`` if the matrix is the Jacobian of z_v, else None.
    """

    node: int
    field: Tensor
    matrix: Tensor
    inputs: int
    pre_activation: Tensor | None


@dataclass(frozen=True)
class LocalModel:
    """A model set up for Jacobians of one layer, see :func:`prepare`.

    Attributes:
        probe: Records the layer of a private float64 copy, on unions of subgraphs.
        plain: The same on the whole graph.
        graph: The whole graph in float64, x ``[N, c]``.
        whole: Activation on the whole graph ``[N, d_k]``.
        derivative: Module f with h = f(z) elementwise where Jacobians of z were asked for and z is in reach.
        reach: Receptive fields of the layer.
        num_features: F, before projection.
        space: Directions of the features that the coordinates of ``graph`` stand for; None where they are all.
        margin: Hops by which subgraphs exceed the receptive fields; None runs the whole graph.
        memory: Bytes that the Jacobians of a chunk may take.
    """

    probe: Probe
    plain: Probe
    graph: Data
    whole: Tensor
    derivative: nn.Module | None
    reach: Reach
    num_features: int
    space: RowSpace | None
    margin: int | None
    memory: int

    def bytes_of(self, nodes: Tensor) -> Tensor:
        """Return the bytes that each node's Jacobian and its computing take ``[B]``."""
        entries = 8 * self.graph.x.size(1) * (self.whole.size(1) + _TAPE)
        if self.margin is None:
            return torch.full_like(nodes, entries * self.graph.x.size(0))
        return entries * self.reach.sizes(nodes, self.margin)

    def jacobians(self, nodes: Tensor) -> Iterator[NodeJacobian]:
        """Yield the Jacobian of each node, in an order of increasing size.

        Raises:
            ValueError: Before anything is computed, if the Jacobian of some node exceeds the memory.
        """
        sizes = self.bytes_of(nodes)
        self._check_memory(nodes, sizes)
        order = sizes.argsort(stable=True)
        limit = min(self.memory, _CHUNK) if self.margin is not None else 0
        chunk: list[int] = []
        filled = 0
        for place in order.tolist():
            if chunk and filled + int(sizes[place]) > limit:
                yield from self._chunk(nodes[chunk])
                chunk, filled = [], 0
            chunk.append(place)
            filled += int(sizes[place])
        yield from self._chunk(nodes[chunk])

    def _check_memory(self, nodes: Tensor, sizes: Tensor) -> None:
        worst = int(sizes.argmax())
        if int(sizes[worst]) > self.memory:
            shape = [self.whole.size(1), int(self.reach.sizes(nodes[[worst]])), self.graph.x.size(1)]
            raise ValueError(
                f"the Jacobian {shape} of node {int(nodes[worst])} alone takes {int(sizes[worst]) / 2**20:.0f} MiB, "
                f"memory allows {self.memory / 2**20:.0f}; raise memory= (bytes), or leave the node out of nodes="
            )

    def _chunk(self, nodes: Tensor) -> Iterator[NodeJacobian]:
        fields = self.reach.fields(nodes)
        if self.margin is None:
            graph, centres, rows = self.graph, nodes, fields.node
        else:
            graph, centres, rows = self.union(nodes, fields)
        x = graph.x.detach().requires_grad_()
        h, z = self.record(with_features(graph, x))
        if self.margin is not None and not same_rows(h.detach()[centres], self.whole[nodes]):
            yield from replace(self, probe=self.plain, margin=None).jacobians(nodes)
            return
        chosen = h[centres] if z is None else z[centres]
        matrix = x.new_zeros(chosen.size(1), rows.numel(), x.size(1))
        for unit in range(chosen.size(1)):
            (gradient,) = torch.autograd.grad(chosen[:, unit].sum(), x, retain_graph=True)
            matrix[unit] = gradient if rows.numel() == x.size(0) else gradient[rows]
            if self.margin is None and int((gradient != 0).sum()) > int((matrix[unit] != 0).sum()):
                raise RuntimeError(
                    f"node {int(nodes[0])} depends on nodes outside of the receptive field that was found"
                )
        parts, members = (whole.split(fields.sizes.tolist(), dim) for whole, dim in ((matrix, 1), (fields.node, 0)))
        for place, (node, field, part) in enumerate(zip(nodes.tolist(), members, parts, strict=True)):
            inputs = field.numel() * self.num_features
            seen = None if z is None else chosen[place].detach()
            yield NodeJacobian(node, field, part.reshape(part.size(0), -1), inputs, seen)

    def union(self, nodes: Tensor, fields: Members) -> tuple[Data, Tensor, Tensor]:
        """Return the disjoint union of the nodes' subgraphs, the places of the nodes, and those of their fields."""
        assert self.margin is not None
        members = self.reach.fields(nodes, self.margin) if self.margin else fields
        num_nodes = self.reach.num_nodes
        keys = members.owner * num_nodes + members.node
        owners = torch.arange(nodes.numel(), device=nodes.device)
        select(self.probe, members)
        graph = subgraph(self.graph, members, keys)
        centres = torch.searchsorted(keys, owners * num_nodes + nodes)
        return graph, centres, torch.searchsorted(keys, fields.owner * num_nodes + fields.node)

    def record(self, graph: Data) -> tuple[Tensor, Tensor | None]:
        """Return h, and z where its Jacobian is wanted."""
        if self.derivative is None:
            return plain_activation(self.probe, graph), None
        recording = self.probe(graph, complete=False)
        return recording.activation, recording.pre_activation


def prepare(
    model: nn.Module,
    graph: Data,
    layer: Layer,
    nodes: Any,
    *,
    forward: Forward | None,
    dtype: torch.dtype | None,
    memory: int,
    device: Device,
    pre_activation: bool = False,
) -> tuple[LocalModel, Tensor]:
    """Check the input, and set a private float64 copy of a model up for Jacobians.

    Args:
        model: As for :func:`metamerlib.find_metamer`.
        graph: As for :func:`metamerlib.find_metamer`.
        layer: As for :func:`metamerlib.find_metamer`.
        nodes: As for :func:`metamerlib.find_metamer`.
        forward: As for :func:`metamerlib.find_metamer`.
        device: As for :func:`metamerlib.find_metamer`.
        dtype: None or torch.float64.
        memory: Bytes that the Jacobians of a chunk may take.
        pre_activation: Whether to differentiate z where h is an elementwise function of it.

    Returns:
        The model set up, and the nodes ``[B]``.
    """
    check_module(model)
    if dtype is not None and dtype is not torch.float64:
        got = dtype if isinstance(dtype, torch.dtype) else shown(dtype)
        raise ValueError(f"dtype is {got}; ranks and volumes need torch.float64: drop dtype, the model is converted")
    check_graph(graph)
    check_device(device)
    check_positive("memory", memory, integer=True)
    num_nodes, num_features = graph.x.shape
    chosen = check_nodes("nodes", nodes, num_nodes)
    graph = to_float64(graph, device)
    probe = Probe.fitting(model, layer, graph, forward=forward, device=device, dtype=torch.float64)
    whole = probe.check(graph).activation
    if whole.size(0) != num_nodes:
        raise ValueError(f"layer {probe.name!r} has {whole.size(0)} rows, not one for each of the {num_nodes} nodes")
    if not torch.isfinite(whole).all():
        raise ValueError(f"layer {probe.name!r} outputs NaN or infinite entries; check the model's weights")
    small = reduced(probe, [graph, elsewhere(graph)], orthonormal=True, smaller=True)
    probe, graph = small.probe, small.graphs[0]
    check_gradient(probe.name, lambda x: plain_activation(probe, with_features(graph, x)), graph.x)
    reach = find_reach(probe, graph)
    derivative = _elementwise(probe, graph) if pre_activation else None
    local = LocalModel(probe, probe, graph, whole.detach(), derivative, reach, num_features, small.space, None, memory)
    chosen = torch.arange(num_nodes, device=graph.x.device) if chosen is None else chosen
    return _localised(local), chosen.to(graph.x.device)


def _elementwise(probe: Probe, graph: Data) -> nn.Module | None:
    """Return the function that makes h of z elementwise, or None if there is no such z in reach."""
    recording = probe(graph, complete=False)
    function = probe.inner or (nn.ReLU() if recording.rectified else None)
    if function is None or recording.pre_activation is None:
        return None
    return function if same_rows(function(recording.pre_activation), recording.activation) else None


def _localised(local: LocalModel) -> LocalModel:
    """Choose the smallest subgraphs on which a sample of nodes has its activations, at two places."""
    if local.reach.hops is None:
        return local
    degree = torch.bincount(local.graph.edge_index[1], minlength=local.reach.num_nodes)
    order = degree.argsort(stable=True)
    sample = torch.unique(order[torch.linspace(0, order.numel() - 1, 6, device=order.device).long()])
    for margin, twin in ((0, restricted(local.probe, local.graph)), (1, local.probe), (2, local.probe)):
        candidate = replace(local, probe=twin, margin=margin)
        if all(_agrees(candidate, graph, sample) for graph in (local.graph, elsewhere(local.graph))):
            return candidate
    return local


def _agrees(local: LocalModel, graph: Data, sample: Tensor) -> bool:
    """Tell whether a union of the sample's subgraphs has its activations, whatever the other subgraphs hold."""
    try:
        with torch.no_grad():
            whole = plain_activation(local.plain, graph)[sample]
            there = replace(local, graph=graph)
            union, centres, _ = there.union(sample, local.reach.fields(sample))
            odd = local.reach.fields(sample, local.margin or 0).owner % 2 == 1
            for spoilt in (odd, ~odd):
                x = torch.where(spoilt[:, None], elsewhere(union).x, union.x)
                found = plain_activation(local.probe, with_features(union, x))[centres]
                kept = ~spoilt[centres]
                if not same_rows(found[kept], whole[kept]):
                    return False
    except Exception:  # a foreign forward may insist on the whole graph in any way
        return False
    return True
