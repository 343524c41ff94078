"""Few flips, of edges or of bits of the features, that change the class a model predicts for one node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_graph, check_model, check_module
from metamerlib.graphs.edges import among, both_directions, pair_keys, undirected_pairs
from metamerlib.graphs.edit import with_edges, with_features
from metamerlib.models.calling import call, private_copy
from metamerlib.plain import as_count, check_choice


@dataclass(frozen=True)
class Flips:
    """What a search for few flips found.

    Attributes:
        flipped: Pairs of nodes whose edge is there or not there instead ``[2, m]``; for features node and feature of
            each flipped bit.
        changed: Whether they change the predicted class.
        margins: Logit of the class predicted for the reference minus the largest other one: of the reference, and after
            each flip that the search made, those included that it took back in the end.
        graph: The graph with the flips.
    """

    flipped: Tensor
    changed: bool
    margins: list[float]
    graph: Data

    def __len__(self) -> int:
        return self.flipped.size(1)


def fewest_flips(
    model: nn.Module, graph: Data, node: int, *, vary: str = "structure", most: int = 50, tried: int = 16
) -> Flips:
    r"""Search for as few flips as possible that change the class predicted for a node, greedily.

    With the margin m of the class predicted for the reference, each step orders the candidates by the first-order
    change :math:`(1 - 2 a) \, \partial m / \partial a` of a flip, a the weight of a pair or a bit, makes each of the
    best ones truly, and keeps the one that lowers m most (attacks on one node by such steps: Zügner et al., KDD 2018).
    Of the flips that changed the class, those are taken back without which it stays changed. So their number is an
    upper bound of the fewest, and equals it where it is 1.

    Args:
        model: A classifier of nodes, left as it was; for edges its ``forward`` must read edge_weight.
        graph: x ``[N, F]`` of zeros and ones where features vary; simple, undirected, without weights where edges do.
        node: The node, 0 to N - 1.
        vary: structure (candidates are all pairs with this node, and all edges) or features (all bits of all nodes).
        most: Largest number of flips.
        tried: Candidates that are made truly at each step.

    Returns:
        The flips; not ``changed`` where ``most`` of them do not suffice.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, the model reads no weights of edges, or features are no bits.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("bow-sbm")
        >>> model = ml.GNN(conv="gcn", in_channels=600, hidden_channels=16, out_channels=4, num_layers=2)
        >>> found = fewest_flips(ml.train(model, graph, epochs=30).model, graph, 0)
        >>> found.changed, len(found) < 20
        (True, True)
    """
    check_choice("vary", vary, ["structure", "features"])
    check_graph(graph)
    check_module(model)
    check_model(model, graph)
    node = as_count("node", node, least=0, most=graph.x.size(0) - 1)
    most, tried = as_count("most", most), as_count("tried", tried)
    model = private_copy(model)
    space: _Space = _Edges(graph, node) if vary == "structure" else _Bits(graph)
    with torch.no_grad():
        logits = call(model, graph)[node]
    own = int(logits.argmax())

    def margin(candidate: Data) -> Tensor:
        scores = call(model, candidate)[node]
        return scores[own] - torch.cat([scores[:own], scores[own + 1 :]]).max()

    def truly(flipped: Tensor) -> float:
        with torch.no_grad():
            return float(margin(space.with_flips(flipped)))

    flipped = torch.empty(2, 0, dtype=torch.long, device=graph.x.device)
    margins = [truly(flipped)]
    while margins[-1] >= 0 and flipped.size(1) < most:
        weights, candidate = space.relaxed(flipped)
        with torch.enable_grad():
            value = margin(candidate)
        if not value.requires_grad:
            raise ValueError(
                "the model's forward does not read edge_weight, so flips of edges have no slope; use a convolution "
                "that reads weights, such as gcn, or vary='features'"
            )
        slope = torch.autograd.grad(value, weights)[0]
        options = space.best((1 - 2 * weights.detach()) * slope, flipped, tried)
        if not options.size(1):
            break
        after = [truly(torch.cat([flipped, option[:, None]], dim=1)) for option in options.T]
        place = min(range(len(after)), key=after.__getitem__)
        flipped, margins = torch.cat([flipped, options[:, place : place + 1]], dim=1), [*margins, after[place]]
    changed = margins[-1] < 0
    place = 0
    while changed and place < flipped.size(1) > 1:
        fewer = torch.cat([flipped[:, :place], flipped[:, place + 1 :]], dim=1)
        if truly(fewer) < 0:
            flipped = fewer
        else:
            place += 1
    return Flips(flipped, changed, margins, space.with_flips(flipped))


class _Space(Protocol):
    """What may be flipped."""

    def with_flips(self, flipped: Tensor) -> Data:
        """Return the graph with flips ``[2, m]``."""

    def relaxed(self, flipped: Tensor) -> tuple[Tensor, Data]:
        """Return real weights that may be flipped next, and the graph as a function of them."""

    def best(self, change: Tensor, flipped: Tensor, count: int) -> Tensor:
        """Return the flips ``[2, count]`` whose estimated change is least, without those made before."""


class _Bits:
    def __init__(self, graph: Data) -> None:
        others = int(((graph.x != 0) & (graph.x != 1)).sum())
        if others:
            raise ValueError(
                f"flips need features of zeros and ones, but {others} entries are others; pass (x > 0).float()"
            )
        self.graph = graph

    def with_flips(self, flipped: Tensor) -> Data:
        x = self.graph.x.clone()
        x[flipped[0], flipped[1]] = 1 - x[flipped[0], flipped[1]]
        return with_features(self.graph, x)

    def relaxed(self, flipped: Tensor) -> tuple[Tensor, Data]:
        graph = self.with_flips(flipped)
        graph.x.requires_grad_()
        return graph.x, graph

    def best(self, change: Tensor, flipped: Tensor, count: int) -> Tensor:
        change[flipped[0], flipped[1]] = 0
        change, place = change.reshape(-1).topk(min(count, change.numel()), largest=False)
        place = place[change < 0]
        return torch.stack([place // self.graph.x.size(1), place % self.graph.x.size(1)])


class _Edges:
    def __init__(self, graph: Data, node: int) -> None:
        if graph.get("edge_weight") is not None:
            raise ValueError("the edges have weights, which a flipped edge would lack; set graph.edge_weight = None")
        self.graph, self.size = graph, graph.x.size(0)
        self.present = undirected_pairs(graph)
        others = torch.arange(self.size, device=graph.x.device)
        others = others[others != node]
        self.own = torch.stack([others.clamp(max=node), others.clamp(min=node)])

    def _pairs(self, flipped: Tensor) -> Tensor:
        """Return the edges after flips: those of the reference but for the flipped ones, and the new ones."""
        keys, old = pair_keys(flipped, self.size), pair_keys(self.present, self.size)
        stays, new = ~among(old, keys.sort().values), ~among(keys, old.sort().values)
        return torch.cat([self.present[:, stays], flipped[:, new]], dim=1)

    def with_flips(self, flipped: Tensor) -> Data:
        return with_edges(self.graph, both_directions(self._pairs(flipped)))

    def relaxed(self, flipped: Tensor) -> tuple[Tensor, Data]:
        edges = self._pairs(flipped)
        absent = self.own[:, ~among(pair_keys(self.own, self.size), pair_keys(edges, self.size).sort().values)]
        self.candidates = torch.cat([edges, absent], dim=1)
        weights = self.graph.x.new_ones(self.candidates.size(1))
        weights[edges.size(1) :] = 0
        weights.requires_grad_()
        return weights, with_edges(self.graph, both_directions(self.candidates), torch.cat([weights, weights]))

    def best(self, change: Tensor, flipped: Tensor, count: int) -> Tensor:
        made = among(pair_keys(self.candidates, self.size), pair_keys(flipped, self.size).sort().values)
        change = change.masked_fill(made, 0)
        change, place = change.topk(min(count, change.numel()), largest=False)
        return self.candidates[:, place[change < 0]]
