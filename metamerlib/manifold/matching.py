"""Set up the match that a graph or a metamer stands for, once for all moves on its manifold."""

from __future__ import annotations

from dataclasses import replace
from typing import TypedDict, Unpack

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_choice, check_device, check_graph, check_module, check_nodes
from metamerlib.manifold.constraint import Constraint
from metamerlib.models.calling import Forward
from metamerlib.plain import shown
from metamerlib.probing.agreement import agree
from metamerlib.probing.probe import Probe
from metamerlib.probing.reduce import check_gradient, elsewhere, reduced, to_float64
from metamerlib.probing.target import Target
from metamerlib.search.metamer import Metamer, check_target_of
from metamerlib.typing import Device, Layer, Nodes

METHODS = ["auto", "dense", "matrix-free"]
_MOST_HOPS = 6


class MatchOptions(TypedDict, total=False):
    """What :func:`match` takes by name; each move on the manifold hands it on.

    Attributes:
        layer: 1-based number for :class:`metamerlib.GNN`, else a module or its name; a metamer has its own.
        nodes: Matched nodes S: indices or a mask; None for all. A metamer has its own.
        free_nodes: Nodes whose features may differ; None for all. A metamer has its own.
        forward: Replaces the default call, ``forward(model, graph) -> Tensor``.
        method: How linear equations are solved: auto (dense where the Jacobian is small), dense or matrix-free.
        dtype: None or torch.float64.
        device: Where to run; None leaves everything where it is.
    """

    layer: Layer | None
    nodes: Nodes
    free_nodes: Nodes
    forward: Forward | None
    method: str
    dtype: torch.dtype | None
    device: Device


def match(
    model: nn.Module | Constraint, start: Metamer | Data | None = None, **options: Unpack[MatchOptions]
) -> Constraint:
    """Set up the equation of a match on a private float64 copy of a model, for one or many moves.

    Every move takes the model, a graph and these options, or in their place the constraint that is made of them
    here, so that what several moves share is set up once.

    Args:
        model: Any torch model of graphs; a constraint is returned as it is.
        start: A graph, which is its own reference, or a metamer, whose features a move begins with.
        **options: layer, nodes, free_nodes, forward, method, dtype and device, see :class:`MatchOptions`.

    Raises:
        TypeError: If an argument has the wrong type, or a constraint is given more than itself.
        ValueError: If an argument is out of range, a layer is missing, a metamer is given what it has of its own,
            the layer does not depend on the free features, or dtype is not float64.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
        >>> one = ml.manifold.match(model, graph, layer=2, nodes=[0])
        >>> ml.walk(one, steps=2).status, ml.tangent_basis(one).rank
        ('finished', 4)
    """
    unknown = [name for name in options if name not in MatchOptions.__annotations__]
    if unknown:
        raise TypeError(f"unexpected argument {unknown[0]!r}; a match takes {', '.join(MatchOptions.__annotations__)}")
    if isinstance(model, Constraint):
        if given := [*(["start"] if start is not None else []), *options]:
            raise TypeError(f"a constraint has its own {', '.join(given)}; drop it, or pass the model")
        return model
    if isinstance(start, Metamer):
        return _of_metamer(model, start, options)
    check_module(model)
    check_graph(start)
    assert isinstance(start, Data)
    layer = options.get("layer")
    if layer is None:
        raise ValueError("layer is missing; a graph has none of its own")
    return _of_graph(model, start, layer, options)


