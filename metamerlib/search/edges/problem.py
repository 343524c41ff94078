"""Search for edges: what a candidate is, where it begins, and how near its activations are to the target."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.graphs.edges import both_directions
from metamerlib.graphs.edit import with_edges
from metamerlib.probing.probe import Probe
from metamerlib.probing.reduce import Reduced, reduced
from metamerlib.probing.target import Target
from metamerlib.search.edges.limits import EdgeLimits
from metamerlib.search.edges.messages import Call, Propagation, listen_where_true
from metamerlib.search.edges.refresh import Refresh, refreshed
from metamerlib.search.edges.relaxation import Relaxed


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
        limits: The reference's edges, and how many of them the result may hold.
        calls: List that the private copy fills on every pass.
        plain: Records the same layer of a copy that notes nothing.
        refresh: Computes what follows from the edges anew on each candidate, or None.
        guided: Whether any convolution is listened to, so that moves are proposed by its messages.
        whole: Whether all that edges do passes through convolutions that are listened to.
    """

    probe: Probe
    graph: Data
    target: Target
    start: Tensor
    limits: EdgeLimits
    calls: list[Call]
    plain: Probe
    refresh: Refresh | None = None
    guided: bool = True
    whole: bool = True

    @property
    def num_nodes(self) -> int:
        """Number of nodes N."""
        return int(self.graph.x.size(0))

    def beginning(self, pairs: Tensor) -> StructureProblem:
        """Return the same problem with another start ``[2, |E|]``."""
        return replace(self, start=pairs)

    def relaxed(self) -> Relaxed:
        """Return the layer as a function of real edge weights."""
        return Relaxed(self.plain, self.graph, self.refresh)

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
            signs = torch.randint(0, 2, residual.shape, generator=generator, device="cpu").to(residual) * 2 - 1
            residual.backward(signs, retain_graph=True)
            seen.append([call.gradient for call in self.calls])
        residual.backward(residual.detach())
        return self._look(residual.detach(), plain, [torch.stack(rows) for rows in zip(*seen, strict=True)])

    def _residual(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        self.calls.clear()
        candidate = refreshed(with_edges(self.graph, both_directions(pairs)), self.refresh)
        try:
            recording = self.probe(candidate, complete=False)
        except Exception as error:  # a foreign forward may fail in any way on some edges
            raise ValueError(
                f"the model fails on other edges than the reference's: {type(error).__name__}: {error}; let its "
                "forward accept any edges, isolated nodes included, or use start='configuration', which keeps degrees"
            ) from error
        residual, plain = self.target.residual(recording, 1)
        return residual[0], plain[0]

    def _look(self, residual: Tensor, plain: Tensor, probes: list[Tensor]) -> Look:
        each = residual.square().sum(1)
        rows = self.target.at_nodes(each, self.num_nodes)
        loss = float(plain.square().sum() / self.target.activation.square().sum())
        return Look(loss, float(each.sum()), rows, list(self.calls), probes)


def structure_problem(
    probe: Probe,
    reference: Data,
    target: Target,
    start: Tensor,
    limits: EdgeLimits,
    refresh: Refresh | None = None,
) -> StructureProblem:
    """Set up the search for edges.

    Args:
        probe: Records the layer of the model as it was given.
        reference: The reference graph, simple and undirected.
        target: What is matched.
        start: Undirected edges where the search begins ``[2, |E|]``.
        limits: The reference's edges, and how many of them the result may hold.
        refresh: Computes what follows from the edges anew on each candidate, or None; it may read the features,
            which then stay as they are.
    """
    bare = with_edges(reference, reference.edge_index)
    places = [bare, refreshed(with_edges(bare, both_directions(start)), refresh)]
    plain, places, _ = reduced(probe, places) if refresh is None else Reduced(probe, places, None)
    graph, small = places[0], plain.copy()
    calls, whole = listen_where_true(small, plain, places)
    guided = any(isinstance(vars(m).get("propagate"), Propagation) for m in small.model.modules())
    return StructureProblem(
        small,
        graph,
        target,
        start,
        limits,
        calls,
        plain,
        refresh,
        guided,
        whole and refresh is None,
    )
