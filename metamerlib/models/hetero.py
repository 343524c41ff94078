"""A heterogeneous graph as the features of one node type, so that everything made for homogeneous graphs takes it."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data, HeteroData

from metamerlib.plain import check_choice

_MASKS = ("y", "train_mask", "val_mask", "test_mask")


def view(model: nn.Module, graph: HeteroData, node_type: str, output: str | None = None) -> tuple[HeteroView, Data]:
    """Show a heterogeneous model and graph as a model of the features of one node type.

    The features of that type are what varies; those of the other types and all edges stay as they are. The graph that
    comes back links two nodes of the type where they are linked in ``graph`` or share a neighbour of another type, so
    that receptive fields are found; the model reads the edges of ``graph`` itself. Linear maps that read nothing but
    other types are computed once, so that the null space is that of the maps which read this type.

    Metamers, null space, dimension, volume, walks, ``compare`` and transfer take the pair as they take any model and
    graph. Layers are named as in the model, with the node type as key: ``layer="model.convs.0[movie]"``.

    Args:
        model: Its ``forward`` takes ``x_dict``, ``edge_index_dict`` and, where it needs them, ``edge_attr_dict`` and
            ``edge_weight_dict`` by name (with or without ``_dict``), or one parameter, the graph. Trained before: the
            view cannot be trained.
        graph: Features of every type ``[N_t, F_t]``, edge_index ``[2, E_r]`` of every relation.
        node_type: Whose features may vary.
        output: Node type whose row of the model's output is the prediction, where the output is a dict; None for
            ``node_type``.

    Returns:
        The model of x ``[N_t, F_t]``, and its graph with x, edge_index and, where the type has them, labels and masks.

    Raises:
        TypeError: If the graph is not HeteroData or the model not a module.
        ValueError: If there is no such type, a type has no features, or the model cannot be called.

    Example:
        >>> from torch_geometric.data import HeteroData
        >>> from torch_geometric.nn import HeteroConv, SAGEConv
        >>> import metamerlib as ml
        >>> graph = HeteroData()
        >>> graph["film"].x, graph["actor"].x = torch.randn(4, 5), torch.randn(3, 6)
        >>> graph["actor", "in", "film"].edge_index = torch.tensor([[0, 1, 2, 2], [0, 1, 2, 3]])
        >>> graph["film", "has", "actor"].edge_index = graph["actor", "in", "film"].edge_index.flip(0)
        >>> sizes = {("actor", "in", "film"): (6, 5), ("film", "has", "actor"): (5, 6)}
        >>> model = HeteroConv({relation: SAGEConv(size, 2) for relation, size in sizes.items()})
        >>> seen, films = ml.hetero.view(model, graph, "film")
        >>> films.x.shape, seen(films.x, films.edge_index).shape
        (torch.Size([4, 5]), torch.Size([4, 2]))
    """
    _check(model, graph, node_type)
    seen = HeteroView(model, graph, node_type, node_type if output is None else output)
    store = graph[node_type]
    data = Data(x=store.x.detach().clone(), edge_index=seen.edge_index)
    for name in _MASKS:
        if name in store:
            data[name] = store[name]
    data.name = f"{node_type} of {getattr(graph, 'name', 'a heterogeneous graph')}"
    seen.settle(data.x)
    return seen, data


class HeteroView(nn.Module):
    """A heterogeneous model as a function of the features of one node type; made by :func:`view`.

    Attributes:
        model: A private copy of the model.
        edge_index: Links of the nodes of the type ``[2, E]``, directly or through one node of another type.
        fixed_edges: True: no edge may vary.
    """

    fixed_edges = True
    edge_index: Tensor

    def __init__(self, model: nn.Module, graph: HeteroData, node_type: str, output: str) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.node_type, self.output = node_type, output
        self.sizes = {kind: graph[kind].x.size(0) for kind in graph.node_types}
        self.relations = list(graph.edge_types)
        for kind in graph.node_types:
            if kind != node_type:
                self.register_buffer(f"features_{kind}", graph[kind].x.detach().clone())
        self.extras: dict[str, list[int]] = {"edge_attr": [], "edge_weight": []}
        for place, relation in enumerate(self.relations):
            self.register_buffer(f"edges_{place}", graph[relation].edge_index.clone())
            for name, places in self.extras.items():
                if name in graph[relation]:
                    places.append(place)
                    self.register_buffer(f"{name}_{place}", graph[relation][name].detach().clone())
        self.register_buffer("edge_index", _links(graph, node_type))

    def train(self, mode: bool = True) -> HeteroView:
        """Refuse training: parts of the model are computed in advance."""
        if mode:
            raise ValueError("a view is not trained: train the heterogeneous model, then make the view")
        return super().train(mode)

    def settle(self, x: Tensor) -> None:
        """Compute linear maps that do not depend on the features ``x [N, F]`` once."""
        maps = {name: module for name, module in self.model.named_modules() if hasattr(module, "weight")}
        seen: dict[str, list[tuple[bool, Tensor]]] = {}
        handles = [
            module.register_forward_hook(
                lambda _, inputs, out, name=name: seen.setdefault(name, []).append((inputs[0].requires_grad, out))
            )
            for name, module in maps.items()
            if getattr(module.weight, "dim", lambda: 0)() == 2 and hasattr(module, "bias")
        ]
        try:
            self(x.detach().clone().requires_grad_(), self.edge_index)
        finally:
            for handle in handles:
                handle.remove()
        for name, calls in seen.items():
            if len(calls) == 1 and not calls[0][0]:
                self.model.set_submodule(name, Constant(calls[0][1]))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the model's output for its features ``[B N, F]``, B copies one below the other.

        Raises:
            ValueError: If the edges are not those of the view, or the rows no whole number of copies.
        """
        copies = self._copies(x, edge_index)
        features = {
            kind: x if kind == self.node_type else getattr(self, f"features_{kind}").repeat(copies, 1)
            for kind in self.sizes
        }
        edges = {r: self._tiled(place, copies) for place, r in enumerate(self.relations)}
        given: dict[str, Any] = {"x_dict": features, "edge_index_dict": edges}
        for name, places in self.extras.items():
            if places:
                many = {p: getattr(self, f"{name}_{p}") for p in places}
                given[f"{name}_dict"] = {
                    self.relations[p]: value.repeat(copies, *[1] * (value.dim() - 1)) for p, value in many.items()
                }
        out = self._call(given)
        return out[self.output] if isinstance(out, dict) else out

    def _call(self, given: dict[str, Any]) -> Any:
        parameters = inspect.signature(self.model.forward).parameters
        if any(each.kind is each.VAR_POSITIONAL for each in parameters.values()):  # HeteroConv
            return self.model(given["x_dict"], given["edge_index_dict"])
        names = list(parameters)
        wanted = {name: given.get(name.removesuffix("_dict") + "_dict") for name in names}  # to_hetero drops "_dict"
        known = {name: value for name, value in wanted.items() if value is not None}
        if "x_dict" in names or "x" in names:
            return self.model(**known)
        if len(names) == 1:
            graph = HeteroData()
            for kind, x in given["x_dict"].items():
                graph[kind].x = x
            for name in [name for name in given if name != "x_dict"]:
                for relation, value in given[name].items():
                    graph[relation][name.removesuffix("_dict")] = value
            return self.model(graph)
        raise ValueError(
            f"forward of {type(self.model).__name__} takes {', '.join(names) or 'nothing'}; expected x_dict, "
            "edge_index_dict, edge_attr_dict, edge_weight_dict by name, or one parameter, the graph: wrap it"
        )

    def _copies(self, x: Tensor, edge_index: Tensor) -> int:
        size = self.sizes[self.node_type]
        copies, rest = divmod(x.size(0), size)
        count = self.edge_index.size(1)
        if rest or edge_index.size(1) != copies * count or not torch.equal(edge_index[:, :count], self.edge_index):
            raise ValueError(
                f"a view of {self.node_type!r} takes its {size} rows (or whole copies of them) and its own links, "
                f"which stay; got {x.size(0)} rows and {edge_index.size(1)} links: vary the features only"
            )
        return copies

    def _tiled(self, place: int, copies: int) -> Tensor:
        edges: Tensor = getattr(self, f"edges_{place}")
        if copies == 1:
            return edges
        source, _, target = self.relations[place]
        step = torch.tensor([[self.sizes[source]], [self.sizes[target]]], device=edges.device)
        return torch.cat([edges + number * step for number in range(copies)], 1)


