"""How large a share of a graph's edges, or of its bits, can be exchanged without the model seeing it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_choice, check_positive
from metamerlib.graphs.edges import pair_keys, undirected_pairs
from metamerlib.plain import as_list, as_path, as_real
from metamerlib.search.find import find_metamer
from metamerlib.search.metamer import Metamer

LADDER = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Replaceable:
    """The largest share that a search could exchange, and how it went rung by rung.

    Attributes:
        share: 1 minus the lowest rung that was reached; 0 if only the reference itself is left. A lower bound: a rung
            that a search did not reach may have a solution.
        metamer: The certificate: the graph of that rung, whose loss was recomputed from its edges or bits; None at 0.
        rungs: One row for each rung that was tried: max_overlap, relative_error, best_error (of it and all lower
            rungs), overlap, status, steps.
    """

    share: float
    metamer: Metamer | None
    rungs: pd.DataFrame


def replaceable_share(
    model: nn.Module,
    graph: Data,
    *,
    layer: Any,
    vary: str = "structure",
    relative_error: float = 0.05,
    ladder: Sequence[float] = LADDER,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Replaceable:
    """Search for metamers that may keep ever more of the reference, until one matches.

    The first rung starts at random, every other one where the one below ended, which its looser limit admits. Hence
    the best error falls from rung to rung, and the first rung that matches decides.

    Args:
        model: Any torch model of graphs; it is left as it was.
        graph: The reference.
        layer: As for :func:`metamerlib.find_metamer`.
        vary: structure (edges), or features (binary ones).
        relative_error: What counts as a match.
        ladder: Shares of the reference's edges or ones that may stay, rising, each in [0, 1).
        seed: Seed of the first start and of the searches.
        folder: Keeps each rung's metamer, so that a search that was stopped goes on where it was; None keeps nothing.
            Give each model, layer and seed a folder of its own.
        **options: Further keywords of :func:`metamerlib.find_metamer`, such as max_steps or ones.

    Raises:
        ValueError: If the ladder does not rise within [0, 1), or the folder holds rungs of another reference.

    Example:
        >>> import metamerlib as ml
        >>> from metamerlib.search.replaceable import replaceable_share
        >>> graph = ml.load_graph("davis")
        >>> model = ml.GNN(conv="gcn", in_channels=graph.num_features, hidden_channels=4, out_channels=2, num_layers=2)
        >>> found = replaceable_share(model, graph, layer=2, relative_error=0.9, ladder=(0.0, 0.5), max_steps=20)
        >>> 0 <= found.share <= 1
        True
    """
    check_choice("vary", vary, ["structure", "features"])
    check_positive("relative_error", relative_error)
    folder = None if folder is None else as_path("folder", folder)
    steps = [as_real("a rung of the ladder", rung) for rung in as_list("ladder", ladder, "shares", least=1)]
    if not all(0 <= rung < 1 for rung in steps) or steps != sorted(set(steps)):
        raise ValueError(f"ladder must rise within [0, 1), got {list(ladder)}")
    rows: list[dict[str, Any]] = []
    best: Metamer | None = None
    for rung in steps:
        path = None if folder is None else folder / f"rung_{rung:g}.pt"
        found = _kept(path, graph)
        if found is None:
            start: dict[str, Any] = {}
            if best is not None:
                start = {"start": best.graph if vary == "structure" else best.graph.x}
            values: dict[str, Any] = {"values": "binary"} if vary == "features" else {}
            found = find_metamer(
                model, graph, layer=layer, vary=vary, max_overlap=rung, rtol=relative_error**2, seed=seed,
                **values, **start, **options,
            )  # fmt: skip
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                found.save(path)
        best = found if best is None or found.loss <= best.loss else best
        rows.append(
            {
                "max_overlap": rung,
                "relative_error": found.relative_error,
                "best_error": best.relative_error,
                "overlap": overlap(best.graph, graph, vary),
                "status": found.status,
                "steps": found.steps,
            }
        )
        if best.relative_error <= relative_error:
            return Replaceable(1 - rung, best, pd.DataFrame(rows))
    return Replaceable(0.0, None, pd.DataFrame(rows))


def overlap(graph: Data, reference: Data, vary: str) -> float:
    """Return the share of the reference's edges (structure) or ones (features) that a graph still has.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> overlap(graph, graph, "structure"), overlap(graph, graph, "features")
        (1.0, 1.0)
    """
    if vary == "features":
        ones: Tensor = reference.x == 1
        return float((graph.x[ones] == 1).double().mean())
    size = reference.num_nodes or 0
    old, new = (set(pair_keys(undirected_pairs(each), size).tolist()) for each in (reference, graph))
    return len(old & new) / len(old)


def _kept(path: Path | None, reference: Data) -> Metamer | None:
    """Return the metamer of a rung that was searched before."""
    if path is None or not path.is_file():
        return None
    found = Metamer.load(path)
    same = found.reference.x.shape == reference.x.shape and bool((found.reference.x == reference.x.cpu()).all())
    if not same or found.reference.edge_index.tolist() != reference.edge_index.tolist():
        raise ValueError(f"{path} belongs to another reference; give each model, layer and seed a folder of its own")
    return found
