"""Small graphs that ship with the library: no download, no licence to ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch_geometric import datasets
from torch_geometric.data import Data

from metamerlib.graphs.sampling import sample_edges, stratified_masks


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
    from metamerlib.graphs import csbm

    return csbm.sample(seed=seed)


def _bow_sbm(seed: int, num_nodes: int = 400, num_words: int = 600, num_classes: int = 4) -> Data:
    """Sample papers that cite within their topic (mostly) and hold about 18 of 600 words each.

    Words have Zipf-like frequencies and each topic prefers a tenth of them; 10 training and 25
    validation nodes per class, few as in a public split.
    """
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(num_nodes) % num_classes
    rarity = 0.5 * (1 + torch.randperm(num_words, generator=generator, device="cpu")).float().log()
    preferred = torch.rand(num_classes, num_words, generator=generator, device="cpu", dtype=torch.float32) < 0.1
    uniform = torch.rand(num_nodes, num_words, generator=generator, device="cpu", dtype=torch.float32)
    noise = -uniform.log().neg().log()
    rank = (1.25 * preferred[y] - rarity + noise).argsort(dim=1, descending=True).argsort(dim=1)
    length = torch.poisson(torch.full((num_nodes, 1), 18.0).float(), generator=generator).clamp(4, 30)
    graph = Data(x=(rank < length).float(), edge_index=sample_edges(y, 0.032, 0.0027, generator), y=y)
    return graph.update(stratified_masks(y, generator, train=0.1, val=0.25))


def decalin(seed: int) -> Data:
    """Two hexagons that share a bond; constant feature, no labels."""
    return _carbons([(i, (i + 1) % 10) for i in range(10)])


def bicyclopentyl(seed: int) -> Data:
    """Two pentagons that a bond joins; constant feature, no labels."""
    return _carbons([(5 * k + i, 5 * k + (i + 1) % 5) for k in range(2) for i in range(5)])


def _carbons(rings: list[tuple[int, int]]) -> Data:
    bonds = torch.tensor([*rings, (0, 5)]).T
    return Data(x=torch.ones(10, 1), edge_index=torch.cat([bonds, bonds.flip(0)], dim=1))


BUILDERS: dict[str, Callable[[int], Data]] = {
    "karate": _karate,
    "davis": _davis,
    "les-miserables": _les_miserables,
    "csbm": _csbm,
    "bow-sbm": _bow_sbm,
    "decalin": decalin,
    "bicyclopentyl": bicyclopentyl,
}
