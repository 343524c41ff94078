"""What the library knows of each convolution: one row each."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.nn import (
    APPNP,
    ChebConv,
    GATConv,
    GATv2Conv,
    GCNConv,
    GINConv,
    MessagePassing,
    SAGEConv,
    SGConv,
)
from torch_geometric.typing import OptTensor

Factor = Callable[[Tensor], Tensor]


def factors(conv: MessagePassing) -> tuple[Factor, Factor]:
    """Return how a convolution scales a message by the degrees of its two ends.

    Attention and unknown convolutions are taken for averages: good enough to propose edges, which are then judged by
    the true loss.
    """
    if isinstance(conv, GCNConv | SGConv | APPNP):
        if not getattr(conv, "normalize", True):
            return torch.ones_like, torch.ones_like
        loops = float(conv.add_self_loops) * (2.0 if getattr(conv, "improved", False) else 1.0)
        return inverse_root(loops), inverse_root(loops)
    if isinstance(conv, ChebConv) and conv.normalization == "sym":
        return lambda degree: -inverse_root(0.0)(degree), inverse_root(0.0)
    if conv.aggr in ("add", "sum") and isinstance(conv, GINConv):
        return torch.ones_like, torch.ones_like
    return lambda degree: 1 / degree.clamp(min=1), torch.ones_like


def inverse_root(loops: float) -> Factor:
    return lambda degree: (degree + loops).clamp(min=1).rsqrt()


class LinearAPPNP(nn.Module):
    """One linear map followed by K personalised PageRank hops (Gasteiger et al., 2019)."""

    def __init__(self, in_channels: int, out_channels: int, hops: int = 10, teleport: float = 0.1) -> None:
        super().__init__()
        self.lin = nn.Linear(in_channels, out_channels)
        self.propagation = APPNP(hops, teleport)

    def reset_parameters(self) -> None:
        self.lin.reset_parameters()

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: OptTensor = None) -> Tensor:
        return self.propagation(self.lin(x), edge_index, edge_weight)


def _gin(in_channels: int, out_channels: int, act: Callable[[], nn.Module]) -> nn.Module:
    return GINConv(nn.Sequential(nn.Linear(in_channels, out_channels), act(), nn.Linear(out_channels, out_channels)))


def _attention(conv: type[nn.Module]) -> Callable[..., nn.Module]:
    def build(in_channels: int, out_channels: int, act: Callable[[], nn.Module]) -> nn.Module:
        heads = 8 if out_channels >= 64 and out_channels % 8 == 0 else 1
        return conv(in_channels, out_channels // heads, heads=heads)

    return build


class Convolution(NamedTuple):
    """How a convolution is built, whether it reads edges and edge weights, and whether its linear map is first."""

    build: Callable[..., nn.Module]
    reads_edges: bool = True
    reads_weights: bool = False
    linear_first: bool = True


CONVOLUTIONS: dict[str, Convolution] = {
    "gcn": Convolution(lambda i, o, act: GCNConv(i, o), reads_weights=True),
    "gat": Convolution(_attention(GATConv)),
    "gatv2": Convolution(_attention(GATv2Conv)),
    "sage": Convolution(lambda i, o, act: SAGEConv(i, o), linear_first=False),
    "gin": Convolution(_gin, linear_first=False),
    "cheb": Convolution(lambda i, o, act: ChebConv(i, o, K=2), reads_weights=True, linear_first=False),
    "sgc": Convolution(lambda i, o, act: SGConv(i, o, K=2), reads_weights=True, linear_first=False),
    "appnp": Convolution(lambda i, o, act: LinearAPPNP(i, o), reads_weights=True),
    "mlp": Convolution(lambda i, o, act: nn.Linear(i, o), reads_edges=False),
}


WEIGHTED_SUM = (GCNConv, SGConv, APPNP, ChebConv, GINConv, SAGEConv)


WEIGHTLESS = (SAGEConv, GINConv, GATConv, GATv2Conv)
