"""Graphs by name: small ones that are built here, and public ones through PyG's own classes."""

import copy
import difflib
import importlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch_geometric import datasets
from torch_geometric.data import Data

from metamerlib.known_files import (
    FOLDER_VARIABLE,
    REAL_GRAPHS,
    Entry,
    data_folder,
    feature_names,
    open_dataset,
)

MASKS = ("train_mask", "val_mask", "test_mask")

_NETWORKX, _OWN = "none stated (networkx: BSD-3-Clause)", "metamerlib"
_EMBEDDED = (
    Entry("karate", "node", 1, 34, "Zachary 1977, torch_geometric", "none stated (torch_geometric: MIT)"),
    Entry("davis", "node", 1, 32, "Davis et al. 1941, networkx", _NETWORKX),
    Entry("les-miserables", "node", 1, 77, "Knuth 1993, networkx", _NETWORKX),
    Entry("csbm", "node", 1, 400, _OWN, "MIT"),
    Entry("bow-sbm", "node", 1, 400, _OWN, "MIT"),
    Entry("decalin", "node", 1, 10, _OWN, "MIT"),
    Entry("bicyclopentyl", "node", 1, 10, _OWN, "MIT"),
    Entry("decalin-bicyclopentyl", "graph", 2, 20, _OWN, "MIT"),
)


def load_graph(name: str, root: str | Path | None = None, seed: int = 0, *, trust_pickles: bool = False) -> Data:
    """Load one graph by its name, as a simple undirected graph.

    Embedded graphs need neither files nor a network. Self-loops and duplicate edges are
    dropped, missing reverse edges added, relative to what PyG's class gives; all three are
    counted. Features are as PyG's class gives them, never normalised; for CitationFull and
    Coauthor that is word presence, 0 or 1.

    Args:
        name: one of `available_graphs()`, in any case; or `package.module:factory` for a graph of your own,
            returned as `factory()` makes it, with num_classes where it has labels only.
        root: folder of the raw files in PyG's layout; default: METAMERLIB_DATA, else a per-user cache.
            PyG's processed/ is kept beside raw/ where that can be written.
        seed: the split: column `seed % 10` where ten are given, else a 60/20/20 split within each
            class. Public splits do not depend on it. For csbm and bow-sbm also the sample.
        trust_pickles: open Planetoid files whose SHA-256 is not on record (PubMed's are not).

    Returns:
        Data with x [N, F] float32, edge_index [2, E] sorted, both directions; name, num_classes,
        dropped_self_loops, dropped_duplicates, added_reverse_edges (int, directed edges); where there are
        labels y [N] int64 and train_mask, val_mask, test_mask [N] bool (num_classes is 0 without);
        edge_weight [E] float32 for les-miserables; feature_names (list of F strings) where stored.

    Raises:
        ValueError: if the name is unknown or names a collection, or a pickle is not a known file.
        FileNotFoundError: if the files are missing and cannot be downloaded.

    Example:
        >>> graph = load_graph("karate")
        >>> graph.num_nodes, graph.num_edges, graph.num_classes
        (34, 156, 4)
    """
    if ":" in name:
        return _with_classes([_made_by(name)])[0]
    entry = _find(name)
    if entry.level == "graph":
        raise ValueError(f"{entry.name!r} is a collection of {entry.graphs} graphs: use load_graphs")
    if not entry.cls:
        return _simple(_BUILDERS[entry.name](seed), entry.name)
    folder = data_folder(root) / entry.folder
    dataset = _open(entry, folder, trust_pickles)
    graph = _simple(dataset[0], entry.name)
    names = feature_names(folder / "raw")
    if names is not None:
        graph.feature_names = names
    if "train_mask" not in graph:
        graph.update(stratified_masks(graph.y, torch.Generator().manual_seed(seed)))
    for mask in MASKS:
        if graph[mask].dim() == 2:
            graph[mask] = graph[mask][:, seed % graph[mask].size(1)].clone()
        graph[mask] = graph[mask].bool()
    return graph


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
    if ":" in name:
        return _with_classes(list(_made_by(name)))
    entry = _find(name)
    if entry.level == "node":
        raise ValueError(f"{entry.name!r} is a single graph: use load_graph")
    if entry.cls:
        graphs = list(_open(entry, data_folder(root) / entry.folder))
    else:
        graphs = [_decalin(0), _bicyclopentyl(0)]
        for label, graph in enumerate(graphs):
            graph.y = torch.tensor([label])
    num_classes = len({int(graph.y) for graph in graphs})
    return [_simple(graph, f"{entry.name}[{i}]", num_classes) for i, graph in enumerate(graphs)]


