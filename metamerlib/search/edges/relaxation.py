"""Real edge weights for convolutions that have none, equal to the plain convolution where all weights are 0 or 1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GINConv, MessagePassing, SAGEConv

from metamerlib.models.calling import call
from metamerlib.models.convolutions import CONVOLUTIONS, weightless_kinds
from metamerlib.models.gnn import GNN
from metamerlib.models.propagation import StandIn, put_stand_in
from metamerlib.probing.agreement import agree
from metamerlib.probing.probe import Probe
from metamerlib.search.edges.refresh import Refresh, refreshed

NEGLIGIBLE = 1e-8


def reads_weights(probe: Probe, graph: Data) -> bool:
    """Say whether a model's own forward takes edge weights and reacts to them.

    Args:
        probe: Records a layer of the model.
        graph: The reference, without weights.
    """
    if probe.forward is call and isinstance(probe.model, GNN) and not CONVOLUTIONS[probe.model.conv].reads_weights:
        return False
    one = graph.clone()
    one.edge_weight = graph.x.new_ones(graph.edge_index.size(1))
    half = graph.clone()
    half.edge_weight = torch.linspace(0.1, 0.9, one.edge_weight.numel(), device="cpu").to(one.edge_weight)
    try:
        with torch.no_grad():
            here, there = (probe(g, complete=False).activation for g in (one, half))
    except (RuntimeError, ValueError, TypeError):
        return False
    return bool(torch.isfinite(there).all()) and not torch.equal(here, there)


class _Weighted(StandIn):
    """Stand in for ``conv.propagate`` and weigh each edge's message."""

    def __init__(self, conv: MessagePassing, weights: dict[str, Tensor]) -> None:
        super().__init__(conv)
        self.weights = weights

    def __call__(self, edge_index: Tensor, size: Any = None, **kwargs: Any) -> Tensor:
        given = self.weights["edge"]
        added = edge_index.size(1) - given.numel()
        weight = torch.cat([given, given.new_ones(added)]) if added else given  # loops that a convolution adds
        if "alpha" in kwargs:
            alpha = kwargs["alpha"] * weight.view(-1, *[1] * (kwargs["alpha"].dim() - 1))
            num_nodes = kwargs["x"][0].size(0)
            total = alpha.new_zeros(num_nodes, *alpha.shape[1:]).index_add(0, edge_index[1], alpha)
            kwargs["alpha"] = alpha / total.clamp(min=torch.finfo(alpha.dtype).tiny)[edge_index[1]]
            return super().__call__(edge_index, size, **kwargs)
        x = self.sender_in(kwargs)
        out = torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]] * weight[:, None])
        if self.conv.aggr != "mean":
            return out
        total = weight.new_zeros(x.size(0)).index_add(0, edge_index[1], weight)
        return out / total.clamp(min=1)[:, None]


class Relaxed(nn.Module):
    r"""A model as a function of real edge weights: the recorded layer, called ``(x, edge_index, edge_weight)``.

    Sums become weighted sums, means weighted means, and attention is divided anew,
    :math:`\alpha_{xz} \propto w_{xz} e^{a_{xz}}`.

    Args:
        probe: Records a layer; its copy of the model is copied once more.
        graph: The reference; gives what else the model needs.
        refresh: Computes attributes of nodes anew from the edges that have a weight, without a gradient, or None.

    Raises:
        ValueError: If the model neither takes edge weights nor consists of convolutions that can be relaxed.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="sage", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
        >>> relaxed = Relaxed(Probe(model, 1), graph)
        >>> relaxed(graph.x, graph.edge_index, torch.ones(156)).shape
        torch.Size([34, 8])
    """

    def __init__(self, probe: Probe, graph: Data, refresh: Refresh | None = None) -> None:
        super().__init__()
        self.own = reads_weights(probe, graph)
        self.probe, self.graph, self.refresh = probe.copy(), graph, refresh
        self.weights: dict[str, Tensor] = {}
        if self.own:
            return
        convs = [module for module in self.probe.model.modules() if isinstance(module, MessagePassing)]
        strange = sorted({type(c).__name__ for c in convs if not _relaxable(c)})
        if strange or not convs:
            raise ValueError(
                f"{', '.join(strange) or 'this model'} has no edge weights that could be relaxed; let the model's "
                f"forward take edge_weight, use {[c.__name__ for c in weightless_kinds()]}, or solver='swaps'"
            )
        for conv in convs:
            put_stand_in(conv, _Weighted(conv, self.weights))
        self._compare(probe)

    def _compare(self, probe: Probe) -> None:
        """Raise unless the relaxed layer is the plain one where all weights are 1."""
        edges = self.graph.edge_index
        with torch.no_grad():
            here = self.record(self.graph.x, edges, self.graph.x.new_ones(edges.size(1))).activation
            same = agree(here, probe(self.graph, complete=False).activation)
        if not same:
            raise ValueError(
                "the model's convolutions do more than their type says (hooks inside, or a propagation of their own), "
                "so edge weights cannot be relaxed; use solver='swaps', or let the model's forward take edge_weight"
            )

    def record(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Any:
        """Return the recording of the layer, through which gradients flow to the weights ``[E]``."""
        candidate = Data(x=x, edge_index=edge_index)
        if edge_weight.requires_grad:  # the root of a degree of zero has no slope
            edge_weight = edge_weight * 1.0
            edge_weight.register_hook(lambda gradient: gradient.nan_to_num(0.0, 0.0, 0.0))
        for name, value in self._others(x, edge_index, edge_weight.detach()).items():
            if name not in ("x", "edge_index", "edge_weight") and not self.graph.is_edge_attr(name):
                candidate[name] = value
        if self.own:
            candidate.edge_weight = edge_weight
        else:
            self.weights["edge"] = edge_weight
        return self.probe(candidate, complete=False)

    def _others(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> dict[str, Any]:
        """Return what else the model needs, computed anew where it follows from the edges."""
        if self.refresh is None:
            return self.graph.to_dict()
        kept = edge_weight > NEGLIGIBLE
        candidate = self.graph.clone()
        candidate.x, candidate.edge_index = x.detach(), edge_index[:, kept]
        if self.own:
            candidate.edge_weight = edge_weight[kept]
        return refreshed(candidate, self.refresh).to_dict()

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """Return the activation of the layer ``[rows, d_k]``."""
        return self.record(x, edge_index, edge_weight).activation


def _relaxable(conv: MessagePassing) -> bool:
    if type(conv) not in weightless_kinds() or conv.flow != "source_to_target":
        return False
    return not isinstance(conv, SAGEConv | GINConv) or conv.aggr in ("add", "sum", "mean")
