"""Search for features and edges at once, in turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import check_choice
from metamerlib.graphs.edit import with_edges, with_features
from metamerlib.probing.probe import Probe
from metamerlib.probing.target import Target
from metamerlib.search.edges.limits import STARTS, start_name
from metamerlib.search.edges.refresh import check_refresh, refreshed
from metamerlib.search.loop import joined_seconds
from metamerlib.search.metamer import Outcome
from metamerlib.search.request import Request

ROUNDS = 3
MAX_STEPS = 600
KEPT = ("overlap", "overlap_start", "flips", "guided", "held_attributes")
Check = Callable[[Request, Data], None]
Search = Callable[[Probe, Data, Target, Request], Outcome]


def checker(features: Check, structure: Check) -> Check:
    """Return a check that asks those of the features and of the edges."""

    def check(request: Request, graph: Data) -> None:
        if isinstance(request.start, Tensor):
            raise TypeError("start must be a name or a graph for vary='both', got features; pass a Data")
        if not isinstance(request.start, Data):
            check_choice("start", request.start, [None, *STARTS])
        if request.num_restarts > 1:
            raise ValueError(
                f"num_restarts={request.num_restarts}, but vary='both' makes one start; drop it, and try other seeds"
            )
        if not (isinstance(request.solver, str) and request.solver == "auto"):
            raise ValueError("vary='both' has a solver for the features and one for the edges; use solver='auto'")
        check_refresh(request.refresh, graph, features=True)
        features(_for_features(request, None), graph)
        structure(_for_edges(request, None), graph)

    return check


def searcher(features: Search, structure: Search) -> Search:
    """Return a search that takes turns: edges at the current features, then features at the current edges.

    The steps are divided evenly over three rounds of two turns. Limits of budget and overlap hold for the edges.
    """

    def search(probe: Probe, graph: Data, target: Target, request: Request) -> Outcome:
        turn = max(1, (request.max_steps or MAX_STEPS) // (2 * ROUNDS))
        begin = _begin(probe, graph, target, request, features, structure)
        now, best, history, steps = begin, begin, [], 0
        least, status = float("inf"), "non_finite"
        settings: dict[str, Any] = {}
        kept: dict[str, Any] = {}
        for k in range(2 * ROUNDS):
            part = replace(request, max_steps=turn, num_restarts=1, seed=request.seed + k)
            if k % 2 == 0:
                reference = with_features(graph, now.x)
                outcome = structure(probe, reference, target, replace(_for_edges(part, now), free_nodes=None))
                settings = {name: outcome.settings[name] for name in KEPT if name in outcome.settings}
            else:
                moved = with_features(now, graph.x)
                outcome = features(probe, moved, target, _for_features(part, now.x))
            history.append(outcome.history)
            steps += outcome.steps
            now, loss, kept = outcome.graph, float(outcome.history["loss"].min()), kept or settings
            if loss < least:
                least, best, kept, status = loss, now, settings, outcome.status
            if loss <= request.rtol:
                break
        table = _joined(history)
        status = "converged" if least <= request.rtol else ("non_finite" if status == "non_finite" else "max_steps")
        given = request.settings(
            values="both", solver="auto", max_steps=2 * ROUNDS * turn, start=start_name(request.start), **kept
        )
        return Outcome(best.clone(), begin, status, steps, table, given)

    return search


def _begin(probe: Probe, graph: Data, target: Target, request: Request, features: Search, structure: Search) -> Data:
    """Take features and edges from where their own searches begin."""
    if isinstance(request.start, Data):
        given = with_edges(request.start, request.start.edge_index, request.start.edge_weight)
        return refreshed(given, request.refresh)
    first = replace(request, max_steps=1, num_restarts=1)
    named = "reference" if request.start == "reference" else None
    x = features(probe, graph, target, replace(_for_features(first, None), start=named)).start.x
    edges = structure(probe, graph, target, _for_edges(first, None)).start
    return with_features(edges, x).clone()


def _for_features(request: Request, x: Tensor | None) -> Request:
    return replace(request, values=None, start=x, budget=None, max_overlap=None, refresh=None)


def _for_edges(request: Request, now: Data | None) -> Request:
    start: Any = request.start if now is None else now
    return replace(request, values=None, start=start, slope=None, free_nodes=None)


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Put the turns one after the other; only a lower loss than all before can be the result."""
    losses = [loss for part in parts for loss in part["loss"]]
    seconds = joined_seconds(part["seconds"].tolist() for part in parts)
    return pd.DataFrame({"step": range(1, len(losses) + 1), "loss": losses, "seconds": seconds})
