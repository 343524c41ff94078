"""One way from a model and a graph to what is computed on: visible coordinates, float64, fixed structure."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.graphs.edit import with_features
from metamerlib.models.propagation import fix_structure
from metamerlib.probing.agreement import agree
from metamerlib.probing.probe import Probe


def to_float64(graph: Data, device: str | torch.device) -> Data:
    def convert(value: Tensor) -> Tensor:
        return (value.double() if value.is_floating_point() else value).detach().to(device)

    return copy.copy(graph).apply(convert)


def elsewhere(graph: Data) -> Data:
    """Return the graph with features far from its own."""
    noise = torch.randn(graph.x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return with_features(graph, graph.x + (graph.x.std() + 1e-3) * noise.to(graph.x))


def with_fixed_structure(probe: Probe, inputs: list[Data]) -> Probe:
    """Return a faster probe of the same layer, or the one given where the faster one differs on any input."""
    fast = probe.copy()
    fix_structure(fast.model)
    try:
        with torch.no_grad():
            for graph in inputs:
                if not agree(fast(graph, complete=False).activation, probe(graph, complete=False).activation):
                    return probe
    except ValueError:
        return probe
    return fast