class Constant(nn.Module):
    """The rows ``[n, d]`` that a module gives whatever the features are, once for each copy of the graph."""

    rows: Tensor

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        copies = x.size(0) // self.rows.size(0) if self.rows.size(0) else 1
        return self.rows if copies == 1 else self.rows.repeat(copies, 1)


def _links(graph: HeteroData, node_type: str) -> Tensor:
    """Return both directions of the links between nodes of a type, direct ones or through another type's node."""
    from scipy.sparse import coo_array, csr_array

    size = graph[node_type].x.size(0)
    linked = csr_array((size, size), dtype=bool)
    for kind in graph.node_types:
        pairs = [_incidence(graph, relation, node_type, kind) for relation in graph.edge_types]
        met = [pair for pair in pairs if pair is not None]
        if not met:
            continue
        rows, columns = (torch.cat([pair[side] for pair in met]).cpu().numpy() for side in (0, 1))
        shape = (size, graph[kind].x.size(0))
        table = coo_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=shape).tocsr()
        linked = linked + (table + table.T if kind == node_type else (table.astype(int) @ table.T.astype(int)) > 0)
    found = coo_array(linked)
    keep = found.row != found.col
    return torch.stack([torch.from_numpy(found.row[keep]).long(), torch.from_numpy(found.col[keep]).long()])


def _incidence(graph: HeteroData, relation: tuple[str, str, str], node_type: str, kind: str) -> list[Tensor] | None:
    """Return which nodes of a type meet which of a kind in a relation, or None where it does not join the two."""
    source, _, target = relation
    edges = graph[relation].edge_index
    if (source, target) == (node_type, kind):
        return [edges[0], edges[1]]
    return [edges[1], edges[0]] if (target, source) == (node_type, kind) else None


def _check(model: object, graph: object, node_type: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}; expected a torch.nn.Module that takes dicts of node types")
    if not isinstance(graph, HeteroData):
        raise TypeError(f"graph is a {type(graph).__name__}; expected HeteroData (a Data needs no view)")
    check_choice("node type", node_type, graph.node_types)
    bare = [kind for kind in graph.node_types if not isinstance(graph[kind].get("x"), Tensor)]
    if bare:
        raise ValueError(
            f"node type {bare[0]!r} has no features x [N, F]: give it some (one-hot numbers of the nodes, or a row "
            "of ones), as the model needs"
        )
    if not graph[node_type].x.is_floating_point():
        raise ValueError(f"features of {node_type!r} are {graph[node_type].x.dtype}; expected real numbers, x.float()")
    missing = [r for r in graph.edge_types if not isinstance(graph[r].get("edge_index"), Tensor)]
    if missing:
        raise ValueError(f"relation {missing[0]} has no edge_index [2, E]; give it one, or delete the relation")
