"""Graphs of one's own: a ``Data`` of PyTorch Geometric in a file, opened without running any code from it."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.storage import GlobalStorage

from metamerlib.checks import check_structure
from metamerlib.graphs.edit import on_the_cpu
from metamerlib.graphs.load import load_graph
from metamerlib.graphs.sampling import MASKS, stratified_masks
from metamerlib.plain import as_path, as_seed, as_text, shown
from metamerlib.writing import check_archive, first_line

ENDINGS = (".pt", ".pth")
PLAIN = [Data, DataEdgeAttr, DataTensorAttr, GlobalStorage]  # what a saved Data holds beside tensors; none runs code


def open_graph(name: str | os.PathLike[str], root: str | Path | None = None, *, seed: int = 0) -> Data:
    """Return a graph by its name, or from a file: whatever :func:`metamerlib.load_graph` takes, and saved ones.

    Args:
        name: Path of a file that ends in .pt or .pth, see :func:`read_graph`; else a name.
        root: Folder of the raw files of public graphs.
        seed: Of the split, where the graph has none.

    Example:
        >>> open_graph("karate").num_nodes
        34
    """
    text = as_text("graph", str(name) if isinstance(name, os.PathLike) else name, "karate")
    return read_graph(text, seed=seed) if text.endswith(ENDINGS) else load_graph(text, root, seed)


@on_the_cpu()
def read_graph(path: str | os.PathLike[str], *, seed: int = 0) -> Data:
    """Read a graph that ``torch.save(graph, path)`` wrote; only tensors and plain values are taken, no code.

    Args:
        path: Holds a Data of PyTorch Geometric, or a dict of its attributes: x ``[N, F]``, edge_index ``[2, E]``.
        seed: Of the split within each class, 60/20/20, where there are labels y ``[N]`` and no train_mask.

    Returns:
        The graph with ``name`` (of the file) and ``num_classes`` where it says none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds something else, or needs code to be opened.
    """
    path, seed = as_path("path", path), as_seed(seed)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; write one by torch.save(graph, path)")
    torch.serialization.add_safe_globals(PLAIN)  # the context manager would forget PyTorch Geometric's own on leaving
    try:
        check_archive(path)
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # anything may stand in a file
        raise ValueError(
            f"{path} cannot be opened as tensors alone: {first_line(error)}; "
            "save a plain graph: torch.save(graph.to_dict(), path)"
        ) from error
    graph = Data.from_dict(held) if isinstance(held, dict) else held
    if not isinstance(graph, Data):
        raise ValueError(
            f"{path} holds {shown(held)}; expected a torch_geometric.data.Data, or a dict of x, edge_index"
        )
    check_structure(graph)
    labels = graph.get("y")
    classes = isinstance(labels, Tensor) and labels.numel() > 0 and not labels.is_floating_point()
    if graph.get("name") is None:
        graph.name = path.stem
    if classes and graph.get("num_classes") is None:
        graph.num_classes = int(labels.max()) + 1
    if classes and labels.dim() == 1 and all(graph.get(mask) is None for mask in MASKS):
        graph.update(stratified_masks(labels, torch.Generator().manual_seed(seed)))
    return graph
