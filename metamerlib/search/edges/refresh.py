"""Attributes of nodes that follow the edges: computed anew on every candidate, or held, or refused."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.probing.agreement import agree
from metamerlib.probing.probe import Probe

Refresh = Callable[[Data], Data]
NEVER_TRIED = ("x", "y", "edge_index", "batch", "ptr", "num_nodes")
FROM_EDGES = re.compile(
    r"(^|_)(pe|se|lap|rw|eig\w*|deg|degrees?|adj|spd|hops?|wl|heat)\d*($|_)"
    r"|lappe|rwpe|rwse|laplac|eigen|degree|central|pagerank|between|closeness|cluster|core(ness)?$"
    r"|random_?walk|positional|encoding|spectral|distance|adjacency"
)


def looks_derived(name: str) -> bool:
    """Tell by its name whether an attribute is computed from the edges, such as encodings, degrees or centralities.

    Example:
        >>> looks_derived("random_walk_pe"), looks_derived("pos")
        (True, False)
    """
    return FROM_EDGES.search(name.lower()) is not None


def refreshed(graph: Data, refresh: Refresh | None) -> Data:
    """Return a graph with what follows from its edges computed anew; the graph itself without a transform.

    Args:
        graph: A candidate; the transform gets a clone of it.
        refresh: The transform, or None.

    Raises:
        TypeError: If the transform does not return a graph.
        ValueError: If it fails, or changes features or edges.
    """
    if refresh is None:
        return graph
    try:
        other = refresh(graph.clone())
    except Exception as error:  # a transform may fail in any way
        raise ValueError(
            f"refresh fails on {graph}: {type(error).__name__}: {error}; pass a transform of graphs that works for "
            "any edges, isolated nodes included"
        ) from error
    if not isinstance(other, Data):
        raise TypeError(f"refresh must return the graph, a torch_geometric.data.Data, got {type(other).__name__}")
    for name in ("x", "edge_index"):
        if not isinstance(other.get(name), Tensor) or not torch.equal(_plain(other, name), _plain(graph, name)):
            raise ValueError(
                f"refresh changes {name}, which the search itself moves or holds; give a transform that writes "
                "attributes of its own, as torch_geometric.transforms.AddRandomWalkPE(8, attr_name='pe') does"
            )
    return other


def _plain(graph: Data, name: str) -> Tensor:
    """Return features, or edges in sorted order."""
    if name == "x":
        return graph.x
    return graph.edge_index[:, (graph.edge_index[0] * graph.x.size(0) + graph.edge_index[1]).argsort()]


def check_refresh(refresh: Refresh | None, graph: Data, *, features: bool = False) -> None:
    """Raise unless a transform gives the reference the attributes that it has, each time.

    Args:
        refresh: The transform, or None.
        graph: The reference.
        features: Whether features vary too, on which the transform must not depend then.

    Raises:
        TypeError: If it is no callable, or returns no graph.
        ValueError: If what it gives is random, or not what the reference has.
    """
    if refresh is None:
        return
    if not callable(refresh):
        raise TypeError(f"refresh must be a transform of graphs, a callable Data -> Data, got {type(refresh).__name__}")
    once, again = refreshed(graph, refresh), refreshed(graph, refresh)
    _compare(once, again, "is random: {} differ between two calls on the reference; give it a fixed seed and sign")
    _compare(once, graph, "does not give the reference's own {}; set graph = refresh(graph) before the search")
    if features:
        other = graph.clone()
        other.x = graph.x.flip(0) + 1
        told = "reads the features: {} change with x, which varies too; use a transform of the edges alone"
        _compare(once, refreshed(other, refresh), told)


def _compare(one: Data, other: Data, told: str) -> None:
    names = [name for name, value in one.to_dict().items() if isinstance(value, Tensor)]
    changed = [n for n in names if n not in ("x", "edge_index") and not _equal(one[n], other.get(n))]
    if changed:
        raise ValueError("refresh " + told.format(", ".join(map(repr, changed))))


def _equal(one: Tensor, other: object) -> bool:
    if not isinstance(other, Tensor) or one.shape != other.shape or one.dtype != other.dtype:
        return False
    return agree(other, one) if one.is_floating_point() and one.dim() else torch.equal(one, other)


def held_attributes(probe: Probe, graph: Data, refresh: Refresh | None) -> list[str]:
    """Name the attributes that the model reads and that stay as they are while edges change.

    An attribute is read if the layer's activation changes, or the model fails, when its rows are turned round. Those
    whose names look derived from the edges (:func:`looks_derived`) are refused without a transform; others, such as
    positions or types, are held. ``refresh=lambda graph: graph`` holds all.

    Args:
        probe: Records the layer.
        graph: The reference.
        refresh: The transform, or None.

    Raises:
        ValueError: If an attribute that looks derived from the edges would be held and no transform is given.
    """
    names = [
        name
        for name, value in graph.to_dict().items()
        if isinstance(value, Tensor) and name not in NEVER_TRIED and not name.endswith("_mask")
    ]
    names = [name for name in names if graph[name].numel() and not graph.is_edge_attr(name)]
    held = [name for name in names if not _recomputed(name, graph, refresh) and _is_read(name, probe, graph)]
    stale = [name for name in held if looks_derived(name)]
    if stale and refresh is None:
        raise ValueError(
            f"the model reads {', '.join(map(repr, stale))} of the reference's nodes, which looks computed from the "
            "edges and would be stale on others; pass refresh=, the transform that computes it, or "
            "refresh=lambda graph: graph to hold it as it is"
        )
    return held


def _recomputed(name: str, graph: Data, refresh: Refresh | None) -> bool:
    """Tell whether the transform gives an attribute to a graph that lacks it."""
    if refresh is None:
        return False
    bare = graph.clone()
    del bare[name]
    try:
        return name in refresh(bare)
    except Exception:  # it may need the attribute in any way
        return False


def _is_read(name: str, probe: Probe, graph: Data) -> bool:
    other = graph.clone()
    value = graph[name]
    turned = value.roll(1, 0) if value.dim() else value
    if torch.equal(turned, value):
        turned = ~value if value.dtype == torch.bool else value + 1
    other[name] = turned
    try:
        with torch.no_grad():
            here, there = (probe(g, complete=False).activation for g in (graph, other))
    except Exception:  # an index out of range shows that it is read
        return True
    return not torch.equal(here, there)
