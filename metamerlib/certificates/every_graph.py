"""The true smallest loss over all graphs of a small family, against which an estimate can be held."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.graphs.edges import among, both_directions, pair_keys, undirected_pairs
from metamerlib.models.calling import Forward
from metamerlib.probing.probe import Probe
from metamerlib.typing import Layer

MOST = 1_000_000  # graphs of a family
CHUNK = 4096  # graphs seen at once


def family_losses(model: nn.Module, graph: Data, layer: Layer, *, forward: Forward | None = None) -> Tensor:
    """Compute the loss of every graph with as many edges as the reference, none of them the reference's.

    Args:
        model: Any torch model of graphs whose layer has a row for each node.
        graph: The reference, simple and undirected, of a handful of nodes.
        layer: The matched layer, as in :func:`metamerlib.find_metamer`.
        forward: Replaces the default call.

    Returns:
        :math:`L_{act}` of each ``[graphs]``, in float64.

    Raises:
        ValueError: If there are no such graphs, or too many.

    Example:
        >>> import metamerlib as ml
        >>> two = Data(x=torch.eye(4), edge_index=torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]))  # four pairs are free
        >>> model = ml.GNN(conv="gcn", in_channels=4, hidden_channels=8, out_channels=2, num_layers=2)
        >>> family_losses(model, two, 2).shape
        torch.Size([6])
    """
    pairs, num_nodes = undirected_pairs(graph), int(graph.num_nodes)
    size = pairs.size(1)
    every = torch.combinations(torch.arange(num_nodes, device=pairs.device)).T
    free = every[:, ~among(pair_keys(every, num_nodes), pair_keys(pairs, num_nodes).sort().values)]
    number = math.comb(free.size(1), size)
    if not 0 < number <= MOST:
        raise ValueError(
            f"{free.size(1)} pairs of nodes are free for {size} edges, so there are {number} graphs; "
            f"expected 1 to {MOST}"
        )
    probe = Probe(model, layer, forward=forward)
    target = probe.check(graph).activation.double()
    losses = []
    chosen = itertools.combinations(range(free.size(1)), size)
    while block := list(itertools.islice(chosen, CHUNK)):
        edges = free[:, torch.tensor(block, device=free.device)]  # [2, graphs, |E|]
        edges = edges + num_nodes * torch.arange(len(block), device=free.device)[None, :, None]
        union = Data(
            x=graph.x.repeat(len(block), 1),
            edge_index=both_directions(edges.flatten(1)),
            num_nodes=num_nodes * len(block),
        )
        with torch.no_grad():
            h = probe(union, complete=False).activation.double().view(len(block), *target.shape)
        losses.append((h - target).square().sum((1, 2)) / target.square().sum())
    return torch.cat(losses)
