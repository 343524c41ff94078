"""Few flips, of edges or of bits of the features, that change the class a model predicts for one node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_graph, check_model, check_module
from metamerlib.graphs.edges import EdgeSet, both_directions
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
    space: _Space = _Edges(graph, node) if vary == "structure" else _Bits(graph)
    judge = _Judge.of(private_copy(model), graph, node, space)
    nothing = torch.empty(2, 0, dtype=torch.long, device=graph.x.device)
    flipped, margins = _descended(judge, nothing, most, tried)
    changed = margins[-1] < 0
    flipped = _needed(judge, flipped) if changed else flipped
    return Flips(flipped, changed, margins, space.with_flips(flipped))


def _descended(judge: _Judge, flipped: Tensor, most: int, tried: int) -> tuple[Tensor, list[float]]:
    """Flip what lowers the margin most, until the class has changed; return the flips ``[2, m]`` and all margins."""
    margins = [judge.margin(flipped)]
    while margins[-1] >= 0 and flipped.size(1) < most:
        options = judge.space.best(flipped, judge.change, tried)
        if not options.size(1):
            break
        after = [judge.margin(torch.cat([flipped, option[:, None]], dim=1)) for option in options.T]
        place = min(range(len(after)), key=after.__getitem__)
        flipped, margins = torch.cat([flipped, options[:, place : place + 1]], dim=1), [*margins, after[place]]
    return flipped, margins


def _needed(judge: _Judge, flipped: Tensor) -> Tensor:
    """Take back, one after the other, the flips without which the class stays changed."""
    place = 0
    while place < flipped.size(1) > 1:
        fewer = torch.cat([flipped[:, :place], flipped[:, place + 1 :]], dim=1)
        if judge.margin(fewer) < 0:
            flipped = fewer
        else:
            place += 1
    return flipped


@dataclass(frozen=True)
class _Judge:
    """What a model says of one node: by how much the class predicted for the reference is ahead of the others."""

    model: nn.Module
    node: int
    own: int
    space: _Space

    @classmethod
    def of(cls, model: nn.Module, graph: Data, node: int, space: _Space) -> _Judge:
        with torch.no_grad():
            return cls(model, node, int(call(model, graph)[node].argmax()), space)

    def margin(self, flipped: Tensor) -> float:
        with torch.no_grad():
            return float(self._margin(self.space.with_flips(flipped)))

    def change(self, candidate: Data, weights: Tensor) -> Tensor:
        """Return by how much the margin changes, to first order, with the flip of each weight of zero or one."""
        with torch.enable_grad():
            value = self._margin(candidate)
        if not value.requires_grad:
            raise ValueError(
                "the model's forward does not read edge_weight, so flips of edges have no slope; use a convolution "
                "that reads weights, such as gcn, or vary='features'"
            )
        return (1 - 2 * weights.detach()) * torch.autograd.grad(value, weights)[0]

    def _margin(self, candidate: Data) -> Tensor:
        scores = call(self.model, candidate)[self.node]
        return scores[self.own] - torch.cat([scores[: self.own], scores[self.own + 1 :]]).max()


class _Space(Protocol):
    """What may be flipped."""

    def with_flips(self, flipped: Tensor) -> Data:
        """Return the graph with flips ``[2, m]``."""

    def best(self, flipped: Tensor, change: Callable[[Data, Tensor], Tensor], count: int) -> Tensor:
        """Return the flips ``[2, count]`` next to those made whose change is least, without these.

        Args:
            flipped: Those made ``[2, m]``.
            change: Takes a graph as a function of real weights, and these; says what flipping each changes.
            count: How many.
        """


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

    def best(self, flipped: Tensor, change: Callable[[Data, Tensor], Tensor], count: int) -> Tensor:
        graph = self.with_flips(flipped)
        found = change(graph, graph.x.requires_grad_())
        found[flipped[0], flipped[1]] = 0
        place = _lowest(found.reshape(-1), count)
        return torch.stack([place // self.graph.x.size(1), place % self.graph.x.size(1)])


class _Edges:
    def __init__(self, graph: Data, node: int) -> None:
        if graph.get("edge_weight") is not None:
            raise ValueError("the edges have weights, which a flipped edge would lack; set graph.edge_weight = None")
        self.graph, self.present = graph, EdgeSet.of(graph)
        others = torch.arange(len(graph.x), device=graph.x.device)
        others = others[others != node]
        self.own = torch.stack([others.clamp(max=node), others.clamp(min=node)])

    def _set(self, pairs: Tensor) -> EdgeSet:
        return EdgeSet(pairs, self.present.num_nodes)

    def _edges(self, flipped: Tensor) -> EdgeSet:
        """Return the edges after flips: those of the reference but for the flipped ones, and the new ones."""
        stays, new = ~self._set(flipped).holds(self.present.pairs), ~self.present.holds(flipped)
        return self._set(torch.cat([self.present.pairs[:, stays], flipped[:, new]], dim=1))

    def with_flips(self, flipped: Tensor) -> Data:
        return with_edges(self.graph, both_directions(self._edges(flipped).pairs))

    def best(self, flipped: Tensor, change: Callable[[Data, Tensor], Tensor], count: int) -> Tensor:
        edges = self._edges(flipped)
        candidates = torch.cat([edges.pairs, self.own[:, ~edges.holds(self.own)]], dim=1)
        weights = self.graph.x.new_ones(candidates.size(1))
        weights[len(edges) :] = 0
        weights.requires_grad_()
        graph = with_edges(self.graph, both_directions(candidates), torch.cat([weights, weights]))
        found = change(graph, weights).masked_fill(self._set(flipped).holds(candidates), 0)
        return candidates[:, _lowest(found, count)]


def _lowest(change: Tensor, count: int) -> Tensor:
    """Return the places of the lowest entries, of those below zero."""
    change, place = change.topk(min(count, change.numel()), largest=False)
    return place[change < 0]
