"""Search for edges: what a candidate is, where it begins, and how near its activations are to the target."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.capture import Probe, with_features
from metamerlib.checks import check_choice
from metamerlib.edge_sets import both_directions, pair_keys, random_edges, switched_edges, undirected_pairs
from metamerlib.messages import Call, listen
from metamerlib.problem import Target
from metamerlib.relaxation import Relaxed
from metamerlib.rowspace import projected, row_space, sees_only

STARTS = ["erdos-renyi", "configuration", "reference"]


@dataclass(frozen=True)
class Look:
    """What a set of edges gives.

    Attributes:
        loss: :math:`L_{act}`.
        objective: Squared residual, not divided by anything.
        rows: Its share of every node ``[N]``; None where the layer's rows are not nodes.
        calls: Propagations, with gradients of half the objective where these were asked for.
        probes: Random combinations of the residual's gradients, for each propagation ``[m, N, D]``.
    """

    loss: float
    objective: float
    rows: Tensor | None
    calls: list[Call]
    probes: list[Tensor]


@dataclass(frozen=True)
class StructureProblem:
    """Find edges whose activations equal the target; a candidate is a set of pairs ``[2, |E|]``.

    Attributes:
        probe: Records the layer of a private copy that notes its messages.
        graph: The reference; x holds its coordinates in the row space of the first linear maps, if there is one.
        target: What is matched.
        start: Undirected edges where the search begins ``[2, |E|]``.
        reference: Undirected edges of the reference ``[2, |E|]``.
        lowest: Reference edges that the result holds at least.
        highest: Reference edges that the result holds at most.
        calls: List that the private copy fills on every pass.
        plain: Records the same layer of a copy that notes nothing.
    """

    probe: Probe
    graph: Data
    target: Target
    start: Tensor
    reference: Tensor
    lowest: int
    highest: int
    calls: list[Call]
    plain: Probe

    @property
    def num_nodes(self) -> int:
        """Number of nodes N."""
        return int(self.graph.x.size(0))

    @cached_property
    def known(self) -> Tensor:
        """Sorted keys of the reference's edges ``[|E|]``."""
        return pair_keys(self.reference, self.num_nodes).sort().values

    def relaxed(self) -> Relaxed:
        """Return the layer as a function of real edge weights."""
        return Relaxed(self.plain, self.graph)

    def look(self, pairs: Tensor) -> Look:
        """Run the model on a set of edges ``[2, |E|]``."""
        with torch.no_grad():
            residual, plain = self._residual(pairs)
        return self._look(residual, plain, [])

    def look_closely(self, pairs: Tensor, probes: int = 0, generator: torch.Generator | None = None) -> Look:
        """Run the model on a set of edges, and backwards.

        Args:
            pairs: Undirected edges ``[2, |E|]``.
            probes: Number m of random combinations of the residual.
            generator: Source of their signs.
        """
        residual, plain = self._residual(pairs)
        if not residual.requires_grad:
            return self._look(residual, plain, [])
        seen = []
        for _ in range(probes):
            signs = torch.randint(0, 2, residual.shape, generator=generator).to(residual) * 2 - 1
            residual.backward(signs, retain_graph=True)
            seen.append([call.gradient for call in self.calls])
        residual.backward(residual.detach())
        return self._look(residual.detach(), plain, [torch.stack(rows) for rows in zip(*seen, strict=True)])

    def _residual(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        self.calls.clear()
        candidate = with_edges(self.graph, both_directions(pairs))
        residual, plain = self.target.residual(self.probe(candidate, complete=False), 1)
        return residual[0], plain[0]

    def _look(self, residual: Tensor, plain: Tensor, probes: list[Tensor]) -> Look:
        each = residual.square().sum(1)
        rows = self.target.at_nodes(each, self.num_nodes)
        loss = float(plain.square().sum() / self.target.activation.square().sum())
        return Look(loss, float(each.sum()), rows, list(self.calls), probes)


def with_edges(graph: Data, edge_index: Tensor, weight: Tensor | None = None) -> Data:
    """Return a shallow copy of a graph with other edges; what belonged to the old ones is left out."""
    other = copy.copy(graph)
    for name in [name for name in graph.keys() if name != "edge_index" and graph.is_edge_attr(name)]:  # noqa: SIM118
        del other[name]
    other.edge_index = edge_index
    if weight is not None:
        other.edge_weight = weight
    return other


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


def edge_start(
    reference: Data, start: str | Data | None, bounds: tuple[int, int], budget: int | None, seed: int
) -> Tensor:
    """Return the undirected edges where a search begins ``[2, |E|]``.

    With a budget, only as many edges as it allows are replaced.

    Args:
        reference: Simple undirected graph.
        start: erdos-renyi (the default), configuration, reference, or a graph with as many edges.
        bounds: See :func:`edge_bounds`.
        budget: Number of flips, or None.
        seed: Seed of the draw.

    Raises:
        ValueError: If the start is unknown, has another size, or breaks the limits.
    """
    pairs, num_nodes = undirected_pairs(reference), int(reference.x.size(0))
    lowest, highest = bounds
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
    held = int(torch.isin(pair_keys(begin, num_nodes), pair_keys(pairs, num_nodes)).sum())
    if not lowest <= held <= highest:
        raise ValueError(
            f"start={start if isinstance(start, str) else 'given'!r} holds {held} of the reference's edges, allowed "
            f"are {lowest} to {highest}; choose another start or limit"
        )
    return begin


def structure_problem(
    probe: Probe, reference: Data, target: Target, start: Tensor, bounds: tuple[int, int]
) -> StructureProblem:
    """Set up the search for edges.

    Args:
        probe: Records the layer of the model as it was given.
        reference: The reference graph, simple and undirected.
        target: What is matched.
        start: Undirected edges where the search begins ``[2, |E|]``.
        bounds: Reference edges that the result holds at least and at most.
    """
    space = row_space(probe.model, reference.x.size(1))
    small, graph = probe.copy(), with_edges(reference, reference.edge_index)
    if space is not None:
        x = space.coordinates(reference.x)
        if sees_only(probe, space, [(g, x) for g in (graph, with_edges(graph, both_directions(start)))]):
            small, graph = projected(probe, space), with_features(graph, x)
    plain = small.copy()
    return StructureProblem(
        small, graph, target, start, undirected_pairs(reference), *bounds, listen(small.model), plain
    )
