"""Searches: one for each kind of input that may vary. Each checks its request, then finds a graph."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch_geometric.data import Data

from metamerlib.capture import Probe
from metamerlib.checks import check_choice
from metamerlib.problem import Target
from metamerlib.result import Outcome
from metamerlib.searches import binary, both, continuous, structure, weighted
from metamerlib.searches.request import Request

__all__ = ["Kind", "Request", "kind_of"]


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
