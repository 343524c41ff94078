"""Searches: one for each kind of input that may vary. Each checks its request, then finds a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch_geometric.data import Data

from metamerlib.checks import check_choice
from metamerlib.probing.probe import Probe
from metamerlib.probing.target import Target
from metamerlib.search import both
from metamerlib.search.bits import search as binary
from metamerlib.search.edges import search as structure
from metamerlib.search.edges import weighted
from metamerlib.search.features import search as continuous
from metamerlib.search.metamer import Outcome
from metamerlib.search.request import Request


class Kind(NamedTuple):
    """A kind of search: a check that runs before any computing, and the search itself."""

    check: Callable[[Request, Data], None]
    search: Callable[[Probe, Data, Target, Request], Outcome]


KINDS: dict[str, dict[Any, Kind]] = {
    "features": {
        "continuous": Kind(continuous.check, continuous.search),
        "binary": Kind(binary.check, binary.search),
    },
    "structure": {
        "binary": Kind(structure.check, structure.search),
        "weighted": Kind(weighted.check, weighted.search),
    },
}


KINDS["both"] = {
    (x, edges): Kind(both.checker(one.check, other.check), both.searcher(one.search, other.search))
    for x, one in KINDS["features"].items()
    for edges, other in KINDS["structure"].items()
}


def kind_of(vary: str, values: object) -> Kind:
    """Return the search for what may vary and its admissible values; None stands for the first kind.

    Raises:
        ValueError: If either is unknown.
    """
    check_choice("vary", vary, list(KINDS))
    kinds, values = KINDS[vary], tuple(values) if isinstance(values, list) else values
    check_choice("values", values, [None, *kinds])
    return kinds[next(iter(kinds)) if values is None else values]
