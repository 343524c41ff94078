"""Where a search for edges begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import check_choice
from metamerlib.graphs.edges import undirected_pairs
from metamerlib.graphs.rewiring import random_edges, switched_edges

if TYPE_CHECKING:
    from metamerlib.search.edges.limits import EdgeLimits

STARTS = ["erdos-renyi", "configuration", "reference"]


def edge_start(start: str | Data | None, bounds: EdgeLimits, budget: int | None, seed: int) -> Tensor:
    """Return the undirected edges where a search begins ``[2, |E|]``.

    With a budget, only as many edges as it allows are replaced.

    Args:
        start: erdos-renyi (the default), configuration, reference, or a graph with as many edges.
        bounds: The reference's edges, and how many of them may stay.
        budget: Number of flips, or None.
        seed: Seed of the draw.

    Raises:
        ValueError: If the start is unknown, has another size, or breaks the limits.
    """
    pairs, num_nodes = bounds.reference.pairs, bounds.reference.num_nodes
    lowest, highest = bounds.lowest, bounds.highest
    generator = torch.Generator().manual_seed(seed)
    if isinstance(start, Data):
        begin = undirected_pairs(start).to(pairs.device)
        if start.num_nodes != num_nodes or begin.size(1) != pairs.size(1):
            raise ValueError(
                f"start must have {num_nodes} nodes and {pairs.size(1)} undirected edges as the reference has, "
                f"got {start.num_nodes} and {begin.size(1)}"
            )
    else:
        check_choice("start", start, [None, *STARTS])
        if start == "reference":
            begin = pairs
        elif start == "configuration":
            begin = switched_edges(pairs, num_nodes, lowest, highest if budget is None else lowest, generator)
        else:
            begin = random_edges(pairs, num_nodes, pairs.size(1) - (lowest if budget else 0), highest, generator)
    held = bounds.held(begin)
    if not bounds.admits(held):
        raise ValueError(
            f"start={start if isinstance(start, str) else 'given'!r} holds {held} of the reference's edges, allowed "
            f"are {lowest} to {highest}; choose another start or limit"
        )
    return begin
