"""What training needs of a collection of labelled graphs: split, mini-batches, and checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_model
from metamerlib.graphs.collection import check_graphs, graph_labels, split_graphs, union_of
from metamerlib.graphs.sampling import MASKS
from metamerlib.models.calling import answer, private_copy


class Lesson(NamedTuple):
    """What a model learns from.

    Attributes:
        whole: Everything, with y and masks: one entry per node, or per graph of a union.
        batches: Gives the training batches of one epoch; each has y and train_mask.
        held_out: Has y and val_mask; None without validation.
    """

    whole: Data
    batches: Callable[[], Iterable[Data]]
    held_out: Data | None


def graph_lesson(model: nn.Module, graphs: Sequence[Data], *, seed: int, batch_size: int | None) -> Lesson:
    """Prepare graphs for training; where they have no train_mask they are split under ``seed``.

    Args:
        model: Graph-level model; it is not changed.
        graphs: Graphs with one label y each; all or none have a train_mask ``[1]``.
        seed: Seed of the split.
        batch_size: Training graphs in one step; None for all.

    Raises:
        TypeError: If a label is not an integer, or as for :func:`check_graphs`.
        ValueError: If a graph has no label, none is for training, or the model is not graph-level.
    """
    graphs = _divided(graphs, seed)
    whole = union_of(graphs)
    _check_masks(whole, len(graphs))
    check_model(model, whole)
    _check_output(model, graphs, whole.y)
    learnt, held_out = ([g for g in graphs if g.get(name) is not None and bool(g[name])] for name in MASKS[:2])
    size = min(batch_size or len(learnt), len(learnt))
    together = union_of(learnt)

    def batches() -> Iterable[Data]:
        if size == len(learnt):
            return [together]
        order = torch.randperm(len(learnt)).tolist()
        return (union_of([learnt[i] for i in order[at : at + size]]) for at in range(0, len(order), size))

    return Lesson(whole, batches, union_of(held_out) if held_out else None)


def labelled_union(graphs: Sequence[Data], seed: int) -> Data:
    """Join labelled graphs, split under ``seed`` where they have no masks, to one with y and masks ``[B]``."""
    return union_of(_divided(graphs, seed))


def _divided(graphs: Sequence[Data], seed: int) -> Sequence[Data]:
    check_graphs(graphs)
    graph_labels(graphs)
    split = [graph.get("train_mask") is not None for graph in graphs]
    if not any(split):
        return split_graphs(graphs, seed=seed)
    if not all(split):
        raise ValueError(f"graphs[{split.index(False)}] has no train_mask, others have; split all graphs or none")
    return graphs


def _check_masks(whole: Data, count: int) -> None:
    for name in MASKS:
        mask = whole.get(name)
        if mask is not None and (mask.dtype != torch.bool or mask.shape != (count,)):
            raise ValueError(
                f"{name} must be one bool per graph, [{count}] in all, got {mask.dtype} {list(mask.shape)}"
            )
    check_apart(whole)
    if not whole.train_mask.any():
        raise ValueError("training needs a graph whose train_mask is True; drop the masks for a 60/20/20 split")


def check_apart(graph: Data) -> None:
    """Raise if a node, or a graph of a union, is for training and for judging at once."""
    held = [name for name in MASKS if graph.get(name) is not None]
    for place, first in enumerate(held):
        for second in held[place + 1 :]:
            both = int((graph[first] & graph[second]).sum())
            if both:
                raise ValueError(
                    f"{first} and {second} have {both} entries in common, so that no accuracy could be trusted; "
                    "give each node (or graph) to one of them"
                )


def _check_output(model: nn.Module, graphs: Sequence[Data], y: Tensor) -> None:
    few = graphs[:2]
    with torch.no_grad():
        found = answer(private_copy(model), union_of(few), "the first graphs")
    shape = list(getattr(found, "shape", ()))
    if len(shape) != 2 or shape[0] != len(few):
        raise ValueError(
            f"the model outputs {shape} for {len(few)} graphs, expected one row for each: pool over nodes "
            "(pool='sum' or 'mean' of metamerlib.GNN) and let forward take batch"
        )
    if not 0 <= int(y.min()) <= int(y.max()) < shape[1]:
        raise ValueError(f"labels run from {int(y.min())} to {int(y.max())}, but the model has {shape[1]} classes")
