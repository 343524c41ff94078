"""Find a metamer of a graph."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_device, check_graph, check_module, check_nodes, check_options
from metamerlib.graphs.edit import with_features
from metamerlib.models.calling import Forward
from metamerlib.plain import as_plain, as_seed, check_forward
from metamerlib.probing.examination import examine
from metamerlib.probing.probe import Probe, Recording
from metamerlib.probing.target import Target
from metamerlib.search.edges.refresh import Refresh
from metamerlib.search.metamer import Metamer, Outcome, assemble, told_if_unmoved
from metamerlib.search.request import Request, check_start, refuse_unused
from metamerlib.search.spaces import kind_of
from metamerlib.search.surroundings import free_of_inference, own_modes, warn_of_caches
from metamerlib.typing import Device, Layer, Nodes


@own_modes()
def find_metamer(
    model: nn.Module,
    graph: Data,
    *,
    layer: Layer,
    vary: str = "features",
    values: Any = None,
    target: Tensor | Data | None = None,
    nodes: Nodes = None,
    free_nodes: Any = None,
    start: str | Tensor | Data | None = None,
    budget: int | None = None,
    max_overlap: float | None = None,
    ones: str = "graph",
    solver: Any = "auto",
    slope: float | None = None,
    forward: Forward | None = None,
    refresh: Refresh | None = None,
    max_steps: int | None = None,
    rtol: float = 1e-4,
    stall_rtol: float | None = None,
    num_restarts: int = 1,
    seed: int = 0,
    device: Device = None,
) -> Metamer:
    r"""Find another graph with the activations of ``graph`` at one layer.

    .. math:: L_{act} = \sum_{v \in S} \|h'_v - h_v\|^2 / \sum_{v \in S} \|h_v\|^2

    (Xu et al., 2025, arXiv 2510.17378). The model, its mode, gradients and buffers, and the graph are left
    as they were. The search runs with gradients and without autocast, whatever surrounds the call.

    Args:
        model: Any torch model of graphs.
        graph: The reference: x ``[N, F]``, edge_index ``[2, E]``, optional edge_weight ``[E]`` and batch.
        layer: 1-based number for :class:`metamerlib.GNN`, else a module or its name; ``"act:0"`` is the first
            call of a module that is called several times, ``"name[1]"`` the second of several tensors.
        vary: What may differ: features, structure (simple undirected edges) or both.
        values: What is admissible. Features: continuous, or binary with the reference's number of ones. Edges:
            binary with the reference's number of edges, or weighted (real weights >= 0). Both: a pair of these.
        target: What the activations are to be in place of the reference's own: ``[|S|, d_k]``, or another graph
            with as many nodes and features. The loss is relative to it; where no input reaches it (negative entries
            after a ReLU, say), the status is stalled or max_steps.
        nodes: Matched nodes S: indices or a mask; None for all.
        free_nodes: Nodes whose features may differ; None for all.
        start: moments (default: each feature's mean plus its standard deviation times noise), frequencies
            (default for binary features: ones drawn with each feature's frequency), reference, or features
            ``[N, F]``. Edges: erdos-renyi (default), configuration (the same degrees, which then stay), reference,
            or a graph.
        budget: Largest number of edge flips, each exchanged edge costing two; for edges.
        max_overlap: Share of the reference's edges, or ones of binary features, that may stay.
        ones: Where the number of ones is kept, graph or node; for binary features.
        solver: lbfgs (fast: row-space coordinates, one-sided residual, graduated leak where it stalls), adam
            (as in the paper: all features, plain residual), auto (lbfgs), or a solver object. For binary
            features: swaps (fast, auto) or ste (as in the paper). For edges: swaps (auto, O(E) memory), retreat (walks
            away from the reference and needs max_overlap), ste (dense), or prbcd (of PyTorch Geometric).
        slope: Gradient of dead ReLU units in place of zero, for models whose pre-activation is out of reach;
            needs adam, since it is not the gradient of a function.
        forward: Replaces the call, which hands the model what its forward names and the graph holds, by
            ``forward(model, graph) -> Tensor``.
        refresh: Transform ``Data -> Data`` that computes anew, on a clone of each candidate, the attributes that
            follow from its edges (positional encodings, degrees); for edges. Without it the search refuses a model
            that reads attributes whose names look computed from the edges; others are held as they are, and
            ``settings["held_attributes"]`` names those that the model reads. ``lambda graph: graph`` holds all.
        max_steps: Largest number of evaluations of loss and gradient (default 2000; ste 300).
        rtol: Converged when :math:`L_{act}` is at most this.
        stall_rtol: Stalled when the best loss falls by less than this share within 50 steps.
        num_restarts: Number of starts, run at once as a disjoint union, or one after the other where the model couples
            the nodes of a union; the best is returned.
        seed: Seed of the starts.
        device: Where to run; None leaves everything where it is.

    Returns:
        The best metamer found; its ``status`` says how the search ended.

    Raises:
        TypeError: If an argument has the wrong type or dtype.
        ValueError: If an argument is out of range or unknown, or the layer cannot be matched.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
        >>> metamer = ml.find_metamer(model, graph, layer=1)
        >>> metamer.status
        'converged'
    """
    began = time.perf_counter()
    check_module(model)
    kind = kind_of(vary, values)
    check_graph(graph, integers=vary == "structure")
    check_device(device)
    check_forward(forward)
    seed = as_seed(seed)
    warn_of_caches(model, edges=vary != "features")
    graph = free_of_inference(with_features(graph, graph.x.detach()))
    limits: dict[str, Any] = {"rtol": rtol, "stall_rtol": stall_rtol, "max_steps": max_steps}
    limits |= {"ones": ones, "num_restarts": num_restarts, "slope": slope}
    check_options(**limits)
    limits |= {"budget": budget, "max_overlap": max_overlap}
    limits = {name: as_plain(value) for name, value in limits.items()}
    both = [check_nodes(name, given, graph.x.size(0)) for name, given in (("nodes", nodes), ("free_nodes", free_nodes))]
    if device is not None:
        graph = graph.clone().to(device)
    matched, free = (index if index is None else index.to(graph.x.device) for index in both)
    request = Request(values=values, free_nodes=free, start=start, solver=solver, seed=seed, refresh=refresh, **limits)
    check_start(start, graph.x, features=vary == "features")
    refuse_unused(request, binary="binary" in _of_features(vary, values))
    kind.check(request, graph)
    probe = Probe.fitting(model, layer, graph, forward=forward, slope=slope, device=device)
    aim = _aim(probe, graph, matched, target, features=vary != "structure")
    outcome = _told(kind.search(probe, graph, aim, request), graph, start, target, vary)
    return assemble(probe, aim, graph, outcome, free_nodes=free, began=began)


def _told(outcome: Outcome, graph: Data, start: Any, target: Any, vary: str) -> Outcome:
    """Return an outcome whose settings say what was asked for, and whether nothing could move."""
    if start is None or (isinstance(start, str) and start != "reference"):
        outcome = told_if_unmoved(graph, outcome)
    settings = {**outcome.settings, "vary": vary, "device": str(graph.x.device)}
    if target is not None:
        settings["target"] = "graph" if isinstance(target, Data) else "given"
    return replace(outcome, settings=settings)


def _of_features(vary: str, values: Any) -> list[Any]:
    """Return the admissible values of the features, where they are to vary."""
    return [] if vary == "structure" else list(values)[:1] if isinstance(values, list | tuple) else [values]


def _aim(probe: Probe, graph: Data, nodes: Tensor | None, target: Tensor | Data | None, *, features: bool) -> Target:
    """Examine the reference, and return what is to be matched: the caller's target, or the reference's own."""
    recording = probe.check(graph)
    own = Target.of(recording, _rows_to_match(nodes, recording, graph), compared=target is None)
    examine(probe, graph, features=features)
    return own if target is None else Target.given(target, own, recording, probe, graph)


def _rows_to_match(nodes: Tensor | None, recording: Recording, graph: Data) -> Tensor | None:
    rows = recording.activation.size(0)
    if nodes is not None and rows != graph.x.size(0):
        raise ValueError(f"this layer has {rows} rows, not one for each of the {graph.x.size(0)} nodes; drop nodes")
    return nodes
