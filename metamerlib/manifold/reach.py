"""Receptive fields: which nodes' features an activation can depend on, detected on the model at hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components, dijkstra
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_graph, check_module, check_nodes
from metamerlib.graphs.edges import among
from metamerlib.graphs.edit import with_features
from metamerlib.graphs.sampling import gaussian
from metamerlib.models.calling import Forward
from metamerlib.probing.probe import Probe
from metamerlib.typing import Layer, Nodes

_EXACT_BELOW = 400
_BLOCK = 256


@dataclass(frozen=True)
class Members:
    """Sets of nodes, one for each owner, as pairs sorted by owner and node.

    Attributes:
        owner: Number of the set ``[M]``.
        node: Member of that set ``[M]``.
        sizes: Number of members of each set ``[B]``.
    """

    owner: Tensor
    node: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, keys: Tensor, num_sets: int, num_nodes: int) -> Members:
        """Take sorted keys ``owner * num_nodes + node`` apart."""
        owner = keys.div(num_nodes, rounding_mode="floor")
        return cls(owner, keys - owner * num_nodes, torch.bincount(owner, minlength=num_sets))


@dataclass(frozen=True)
class Reach:
    """How far a layer looks: the receptive fields of its nodes.

    Attributes:
        num_nodes: N.
        hops: Radius of the fields; None where they are not balls.
        source, target: Ends of the edges along which the features travel ``[E]``, sorted by target.
        sets: Keys ``v * N + u`` of the pairs where node v depends on node u, sorted; for fields that are not
            balls; None where every node depends on every other.
    """

    num_nodes: int
    hops: int | None
    source: Tensor
    target: Tensor
    sets: Tensor | None = None

    def fields(self, nodes: Tensor, margin: int = 0) -> Members:
        """Return the receptive field of each node, widened by ``margin`` hops where fields are balls.

        Args:
            nodes: ``[B]``.
            margin: Hops added.
        """
        n = self.num_nodes
        first = torch.arange(nodes.numel(), device=nodes.device) * n
        if self.hops is not None:
            return Members.of(self._grow(first + nodes, self.hops + margin), nodes.numel(), n)
        if self.sets is None:
            everything = first[:, None] + torch.arange(n, device=nodes.device)
            return Members.of(everything.reshape(-1), nodes.numel(), n)
        begin, end = (torch.searchsorted(self.sets, limit) for limit in (nodes * n, (nodes + 1) * n))
        keys = [self.sets[a:b] + f - v * n for a, b, f, v in zip(begin, end, first, nodes, strict=True)]
        return Members.of(torch.cat(keys), nodes.numel(), n)

    def sizes(self, nodes: Tensor, margin: int = 0) -> Tensor:
        """Return the number of nodes in each receptive field ``[B]``, a block of nodes at a time."""
        if self.hops is None and self.sets is None:
            return torch.full_like(nodes, self.num_nodes)
        return torch.cat([self.fields(block, margin).sizes for block in nodes.split(_BLOCK)])

    def _grow(self, keys: Tensor, hops: int) -> Tensor:
        degree = torch.bincount(self.target, minlength=self.num_nodes)
        begin = degree.cumsum(0) - degree
        reached = fringe = keys.sort().values
        for _ in range(hops):
            pair, edge = incoming(fringe % self.num_nodes, begin, degree)
            found = torch.unique(fringe[pair] - fringe[pair] % self.num_nodes + self.source[edge])
            fringe = found[~among(found, reached)]
            if not fringe.numel():
                break
            reached = torch.cat([reached, fringe]).sort().values
        return reached


def incoming(nodes: Tensor, begin: Tensor, degree: Tensor) -> tuple[Tensor, Tensor]:
    """List the incoming edges of nodes, where edges are sorted by target.

    Args:
        nodes: ``[M]``.
        begin: First edge and number of edges of each target ``[N]``.
        degree: First edge and number of edges of each target ``[N]``.

    Returns:
        Position in ``nodes`` and number of each edge.
    """
    count = degree[nodes]
    position = torch.repeat_interleave(torch.arange(nodes.numel(), device=nodes.device), count)
    within = torch.arange(position.numel(), device=nodes.device) - (count.cumsum(0) - count)[position]
    return position, begin[nodes][position] + within


def receptive_field(
    model: nn.Module, graph: Data, *, layer: Layer, nodes: Nodes = None, forward: Forward | None = None
) -> list[Tensor]:
    """Find the nodes on whose features the activation of each node can depend, by spoiling features.

    Args:
        model: Any torch model of graphs.
        graph: x ``[N, F]``, edge_index ``[2, E]``, and whatever else the model reads.
        layer: 1-based number for :class:`metamerlib.GNN`, else a module or its name.
        nodes: Indices or a mask; None for all.
        forward: Replaces the default call, ``forward(model, graph) -> Tensor``.

    Returns:
        For each of the nodes, in their order, the sorted indices of its receptive field ``[n_v]``.

    Raises:
        ValueError: If the layer does not give one row for each node, or an argument is out of range.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
        >>> [len(field) for field in ml.receptive_field(model, graph, layer=1, nodes=[0, 11])]
        [17, 2]
    """
    check_module(model)
    check_graph(graph)
    chosen = check_nodes("nodes", nodes, graph.x.size(0))
    probe = Probe.fitting(model, layer, graph, forward=forward)
    rows = probe.check(graph).activation.size(0)
    if rows != graph.x.size(0):
        raise ValueError(f"this layer has {rows} rows, not one for each of the {graph.x.size(0)} nodes")
    chosen = torch.arange(rows, device=graph.x.device) if chosen is None else chosen.to(graph.x.device)
    members = find_reach(probe, graph).fields(chosen)
    return list(members.node.split(members.sizes.tolist()))


def find_reach(probe: Probe, graph: Data) -> Reach:
    """Detect the receptive fields of a layer by spoiling the features of single nodes.

    The features of a node are replaced by NaN, and then by noise, and the rows of the layer that change are
    those that can depend on it. Where these rows are the ball of some radius round every node tried, a
    peripheral one among them, the fields are balls of that radius. Where everything always changes, each
    field is the whole graph. Any other pattern is found out node by node, in N forward passes.

    Args:
        probe: Records the layer ``[N, d_k]``.
        graph: x ``[N, F]``.
    """
    num_nodes = graph.x.size(0)
    with torch.no_grad():
        reference = probe(graph, complete=False).activation
        for flow in _flows(graph.edge_index, num_nodes):
            adjacency = _adjacency(*flow, num_nodes)
            sources = _places_to_try(adjacency)
            changed = [_depends(probe, graph, reference, source) for source in sources]
            if all(bool(rows.all()) for rows in changed) and _apart(adjacency, sources):
                return Reach(num_nodes, None, *flow)
            hops = _radius(adjacency, sources, changed)
            if hops is not None:
                return Reach(num_nodes, hops, *flow)
        rows = [_depends(probe, graph, reference, source).nonzero() for source in range(num_nodes)]
    keys = [row.reshape(-1) * num_nodes + source for source, row in enumerate(rows)]
    return Reach(num_nodes, None, *flow, torch.cat(keys).sort().values)


def _flows(edge_index: Tensor, num_nodes: int) -> list[tuple[Tensor, Tensor]]:
    """Return source and target of the edges, sorted by target, for both directions and for both at once."""
    flows: list[tuple[Tensor, Tensor]] = []
    for pair in (edge_index, edge_index.flip(0), torch.cat([edge_index, edge_index.flip(0)], 1)):
        keys = torch.unique(pair[1] * num_nodes + pair[0])
        flow = (keys % num_nodes, keys.div(num_nodes, rounding_mode="floor"))
        if not any(torch.equal(flow[0], old[0]) and torch.equal(flow[1], old[1]) for old in flows):
            flows.append(flow)
    return flows


def _adjacency(source: Tensor, target: Tensor, num_nodes: int) -> csr_matrix:
    ends = (source.cpu().numpy(), target.cpu().numpy())
    return csr_matrix((np.ones(source.numel()), ends), shape=(num_nodes, num_nodes))


def _distances(adjacency: csr_matrix, source: int) -> np.ndarray:
    return dijkstra(adjacency, indices=source, unweighted=True)


def _places_to_try(adjacency: csr_matrix) -> list[int]:
    """Return a node from which the farthest others are as far as can be, a hub, and some others."""
    num_nodes = adjacency.shape[0]
    degree = np.asarray(adjacency.sum(1)).ravel()
    if num_nodes <= _EXACT_BELOW:
        far = np.where(np.isfinite(every := dijkstra(adjacency, unweighted=True)), every, -1).max(1)
        peripheral = int(far.argmax())
    else:
        peripheral = _peripheral(adjacency, degree)
    spread = np.linspace(0, num_nodes - 1, 3).astype(int).tolist()
    return list(dict.fromkeys([peripheral, int(degree.argmax()), *spread]))


def _peripheral(adjacency: csr_matrix, degree: np.ndarray) -> int:
    """Return the start of a longest shortest path, by sweeps to and fro in each component that could hold it."""
    _, label = connected_components(adjacency, directed=False)
    size = np.bincount(label)
    longest, place = -1.0, 0
    for component in np.argsort(-size, kind="stable"):
        if size[component] <= longest + 1:
            break
        node = int(np.where(label == component, degree, -1).argmax())
        for _ in range(3):
            distance = np.where(np.isfinite(found := _distances(adjacency, node)), found, -1)
            if distance.max() > longest:
                longest, place = distance.max(), node
            node = int(distance.argmax())
    return place


def _depends(probe: Probe, graph: Data, reference: Tensor, source: int) -> Tensor:
    """Tell which rows of the layer change with the features of one node ``[N]``, by NaN or by noise."""
    noise = gaussian((graph.x.size(1),), source, graph.x, torch.float64)
    changed = torch.zeros(reference.size(0), dtype=torch.bool, device=reference.device)
    for row in (torch.full_like(noise, torch.nan), 10 * (1 + graph.x.abs().max()) * noise):
        x = graph.x.clone()
        x[source] = row
        try:
            spoilt = probe(with_features(graph, x), complete=False).activation
        except Exception:  # a foreign model may refuse NaN in any way
            continue
        close = (spoilt - reference).abs() <= 1e-12 * reference.abs().max()
        changed |= ~close.all(1)
    return changed


def _apart(adjacency: csr_matrix, sources: list[int]) -> bool:
    """Tell whether some node cannot be reached along edges, so that only a coupling of all nodes reaches it."""
    return any(np.isinf(_distances(adjacency, source)).any() for source in sources)


def _radius(adjacency: csr_matrix, sources: list[int], changed: list[Tensor]) -> int | None:
    """Return the radius of the balls that the changed rows are, or None if they are none."""
    distances = [_distances(adjacency, source) for source in sources]
    seen = [rows.cpu().numpy() for rows in changed]
    farthest = max((d[rows].max() for d, rows in zip(distances, seen, strict=True) if rows.any()), default=np.inf)
    if np.isinf(farthest):
        return None
    if all(((d <= farthest) == rows).all() for d, rows in zip(distances, seen, strict=True)):
        return int(farthest)
    return None
