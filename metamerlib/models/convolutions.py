"""What the library knows of each convolution: one row each, looked up by name for ours and by type for anybody's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import APPNP, ChebConv, GATConv, GATv2Conv, GCNConv, GINConv, SAGEConv, SGConv
from torch_geometric.typing import OptTensor

Factor = Callable[[Tensor], Tensor]


class LinearAPPNP(nn.Module):
    """One linear map followed by K personalised PageRank hops (Gasteiger et al., 2019)."""

    def __init__(self, in_channels: int, out_channels: int, hops: int = 10, teleport: float = 0.1) -> None:
        super().__init__()
        self.lin = nn.Linear(in_channels, out_channels)
        self.propagation = APPNP(hops, teleport)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        self.lin.reset_parameters()

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: OptTensor = None) -> Tensor:
        """Return the propagated linear map of the features ``[N, out_channels]``."""
        return self.propagation(self.lin(x), edge_index, edge_weight)


def _gin(in_channels: int, out_channels: int, act: Callable[[], nn.Module], width: int) -> nn.Module:
    return GINConv(nn.Sequential(nn.Linear(in_channels, width), act(), nn.Linear(width, out_channels)))


def _attention(conv: type[nn.Module]) -> Callable[..., nn.Module]:
    def build(in_channels: int, out_channels: int, *_: Any) -> nn.Module:
        heads = 8 if out_channels >= 64 and out_channels % 8 == 0 else 1
        return conv(in_channels, out_channels // heads, heads=heads)

    return build


def _inverse_root(loops: float) -> Factor:
    return lambda degree: (degree + loops).clamp(min=1).rsqrt()


def _symmetric(conv: Any) -> tuple[Factor, Factor]:
    if not getattr(conv, "normalize", True):
        return torch.ones_like, torch.ones_like
    loops = float(conv.add_self_loops) * (2.0 if getattr(conv, "improved", False) else 1.0)
    return _inverse_root(loops), _inverse_root(loops)


def _laplacian(conv: Any) -> tuple[Factor, Factor]:
    if conv.normalization != "sym":
        return _average(conv)
    return lambda degree: -_inverse_root(0.0)(degree), _inverse_root(0.0)


def _average(conv: Any) -> tuple[Factor, Factor]:
    return lambda degree: 1 / degree.clamp(min=1), torch.ones_like


def _sum(conv: Any) -> tuple[Factor, Factor]:
    return (torch.ones_like, torch.ones_like) if conv.aggr in ("add", "sum") else _average(conv)


@dataclass(frozen=True)
class Convolution:
    """What a search, a bound or a figure needs to know of a convolution.

    Attributes:
        build: ``build(in_channels, out_channels, act, width)`` makes the module of :class:`metamerlib.GNN`;
            act and width are those of the hidden layers, for what a convolution has inside.
        kind: Class of PyTorch Geometric that passes the messages, or None without messages.
        reads_edges: Whether it reads edges.
        reads_weights: Whether it reads edge weights.
        linear_first: Whether its linear map comes before the messages.
        hops: Hops that a module of the kind makes in one call.
        sums: Whether it sums or averages neighbours with weights that do not depend on the features.
        product: Whether it is :math:`P^{hops} X W^T + b` with a constant P ``[N, N]``.
        factors: How a module scales a message by the degrees of receiver and sender.
    """

    build: Callable[..., nn.Module]
    kind: type[nn.Module] | None
    reads_edges: bool = True
    reads_weights: bool = False
    linear_first: bool = True
    hops: Callable[[Any], int] = lambda conv: 1
    sums: bool = False
    product: bool = False
    factors: Callable[[Any], tuple[Factor, Factor]] = _average


CONVOLUTIONS: dict[str, Convolution] = {
    "gcn": Convolution(
        lambda i, o, *_: GCNConv(i, o), GCNConv, reads_weights=True, sums=True, product=True, factors=_symmetric
    ),
    "gat": Convolution(_attention(GATConv), GATConv),
    "gatv2": Convolution(_attention(GATv2Conv), GATv2Conv),
    "sage": Convolution(lambda i, o, *_: SAGEConv(i, o), SAGEConv, linear_first=False, sums=True),
    "gin": Convolution(_gin, GINConv, linear_first=False, sums=True, factors=_sum),
    "cheb": Convolution(
        lambda i, o, *_: ChebConv(i, o, K=2), ChebConv, reads_weights=True, linear_first=False,
        hops=lambda conv: len(conv.lins) - 1, sums=True, factors=_laplacian,
    ),
    "sgc": Convolution(
        lambda i, o, *_: SGConv(i, o, K=2), SGConv, reads_weights=True, linear_first=False,
        hops=lambda conv: conv.K, sums=True, product=True, factors=_symmetric,
    ),
    "appnp": Convolution(
        lambda i, o, *_: LinearAPPNP(i, o), APPNP, reads_weights=True,
        hops=lambda conv: conv.K, sums=True, factors=_symmetric,
    ),
    "mlp": Convolution(lambda i, o, *_: nn.Linear(i, o), None, reads_edges=False),
}  # fmt: skip

_BY_KIND = {row.kind: row for row in CONVOLUTIONS.values() if row.kind is not None}


def row_of(conv: nn.Module) -> Convolution | None:
    """Return the row of a module of PyTorch Geometric, or None where its very class has none.

    Example:
        >>> row_of(SGConv(3, 4, K=2)).hops(SGConv(3, 4, K=2)), row_of(nn.Linear(3, 4))
        (2, None)
    """
    return _BY_KIND.get(type(conv))


def sums_neighbours(conv: Any) -> bool:
    """Tell whether a module sums or averages its neighbours with weights that do not depend on the features."""
    row = row_of(conv)
    return row is not None and row.sums and conv.aggr in ("add", "sum", "mean") and conv.flow == "source_to_target"


def factors(conv: nn.Module) -> tuple[Factor, Factor]:
    """Return how a convolution scales a message by the degrees of its receiver and its sender.

    Attention and unknown convolutions are taken for averages: good enough to propose edges, which are then judged by
    the true loss.
    """
    row = next((_BY_KIND[kind] for kind in type(conv).__mro__ if kind in _BY_KIND), None)
    return _average(conv) if row is None else row.factors(conv)


def weightless_kinds() -> tuple[type[nn.Module], ...]:
    """Return the classes that read no edge weights and that real weights can be given to from outside.

    Example:
        >>> [kind.__name__ for kind in weightless_kinds()]
        ['GATConv', 'GATv2Conv', 'SAGEConv', 'GINConv']
    """
    return tuple(row.kind for row in CONVOLUTIONS.values() if row.kind is not None and not row.reads_weights)
