"""Collections of graphs: one check, and one disjoint union."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch_geometric.data import Batch, Data

from metamerlib.checks import check_graph


def check_graphs(graphs: object) -> None:
    """Raise unless ``graphs`` is a list of single graphs that fit into one disjoint union.

    Args:
        graphs: Should be a list or tuple of ``Data``, with the same number F and dtype of features and the
            same tensor attributes.

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
        graphs: Graphs that passed :func:`check_graphs`; what is no tensor is left out.

    Returns:
        x ``[N, F]``, edge_index ``[2, E]``, batch ``[N]`` and the tensors that the graphs hold.

    Example:
        >>> import metamerlib as ml
        >>> union_of(ml.load_graphs("decalin-bicyclopentyl")).batch.bincount().tolist()
        [10, 10]
    """
    return Batch.from_data_list([Data.from_dict(_tensors(graph)) for graph in graphs])


def _check_like(graph: Data, first: Data, place: int) -> None:
    if graph.x.size(0) == 0:
        raise ValueError(f"graphs[{place}] has no nodes; leave it out")
    if graph.get("batch") is not None:
        raise ValueError(f"graphs[{place}] is a union with a batch; hand in its graphs one by one")
    if graph.x.size(1) != first.x.size(1):
        raise ValueError(
            f"graphs[{place}] has {graph.x.size(1)} features, graphs[0] has {first.x.size(1)}; all need the same"
        )
    for what, got, wanted in (("dtype", graph.x.dtype, first.x.dtype), ("device", graph.x.device, first.x.device)):
        if got != wanted:
            raise TypeError(f"graphs[{place}]: the {what} of x is {got}, that of graphs[0] {wanted}; convert one")
    names, wanted_names = set(_tensors(graph)), set(_tensors(first))
    if names != wanted_names:
        differing = sorted(names ^ wanted_names)
        raise ValueError(f"graphs[{place}] and graphs[0] do not both have {differing}; add or drop these attributes")


def _tensors(graph: Data) -> dict[str, Tensor]:
    return {name: value for name, value in graph.to_dict().items() if isinstance(value, Tensor)}
