"""Checks of what a caller hands in; each says what was got, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

_NETWORKX = "; convert with torch_geometric.utils.from_networkx and set x"
_OTHER = {
    "HeteroData": "; convert with graph.to_homogeneous(), and let the model read edge_type",
    **dict.fromkeys(("Graph", "DiGraph", "MultiGraph", "MultiDiGraph"), _NETWORKX),
}


def check_choice(what: str, got: object, known: Sequence[str | None]) -> None:
    """Raise ``ValueError`` unless ``got`` is one of the ``known`` names."""
    if got not in known:
        raise ValueError(f"unknown {what} {got!r}; choose one of {known}")


def check_solver(got: object, names: Iterable[str], *, moves: str) -> None:
    """Raise unless ``got`` is auto, one of the names, or an object that solves.

    Args:
        got: What the caller handed in.
        names: Names of the solvers of this search.
        moves: What these solvers move: features, bits or edges. A solver that does not say what it moves passes.
    """
    if isinstance(got, str):
        check_choice("solver", got, ["auto", *names])
    elif not hasattr(got, "iterate"):
        raise TypeError(f"solver must be a name or have a method iterate, got {type(got).__name__}")
    elif (own := getattr(got, "moves", moves)) != moves:
        raise TypeError(
            f"{type(got).__name__} is a solver that moves {own}, but this search takes one that moves {moves}; "
            f"choose one of {['auto', *names]}"
        )


def check_positive(what: str, got: object, *, integer: bool = False) -> None:
    """Raise unless ``got`` is a finite positive number (or integer)."""
    kind = int if integer else (int, float)
    if isinstance(got, bool) or not isinstance(got, kind):
        raise TypeError(f"{what} must be a positive {'integer' if integer else 'number'}, got {got!r}")
    if not 0 < got < float("inf"):
        raise ValueError(f"{what} must be positive and finite, got {got!r}")


def check_features(x: object, num_nodes: int | None = None, *, integers: bool = False) -> None:
    """Raise unless ``x`` is a finite floating-point matrix ``[N, F]``, or one of ``integers`` where these are good."""
    if not isinstance(x, Tensor):
        raise TypeError(f"features must be a torch.Tensor [num_nodes, num_features], got {type(x).__name__}")
    if x.layout != torch.strided:
        raise TypeError(f"features must be dense, got {x.layout}; convert with x.to_dense()")
    if not x.is_floating_point() and not (integers and not x.is_complex()):
        raise TypeError(f"features must be floating point, got {x.dtype}; convert with x.float()")
    if x.dim() != 2:
        raise ValueError(f"features must have shape [num_nodes, num_features], got {list(x.shape)}")
    if num_nodes is not None and x.size(0) != num_nodes:
        raise ValueError(f"features have {x.size(0)} rows but the graph has {num_nodes} nodes")
    if not torch.isfinite(x.sum()):  # one pass where all is well; a sum of huge entries may overflow
        bad = int((~torch.isfinite(x)).sum())
        if not bad:
            return
        raise ValueError(f"features hold {bad} NaN or infinite entries; replace them before the search")


def check_graph(graph: object, *, integers: bool = False) -> None:
    """Raise unless ``graph`` is a ``Data`` with finite features and edges inside its range.

    Args:
        graph: What was handed in.
        integers: Whether features may be integers, as where only edges vary.
    """
    if not isinstance(graph, Data):
        kind = type(graph).__name__
        raise TypeError(f"graph must be a torch_geometric.data.Data, got {kind}{_OTHER.get(kind, '')}")
    if graph.get("adj_t") is not None:
        raise TypeError(
            "graph holds its edges as adj_t, and a search needs edge_index; set graph.edge_index (from "
            "torch_geometric.utils.to_edge_index(graph.adj_t) with its two rows flipped) and graph.adj_t = None"
        )
    if type(graph.edge_index).__name__ == "SparseTensor":
        raise TypeError("edge_index is a SparseTensor; expected torch.long [2, E]: use to_edge_index of PyG")
    if graph.x is None or graph.edge_index is None:
        raise ValueError(f"graph needs x and edge_index, got {graph}")
    check_features(graph.x, integers=integers)
    edges = graph.edge_index
    if not isinstance(edges, Tensor) or edges.dtype != torch.long:
        raise TypeError(f"edge_index must be a torch.long tensor [2, E], got {getattr(edges, 'dtype', type(edges))}")
    if edges.dim() != 2 or edges.size(0) != 2:
        raise ValueError(f"edge_index must have shape [2, E], got {list(edges.shape)}")
    num_nodes = graph.x.size(0)
    if edges.numel() and (edges.min() < 0 or edges.max() >= num_nodes):
        raise ValueError(
            f"edge_index must lie in 0..{num_nodes - 1} for {num_nodes} nodes, "
            f"got {int(edges.min())}..{int(edges.max())}"
        )
    weight = graph.edge_weight
    if weight is not None and not isinstance(weight, Tensor):
        raise TypeError(f"edge_weight must be a torch.Tensor [E], got {type(weight).__name__}")
    if weight is not None and (weight.dim() != 1 or weight.numel() != edges.size(1)):
        raise ValueError(f"edge_weight must have shape [{edges.size(1)}], got {list(weight.shape)}")
    if weight is not None and not torch.isfinite(weight).all():
        raise ValueError("edge_weight holds NaN or infinite entries")


def check_nodes(what: str, nodes: object, num_nodes: int) -> Tensor | None:
    """Return node indices ``[n]`` as a long tensor, or None for all nodes.

    Args:
        what: Name of the argument, for the error.
        nodes: None, one index, a sequence or tensor of indices, or a boolean mask ``[N]``.
        num_nodes: N.

    Raises:
        TypeError: If the indices are not integers.
        ValueError: If there are none, one is out of range or one stands twice.
    """
    if nodes is None:
        return None
    try:
        index = torch.as_tensor(nodes).reshape(-1).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{what} must be indices or a mask, got {nodes!r}") from error
    if index.numel() == 0:
        raise ValueError(f"{what} is empty; name at least one node, or None for all")
    if index.dtype == torch.bool:
        if index.numel() != num_nodes:
            raise ValueError(f"{what} is a mask of length {index.numel()}; expected {num_nodes}")
        index = index.nonzero().reshape(-1)
        if index.numel() == 0:
            raise ValueError(f"{what} is a mask without a True entry; name at least one node")
    if index.is_floating_point():
        raise TypeError(f"{what} must hold integers, got {index.dtype}")
    index = index.long()
    if index.min() < 0 or index.max() >= num_nodes:
        raise ValueError(f"{what} must lie in 0..{num_nodes - 1}, got {int(index.min())}..{int(index.max())}")
    if index.unique().numel() != index.numel():
        raise ValueError(f"{what} names a node twice; got {index.numel()} entries, {index.unique().numel()} distinct")
    return index


def check_target(got: object, own: Tensor) -> None:
    """Raise unless ``got`` can stand in for the reference's own activations ``[|S|, d_k]``."""
    if not isinstance(got, Tensor):
        raise TypeError(f"target must be a tensor {list(own.shape)} or a graph, got {type(got).__name__}")
    if got.shape != own.shape:
        raise ValueError(f"target has shape {list(got.shape)}; expected {list(own.shape)}, a row for each matched node")
    if got.dtype != own.dtype:
        raise TypeError(f"target is {got.dtype} but the layer is {own.dtype}; convert with target.to({own.dtype})")
    if not torch.isfinite(got).all():
        raise ValueError("target holds NaN or infinite entries; replace them before the search")
    if not got.any():
        raise ValueError("target is zero on all matched nodes; the relative loss is undefined, so choose another")