def _of_metamer(model: nn.Module, metamer: Metamer, options: MatchOptions) -> Constraint:
    if not isinstance(metamer.reference, Data) or not _same_edges(metamer.graph, metamer.reference):
        raise ValueError(
            "the metamer has other edges than its reference, but only its features can move; pass one that was found "
            "with vary='features', or its graph"
        )
    if options.get("nodes") is not None or options.get("free_nodes") is not None:
        raise ValueError("a metamer has its own nodes and free_nodes; drop them, or pass its reference")
    check_module(model)
    layer = options.get("layer")
    layer = metamer.layer if layer is None else layer
    own: MatchOptions = {**options, "nodes": metamer.nodes, "free_nodes": metamer.free_nodes}
    made = _of_graph(model, metamer.reference, layer, own)
    if made.probe.name != metamer.layer:
        raise ValueError(f"the metamer matches layer {metamer.layer!r}, got layer={layer!r}; drop layer")
    check_target_of(metamer, made.target.activation)
    return replace(made, start=made.rows_of(metamer.graph))


def _of_graph(model: nn.Module, reference: Data, layer: Layer, options: MatchOptions) -> Constraint:
    dtype, method, device = options.get("dtype"), options.get("method", "auto"), options.get("device")
    if dtype is not None and dtype is not torch.float64:
        got = dtype if isinstance(dtype, torch.dtype) else shown(dtype)
        raise ValueError(f"dtype is {got}; tangents need torch.float64: drop dtype, the model is converted")
    check_choice("method", method, METHODS)
    check_graph(reference)
    check_device(device)
    size = reference.x.size(0)
    matched, free = (check_nodes(name, options.get(name), size) for name in ("nodes", "free_nodes"))
    graph = to_float64(reference, device)
    matched, free = (index if index is None else index.to(graph.x.device) for index in (matched, free))
    forward = options.get("forward")
    probe = Probe.fitting(model, layer, graph, forward=forward, device=device, dtype=torch.float64)
    rows = probe.check(graph).activation.size(0)
    if matched is not None and rows != size:
        raise ValueError(f"this layer has {rows} rows, not one for each of the {size} nodes; drop nodes")
    small = reduced(probe, [graph, elsewhere(graph)], orthonormal=True, smaller=True)
    cut, rows_matched, rows_free = _cropped(small.probe, small.graphs[0], matched, free)
    target = Target.of(small.probe(cut, complete=False), rows_matched)
    base = graph.x if free is None else graph.x[free]
    made = Constraint(
        probe=small.probe, graph=cut, target=target, free=rows_free, space=small.space, whole=probe, reference=graph,
        nodes=matched, free_nodes=free, start=base, method=method,
    )  # fmt: skip
    check_gradient(small.probe.name, lambda u: made.record(u[None]).activation, made.visible(base))
    return made


def _cropped(
    probe: Probe, graph: Data, nodes: Tensor | None, free: Tensor | None
) -> tuple[Data, Tensor | None, Tensor | None]:
    """Return the ball round matched and free nodes on which the matched activations are the same, or everything."""
    if nodes is None or free is None:
        return graph, nodes, free
    places = [graph, elsewhere(graph)]
    with torch.no_grad():
        wanted = [probe(g, complete=False).activation[nodes] for g in places]
    inside = torch.zeros(graph.x.size(0), dtype=torch.bool, device=graph.x.device)
    inside[nodes] = True
    source, target = graph.edge_index
    for _ in range(_MOST_HOPS):
        grown = inside.clone()
        grown[source[inside[target]]] = True
        grown[target[inside[source]]] = True
        inside, chosen = grown, grown.clone()
        chosen[free] = True
        if chosen.sum() > graph.x.size(0) // 2:
            break
        number = chosen.cumsum(0) - 1
        try:
            with torch.no_grad():
                found = [probe(g.subgraph(chosen), complete=False).activation[number[nodes]] for g in places]
        except (RuntimeError, IndexError, ValueError, KeyError):  # a foreign forward may insist on the whole graph
            break
        if all(agree(a, b) for a, b in zip(found, wanted, strict=True)):
            return graph.subgraph(chosen), number[nodes], number[free]
    return graph, nodes, free


def _same_edges(graph: Data, other: Data) -> bool:
    weights = graph.edge_weight, other.edge_weight
    same = weights[0] is None if weights[1] is None else weights[0] is not None and torch.equal(*weights)
    return same and torch.equal(graph.edge_index, other.edge_index)
