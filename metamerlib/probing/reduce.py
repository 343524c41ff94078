"""One way from a model and a graph to what is computed on: visible coordinates, float64, fixed structure.

Every shortcut is compared with the model as it was given, at the reference and at a second place, before it is used.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.graphs.edit import with_features
from metamerlib.graphs.sampling import gaussian
from metamerlib.models.propagation import fix_structure
from metamerlib.probing.agreement import agree
from metamerlib.probing.probe import Probe
from metamerlib.probing.row_space import RowSpace, projected, row_space, sees_only
from metamerlib.typing import Device


class Reduced(NamedTuple):
    """A probe and graphs in visible coordinates, or as they were where the model does not allow it.

    Attributes:
        probe: Records the layer of a private copy that takes coordinates ``[N, r]``.
        graphs: The graphs given, x their coordinates.
        space: Row space of the first linear maps; None if the coordinates are the features themselves.
    """

    probe: Probe
    graphs: list[Data]
    space: RowSpace | None


def reduced(
    probe: Probe, graphs: Sequence[Data], *, orthonormal: bool = False, smaller: bool = False, complete: bool = False
) -> Reduced:
    """Restrict the features to the directions that the first linear maps of a model see.

    Args:
        probe: Records the layer of the model as it was given.
        graphs: Places where the restriction is compared with the model, x ``[N, F]`` each.
        orthonormal: Whether the coordinates keep lengths (derivatives); else directions are equally strong (searches).
        smaller: Whether a space of all F directions counts as none.
        complete: Whether the model's output must depend on no more either.
    """
    space = row_space(probe.model, graphs[0].x.size(1))
    if space is None or (smaller and space.rank == graphs[0].x.size(1)):
        return Reduced(probe, list(graphs), None)
    if orthonormal:
        space = RowSpace(space.basis, torch.ones_like(space.scale))
    places = [(graph, space.coordinates(graph.x)) for graph in graphs]
    if not sees_only(probe, space, places, complete=complete):
        return Reduced(probe, list(graphs), None)
    return Reduced(projected(probe, space), [with_features(*place) for place in places], space)


def to_float64(graph: Data, device: Device = None) -> Data:
    """Return a copy of a graph whose real tensors are float64, without gradients."""
    device = graph.x.device if device is None else device

    def convert(value: Tensor) -> Tensor:
        return (value.double() if value.is_floating_point() else value).detach().to(device)

    return copy.copy(graph).apply(convert)


def elsewhere(graph: Data) -> Data:
    """Return the graph with features far from its own, the same at every call."""
    noise = gaussian(graph.x.shape, 0, graph.x, torch.float64)
    return with_features(graph, graph.x + (graph.x.std(correction=0) + 1e-3) * noise)


def check_gradient(name: str, activation: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Raise ``ValueError`` unless a layer's activation has a gradient with respect to ``x``.

    Args:
        name: The layer, for the error.
        activation: The layer as a function of x.
        x: Features or coordinates.
    """
    x = x.detach().clone().requires_grad_()
    h = activation(x)
    if not h.requires_grad or torch.autograd.grad(h.sum(), x, allow_unused=True)[0] is None:
        raise ValueError(f"layer {name!r} has no gradient to the features; choose a layer that depends on them")


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
