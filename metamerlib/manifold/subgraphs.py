"""Disjoint unions of subgraphs whose sums over neighbours keep the weights of the whole graph."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.graphs.edges import among
from metamerlib.manifold.reach import Members, incoming
from metamerlib.models.convolutions import sums_neighbours
from metamerlib.models.propagation import Multiply, StandIn, put_stand_in, stand_in_of, to_csr
from metamerlib.probing.probe import Probe


class Restricted(StandIn):
    """Stand in for ``conv.propagate``: weights of the whole graph, also between the nodes of a union."""

    degree: Tensor | None = None
    matrices: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def keep(self, edge_index: Tensor, weight: Tensor | None, x: Tensor) -> None:
        source, target = edge_index
        values = x.new_ones(source.numel()) if weight is None else weight.detach().to(x.dtype)
        self.degree = torch.bincount(target, minlength=x.size(0))
        if self.conv.aggr == "mean":
            values = values / self.degree[target]
        order = target.argsort(stable=True)
        self.begin = self.degree.cumsum(0) - self.degree
        self.source, self.values = source[order], values[order]

    def select(self, members: Members) -> None:
        """Build the matrix of a union of subgraphs, if the convolution was called at all."""
        if self.degree is None:
            return
        num_nodes, size = self.degree.numel(), members.node.numel()
        keys = members.owner * num_nodes + members.node
        row, edge = incoming(members.node, self.begin, self.degree)
        wanted = members.owner[row] * num_nodes + self.source[edge]
        kept = among(wanted, keys)
        row, column, values = row[kept], torch.searchsorted(keys, wanted[kept]), self.values[edge[kept]]
        self.matrices = (to_csr(row, column, values, size), to_csr(column, row, values, size))

    def dense(self) -> Tensor:
        """Return the weights of the whole graph as a matrix ``[N, N]``, rows the receivers."""
        assert self.degree is not None
        receiver = torch.repeat_interleave(self.degree)
        matrix = self.values.new_zeros(self.degree.numel(), self.degree.numel())
        return matrix.index_put_((receiver, self.source), self.values, accumulate=True)

    def row_norms(self, nodes: Tensor, power: int) -> Tensor:
        """Return the lengths of some rows of a power of that matrix ``[B]``, without making it."""
        assert self.degree is not None
        receiver, size = torch.repeat_interleave(self.degree), self.degree.numel()
        transposed = to_csr(self.source, receiver, self.values, size)
        lengths = []
        for block in nodes.split(256):
            rows = self.values.new_zeros(size, block.numel())
            rows[block, torch.arange(block.numel(), device=nodes.device)] = 1
            for _ in range(power):
                rows = transposed @ rows
            lengths.append(rows.norm(dim=0))
        return torch.cat(lengths)

    def __call__(self, edge_index: Tensor, size: Any = None, **kwargs: Any) -> Tensor:
        weight, x = self.weight_in(kwargs), self.sender_in(kwargs)
        constant = weight is None or not weight.requires_grad
        if constant and self.matrices is not None:
            return Multiply.apply(x, *self.matrices)
        if constant:
            self.keep(edge_index, weight, x)
        return super().__call__(edge_index, size, **kwargs)


def restricted(probe: Probe, graph: Data) -> Probe:
    """Return a probe whose convolutions remember the weights of the whole graph."""
    twin = probe.copy()
    for conv in twin.model.modules():
        if sums_neighbours(conv):
            put_stand_in(conv, Restricted(conv))
    with torch.no_grad():
        twin(graph, complete=False)
    return twin


def weights_of(probe: Probe) -> Restricted:
    """Return what stands in for the propagation of a restricted probe's own layer of :class:`metamerlib.GNN`."""
    conv: Any = probe.module.conv
    return stand_in_of(conv)


def select(probe: Probe, members: Members) -> None:
    """Make the convolutions of a restricted probe work on a union of subgraphs."""
    for module in probe.model.modules():
        stand_in = stand_in_of(module)
        if isinstance(stand_in, Restricted):
            stand_in.select(members)


def subgraph(graph: Data, members: Members, keys: Tensor) -> Data:
    """Gather what belongs to nodes and to edges of a union of subgraphs."""
    num_nodes = graph.x.size(0)
    source, target = graph.edge_index
    order = target.argsort(stable=True)
    degree = torch.bincount(target, minlength=num_nodes)
    place, found = incoming(members.node, degree.cumsum(0) - degree, degree)
    edge = order[found]
    wanted = members.owner[place] * num_nodes + source[edge]
    kept = among(wanted, keys)
    edge, place, wanted = edge[kept], place[kept], wanted[kept]
    union = copy.copy(graph)
    if "num_nodes" in graph:
        union.num_nodes = members.node.numel()
    for name, value in graph.to_dict().items():
        if name == "edge_index" or not isinstance(value, Tensor):
            continue
        if graph.is_node_attr(name):
            union[name] = value[members.node]
        elif graph.is_edge_attr(name):
            union[name] = value[edge]
    union.edge_index = torch.stack([torch.searchsorted(keys, wanted), place])
    return union
