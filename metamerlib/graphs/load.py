"""Graphs by name: small ones that are built here, and public ones through PyG's own classes."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor
from torch_geometric import datasets
from torch_geometric.data import Data

from metamerlib.checks import check_structure
from metamerlib.graphs.catalogue import EMBEDDED, REAL_GRAPHS, Entry
from metamerlib.graphs.edit import on_the_cpu
from metamerlib.graphs.embedded import (
    BUILDERS,
    bicyclopentyl,
    decalin,
)
from metamerlib.graphs.files import FOLDER_VARIABLE, data_folder, open_dataset, stored_names
from metamerlib.graphs.sampling import MASKS, stratified_masks
from metamerlib.graphs.tabular import graph_from_folder
from metamerlib.plain import as_flag, as_path, as_seed, as_text, closest, loosely, made_by, shown


@on_the_cpu()
def load_graph(name: str, root: str | Path | None = None, seed: int = 0, *, trust_pickles: bool = False) -> Data:
    """Load one graph by its name, as a simple undirected graph.

    Embedded graphs need neither files nor a network. Self-loops and duplicate edges are
    dropped, missing reverse edges added, relative to what PyG's class gives; all three are
    counted. Features are as PyG's class gives them, never normalised; for CitationFull and
    Coauthor that is word presence, 0 or 1.

    Args:
        name: one of `available_graphs()`, in any case; or `package.module:factory` for a graph of your own,
            returned as `factory()` makes it, with num_classes where it has labels only; or the path of a folder
            with edges.csv and nodes.csv, see `graph_from_csv`.
        root: folder of the raw files in PyG's layout; default: METAMERLIB_DATA, else a per-user cache.
            PyG's processed/ is kept beside raw/ where that can be written.
        seed: the split: column `seed % 10` where ten are given, else a 60/20/20 split within each
            class. Public splits do not depend on it. For csbm and bow-sbm also the sample.
        trust_pickles: open Planetoid files whose SHA-256 is not on record (PubMed's are not).

    Returns:
        Data with x [N, F] float32, edge_index [2, E] sorted, both directions; name, num_classes,
        dropped_self_loops, dropped_duplicates, added_reverse_edges (int, directed edges); where there are
        labels y [N] int64 and train_mask, val_mask, test_mask [N] bool (num_classes is 0 without);
        edge_weight [E] float32 for les-miserables; where stored feature_names (list of F strings) and
        class_names (list of num_classes strings).

    Raises:
        ValueError: if the name is unknown or names a collection, or a pickle is not a known file.
        FileNotFoundError: if the files are missing and cannot be downloaded.

    Example:
        >>> graph = load_graph("karate")
        >>> graph.num_nodes, graph.num_edges, graph.num_classes
        (34, 156, 4)
    """
    as_text("name", name, "karate")
    seed, trust_pickles = as_seed(seed), as_flag("trust_pickles", trust_pickles)
    if root is not None:
        root = as_path("root", root)
    if ":" in name:
        graph = made_by("graph", name, "factory() -> torch_geometric.data.Data, without arguments")
        check_structure(graph)
        return _with_classes([graph])[0]
    if Path(name).is_dir() and not _known(name):
        return graph_from_folder(name, seed)
    entry = _find(name)
    if entry.level == "graph":
        raise ValueError(f"{entry.name!r} is a collection of {entry.graphs} graphs: use load_graphs")
    if not entry.cls:
        return _simple(BUILDERS[entry.name](seed), entry.name)
    folder = data_folder(root) / entry.folder
    dataset = _open(entry, folder, trust_pickles)
    graph = _simple(dataset[0], entry.name)
    graph.update(stored_names(folder / "raw"))
    if "train_mask" not in graph:
        graph.update(stratified_masks(graph.y, torch.Generator().manual_seed(seed)))
    for mask in MASKS:
        if graph[mask].dim() == 2:
            graph[mask] = graph[mask][:, seed % graph[mask].size(1)].clone()
        graph[mask] = graph[mask].bool()
    return graph


@on_the_cpu()
def load_graphs(name: str, root: str | Path | None = None) -> list[Data]:
    """Load a collection of graphs with one label each.

    Args:
        name: "MUTAG", "PROTEINS" or "decalin-bicyclopentyl", in any case; or `package.module:factory` for
            graphs of your own, which `factory()` returns in a list.
        root: see `load_graph`.

    Returns:
        Graphs as in `load_graph`, without masks, with y [1] int64; edge_attr [E, B] where stored.
        TU features are the one-hot node labels; PROTEINS' real attribute is left out, as in PyG.

    Raises:
        ValueError: if the name is unknown or names a single graph.
        FileNotFoundError: if the files are missing and cannot be downloaded.

    Example:
        >>> [graph.num_edges for graph in load_graphs("decalin-bicyclopentyl")]
        [22, 22]
    """
    as_text("name", name, "MUTAG")
    if root is not None:
        root = as_path("root", root)
    if ":" in name:
        graphs = made_by("graphs", name, "factory() -> list of torch_geometric.data.Data, without arguments")
        if not isinstance(graphs, list | tuple) or not graphs:
            raise TypeError(f"graphs {name!r} must make a list of torch_geometric.data.Data, got {shown(graphs)}")
        for place, graph in enumerate(graphs):
            try:
                check_structure(graph)
            except (TypeError, ValueError) as error:
                raise type(error)(f"graphs {name!r}, entry {place}: {error}") from error
        return _with_classes(list(graphs))
    entry = _find(name)
    if entry.level == "node":
        raise ValueError(f"{entry.name!r} is a single graph: use load_graph")
    if entry.cls:
        graphs = list(_open(entry, data_folder(root) / entry.folder))
    else:
        graphs = [decalin(0), bicyclopentyl(0)]
        for label, graph in enumerate(graphs):
            graph.y = torch.tensor([label])
    num_classes = len({int(graph.y) for graph in graphs})
    return [_simple(graph, f"{entry.name}[{i}]", num_classes) for i, graph in enumerate(graphs)]


def _with_classes(graphs: list[Data]) -> list[Data]:
    """Say how many classes there are, where graphs with labels do not."""
    held = [graph.y for graph in graphs if isinstance(graph.get("y"), Tensor)]
    labels = [y for y in held if y.numel() and not y.is_floating_point()]
    if labels and any(graph.get("num_classes") is None for graph in graphs):
        graphs = [copy.copy(graph) for graph in graphs]
        for graph in graphs:
            graph.num_classes = max(int(y.max()) for y in labels) + 1
    return graphs


def _known(name: str) -> Entry | None:
    return {loosely(entry.name): entry for entry in (*EMBEDDED, *REAL_GRAPHS)}.get(loosely(name))


def _find(name: str) -> Entry:
    found = _known(name)
    if found is not None:
        return found
    known = [entry.name for entry in (*EMBEDDED, *REAL_GRAPHS)]
    meant = closest(name, known)
    hint = f"Did you mean {meant!r}? " if meant else ""
    raise ValueError(f"unknown graph {name!r}. {hint}Known graphs: {', '.join(known)}")


def _open(entry: Entry, folder: Path, trust_pickles: bool = False) -> datasets.TUDataset:
    embedded = ", ".join(entry.name for entry in EMBEDDED)
    advice = (
        f"To load {entry.name}, put PyG's raw files into {folder / 'raw'} or connect to a network; root= or "
        f"{FOLDER_VARIABLE} names the folder above {entry.folder}. Without either there are {embedded}."
    )
    return open_dataset(entry, folder, advice, trust_pickles)


def _simple(graph: Data, name: str, num_classes: int | None = None) -> Data:
    """Copy a graph without self-loops and duplicates, with both directions of every edge."""
    (row, col), num_nodes = graph.edge_index, graph.num_nodes
    kept = (row != col).nonzero().flatten()
    row, col = row[kept], col[kept]
    keys, place = torch.cat([row * num_nodes + col, col * num_nodes + row]).unique(return_inverse=True)
    # A stored edge comes before all reversed ones, so that its own attributes win.
    first = torch.full_like(keys, 2 * len(row)).scatter_reduce_(0, place, torch.arange(len(place)), "amin")
    stored = int((first < len(row)).sum())
    simple = copy.copy(graph)
    simple.edge_index = torch.stack([keys // num_nodes, keys % num_nodes])
    for key in ("edge_attr", "edge_weight"):
        if graph.get(key) is not None:
            simple[key] = graph[key][kept[first % max(len(row), 1)]]
    simple.x = graph.x.float()
    if num_classes is None:
        num_classes = 0 if graph.y is None else int(graph.y.max()) + 1
    simple.name, simple.num_classes = name, num_classes
    simple.dropped_self_loops = graph.num_edges - len(row)
    simple.dropped_duplicates = len(row) - stored
    simple.added_reverse_edges = len(keys) - stored
    return simple
