"""Copies of a graph with other features or other edges."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import as_tensor
from metamerlib.plain import shown


@contextmanager
def on_the_cpu() -> Iterator[None]:
    """Make tensors on the CPU, where graphs are loaded to, whatever default device the caller has set."""
    with torch.device("cpu"):
        yield


def with_features(graph: Data, x: Tensor) -> Data:
    """Return a shallow copy of a graph with other features ``[N, F]``."""
    if not isinstance(graph, Data) or not isinstance(x, Tensor):
        raise TypeError(f"expected a torch_geometric.data.Data and features [N, F], got {shown(graph)} and {shown(x)}")
    if x.dim() != 2:
        raise ValueError(f"features must have shape [N, F], got {list(x.shape)}")
    other = copy.copy(graph)
    other.x = x
    return other


def sort_edges(graph: Data) -> Data:
    """Return the graph with its edges in order of source and target, and every attribute of edges beside its edge."""
    source, target = graph.edge_index
    order = (source * (graph.num_nodes or 0) + target).argsort()
    result = copy.copy(graph)
    for name, value in graph.to_dict().items():
        if name == "edge_index":
            result.edge_index = value[:, order]
        elif isinstance(value, Tensor) and value.dim() > 0 and graph.is_edge_attr(name):
            result[name] = value[order]
    return result


def with_edges(graph: Data, edge_index: Tensor, weight: Tensor | None = None) -> Data:
    """Return a shallow copy of a graph with other edges; what belonged to the old ones is left out."""
    if not isinstance(graph, Data) or not isinstance(edge_index, Tensor):
        raise TypeError(f"expected a Data and edge_index [2, E], got {shown(graph)} and {shown(edge_index)}")
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(f"edge_index must have shape [2, E], got {list(edge_index.shape)}")
    other = copy.copy(graph)
    for name in [name for name in graph.keys() if name != "edge_index" and graph.is_edge_attr(name)]:  # noqa: SIM118
        del other[name]
    other.edge_index = edge_index
    if weight is not None:
        as_tensor("weight", weight, edge_index.size(1), empty=True)
        other.edge_weight = weight
    return other