def check_model(model: nn.Module, graph: Data, *, alone: bool = True) -> None:
    """Raise unless the model's dtype, device and (where the features ``alone`` enter it) width fit the features."""
    for p in model.parameters():
        if not p.is_floating_point():
            continue
        if graph.x.is_floating_point() and p.dtype != graph.x.dtype:
            raise TypeError(f"the model is {p.dtype} but the features are {graph.x.dtype}; convert one of them")
        if p.device != graph.x.device:
            raise ValueError(f"the model is on {p.device} but the graph on {graph.x.device}; pass device= or move one")
    width = getattr(model, "in_channels", None)
    if alone and isinstance(width, int) and 0 < width != graph.x.size(1):
        raise ValueError(f"the model takes {width} features but the graph has {graph.x.size(1)}")


def check_device(device: str | torch.device | None) -> None:
    """Raise ``ValueError`` unless tensors can be made on ``device``."""
    if device is None:
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used here; choose 'cpu' or None: {error}") from error


def check_options(
    *,
    ones: str = "graph",
    rtol: float = 1e-4,
    stall_rtol: float | None = None,
    max_steps: int | None = None,
    num_restarts: int = 1,
    slope: float | None = None,
) -> None:
    """Raise unless the options of :func:`metamerlib.find_metamer` that every search shares are in range."""
    check_choice("ones", ones, ["graph", "node"])
    check_positive("rtol", rtol)
    check_positive("num_restarts", num_restarts, integer=True)
    if stall_rtol is not None:
        check_positive("stall_rtol", stall_rtol)
    if max_steps is not None:
        check_positive("max_steps", max_steps, integer=True)
    if slope is not None:
        check_positive("slope", slope)
