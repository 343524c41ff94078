"""Checks of what a caller hands in; each says what was got, what was expected and what to do."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.plain import as_real, shown
from metamerlib.plain import check_choice as check_choice
from metamerlib.plain import check_positive as check_positive
from metamerlib.plain import check_solver as check_solver
from metamerlib.typing import Device

_NETWORKX = "; convert with torch_geometric.utils.from_networkx and set x"
_OTHER = {
    "HeteroData": "; convert with graph.to_homogeneous(), and let the model read edge_type",
    **dict.fromkeys(("Graph", "DiGraph", "MultiGraph", "MultiDiGraph"), _NETWORKX),
    "Metamer": "; pass metamer.graph or metamer.reference",
    "str": "; load it with metamerlib.load_graph",
    "list": "; pass one graph at a time",
}
_MODELS = {
    "str": "; build one with metamerlib.models.build_model",
    "dict": "; load a state dict into a model by model.load_state_dict(...)",
    "OrderedDict": "; load a state dict into a model by model.load_state_dict(...)",
    "Data": "; the model comes first, then the graph",
    "Metamer": "; the model comes first, then the metamer",
    "Fit": "; pass fit.model",
}
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def check_module(model: object, what: str = "model") -> None:
    """Raise unless ``model`` is a torch module whose parameters have values."""
    kind = type(model).__name__
    if isinstance(model, type):
        raise TypeError(f"{what} must be a torch.nn.Module, got {shown(model)} itself; make one: {model.__name__}(...)")
    if not isinstance(model, nn.Module):
        raise TypeError(f"{what} must be a torch.nn.Module, got {kind}{_MODELS.get(kind, '')}")
    lazy = [
        name for name, value in _values(model) if isinstance(value, nn.UninitializedParameter | nn.UninitializedBuffer)
    ]
    if lazy:
        raise ValueError(
            f"{kind} has parameters without a size yet ({lazy[0]}); call it once on the graph, as in "
            "model(graph.x, graph.edge_index), before it is handed in"
        )


def _values(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def as_tensor(
    what: str, got: object, *shape: str | int, dtype: str = "real", empty: bool = False, finite: bool = True
) -> Tensor:
    """Return a dense tensor that has values, of a shape and a kind of dtype, all of them finite.

    Args:
        what: Name of the argument, for the error.
        got: What was handed in.
        *shape: A number for a fixed size, a name for a free one; none at all for any shape.
        dtype: real (floating point), number (integers and bool too), integer or bool.
        empty: Whether it may hold no entry.
        finite: Whether NaN and infinity are refused.
    """
    wanted = f" [{', '.join(map(str, shape))}]" if shape else ""
    if not isinstance(got, Tensor):
        hint = "; convert with torch.as_tensor" if isinstance(got, list | tuple) or hasattr(got, "__array__") else ""
        raise TypeError(f"{what} must be a torch.Tensor{wanted}, got {shown(got)}{hint}")
    if got.layout != torch.strided:
        raise TypeError(f"{what} must be dense, got {got.layout}; convert with .to_dense()")
    if got.device.type == "meta":
        raise ValueError(f"{what} is on the meta device, where tensors hold no values; make it on the CPU")
    kinds = {
        "real": got.is_floating_point(),
        "number": not got.is_complex(),
        "integer": got.dtype in _INTEGERS,
        "bool": got.dtype == torch.bool,
    }
    if not kinds[dtype]:
        raise TypeError(f"{what} must be {_KINDS[dtype]}, got {got.dtype}; convert it")
    fits = len(shape) == got.dim() and all(isinstance(a, str) or a == b for a, b in zip(shape, got.shape, strict=False))
    if shape and not fits:
        raise ValueError(f"{what} must have shape{wanted}, got {list(got.shape)}")
    if not empty and not got.numel():
        raise ValueError(f"{what} has shape {list(got.shape)}, which holds no entry; give one at least")
    if finite and got.is_floating_point() and not torch.isfinite(got.sum()):
        bad = int((~torch.isfinite(got)).sum())
        if bad:
            raise ValueError(f"{what} holds {bad} NaN or infinite entries; replace them or leave them out")
    return got


_LAZY = (nn.UninitializedParameter, nn.UninitializedBuffer)
MOST_RESTARTS = 100_000
_KINDS = {"real": "floating point", "number": "real numbers", "integer": "integers", "bool": "torch.bool"}


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
    if x.device.type == "meta":
        raise ValueError("features are on the meta device, where tensors hold no values; load the graph on the CPU")
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
    _check_kind(graph)
    assert isinstance(graph, Data)
    if graph.x is None or graph.edge_index is None:
        raise ValueError(f"graph needs x and edge_index, got {graph}")
    check_features(graph.x, integers=integers)
    if not len(graph.x):
        raise ValueError(f"graph has no nodes, got {graph}; give it rows of x")
    _check_edges(graph, graph.x.size(0))


def check_structure(graph: object, *, empty: bool = False) -> int:
    """Raise unless ``graph`` is a ``Data`` with nodes and edges inside its range; return the number of nodes.

    Features may be missing; where there are any, they must be finite. An ``empty`` graph has no nodes.
    """
    _check_kind(graph)
    assert isinstance(graph, Data)
    if graph.edge_index is None:
        raise ValueError(f"graph needs edge_index, a torch.long tensor [2, E], got {graph}")
    if graph.x is not None:
        check_features(graph.x, integers=True)
    known = graph.x is not None or "num_nodes" in graph
    edges = as_tensor("edge_index", graph.edge_index, 2, "E", dtype="integer", empty=True)
    largest = int(edges.max()) + 1 if edges.numel() else 0
    num_nodes = int(graph.x.size(0)) if graph.x is not None else int(graph.num_nodes or 0) if known else largest
    if num_nodes == 0 and not empty:
        raise ValueError(f"graph has no nodes, got {graph}; give it x or num_nodes")
    _check_edges(graph, num_nodes)
    return num_nodes


def _check_kind(graph: object) -> None:
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


def _check_edges(graph: Data, num_nodes: int) -> None:
    """Raise unless edges, weights and batch fit the nodes."""
    edges: Any = graph.edge_index
    if not isinstance(edges, Tensor) or edges.dtype != torch.long:
        raise TypeError(f"edge_index must be a torch.long tensor [2, E], got {getattr(edges, 'dtype', type(edges))}")
    if edges.dim() != 2 or edges.size(0) != 2:
        raise ValueError(f"edge_index must have shape [2, E], got {list(edges.shape)}")
    if edges.device.type == "meta":
        raise ValueError("edge_index is on the meta device, where tensors hold no values; load the graph on the CPU")
    if edges.numel() and (edges.min() < 0 or edges.max() >= num_nodes):
        raise ValueError(
            f"edge_index must lie in 0..{num_nodes - 1} for {num_nodes} nodes, "
            f"got {int(edges.min())}..{int(edges.max())}"
        )
    stored = graph.get("num_nodes") if "num_nodes" in graph else None
    if stored is not None and stored != num_nodes:
        raise ValueError(f"num_nodes is {stored!r} but x has {num_nodes} rows; set one right, or del graph.num_nodes")
    weight = graph.edge_weight
    if weight is not None and not isinstance(weight, Tensor):
        raise TypeError(f"edge_weight must be a torch.Tensor [E], got {type(weight).__name__}")
    if weight is not None and (weight.dim() != 1 or weight.numel() != edges.size(1)):
        raise ValueError(f"edge_weight must have shape [{edges.size(1)}], got {list(weight.shape)}")
    if weight is not None and not torch.isfinite(weight).all():
        raise ValueError("edge_weight holds NaN or infinite entries")
    batch = graph.get("batch")
    if batch is not None:
        check_batch(batch, num_nodes)


def check_batch(batch: object, num_nodes: int) -> None:
    """Raise unless ``batch`` names the graph of each node ``[N]``, counted from 0."""
    as_tensor("batch", batch, num_nodes, dtype="integer")
    assert isinstance(batch, Tensor)
    if batch.dtype != torch.long or bool((batch < 0).any()):
        raise ValueError(f"batch must be torch.long and count graphs from 0, got {batch.dtype} from {int(batch.min())}")


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
        index = torch.as_tensor(nodes, device="cpu")
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise TypeError(f"{what} must be indices or a mask, got {shown(nodes)}") from error
    if index.dim() > 1:
        raise ValueError(f"{what} must be one list of indices or a mask [N], got shape {list(index.shape)}; flatten it")
    index = index.reshape(-1)
    if index.numel() == 0:
        raise ValueError(f"{what} is empty; name at least one node, or None for all")
    if index.dtype == torch.bool:
        if index.numel() != num_nodes:
            raise ValueError(f"{what} is a mask of length {index.numel()}; expected {num_nodes}")
        index = index.nonzero().reshape(-1)
        if index.numel() == 0:
            raise ValueError(f"{what} is a mask without a True entry; name at least one node")
    if index.dtype not in (*_INTEGERS, torch.bool):
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


def check_device(device: Device) -> None:
    """Raise ``ValueError`` unless tensors can be made on ``device``."""
    if device is None:
        return
    if isinstance(device, bool) or not isinstance(device, str | torch.device):
        raise TypeError(f"device must be a name, a torch.device or None, got {shown(device)}; choose 'cpu' or None")
    try:
        place = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used here; choose 'cpu' or None: {error}") from error
    if place.type == "meta":
        raise ValueError("device 'meta' holds no values, so that nothing can be computed on it; choose 'cpu' or None")


def check_slope(slope: object) -> None:
    """Raise unless a gradient of dead units is positive and at most that of live ones."""
    check_positive("slope", slope)
    if as_real("slope", slope) > 1:
        raise ValueError(f"slope must be at most 1, the gradient of a live unit, got {shown(slope)}")


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
    check_positive("rtol", rtol, below=1)
    check_positive("num_restarts", num_restarts, integer=True)
    if num_restarts > MOST_RESTARTS:
        raise ValueError(f"num_restarts must be at most {MOST_RESTARTS}, got {shown(num_restarts)}; a few are enough")
    if stall_rtol is not None:
        check_positive("stall_rtol", stall_rtol, below=1)
    if max_steps is not None:
        check_positive("max_steps", max_steps, integer=True)
    if slope is not None:
        check_slope(slope)
