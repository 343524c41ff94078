"""Colour refinement (1-dimensional Weisfeiler-Lehman): which nodes no message passing can tell apart."""

from __future__ import annotations

from hashlib import blake2b

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import as_tensor
from metamerlib.plain import as_integer


def row_classes(*tables: Tensor) -> list[Tensor]:
    """Number the rows of one or several tables so that equal rows, and only they, share a number.

    Rows are compared by 128-bit hashes of their bytes, minus zero as zero.

    Args:
        tables: each ``[N]`` or ``[N, F]`` with one common F.

    Returns:
        One long tensor ``[N]`` per table, numbers from 0 over all tables.

    Example:
        >>> row_classes(torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, -0.0]]))
        [tensor([0, 1, 0])]
    """
    dtype = tables[0].dtype
    for table in tables[1:]:
        dtype = torch.promote_types(dtype, table.dtype)
    known: dict[bytes, int] = {}
    found = []
    for table in tables:
        rows = (table.detach().reshape(len(table), -1).to(dtype) + 0).cpu().contiguous().numpy()
        hashes = (blake2b(row, digest_size=16).digest() for row in rows)
        found.append(torch.tensor([known.setdefault(each, len(known)) for each in hashes], device=table.device).long())
    return found


def combine_classes(*classes: Tensor) -> Tensor:
    """Number the tuples of several class numbers ``[N]``, equal tuples alike.

    Example:
        >>> combine_classes(torch.tensor([0, 0, 1]), torch.tensor([5, 7, 5]))
        tensor([0, 1, 2])
    """
    joint = classes[0].unique(return_inverse=True)[1]
    for other in classes[1:]:
        other = other.unique(return_inverse=True)[1]
        joint = (joint * (int(other.max()) + 1 if len(other) else 1) + other).unique(return_inverse=True)[1]
    return joint


def counted_attributes(graph: Data) -> tuple[list[str], list[str]]:
    """Name the attributes of nodes and of edges that tell them apart: all tensors but labels and masks.

    Not counted are ``y``, ``edge_label`` and every name that ends in ``_mask``, which models are scored by and do not
    read, and attributes that are no tensors or belong to the whole graph.

    Example:
        >>> import metamerlib as ml
        >>> counted_attributes(ml.load_graph("les-miserables"))
        (['x'], ['edge_weight'])
    """
    tables = [
        name
        for name, value in graph.to_dict().items()
        if isinstance(value, Tensor) and name not in ("y", "edge_index", "edge_label") and not name.endswith("_mask")
    ]
    edges = [name for name in tables if graph.is_edge_attr(name)]
    return [name for name in tables if name not in edges and graph.is_node_attr(name)], edges


def initial_colours(graph: Data, *, degrees: bool = False) -> Tensor:
    """Colour the nodes ``[N]`` by their features and other attributes, with ``degrees`` by degree too.

    Without attributes there is one colour; :func:`counted_attributes` says which count.

    Example:
        >>> import metamerlib as ml
        >>> initial_colours(ml.load_graph("decalin"), degrees=True)
        tensor([1, 0, 0, 0, 0, 1, 0, 0, 0, 0])
    """
    num_nodes = graph.num_nodes or 0
    tables = [row_classes(graph[name])[0] for name in counted_attributes(graph)[0]]
    colours = combine_classes(*tables) if tables else graph.edge_index.new_zeros(num_nodes)
    if degrees:
        colours = combine_classes(colours, graph.edge_index[1].bincount(minlength=num_nodes))
    return colours


def edge_classes(graph: Data) -> Tensor | None:
    """Number the edges ``[E]`` by their weights, types and other attributes; None where there are none."""
    tables = [row_classes(graph[name])[0] for name in counted_attributes(graph)[1]]
    return combine_classes(*tables) if tables else None


def refine_once(
    colours: Tensor, edge_index: Tensor, generator: torch.Generator, classes: Tensor | None = None
) -> Tensor:
    """Colour every node by its colour and the multiset of its neighbours' colours (and edge classes)."""
    # Sums of random 64-bit codes stand for multisets: two differ with probability 1 - 2^-64.
    sent = colours[edge_index[0]]
    if classes is not None:
        sent = combine_classes(sent, classes)
    size = max(len(colours), len(sent) if classes is not None else 0)
    codes = torch.randint(-(2**63), 2**63 - 1, (2, size), generator=generator, device="cpu").to(colours.device)
    signature = codes[1][colours].index_add(0, edge_index[1], codes[0][sent])
    return signature.unique(return_inverse=True)[1]


def check_rounds(rounds: object) -> None:
    """Raise unless rounds are None or an integer of at least 0."""
    if rounds is not None and as_integer("rounds", rounds) < 0:
        raise ValueError(f"got rounds={rounds}; use 0 or more, or None to refine until nothing changes")


def refine(colours: Tensor, edge_index: Tensor, *, rounds: int | None = None, classes: Tensor | None = None) -> Tensor:
    r"""Refine colours by message passing.

    .. math:: c_{t+1}(v) = (c_t(v), \{\!\{ (c_t(u), e_{uv}) : u \in N(v) \}\!\})

    (Weisfeiler and Leman, 1968). Time O(rounds * (N + E) log(N + E)).

    Args:
        colours: integer colours to start from, ``[N]``.
        edge_index: ``[2, E]``, messages from row 0 to row 1.
        rounds: how often; None until no colour splits any more.
        classes: integer classes of the edges, ``[E]``.

    Returns:
        Colours ``[N]``, numbered from 0.

    Example:
        >>> path = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
        >>> colours = refine(torch.zeros(4, dtype=torch.long), path)
        >>> bool(colours[0] == colours[3] != colours[1] == colours[2])
        True
    """
    check_rounds(rounds)
    as_tensor("colours", colours, "N", dtype="integer", empty=True)
    as_tensor("edge_index", edge_index, 2, "E", dtype="integer", empty=True)
    if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < len(colours):
        raise ValueError(
            f"edge_index must lie in 0..{len(colours) - 1} for {len(colours)} colours, got "
            f"{int(edge_index.min())}..{int(edge_index.max())}"
        )
    if classes is not None:
        as_tensor("classes", classes, edge_index.size(1), dtype="integer", empty=True)
    generator = torch.Generator().manual_seed(0)
    colours = colours.unique(return_inverse=True)[1]
    count = int(colours.max()) + 1 if len(colours) else 0
    for _ in range(len(colours) if rounds is None else rounds):
        colours = refine_once(colours, edge_index, generator, classes)
        before, count = count, int(colours.max()) + 1 if len(colours) else 0
        if count == before:
            break
    return colours
