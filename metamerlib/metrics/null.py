"""How well activations match by chance: draws that no one optimised."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import check_nodes
from metamerlib.graphs.rewiring import edge_places, swap_edges
from metamerlib.metrics.matching import pearson, prediction_match, ranks, relative_error, snr_db
from metamerlib.plain import as_mapping, shown
from metamerlib.probing.probe import Recording

NULL_DRAWS = 200  # of each kind, wherever nothing else is asked for
COLUMNS = ("kind", "draw", "relative_error", "pearson", "spearman", "snr_db", "prediction_match")


def null_distribution(
    draws_of: Mapping[str, Iterable[Recording]], reference: Recording, nodes: Tensor | None = None
) -> pd.DataFrame:
    """Score chance draws against the reference exactly as a metamer is scored.

    A draw whose activations equal the reference's up to rounding is left out: it
    shows a symmetry of the model (a search that starts at the reference, features
    that are all alike, a model that reads no edges), not a level of chance.

    Args:
        draws_of: recordings of each kind of draw, by name; see :func:`standard_draws`.
        reference: recording of the reference.
        nodes: the matched nodes S [|S|]; None for all.

    Returns:
        One row per draw: kind, draw, relative_error, pearson, spearman, snr_db,
        prediction_match.

    >>> one = Recording(torch.tensor([[1.0], [2.0]]), None, False, None)
    >>> null_distribution({"paired": paired_nodes(one, draws=1)}, one)["pearson"].tolist()
    [-1.0]
    """
    if not isinstance(reference, Recording):
        raise TypeError(f"reference must be a Recording, what a Probe returns for a graph, got {shown(reference)}")
    as_mapping("draws_of", draws_of, "recordings by kind of draw")
    nodes = check_nodes("nodes", nodes, len(reference.activation))
    reference = at_nodes(reference, nodes)
    target = reference.activation
    target_ranks = ranks(target)
    rounding = 1000 * torch.finfo(target.dtype).eps
    rows = []
    for kind, draws in draws_of.items():
        for draw, recording in enumerate(draws):
            chance = at_nodes(recording, nodes)
            if not torch.isfinite(chance.activation).all():
                continue  # no level of chance either
            error = relative_error(chance.activation, target)
            if error > rounding:
                r, rho = pearson(chance.activation, target), pearson(ranks(chance.activation), target_ranks)
                match = prediction_match(chance.output, reference.output)
                rows.append((kind, draw, error, r, rho, snr_db(chance.activation, target), match))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"kind": "str", "draw": "int64"} | dict.fromkeys(COLUMNS[2:], "float64"))


def at_nodes(recording: Recording, nodes: Tensor | None) -> Recording:
    """Cut a recording down to the matched nodes.

    Args:
        recording: recording of a whole graph.
        nodes: the matched nodes S [|S|]; None for all.

    Returns:
        The recording's rows at the nodes. An output with one row per graph stays whole.

    >>> recording = Recording(torch.eye(2), None, False, torch.ones(1, 3))
    >>> at_nodes(recording, torch.tensor([1])).activation.tolist()
    [[0.0, 1.0]]
    """
    if nodes is None:
        return recording
    before, output = recording.pre_activation, recording.output
    per_node = output is not None and _per_row(output, len(recording.activation))
    return replace(
        recording,
        activation=recording.activation[nodes],
        pre_activation=None if before is None else before[nodes],
        output=output[nodes] if output is not None and per_node else output,
    )


def standard_draws(
    probe: Callable[[Data], Recording],
    graph: Data,
    reference: Recording,
    *,
    start: Recording | None = None,
    draws: int = NULL_DRAWS,
    seed: int = 0,
    rewire: bool = True,
) -> dict[str, Iterator[Recording]]:
    """Prepare the draws of every kind that fits the graph.

    ``paired`` compares nodes with other nodes, ``shuffled`` permutes the features
    over the nodes, ``rewired`` the edges at fixed degrees, and ``start`` is the point
    where a search began: it is the same every time, hence a single draw.

    Args:
        probe: maps a graph to its recording.
        graph: the reference.
        reference: recording of the reference.
        start: recording of the start, if there was one.
        draws: draws of each kind but the start.
        seed: each kind has its own random stream under this seed.
        rewire: whether the model takes other edges.

    Returns:
        Iterators of recordings by kind; the forward passes run when they are read.
    """
    prepared = {
        "paired": paired_nodes(reference, draws=draws, seed=seed),
        "shuffled": shuffled_features(probe, graph, draws=draws, seed=seed),
    }
    if rewire:
        prepared["rewired"] = rewired_edges(probe, graph, draws=draws, seed=seed)
    return prepared if start is None else prepared | {"start": iter([start])}


def random_partners(num_nodes: int, rng: np.random.Generator) -> Tensor:
    """Give each node another node, every node once: one random cycle through all of them.

    A cycle has no fixed point, so a node is never compared with itself, even where
    only few nodes are looked at.

    Args:
        num_nodes: number of nodes N.
        rng: source of randomness.

    Returns:
        The partner of each node [N]; a single node is its own.

    >>> random_partners(2, np.random.default_rng(0)).tolist()
    [1, 0]
    """
    order = torch.from_numpy(rng.permutation(num_nodes))
    partners = torch.empty_like(order)
    partners[order] = order.roll(-1)
    return partners


def paired_nodes(reference: Recording, *, draws: int = NULL_DRAWS, seed: int = 0) -> Iterator[Recording]:
    """Draw recordings in which every node stands for another one of the reference.

    Args:
        reference: recording of the reference.
        draws: number of draws; none if the reference has a single row.
        seed: seed of the pairing.
    """
    rng = np.random.default_rng([seed, 0])
    num_rows, output = len(reference.activation), reference.output
    for _ in range(draws if num_rows > 1 else 0):
        partner = random_partners(num_rows, rng).to(reference.activation.device)
        paired = None if output is None or not _per_row(output, num_rows) else output[partner]
        yield replace(reference, activation=reference.activation[partner], pre_activation=None, output=paired)


def other_graphs(
    probe: Callable[[Data], Recording],
    reference: Recording,
    others: Sequence[Data],
    *,
    draws: int = NULL_DRAWS,
    seed: int = 0,
) -> Iterator[Recording]:
    """Draw recordings in which another graph of a collection stands for the reference.

    Only recordings with as many rows as the reference's can be set beside it: those of a pooled layer, one row
    for each graph. Others are left out.

    Args:
        probe: maps a graph to its recording.
        reference: recording of the reference.
        others: the collection; the reference may be in it.
        draws: largest number of draws; each graph is drawn at most once.
        seed: seed of the choice.
    """
    rng = np.random.default_rng([seed, 5])
    for place in rng.permutation(len(others))[:draws]:
        recording = probe(others[place])
        if recording.activation.shape == reference.activation.shape:
            yield recording


def shuffled_features(
    probe: Callable[[Data], Recording], graph: Data, *, draws: int = NULL_DRAWS, seed: int = 0
) -> Iterator[Recording]:
    """Draw recordings of the graph with its feature rows permuted over its nodes.

    Args:
        probe: maps a graph to its recording.
        graph: the reference, with x [N, F].
        draws: number of draws; none without features.
        seed: seed of the permutations.
    """
    rng = np.random.default_rng([seed, 1])
    x = graph.x
    for _ in range(draws if x is not None else 0):
        shuffled = copy.copy(graph)
        shuffled.x = x[torch.from_numpy(rng.permutation(len(x))).to(x.device)]
        yield probe(shuffled)


def rewired_edges(
    probe: Callable[[Data], Recording], graph: Data, *, draws: int = NULL_DRAWS, seed: int = 0
) -> Iterator[Recording]:
    """Draw recordings of the graph with its edges rewired at fixed degrees.

    One chain of edge swaps: as many rounds as attempt 10 swaps per edge come before
    the first draw, and as many as attempt one per edge lie between two draws.
    Weights and attributes stay with their place in edge_index, self-loops stay put,
    and disjoint unions keep their graphs apart.

    Args:
        probe: maps a graph to its recording.
        graph: the reference, with edge_index [2, E].
        draws: number of draws; none with fewer than two edges.
        seed: seed of the chain.
    """
    rng = np.random.default_rng([seed, 2])
    edge_index = graph.edge_index
    forward, backward = edge_places(edge_index, graph.num_nodes or 0)
    pairs = edge_index[:, forward].T.cpu().numpy().copy()
    part = None if graph.batch is None else graph.batch.cpu().numpy()
    for draw in range(draws if len(pairs) > 1 else 0):
        # A round attempts one swap for every two edges.
        for _ in range(20 if draw == 0 else 2):
            pairs = swap_edges(pairs, graph.num_nodes or 0, rng, directed=len(backward) == 0, part=part)
        ends = torch.from_numpy(pairs).to(edge_index).T
        rewired = copy.copy(graph)
        rewired.edge_index = edge_index.clone()
        rewired.edge_index[:, forward] = ends
        if len(backward):
            rewired.edge_index[:, backward] = ends.flip(0)
        yield probe(rewired)


def _per_row(output: Tensor, num_rows: int) -> bool:
    return output.dim() > 0 and len(output) == num_rows