def _made_by(name: str) -> Any:
    module, _, factory = name.partition(":")
    return getattr(importlib.import_module(module), factory)()


def _with_classes(graphs: list[Data]) -> list[Data]:
    """Say how many classes there are, where graphs with labels do not."""
    labels = [graph.y for graph in graphs if graph.get("y") is not None and not graph.y.is_floating_point()]
    if labels and any(graph.get("num_classes") is None for graph in graphs):
        graphs = [copy.copy(graph) for graph in graphs]
        for graph in graphs:
            graph.num_classes = max(int(y.max()) for y in labels) + 1
    return graphs


def available_graphs() -> pd.DataFrame:
    """List the graphs that `load_graph` (level node) and `load_graphs` (level graph) know.

    Returns:
        Columns name, kind (embedded or real), level, graphs, nodes (over all graphs), source, licence.

    Example:
        >>> table = available_graphs()
        >>> list(table[table.kind == "embedded"].name)[:3]
        ['karate', 'davis', 'les-miserables']
    """
    table = pd.DataFrame([asdict(entry) for entry in (*_EMBEDDED, *REAL_GRAPHS)])
    table["kind"] = np.where(table["cls"] == "", "embedded", "real")
    return table[["name", "kind", "level", "graphs", "nodes", "source", "licence"]]


def _find(name: str) -> Entry:
    def plain(text: str) -> str:
        return text.lower().replace("_", "-")

    entries = {plain(entry.name): entry for entry in (*_EMBEDDED, *REAL_GRAPHS)}
    if plain(name) in entries:
        return entries[plain(name)]
    nearest = difflib.get_close_matches(plain(name), entries, n=1, cutoff=0.5)
    hint = f"Did you mean {entries[nearest[0]].name!r}? " if nearest else ""
    known = ", ".join(entry.name for entry in entries.values())
    raise ValueError(f"unknown graph {name!r}. {hint}Known graphs: {known}")


def _open(entry: Entry, folder: Path, trust_pickles: bool = False) -> datasets.TUDataset:
    embedded = ", ".join(entry.name for entry in _EMBEDDED)
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


def stratified_masks(y: Tensor, generator: torch.Generator, train: float = 0.6, val: float = 0.2) -> dict[str, Tensor]:
    """Split nodes at random, class by class.

    Args:
        y: classes, [N].
        generator: source of randomness, on the CPU.
        train: share of each class that goes to training.
        val: share that goes to validation; the rest is for testing.

    Returns:
        train_mask, val_mask, test_mask, each [N] bool; together they cover every node once.

    Example:
        >>> masks = stratified_masks(torch.tensor([0] * 5 + [1] * 5), torch.Generator())
        >>> [int(mask.sum()) for mask in masks.values()]
        [6, 2, 2]
    """
    masks = {name: torch.zeros(len(y), dtype=torch.bool) for name in MASKS}
    for label in y.unique():
        nodes = (y == label).nonzero().flatten()
        nodes = nodes[torch.randperm(len(nodes), generator=generator)]
        cuts = [round(train * len(nodes)), round((train + val) * len(nodes))]
        for mask, part in zip(masks.values(), nodes.tensor_split(cuts), strict=True):
            mask[part] = True
    return masks


def sample_edges(y: Tensor, p: float, q: float, generator: torch.Generator) -> Tensor:
    """Draw the edges of a stochastic block model, each pair of nodes once.

    Args:
        y: classes, [N].
        p: edge probability inside a class.
        q: edge probability across classes.
        generator: source of randomness, on the CPU.

    Returns:
        edge_index [2, E], sorted, both directions, no self-loops.

    Example:
        >>> sample_edges(torch.tensor([0, 0, 1]), 1.0, 0.0, torch.Generator()).tolist()
        [[0, 1], [1, 0]]
    """
    found = []
    for start, block in zip(range(0, len(y), 1024), y.split(1024), strict=True):
        chance = torch.where(block[:, None] == y, p, q)
        edge = torch.rand(chance.shape, generator=generator, dtype=torch.float32) < chance
        found.append(edge.triu(start + 1).nonzero() + torch.tensor([start, 0]))
    upper = torch.cat(found).T
    both = torch.cat([upper, upper.flip(0)], dim=1)
    return both[:, (both[0] * len(y) + both[1]).argsort()]


