"""Directed edges as slots in buckets of like ends: which pairs of them a switch may exchange."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import check_structure
from metamerlib.graphs.refinement import check_rounds, combine_classes, edge_classes, initial_colours, refine
from metamerlib.plain import as_flag

MOST_PAIRS = 2_000_000  # pairs looked at one by one, in the smallest buckets; of other buckets they are drawn


@dataclass(frozen=True)
class Slots:
    """Directed edges by their slots: what a switch exchanges are targets, so a slot keeps its bucket for ever.

    ``order`` sorts the slots by bucket; bucket k holds ``order[start[k] : start[k] + size[k]]``. ``present`` are the
    sorted keys ``low * N + high`` of the undirected edges.
    """

    source: np.ndarray
    target: np.ndarray
    reverse: np.ndarray
    bucket: np.ndarray
    order: np.ndarray
    start: np.ndarray
    size: np.ndarray
    num_nodes: int
    present: np.ndarray

    def keys(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return one integer for each unordered pair of nodes."""
        return np.minimum(a, b) * self.num_nodes + np.maximum(a, b)

    def crossed(self, e: np.ndarray, f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the keys of the edges that a switch of slots e and f puts in."""
        return self.keys(self.source[e], self.target[f]), self.keys(self.source[f], self.target[e])

    def admissible(self, e: np.ndarray, f: np.ndarray) -> np.ndarray:
        """Say which pairs of slots of one bucket can be switched (a shared node would give a loop or an edge)."""
        fine = (self.source[e] != self.target[f]) & (self.source[f] != self.target[e])
        for keys in self.crossed(e, f):
            fine[fine] = ~among(keys[fine], self.present)
        return fine


def slots_of(graph: Data, rounds: int | None, degrees: bool) -> tuple[Slots, Tensor]:
    """Put the edges of a graph into buckets, and return them with the colours of the nodes ``[N]``.

    Args:
        graph: Simple undirected graph, both directions of every edge stored.
        rounds: Rounds of refinement; None until nothing changes.
        degrees: Whether degrees count among the first colours.

    Raises:
        ValueError: If the graph is not simple and undirected.
    """
    num_nodes = check_structure(graph)
    check_rounds(rounds)
    as_flag("degrees", degrees)
    source, target = graph.edge_index.cpu().numpy().astype(np.int64)
    forward, backward = source * num_nodes + target, target * num_nodes + source
    order = np.argsort(forward, kind="stable")
    keys = forward[order]
    if (source == target).any() or (keys[1:] == keys[:-1]).any() or not among(backward, keys).all():
        raise ValueError(
            "got loops, edges that stand twice, or edges without their reverse; give a simple undirected graph, for "
            "instance by torch_geometric.utils.to_undirected and remove_self_loops"
        )
    reverse = order[np.searchsorted(keys, backward)]
    classes = edge_classes(graph)
    colours = refine(initial_colours(graph, degrees=degrees), graph.edge_index, rounds=rounds, classes=classes)
    ends = [colours[graph.edge_index[0]], colours[graph.edge_index[1]]]
    if classes is not None:
        ends += [classes, classes[torch.from_numpy(reverse).to(classes.device)]]
    bucket = combine_classes(*ends).cpu().numpy()
    size = np.bincount(bucket)
    slots = Slots(
        source, target, reverse, bucket, np.argsort(bucket, kind="stable"), np.cumsum(size) - size, size, num_nodes,
        keys[keys // max(num_nodes, 1) < keys % max(num_nodes, 1)],
    )  # fmt: skip
    return slots, colours


def among(keys: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Say which keys stand in a sorted array."""
    if not len(known):
        return np.zeros(len(keys), dtype=bool)
    return known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] == keys


def largest_searched(slots: Slots) -> int:
    """Return the size of the largest buckets whose pairs are all looked at."""
    size = np.sort(slots.size)
    affordable = int((np.cumsum(size.astype(float) ** 2) <= MOST_PAIRS).sum())
    return int(size[affordable] - 1 if affordable < len(size) else size[-1] if len(size) else 0)


def small_pairs(slots: Slots) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Enumerate the admissible pairs of slots within small buckets."""
    size = slots.size[slots.bucket[slots.order]]
    order = slots.order[(size > 1) & (size <= largest_searched(slots))]
    for offset in range(1, len(order)):
        e, f = order[:-offset], order[offset:]
        together = slots.bucket[e] == slots.bucket[f]
        if not together.any():
            return
        e, f = e[together], f[together]
        fine = slots.admissible(e, f)
        yield e[fine], f[fine]


def partners(slots: Slots, e: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a slot of the same bucket for each slot."""
    bucket = slots.bucket[e]
    return slots.order[slots.start[bucket] + (rng.random(len(e)) * slots.size[bucket]).astype(np.int64)]
