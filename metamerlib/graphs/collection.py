"""Collections of graphs: one check, and one disjoint union."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from metamerlib.checks import check_graph
from metamerlib.graphs.sampling import stratified_masks
from metamerlib.plain import as_fraction, as_seed


def check_graphs(graphs: object) -> None:
    """Raise unless ``graphs`` is a list of single graphs that fit into one disjoint union.

    Args:
        graphs: Should be a list or tuple of ``Data``, with the same number F and dtype of features, and
            edge weights and attributes in all or in none.

    Raises:
        TypeError: If there is no list, or an entry or its tensors have the wrong type; the entry is named.
        ValueError: If the list is empty, or an entry does not fit the first one.
    """
    if not isinstance(graphs, list | tuple):
        raise TypeError(f"graphs must be a list of torch_geometric.data.Data, got {type(graphs).__name__}")
    if not graphs:
        raise ValueError("the list of graphs is empty; hand in at least one graph")
    for place, graph in enumerate(graphs):
        try:
            check_graph(graph)
        except (TypeError, ValueError) as error:
            raise type(error)(f"graphs[{place}]: {error}") from error
        _check_like(graph, graphs[0], place)


def union_of(graphs: Sequence[Data]) -> Data:
    """Join graphs to one whose ``batch`` says which node belongs to which graph.

    Args:
        graphs: Graphs that passed :func:`check_graphs`.

    Returns:
        x ``[N, F]``, edge_index ``[2, E]``, batch ``[N]`` and all other tensors that every graph holds in
        shapes that can be joined.

    Example:
        >>> import metamerlib as ml
        >>> union_of(ml.load_graphs("decalin-bicyclopentyl")).batch.bincount().tolist()
        [10, 10]
    """
    if not isinstance(graphs, list | tuple) or not all(isinstance(graph, Data) for graph in graphs) or not graphs:
        check_graphs(graphs)
    held = [_tensors(graph) for graph in graphs]
    common = [name for name, first in held[0].items() if all(_joins(name, first, other.get(name)) for other in held)]
    with graphs[0].x.device:  # PyTorch Geometric counts on the default device
        return Batch.from_data_list([Data.from_dict({name: tensors[name] for name in common}) for tensors in held])


def _check_like(graph: Data, first: Data, place: int) -> None:
    if graph.get("batch") is not None:
        raise ValueError(f"graphs[{place}] is a union with a batch; hand in its graphs one by one")
    if graph.x.size(1) != first.x.size(1):
        raise ValueError(
            f"graphs[{place}] has {graph.x.size(1)} features, graphs[0] has {first.x.size(1)}; all need the same"
        )
    for what, got, wanted in (("dtype", graph.x.dtype, first.x.dtype), ("device", graph.x.device, first.x.device)):
        if got != wanted:
            raise TypeError(f"graphs[{place}]: the {what} of x is {got}, that of graphs[0] {wanted}; convert one")
    for name in ("edge_weight", "edge_attr"):
        if (graph.get(name) is None) != (first.get(name) is None):
            raise ValueError(f"graphs[{place}] and graphs[0] do not both have {name}; give it to all or to none")


def _tensors(graph: Data) -> dict[str, Tensor]:
    tensors = {name: value for name, value in graph.to_dict().items() if isinstance(value, Tensor)}
    return {name: value.reshape(1) if value.dim() == 0 else value for name, value in tensors.items()}


def _joins(name: str, first: Tensor, other: Tensor | None) -> bool:
    if other is None or other.dtype != first.dtype or other.dim() != first.dim():
        return False
    return "index" in name or other.shape[1:] == first.shape[1:]


def split_graphs(graphs: Sequence[Data], *, seed: int = 0, train: float = 0.6, val: float = 0.2) -> list[Data]:
    """Divide graphs at random into training, validation and test, class by class.

    Args:
        graphs: Graphs with one label y each.
        seed: Seed of the split.
        train: Share of each class for training.
        val: Share of each class for validation; the rest is for testing.

    Returns:
        Shallow copies with train_mask, val_mask and test_mask ``[1]``, as ``metamerlib.train`` reads them.

    Example:
        >>> import metamerlib as ml
        >>> graphs = split_graphs(ml.load_graphs("decalin-bicyclopentyl"), train=1.0, val=0.0)
        >>> [graph.train_mask.tolist() for graph in graphs]
        [[True], [True]]
    """
    check_graphs(graphs)
    seed = as_seed(seed)
    if as_fraction("train", train) + as_fraction("val", val) > 1 + 1e-9:
        raise ValueError(f"train and val are shares that leave a rest for testing, got {train} and {val}; lower one")
    masks = stratified_masks(graph_labels(graphs).cpu(), torch.Generator().manual_seed(seed), train, val)
    divided = [copy.copy(graph) for graph in graphs]
    for place, graph in enumerate(divided):
        for name, mask in masks.items():
            graph[name] = mask[place : place + 1].to(graph.x.device)
    return divided


def graph_labels(graphs: Sequence[Data]) -> Tensor:
    """Return the one label of each graph ``[B]``, or raise where one is missing or no integer."""
    for place, graph in enumerate(graphs):
        y = graph.y
        if not isinstance(y, Tensor) or y.numel() != 1:
            got = "none" if y is None else f"{list(y.shape)}" if isinstance(y, Tensor) else repr(y)
            raise ValueError(f"graphs[{place}]: training needs one label y per graph, got {got}")
        if y.dtype != torch.long:
            raise TypeError(f"graphs[{place}]: y must be torch.long, got {y.dtype}")
    return torch.cat([graph.y.reshape(1) for graph in graphs])


def union_of_copies(graph: Data, copies: int) -> Data:
    """Return the disjoint union of equal copies of a graph; a batch counts on from copy to copy."""
    if copies == 1:
        return graph
    with graph.x.device:
        union = Batch.from_data_list([Data.from_dict(graph.to_dict())] * copies)
    if graph.get("batch") is not None:
        shift = (int(graph.batch.max()) + 1) * torch.arange(copies, device=graph.x.device)
        union.batch = (graph.batch + shift[:, None]).reshape(-1)
    return union
