"""Which edges may vary, and how many of the reference's may stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import check_choice
from metamerlib.graphs.edges import EdgeSet, both_directions
from metamerlib.graphs.edit import with_edges
from metamerlib.graphs.rewiring import random_edges
from metamerlib.probing.probe import Probe
from metamerlib.search.edges.refresh import Refresh, refreshed
from metamerlib.search.request import Request

STARTS = ["erdos-renyi", "configuration", "reference"]


@dataclass(frozen=True)
class EdgeLimits:
    """How many of the reference's edges a graph with as many edges may hold.

    Attributes:
        reference: Edges of the reference.
        lowest: Number of them that stay at least.
        highest: Number of them that stay at most.
    """

    reference: EdgeSet
    lowest: int
    highest: int

    @classmethod
    def of(cls, graph: Data, budget: int | None = None, max_overlap: float | None = None) -> EdgeLimits:
        """Take the limits from a number of flips and a share of the edges; see :func:`edge_bounds`."""
        reference = EdgeSet.of(graph)
        return cls(reference, *edge_bounds(len(reference), reference.most, budget, max_overlap))

    @property
    def forbidden(self) -> Tensor:
        """Sorted keys of the pairs that may not be added at all."""
        return self.reference.keys if self.highest == 0 else self.reference.keys[:0]

    @property
    def hold_by_themselves(self) -> bool:
        """Whether every move keeps to the limits that adds no forbidden pair."""
        return self.lowest == 0 and self.highest in (0, len(self.reference))

    def held(self, pairs: Tensor) -> int:
        """Count the reference's edges among pairs ``[2, n]``."""
        return int(self.reference.holds(pairs).sum())

    def admits(self, held: int) -> bool:
        """Tell whether a graph may hold as many of the reference's edges."""
        return self.lowest <= held <= self.highest

    def room(self, held: int, gain: Tensor) -> Tensor:
        """Say which changes of the number held ``gain [m]`` keep to the limits, whichever others are made ``[m]``."""
        fine = (held + (gain.clamp(min=0)).cumsum(0) <= self.highest) | (gain <= 0)
        return fine & ((held + (gain.clamp(max=0)).cumsum(0) >= self.lowest) | (gain >= 0))


def check_edges_alone(request: Request) -> None:
    """Raise if an option is given that edges have no use for."""
    if request.free_nodes is not None:
        raise ValueError("free_nodes says whose features may move, but here the features are fixed; drop free_nodes")
    if request.slope is not None:
        raise ValueError("slope belongs to the search for features by adam; drop it")
    if isinstance(request.start, Tensor):
        raise TypeError("start must be a name or a graph for vary='structure', got features; pass a Data")
    if not isinstance(request.start, Data):
        check_choice("start", request.start, [None, *STARTS])


def limits(request: Request, graph: Data) -> EdgeLimits:
    """Return how many reference edges a result may hold."""
    reference = EdgeSet.of(graph)
    if not 0 < len(reference) < reference.most:
        raise ValueError(f"the graph has {len(reference)} of {reference.most} possible edges, so no other has as many")
    if graph.get("batch") is not None and int(graph.batch.max()) > 0:
        raise ValueError("the graph is a batch of several, which new edges would join; search for one at a time")
    return EdgeLimits(reference, *edge_bounds(len(reference), reference.most, request.budget, request.max_overlap))


def start_name(start: str | Data | None) -> str:
    """Return what the settings say of a start."""
    return "given" if isinstance(start, Data) else start or "erdos-renyi"


def overlap_settings(bounds: EdgeLimits, found: Tensor, start: Tensor) -> dict[str, Any]:
    """Return the share of the reference's edges in the result and at the start, and the number of flips."""
    held, at_start, size = bounds.held(found), bounds.held(start), len(bounds.reference)
    flips = size + found.size(1) - 2 * held
    return {"overlap": held / size, "overlap_start": at_start / size, "flips": flips}


def refuse_attributes(probe: Probe, graph: Data, refresh: Refresh | None = None) -> None:
    """Raise if the model reads attributes of edges; others are left out of the result."""
    names = [n for n in graph.keys() if n != "edge_index" and graph.is_edge_attr(n)]  # noqa: SIM118
    if not names:
        return
    bare = refreshed(with_edges(graph, graph.edge_index), refresh)
    try:
        with torch.no_grad():
            same = torch.equal(probe(graph, complete=False).activation, probe(bare, complete=False).activation)
    except Exception:  # a foreign forward may need the attribute in any way
        same = False
    if not same:
        raise ValueError(
            f"the model reads {names} of the reference's edges, which new edges would lack; set "
            f"graph.{names[0]} = None for both the training and the search"
        )


def check_reacts(probe: Probe, graph: Data, edges: EdgeSet, refresh: Refresh | None = None) -> None:
    """Raise if the layer gives the same activations on quite other edges than the reference's."""
    size = len(edges)
    other = random_edges(edges.pairs, edges.num_nodes, size, size, torch.Generator().manual_seed(0))
    there = refreshed(with_edges(graph, both_directions(other)), refresh)
    try:
        with torch.no_grad():
            here, moved = (probe(g, complete=False).activation for g in (graph, there))
    except Exception as error:  # a foreign forward may fail in any way
        raise ValueError(
            f"the model fails on the reference's nodes with other edges: {type(error).__name__}: {error}"
        ) from error
    if torch.equal(here, moved):
        raise ValueError(
            f"layer {probe.name!r} does not react to a changed edge (no convolution before it, or a stored adjacency); "
            "choose another layer, or a model that reads edge_index"
        )


def edge_bounds(num_edges: int, num_pairs: int, budget: int | None, max_overlap: float | None) -> tuple[int, int]:
    """Return how many of the reference's edges a result with as many edges holds at least and at most.

    Every edge that is not the reference's costs two flips: one that removes, one that adds.

    Raises:
        TypeError: If the budget is not an integer.
        ValueError: If a limit is out of range, or both together leave no graph.

    Example:
        >>> edge_bounds(10, 45, 8, 0.7)
        (6, 7)
    """
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int)):
        raise TypeError(f"budget must be a number of edge flips, got {budget!r}")
    if budget is not None and not 1 <= budget <= num_pairs:
        raise ValueError(f"budget must lie in 1..{num_pairs}, the number of pairs of nodes, got {budget}")
    if max_overlap is not None and (isinstance(max_overlap, bool) or not isinstance(max_overlap, int | float)):
        raise TypeError(f"max_overlap must be a share, got {max_overlap!r}")
    if max_overlap is not None and not 0 <= max_overlap <= 1:
        raise ValueError(f"max_overlap must lie in [0, 1], got {max_overlap!r}")
    lowest = max(0, 2 * num_edges - num_pairs, num_edges - (num_edges if budget is None else budget // 2))
    highest = num_edges if max_overlap is None else int(max_overlap * num_edges + 1e-9)
    if lowest > highest:
        raise ValueError(
            f"max_overlap={max_overlap} lets at most {highest} of the {num_edges} edges stay, but "
            + (f"budget={budget} keeps {lowest}" if budget else f"{num_pairs} pairs of nodes force {lowest} to stay")
            + "; raise one of them"
        )
    return lowest, highest