def _karate(seed: int) -> Data:
    """Identity features; PyG's four training nodes, the others halved into validation and test."""
    graph = datasets.KarateClub()[0]
    masks = stratified_masks(graph.y, torch.Generator().manual_seed(seed), 0.0, 0.5)
    graph.val_mask = masks["val_mask"] & ~graph.train_mask
    graph.test_mask = masks["test_mask"] & ~graph.train_mask
    return graph


def _davis(seed: int) -> Data:
    """Southern women and the events they came to: identity features, class 0 women, class 1 events."""
    import networkx as nx

    club = nx.davis_southern_women_graph()
    graph = _from_networkx(club)
    graph.y = torch.tensor([side for _, side in club.nodes(data="bipartite")])
    graph.update(stratified_masks(graph.y, torch.Generator().manual_seed(seed)))
    return graph


def _les_miserables(seed: int) -> Data:
    """Identity features; edge_weight counts common appearances; no labels."""
    import networkx as nx

    return _from_networkx(nx.les_miserables_graph())


def _from_networkx(network: Any) -> Data:
    place = {node: i for i, node in enumerate(network)}
    edges = [(place[a], place[b], weight) for a, b, weight in network.to_directed().edges(data="weight")]
    graph = Data(x=torch.eye(len(place)), edge_index=torch.tensor([edge[:2] for edge in edges]).T)
    if edges[0][2] is not None:
        graph.edge_weight = torch.tensor([float(edge[2]) for edge in edges], dtype=torch.float32)
    return graph


def _csbm(seed: int) -> Data:
    from metamerlib import csbm

    return csbm.sample(seed=seed)


def _bow_sbm(seed: int, num_nodes: int = 400, num_words: int = 600, num_classes: int = 4) -> Data:
    """Sample papers that cite within their topic (mostly) and hold about 18 of 600 words each.

    Words have Zipf-like frequencies and each topic prefers a tenth of them; 10 training and 25
    validation nodes per class, few as in a public split.
    """
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(num_nodes) % num_classes
    rarity = 0.5 * (1 + torch.randperm(num_words, generator=generator)).float().log()
    preferred = torch.rand(num_classes, num_words, generator=generator, dtype=torch.float32) < 0.1
    uniform = torch.rand(num_nodes, num_words, generator=generator, dtype=torch.float32)
    noise = -uniform.log().neg().log()
    rank = (1.25 * preferred[y] - rarity + noise).argsort(dim=1, descending=True).argsort(dim=1)
    length = torch.poisson(torch.full((num_nodes, 1), 18.0).float(), generator=generator).clamp(4, 30)
    graph = Data(x=(rank < length).float(), edge_index=sample_edges(y, 0.032, 0.0027, generator), y=y)
    return graph.update(stratified_masks(y, generator, train=0.1, val=0.25))


def _decalin(seed: int) -> Data:
    """Two hexagons that share a bond; constant feature, no labels."""
    return _carbons([(i, (i + 1) % 10) for i in range(10)])


def _bicyclopentyl(seed: int) -> Data:
    """Two pentagons that a bond joins; constant feature, no labels."""
    return _carbons([(5 * k + i, 5 * k + (i + 1) % 5) for k in range(2) for i in range(5)])


def _carbons(rings: list[tuple[int, int]]) -> Data:
    bonds = torch.tensor([*rings, (0, 5)]).T
    return Data(x=torch.ones(10, 1), edge_index=torch.cat([bonds, bonds.flip(0)], dim=1))


_BUILDERS: dict[str, Callable[[int], Data]] = {
    "karate": _karate,
    "davis": _davis,
    "les-miserables": _les_miserables,
    "csbm": _csbm,
    "bow-sbm": _bow_sbm,
    "decalin": _decalin,
    "bicyclopentyl": _bicyclopentyl,
}
