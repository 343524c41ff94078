"""A graph of one's own from two tables: one row per edge, and one per node."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.graphs.edit import on_the_cpu
from metamerlib.graphs.sampling import MASKS, stratified_masks
from metamerlib.plain import as_path, as_seed, as_text, shown

Table: TypeAlias = str | os.PathLike[str] | pd.DataFrame
"""The path of a CSV file with a header, or a frame."""

PARTS = {"train": "train_mask", "val": "val_mask", "valid": "val_mask", "validation": "val_mask", "test": "test_mask"}


@on_the_cpu()
def graph_from_csv(
    edges: Table,
    features: Table,
    *,
    node: str = "node",
    label: str = "label",
    split: str = "split",
    weight: str = "weight",
    seed: int = 0,
    name: str | None = None,
) -> Data:
    """Read one undirected graph as the rest of the library wants it: float32, both directions, labels, masks.

    Args:
        edges: One row per edge; the first two columns name its ends, in either order or in both. Self-loops and
            repeated edges are dropped and counted. A column ``weight`` becomes edge_weight.
        features: One row per node; every column that is none of the following is a feature and holds numbers.
        node: Column of ``features`` with the names of the nodes; without it nodes are called 0, 1, ... by row.
        label: Column of ``features`` with the classes, numbers or text; without it the graph has no labels.
        split: Column of ``features`` with train, val or test; without it labelled nodes are divided 60/20/20
            within each class.
        weight: Column of ``edges`` with weights; the first row of an edge counts.
        seed: Seed of the division.
        name: Name of the graph; by default that of the folder or file of the edges.

    Returns:
        Data with x ``[N, F]`` float32, edge_index ``[2, E]`` sorted, feature_names, name, num_classes,
        dropped_self_loops, dropped_duplicates; with labels y ``[N]`` int64, class_names, train_mask, val_mask,
        test_mask ``[N]`` bool; with names of nodes node_names; with weights edge_weight ``[E]`` float32.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If a table is malformed; the error names the column and the first bad row.

    Example:
        >>> edges = pd.DataFrame({"from": ["a", "b"], "to": ["b", "c"]})
        >>> nodes = pd.DataFrame({"node": ["a", "b", "c"], "size": [1, 2, 3], "label": ["x", "y", "x"]})
        >>> graph = graph_from_csv(edges, nodes)
        >>> graph.edge_index.tolist(), graph.x.tolist(), graph.class_names
        ([[0, 1, 1, 2], [1, 0, 2, 1]], [[1.0], [2.0], [3.0]], ['x', 'y'])
    """
    for what, got in (("node", node), ("label", label), ("split", split), ("weight", weight)):
        as_text(what, got, what)
    seed, name = as_seed(seed), name if name is None else as_text("name", name, "my graph")
    pairs, rows = _read(edges, "edges"), _read(features, "features")
    if pairs.shape[1] < 2:
        raise ValueError(f"edges has the columns {list(pairs.columns)}; expected two, the ends of each edge")
    if rows.empty:
        raise ValueError("features has no rows; expected one per node")
    names = _column(rows, node) if node in rows else None
    number = _numbers(names, len(rows), node)
    ends = [_places(pairs.iloc[:, k], number, str(pairs.columns[k])) for k in (0, 1)]
    weights = torch.from_numpy(_floats(pairs[[weight]], "edges")[:, 0]) if weight in pairs else None
    kept = [column for column in rows if column not in (node, label, split)]
    if not kept:
        raise ValueError(f"features has no feature columns, only {list(rows.columns)}; expected one at least")
    graph = Data(x=torch.from_numpy(_floats(rows[kept], "features")))
    graph.feature_names = [str(column) for column in kept]
    graph.name = name or _name_of(edges)
    _set_edges(graph, torch.from_numpy(np.stack(ends)), weights)
    if names is not None:
        graph.node_names = [str(each) for each in names]
    graph.num_classes = 0
    if label in rows:
        _set_labels(graph, _column(rows, label), rows.get(split), split, seed)
    return graph


def graph_from_folder(folder: str | Path, seed: int = 0) -> Data:
    """Read a graph from ``edges.csv`` and ``nodes.csv`` of a folder; see :func:`graph_from_csv`."""
    folder = as_path("folder", folder)
    return graph_from_csv(folder / "edges.csv", folder / "nodes.csv", seed=seed, name=folder.name)


def _read(table: Table, what: str) -> pd.DataFrame:
    if isinstance(table, pd.DataFrame):
        return table
    if not isinstance(table, str | os.PathLike):
        raise TypeError(f"{what} must be the path of a CSV file or a pandas.DataFrame, got {shown(table)}")
    if as_path(what, table).is_dir():
        raise ValueError(f"{what}: {table} is a folder; give a CSV file in it, or use graph_from_folder")
    try:
        read = pd.read_csv(Path(table), skipinitialspace=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"{what}: there is no file {Path(table).absolute()}") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ValueError(f"{what}: {table} is no CSV with a header: {error}") from error
    if read.columns.map(lambda column: str(column).replace(".", "", 1).isdigit()).all():
        raise ValueError(f"{what}: the first line of {table} is {list(read.columns)}; expected names of the columns")
    return read


def _name_of(edges: Table) -> str:
    return "graph" if isinstance(edges, pd.DataFrame) else Path(edges).stem


def _column(rows: pd.DataFrame, name: str) -> pd.Series:
    missing = rows[name].isna().to_numpy().nonzero()[0]
    if len(missing):
        raise ValueError(f"features: {name!r} is empty in row {missing[0]} and {len(missing)} rows in all; fill it")
    return rows[name]


def _numbers(names: pd.Series | None, num_nodes: int, node: str) -> pd.Index:
    # Names are compared as text unless all are whole numbers, since each file is read for itself.
    index = pd.RangeIndex(num_nodes) if names is None else pd.Index(names)
    index = index if pd.api.types.is_integer_dtype(index) else index.astype(str)
    if not index.is_unique:
        raise ValueError(f"features: {node!r} names {index[index.duplicated()][0]!r} twice; expected one row per node")
    return index


def _places(ends: pd.Series, number: pd.Index, column: str) -> np.ndarray[Any, Any]:
    whole = pd.api.types.is_integer_dtype(number)
    places = number.get_indexer(pd.Index(ends) if whole else pd.Index(ends).astype(str))
    unknown = (places < 0).nonzero()[0]
    if len(unknown):
        known = ", ".join(repr(name) for name in number[:3])
        raise ValueError(
            f"edges: {column!r} names {_shown(ends.iloc[unknown[0]])} in row {unknown[0]} ({len(unknown)} in all), "
            f"which is no node; nodes are {known}, ..."
        )
    return places


def _floats(rows: pd.DataFrame, what: str) -> np.ndarray[Any, Any]:
    for column in rows:
        values = pd.to_numeric(rows[column], errors="coerce").to_numpy(dtype=float)
        bad = (~np.isfinite(values)).nonzero()[0]
        if len(bad):
            raise ValueError(
                f"{what}: column {column!r} holds {_shown(rows[column].iloc[bad[0]])} in row {bad[0]} ({len(bad)} in "
                "all); expected finite numbers, one-hot columns in place of text"
            )
    return np.array(rows, dtype=np.float32)


def _set_edges(graph: Data, ends: Tensor, weights: Tensor | None) -> None:
    """Set both directions of every edge, sorted, and its weight."""
    num_nodes = int(graph.x.size(0))
    kept = (ends[0] != ends[1]).nonzero().flatten()
    low, high = ends[:, kept].amin(0), ends[:, kept].amax(0)
    keys, place = (low * num_nodes + high).unique(return_inverse=True)
    first = torch.full_like(keys, len(kept)).scatter_reduce_(0, place, torch.arange(len(kept)), "amin")
    upper = torch.stack([keys // num_nodes, keys % num_nodes])
    both = torch.cat([upper, upper.flip(0)], dim=1)
    order = (both[0] * num_nodes + both[1]).argsort()
    graph.edge_index = both[:, order]
    if weights is not None:
        graph.edge_weight = weights[kept[first]].repeat(2)[order]
    graph.dropped_self_loops = ends.size(1) - len(kept)
    # An edge may stand there once in each direction, which is no repetition.
    directed = (ends[0] * num_nodes + ends[1])[kept]
    graph.dropped_duplicates = len(directed) - int(directed.unique().numel())


def _set_labels(graph: Data, labels: pd.Series, parts: pd.Series | None, split: str, seed: int) -> None:
    numbers, names = pd.factorize(labels, sort=True)
    graph.y = torch.from_numpy(numbers.astype(np.int64))
    graph.class_names, graph.num_classes = [str(each) for each in names], len(names)
    if len(names) < 2:
        raise ValueError(f"features: all labels are {names[0]!r}; expected two classes at least")
    if parts is None:
        graph.update(stratified_masks(graph.y, torch.Generator().manual_seed(seed)))
        return
    words = parts.fillna("").astype(str).str.strip().str.lower()
    unknown: Iterable[str] = sorted({*words} - {*PARTS, ""})
    if unknown:
        raise ValueError(f"features: {split!r} holds {str(unknown)[1:-1]}; expected train, val, test or empty")
    for mask in MASKS:
        graph[mask] = torch.tensor((words.map(PARTS) == mask).tolist())
    if not graph.train_mask.any():
        raise ValueError(f"features: {split!r} names no node for training; expected train for some")


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else str(value)
