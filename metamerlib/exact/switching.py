"""Switches of two edges that no message passing can see, and chains of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_module
from metamerlib.exact.proof import check_same
from metamerlib.exact.slots import Slots, among, largest_searched, partners, slots_of, small_pairs
from metamerlib.graphs.edit import sort_edges
from metamerlib.graphs.refinement import counted_attributes
from metamerlib.models.calling import Forward
from metamerlib.plain import as_count, as_seed, check_forward

DRAWS, MORE_DRAWS = 4, 64  # partners drawn for an edge of a large bucket; for one that found none among them
MIXED = 100  # random switches for each edge that are more than enough (Milo et al., 2003, cond-mat/0312028)
PATIENCE = 20  # rounds of random switches without progress
CHUNK = 2_000_000  # pairs held at once


@dataclass(frozen=True)
class Switchability:
    """How much of a graph can be switched without any change of colours.

    Attributes:
        nodes: Nodes that are an end of a switchable edge.
        edges: Undirected edges that are part of an admissible switch.
        switches: Admissible switches; an estimate where ``switches_error`` is above 0.
        switches_error: Standard error of that number; 0 where every pair was looked at.
        colours: Colours after the refinement.
        num_nodes: N.
        num_edges: Undirected edges of the graph.
        node_mask: Which nodes ``[N]``.
        edge_mask: Which directed edges ``[E]``, in the graph's order.
    """

    nodes: int
    edges: int
    switches: float
    switches_error: float
    colours: int
    num_nodes: int
    num_edges: int
    node_mask: Tensor
    edge_mask: Tensor


def switchable(graph: Data, rounds: int | None = None, *, degrees: bool = False) -> Switchability:
    """Count the nodes and edges of a graph that admit a switch, and the switches.

    Edges are put into buckets by the colours of their two ends, so time is near-linear in the number of edges:
    pairs of the smallest buckets, up to two million, are all looked at; in larger ones each edge tries partners at
    random, and only an edge that found none is held against its whole bucket.

    Args:
        graph: simple undirected graph, both directions of every edge stored.
        rounds: see :func:`switch_metamer`.
        degrees: see :func:`switch_metamer`.

    Returns:
        The counts. Nodes and edges are exact.

    Raises:
        ValueError: if the graph is not simple and undirected, or rounds is negative.

    Example:
        >>> import metamerlib as ml
        >>> found = switchable(ml.load_graph("decalin"))
        >>> found.nodes, found.edges, found.switches
        (10, 10, 12.0)
    """
    slots, colours = slots_of(graph, rounds, degrees)
    can = np.zeros(len(slots.source), dtype=bool)
    number = variance = 0.0
    for e, f in small_pairs(slots):
        can[e] = can[f] = True
        number += len(e) / 2  # the reversed slots make the same switch
    large = np.flatnonzero(slots.size[slots.bucket] > largest_searched(slots))
    if len(large):
        rng = np.random.default_rng(0)
        hits = np.zeros(len(large))
        for _ in range(DRAWS):
            hits += slots.admissible(large, partners(slots, large, rng))
        can[large[hits > 0]] = True
        _settle(slots, large[hits == 0], can, rng)
        bucket, size = np.unique(slots.bucket[large], return_counts=True)
        share = np.bincount(slots.bucket[large], hits, minlength=len(slots.size))[bucket] / (DRAWS * size)
        number += float((share * size**2).sum()) / 4
        variance = float((share * (1 - share) / (DRAWS * size) * size.astype(float) ** 4).sum()) / 4
    can |= can[slots.reverse]
    nodes = np.zeros(slots.num_nodes, dtype=bool)
    nodes[slots.source[can]] = True
    return Switchability(
        nodes=int(nodes.sum()), edges=int(can.sum()) // 2, switches=number, switches_error=variance**0.5 / 2,
        colours=int(colours.max()) + 1 if len(colours) else 0, num_nodes=slots.num_nodes, num_edges=len(can) // 2,
        node_mask=torch.from_numpy(nodes).to(graph.edge_index.device),
        edge_mask=torch.from_numpy(can).to(graph.edge_index.device),
    )  # fmt: skip


def each_switch(graph: Data, rounds: int | None = None, *, degrees: bool = False) -> Iterator[tuple[Tensor, Data]]:
    """Make every admissible switch of a small graph, one at a time.

    Args:
        graph: simple undirected graph, both directions of every edge stored.
        rounds: see :func:`switch_metamer`.
        degrees: see :func:`switch_metamer`.

    Yields:
        The directed edges that go ``[4]``, as places in the graph's order, and the switched graph.

    Raises:
        ValueError: if the graph is not simple and undirected, or has more pairs of like edges than can be looked at.

    Example:
        >>> import metamerlib as ml
        >>> len(list(each_switch(ml.load_graph("decalin"))))
        12
    """
    slots, _ = slots_of(graph, rounds, degrees)
    if len(slots.size) and slots.size.max() > largest_searched(slots):
        raise ValueError(f"{slots.size.max()} directed edges look alike, whose pairs are too many; use switchable")
    for one, other in small_pairs(slots):
        for e, f in zip(one, other, strict=True):
            gone = np.array([e, f, slots.reverse[e], slots.reverse[f]])
            if gone[:2].min() > gone[2:].min():  # the reversed slots make the same switch
                continue
            fresh = replace(slots, source=slots.source.copy(), target=slots.target.copy())
            after = _switched(fresh, np.array([e]), np.array([f]))
            result = copy.copy(graph)
            result.edge_index = torch.from_numpy(np.stack([after.source, after.target])).to(graph.edge_index.device)
            yield torch.from_numpy(gone), sort_edges(result)


def switch_metamer(
    graph: Data,
    rounds: int | None = None,
    num_switches: int | None = None,
    seed: int = 0,
    *,
    degrees: bool = False,
    model: nn.Module | None = None,
    forward: Forward | None = None,
) -> Data:
    """Exchange edges of a graph so that no message passing of some depth can see it.

    A switch takes edges (a, b), (c, d) of four distinct nodes where (a, d), (c, b) are no edges, and puts these in
    their place. If a and c share their colour after T rounds of refinement, and b and d too, then all colours up to
    round T + 1 stay, and with them every activation of up to T hops; T + 1 hops for convolutions that use no degrees
    (GAT, GATv2, SAGE, GIN). A layer makes one hop, SGC and APPNP K, Cheb K - 1. Switches chain.

    The first colours are all attributes of nodes: features, positions, types, encodings, the graph of a batch. Every
    attribute of edges counts too, weights and types among them, and only edges with equal ones in both directions are
    exchanged. Not counted are y, edge_label and masks, which go with their nodes and slots, and attributes that are
    no tensors. All stay as they are: an encoding that was computed from the edges is not computed anew.

    Args:
        graph: simple undirected graph, both directions of every edge stored.
        rounds: T; None refines until nothing changes, which is exact at every depth.
        num_switches: how many; None goes on until fewer edges in common with the graph are not found.
        seed: seed of the choice of switches.
        degrees: take degrees into the first colours. Then T rounds give T + 1 hops for every convolution, and
            more switches than T + 1 rounds without.
        model: checked, if given: every node's outputs of all its modules, in float64 on a private copy, are the same
            on both graphs up to rounding.
        forward: replaces the default call, ``forward(model, graph) -> Tensor``.

    Returns:
        The switched graph: same nodes, features and degrees; edge_index sorted, its attributes beside it, and the
        number of switches made as ``num_switches``.

    Raises:
        ValueError: if no switch is admissible, the graph is not simple and undirected, a number is out of range, or
            the model tells the two graphs apart.

    Example:
        >>> import metamerlib as ml
        >>> decalin = ml.load_graph("decalin")
        >>> other = switch_metamer(decalin)
        >>> bool(torch.equal(other.edge_index, decalin.edge_index)), other.num_edges
        (False, 22)
    """
    seed = as_seed(seed)
    if model is not None:
        check_module(model)
    elif forward is not None:
        raise ValueError("forward says how the model is called, but there is no model; pass model=, or drop forward")
    check_forward(forward)
    if num_switches is not None:
        num_switches = as_count("num_switches", num_switches)
    slots, _ = slots_of(graph, rounds, degrees)
    most = MIXED * max(1, len(slots.source) // 2)
    if num_switches is not None and num_switches > most:
        raise ValueError(
            f"num_switches is {num_switches}, and {MIXED} for each of the {len(slots.source) // 2} edges, {most}, "
            "already forget where the chain began; give at most that, or None for as many as help"
        )
    found, made = _chain(slots, num_switches, np.random.default_rng(seed))
    if made == 0:
        raise ValueError(_no_switch(graph, slots, rounds))
    result = copy.copy(graph)
    result.edge_index = torch.from_numpy(np.stack([found.source, found.target])).to(graph.edge_index.device)
    result.num_switches = made
    result = sort_edges(result)
    if model is not None:
        check_same(model, graph, result, forward=forward)
    return result


def _no_switch(graph: Data, slots: Slots, rounds: int | None) -> str:
    """Say that no switch is admissible, and what was counted."""
    depth = "any number of rounds" if rounds is None else f"{rounds} rounds"
    counted = [name for names in counted_attributes(graph) for name in names if name != "x"]
    told = f"; {', '.join(counted)} counted too, delete what the model does not read" if counted else ""
    return (
        f"this graph of {slots.num_nodes} nodes and {len(slots.source) // 2} edges admits no switch that "
        f"keeps its colours over {depth}: take fewer rounds, or two copies of the graph, "
        f"metamerlib.exact.lifts.double(graph), in which every edge admits one{told}"
    )


def _settle(slots: Slots, open_: np.ndarray, can: np.ndarray, rng: np.random.Generator) -> None:
    """Find out for slots of large buckets whether they admit a switch at all; `can` is filled in."""
    for _ in range(MORE_DRAWS):
        fine = slots.admissible(open_, partners(slots, open_, rng))
        can[open_[fine]] = True
        open_ = open_[~fine]
    width = len(slots.size)
    ends = [end * width + slots.bucket for end in (slots.source, slots.target)]
    shared, sides = np.zeros(len(slots.bucket), dtype=np.int64), []
    for end in ends:
        pairs, place, count = np.unique(end, return_inverse=True, return_counts=True)
        shared += count[place]
        sides.append(np.bincount(pairs % width, minlength=width))
    complete = slots.size == sides[0] * sides[1]
    # In a star, or where all nodes of two colours are joined, there is no partner to be searched for.
    open_ = open_[(slots.size[slots.bucket] - shared + 1 > 0)[open_] & ~complete[slots.bucket[open_]]]
    for slot in open_:
        bucket = slots.bucket[slot]
        held = slots.order[slots.start[bucket] : slots.start[bucket] + slots.size[bucket]]
        can[slot] = any(
            slots.admissible(np.full(len(part), slot), part).any()
            for part in np.array_split(held, 1 + len(held) // CHUNK)
        )


def _chain(slots: Slots, number: int | None, rng: np.random.Generator) -> tuple[Slots, int]:
    """Make a number of switches, or as many as take edges of the reference away; many at once in each round."""
    slots = replace(slots, source=slots.source.copy(), target=slots.target.copy())
    live = np.flatnonzero(slots.size[slots.bucket] > 1)
    reference, mine = slots.present, np.ones(len(slots.source), dtype=bool)
    made = idle = 0
    while made != number and idle <= PATIENCE and (number is not None or mine[live].any()):
        wanted = live[mine[live]] if number is None else live
        most = len(wanted) if number is None else 64 + 8 * (number - made)
        e = rng.permutation(wanted)[:most]
        f = partners(slots, e, rng)
        least = 0
        if idle == PATIENCE:  # chance finds no more: look at every pair that can be looked at
            pairs = [(e, f), *small_pairs(slots)]
            e, f = (np.concatenate(part) for part in zip(*pairs, strict=True))
            least = 1 if number is None else -2
        e, f = _compatible(slots, e, f, mine, reference, least)
        left = None if number is None else number - made
        e, f = e[:left], f[:left]
        before = int(mine.sum())
        slots = _switched(slots, e, f)
        changed = np.concatenate([e, f, slots.reverse[e], slots.reverse[f]])
        mine[changed] = among(slots.keys(slots.source[changed], slots.target[changed]), reference)
        made += len(e)
        progress = mine.sum() < before if number is None else len(e) > 0
        idle = 0 if progress else idle + 1
    return slots, made


def _compatible(
    slots: Slots, e: np.ndarray, f: np.ndarray, mine: np.ndarray, reference: np.ndarray, least: int
) -> tuple[np.ndarray, np.ndarray]:
    """Keep pairs of slots that can be switched at once, each taking away `least` edges of the reference or more."""
    fine = slots.admissible(e, f)
    e, f = e[fine], f[fine]
    added = sum(among(keys, reference).astype(int) for keys in slots.crossed(e, f))
    enough = mine[e].astype(int) + mine[f] - added >= least
    e, f = e[enough], f[enough]
    once = _first(np.minimum(e, slots.reverse[e]), np.minimum(f, slots.reverse[f]))
    e, f = e[once], f[once]
    once = _first(*slots.crossed(e, f))
    return e[once], f[once]


def _first(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Say in which pairs both keys stand for the first time."""
    flat = np.stack([left, right], axis=1).ravel()
    first = np.zeros(len(flat), dtype=bool)
    first[np.unique(flat, return_index=True)[1]] = True
    return first[0::2] & first[1::2]


def _switched(slots: Slots, e: np.ndarray, f: np.ndarray) -> Slots:
    """Exchange the targets of pairs of slots, in place."""
    if not len(e):
        return slots
    source, target = slots.source, slots.target
    target[e], target[f] = target[f], target[e]
    back, forth = slots.reverse[e], slots.reverse[f]
    source[back], source[forth] = source[forth], source[back]
    ahead = source < target
    return replace(slots, present=np.sort(source[ahead] * slots.num_nodes + target[ahead]))
