"""What binary features may be: checks and limits of overlap."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import check_features
from metamerlib.search.bits.starts import free_rows
from metamerlib.search.request import Request


def most_kept(max_overlap: float, reference: Tensor) -> int:
    """Return how many of the reference's ones a share lets stay."""
    return math.floor(max_overlap * int(reference.sum()) + 1e-9)


def check_bits(what: str, x: Tensor) -> None:
    """Raise unless features are zeros and ones."""
    others = int(((x != 0) & (x != 1)).sum())
    if others:
        raise ValueError(
            f"binary metamers need features of zeros and ones, but {what} hold {others} other entries; "
            "if they only mark presence (rows normalised, counts), pass (x > 0).float()"
        )


def check_start(start: Tensor, x: Tensor, request: Request) -> None:
    """Raise unless a given start has the reference's shape, dtype and number of ones."""
    check_features(start, x.size(0))
    if start.shape != x.shape or start.dtype != x.dtype:
        raise ValueError(f"start must be {x.dtype} {list(x.shape)}, got {start.dtype} {list(start.shape)}")
    check_bits("the start", start)
    got, wanted = (free_rows(t.to(x.device), request.free_nodes).sum(1) for t in (start, x))
    if request.ones == "graph":
        got, wanted = got.sum(), wanted.sum()
    if not torch.equal(got, wanted):
        where = f"{int((got != wanted).sum())} rows" if request.ones == "node" else "the free rows"
        raise ValueError(
            f"the start must hold as many ones as the reference, but {where} differ "
            f"({int(got.sum())} ones against {int(wanted.sum())}); add or remove ones, or use start='frequencies'"
        )


def check_overlap(request: Request, graph: Data, reference: Tensor) -> None:
    """Raise unless the largest overlap is a share that the start and the number of zeros allow."""
    share = request.max_overlap
    if isinstance(share, bool) or not isinstance(share, int | float):
        raise TypeError(f"max_overlap must be a share between 0 and 1, got {share!r}")
    if not 0 <= share <= 1:
        raise ValueError(f"max_overlap must lie between 0 and 1, got {share!r}")
    most = most_kept(share, reference)
    if request.start is not None and not (isinstance(request.start, str) and request.start == "frequencies"):
        given = request.start.to(graph.x.device) if isinstance(request.start, Tensor) else graph.x
        held = int((free_rows(given, request.free_nodes) * reference).sum())
        if held > most:
            raise ValueError(
                f"the start holds {held} of the reference's ones, but max_overlap={share} lets {most} stay; "
                "use start='frequencies'"
            )
    room = reference.size(1) - 2 * reference.sum(1)
    if bool((room < 0).any() if request.ones == "node" else room.sum() < -most):
        raise ValueError(
            f"max_overlap={share} lets {most} of the reference's ones stay, but there are too few zeros for the "
            "others; raise max_overlap, or leave it out"
        )
