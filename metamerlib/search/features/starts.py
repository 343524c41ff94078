"""Where a search for real features begins."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import (
    check_choice,
    check_features,
)
from metamerlib.graphs.sampling import gaussian


def graph_starts(graphs: Sequence[Data], start: str | Sequence[Tensor] | None, seed: int) -> list[Tensor]:
    """Return features ``[n, F]`` for each graph to begin with; see :func:`find_metamers`.

    Raises:
        TypeError: If the start is neither a name nor a list of tensors.
        ValueError: If it is unknown or does not fit the graphs.
    """
    if start is None or isinstance(start, str):
        check_choice("start", start, [None, "moments", "reference"])
        if start == "reference":
            return [graph.x.clone() for graph in graphs]
        x = torch.cat([graph.x for graph in graphs])
        starts = x.mean(0) + x.std(0, correction=0) * gaussian(x.shape, seed, x)
        return list(starts.split([graph.x.size(0) for graph in graphs]))
    if not isinstance(start, list | tuple):
        raise TypeError(f"start must be a name or a list of features [n, F], one for each graph, got {start!r}")
    if len(start) != len(graphs):
        raise ValueError(f"start holds {len(start)} features for {len(graphs)} graphs; give one for each")
    for place, (x, graph) in enumerate(zip(start, graphs, strict=True)):
        check_features(x, graph.x.size(0))
        if x.shape != graph.x.shape or x.dtype != graph.x.dtype:
            wanted = f"{graph.x.dtype} {list(graph.x.shape)}"
            raise ValueError(f"start[{place}] must be {wanted}, got {x.dtype} {list(x.shape)}")
    return [x.to(graph.x.device).clone() for x, graph in zip(start, graphs, strict=True)]


def feature_starts(
    graph: Data, free: Tensor | None, start: str | Tensor | None, num_restarts: int, seed: int
) -> Tensor:
    """Return features of the free rows for every restart ``[B, n, F]``.

    Args:
        graph: The reference, x ``[N, F]``.
        free: Rows that may move ``[n]``, or None for all.
        start: moments (the default), reference, or features ``[N, F]``.
        num_restarts: B; more than one needs random starts.
        seed: Seed of the noise.

    Raises:
        ValueError: If the start is unknown, does not fit the graph, or is asked for several times.
    """
    x = graph.x
    if isinstance(start, Tensor):
        check_features(start, x.size(0))
        if start.shape != x.shape or start.dtype != x.dtype:
            raise ValueError(f"start must be {x.dtype} {list(x.shape)}, got {start.dtype} {list(start.shape)}")
        rows = start.to(x.device).clone()
    elif start in (None, "moments"):
        mean, deviation = x.mean(0), x.std(0, correction=0)
        shape = (num_restarts, x.size(0) if free is None else free.numel(), x.size(1))
        return mean + deviation * gaussian(shape, seed, x)
    else:
        check_choice("start", start, ["moments", "reference"])
        rows = x.clone()
    if num_restarts > 1:
        raise ValueError(f"num_restarts={num_restarts} needs random starts; with a given start there is only one")
    return (rows if free is None else rows[free])[None]
