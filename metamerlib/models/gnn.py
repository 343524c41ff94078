"""Graph neural networks built of equal blocks, so that depth, width and convolution vary alone."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import (
    BatchNorm,
    JumpingKnowledge,
    LayerNorm,
    MeanAggregation,
    PairNorm,
    SumAggregation,
)
from torch_geometric.typing import OptTensor

from metamerlib.checks import check_choice, check_graph, check_module
from metamerlib.models.convolutions import CONVOLUTIONS, Convolution
from metamerlib.plain import as_real, as_text, made_by, shown

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "identity": nn.Identity,
}


NORMS: dict[str | None, Callable[[int], nn.Module]] = {
    None: lambda channels: nn.Identity(),
    "batch": BatchNorm,
    "layer": lambda channels: LayerNorm(channels, mode="node"),
    "pair": lambda channels: PairNorm(),
}


POOLS: dict[str, Callable[[], nn.Module]] = {"sum": SumAggregation, "mean": MeanAggregation}
RESIDUALS = ("none", "skip", "initial", "jumping")
INITIAL_SHARE, LARGEST_SIZE = 0.1, 2**31


class Dropout(nn.Dropout):
    """Dropout that also takes sparse features, of which it drops stored entries."""

    def forward(self, x: Tensor) -> Tensor:
        if x.layout != torch.sparse_coo:
            return super().forward(x)
        values = super().forward(x.values())
        with x.device:
            return torch.sparse_coo_tensor(x.indices(), values, x.shape, is_coalesced=True, check_invariants=False)


class Layer(nn.Module):
    """Map :math:`h^{(k-1)}` to :math:`h^{(k)}`: convolution, norm, activation, then the residual sum.

    The input of ``self.act`` is the pre-activation :math:`z^{(k)}`.
    """

    def __init__(self, conv: nn.Module, row: Convolution, act: str, norm: nn.Module, residual: str) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm
        self.act = ACTIVATIONS[act]()
        self.residual = residual
        self.reads_edges, self.reads_weights = row.reads_edges, row.reads_weights

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_weight: OptTensor, batch: OptTensor, initial: OptTensor
    ) -> Tensor:
        if not self.reads_edges:
            h = self.conv(x)
        elif self.reads_weights:
            h = self.conv(x, edge_index, edge_weight)
        else:
            h = self.conv(x, edge_index)
        coupled = isinstance(self.norm, PairNorm)
        h = self.act(self.norm(h, batch) if coupled else self.norm(h))
        if self.residual == "skip":
            return h + x
        if self.residual == "initial" and initial is not None:
            return (1 - INITIAL_SHARE) * h + INITIAL_SHARE * initial
        return h


class GNN(nn.Module):
    """Stack ``num_layers`` equal layers of one convolution.

    ``model.layers[k - 1]`` outputs :math:`h^{(k)}`. Without jumping knowledge and pooling the last layer
    gives the logits (no norm, no activation, no residual); with either, all layers are hidden and a linear
    head after them gives the logits.

    Args:
        conv: One of gcn, gat, gatv2, sage, gin (inside each layer one hidden layer of ``hidden_channels`` with
            ``act``, the last one too), cheb (K = 2), sgc (K = 2), appnp (linear map, then K = 10 hops with
            teleport 0.1), mlp (no structure).
        in_channels: Number of features F.
        hidden_channels: Width of the hidden layers.
        out_channels: Number of classes.
        num_layers: Depth L.
        act: relu, elu, leaky_relu, gelu, tanh or identity.
        residual: none; skip (adds the layer's input where the widths agree); initial (as in GCNII, keeps a
            tenth of :math:`h^{(1)}` in each later hidden layer); jumping (concatenates all layers).
        norm: None, batch, layer (per node) or pair.
        dropout: Probability of dropping an input entry of each layer in training.
        pool: None for node-level models, sum or mean for graph-level ones.

    Raises:
        ValueError: If a name is unknown or a size is not a positive integer.

    Example:
        >>> import torch, metamerlib as ml
        >>> model = ml.GNN(conv="gcn", in_channels=5, hidden_channels=8, out_channels=3, num_layers=2)
        >>> model(torch.ones(4, 5), torch.tensor([[0, 1], [1, 0]])).shape
        torch.Size([4, 3])
    """

    def __init__(
        self,
        *,
        conv: str,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int,
        act: str = "relu",
        residual: str = "none",
        norm: str | None = None,
        dropout: float = 0.5,
        pool: str | None = None,
    ) -> None:
        super().__init__()
        check_choice("convolution", conv, list(CONVOLUTIONS))
        check_choice("activation", act, list(ACTIVATIONS))
        check_choice("residual", residual, RESIDUALS)
        check_choice("norm", norm, list(NORMS))
        check_choice("pool", pool, [None, *POOLS])
        sizes = dict(
            in_channels=in_channels,
            hidden_channels=hidden_channels,
            out_channels=out_channels,
            num_layers=num_layers,
        )
        for name, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, Integral) or not 1 <= int(size) <= LARGEST_SIZE:
                raise ValueError(f"{name} must be a positive integer, got {shown(size)}")
        if as_real("dropout", dropout) < 0 or dropout >= 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout!r}")
        self.conv, self.residual, self.in_channels = conv, residual, in_channels
        has_head = pool is not None or residual == "jumping"
        widths = [in_channels] + [hidden_channels] * num_layers
        if not has_head:
            widths[-1] = out_channels
        self.layers = nn.ModuleList()
        row = CONVOLUTIONS[conv]
        for k in range(num_layers):
            logits = not has_head and k == num_layers - 1
            inner = row.build(widths[k], widths[k + 1], ACTIVATIONS[act], hidden_channels)
            outer = NORMS[None if logits else norm](widths[k + 1])
            summed = "none" if logits or widths[k] != widths[k + 1] else residual
            self.layers.append(Layer(inner, row, "identity" if logits else act, outer, summed))
        self.dropout = Dropout(dropout)
        self.jump = JumpingKnowledge("cat") if residual == "jumping" else None
        self.pool = POOLS[pool]() if pool else None
        jumped = hidden_channels * (num_layers if residual == "jumping" else 1)
        self.head = nn.Linear(jumped, out_channels) if has_head else None

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        for module in self.modules():
            if module is not self and hasattr(module, "reset_parameters"):
                module.reset_parameters()  # type: ignore[operator]

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: OptTensor = None, batch: OptTensor = None) -> Tensor:
        """Compute the logits.

        Args:
            x: Features ``[N, F]``; a sparse tensor is taken too.
            edge_index: Edges ``[2, E]``, both directions stored.
            edge_weight: Real weights ``[E]``, only for gcn, cheb, sgc and appnp.
            batch: Graph of each node ``[N]``, for pooling and pair norm.

        Returns:
            Logits ``[N, C]``, or ``[num_graphs, C]`` with pooling.
        """
        self._check(x, edge_index, edge_weight, batch)
        if edge_weight is not None and not CONVOLUTIONS[self.conv].reads_weights:
            able = [name for name, c in CONVOLUTIONS.items() if c.reads_weights]
            raise ValueError(f"{self.conv} has no edge weights; use one of {able}, or set graph.edge_weight = None")
        initial: OptTensor = None
        states: list[Tensor] = []
        x = self.dropout(x)
        if x.layout == torch.sparse_coo and not CONVOLUTIONS[self.conv].linear_first:
            x = x.to_dense()
        for layer in self.layers:
            try:
                x = layer(self.dropout(x) if states else x, edge_index, edge_weight, batch, initial)
            except (IndexError, RuntimeError):
                self._explain(x, edge_index, first=not states)
                raise
            states.append(x)
            initial = states[0]
        if self.jump is not None:
            x = self.jump(states)
        if self.pool is not None:
            x = self.pool(x, batch if batch is not None else x.new_zeros(x.size(0), dtype=torch.long))
        return x if self.head is None else self.head(x)

    def _check(self, x: object, edge_index: object, edge_weight: object, batch: object) -> None:
        """Raise unless the tensors fit together; values are not looked at, so that no GPU is waited for."""
        for name, value in (("x", x), ("edge_index", edge_index), ("edge_weight", edge_weight), ("batch", batch)):
            sparse = name == "edge_index" and type(value).__name__ == "SparseTensor"
            if not (isinstance(value, Tensor) or sparse or (value is None and name in ("edge_weight", "batch"))):
                raise TypeError(f"{name} must be a torch.Tensor, got {shown(value)}; convert with torch.as_tensor")
        assert isinstance(x, Tensor)
        if not x.is_floating_point() or x.dim() != 2:
            raise ValueError(f"x must be floating point [N, {self.in_channels}], got {x.dtype} {list(x.shape)}")
        if isinstance(edge_index, Tensor) and edge_index.layout == torch.strided:
            if edge_index.dtype != torch.long or edge_index.dim() != 2 or edge_index.size(0) != 2:
                raise ValueError(
                    f"edge_index must be torch.long [2, E], got {edge_index.dtype} {list(edge_index.shape)}"
                )
            if isinstance(edge_weight, Tensor) and edge_weight.shape != edge_index.shape[1:]:
                raise ValueError(f"edge_weight must be [{edge_index.size(1)}], got {list(edge_weight.shape)}")
        if isinstance(batch, Tensor) and (batch.dtype != torch.long or batch.shape != x.shape[:1]):
            raise ValueError(f"batch must be torch.long [{x.size(0)}], got {batch.dtype} {list(batch.shape)}")

    def _explain(self, x: Tensor, edge_index: Tensor, *, first: bool) -> None:
        """Raise if a layer failed since the features have another width, or an edge names a node that there is not."""
        if first and x.size(1) != self.in_channels:
            raise ValueError(f"x must have {self.in_channels} columns, got {list(x.shape)}; build the model anew")
        weight = next(self.parameters())
        if first and (x.device, x.dtype) != (weight.device, weight.dtype):
            raise ValueError(
                f"x is {x.dtype} on {x.device}, but the model {weight.dtype} on {weight.device}; convert one of them"
            )
        if isinstance(edge_index, Tensor) and edge_index.numel() and edge_index.layout == torch.strided:
            low, high = int(edge_index.min()), int(edge_index.max())
            if low < 0 or high >= x.size(0):
                raise ValueError(f"edge_index must lie in 0..{x.size(0) - 1} for {x.size(0)} nodes, got {low}..{high}")


def build_model(
    architecture: str,
    graph: Data,
    *,
    hidden_channels: int = 64,
    num_layers: int = 2,
    pool: str | None = None,
    **options: Any,
) -> nn.Module:
    """Build a classifier by name: of the nodes of a graph, or with pooling of graphs.

    Args:
        architecture: A convolution of :class:`GNN`, or ``package.module:factory``; see :func:`model_and_layers`.
        graph: Gives the number of features F and of classes.
        hidden_channels: Width of the hidden layers of a :class:`GNN`.
        num_layers: Depth of a :class:`GNN`.
        pool: Pooling of a :class:`GNN`; None for a node classifier.
        **options: Further keywords of :class:`GNN`, such as act, residual or norm; not for a factory.

    Example:
        >>> import metamerlib as ml
        >>> ml.models.build_model("gcn", ml.load_graph("karate")).in_channels
        34
    """
    as_text("architecture", architecture, "gcn")
    check_graph(graph, integers=True)
    if ":" in architecture:
        if options:
            raise ValueError(f"{architecture!r} builds its own model, so it takes no {', '.join(options)}")
        model = model_and_layers(architecture, graph)[0]
        check_module(model)
        return model
    if graph.get("num_classes") is None or graph.num_classes < 1:
        raise ValueError(f"graph says no number of classes, got {graph}; set graph.num_classes, or build a GNN itself")
    return GNN(
        conv=architecture,
        in_channels=graph.num_features,
        hidden_channels=hidden_channels,
        out_channels=graph.num_classes,
        num_layers=num_layers,
        pool=pool,
        **options,
    )


def model_and_layers(architecture: str, graph: Data) -> tuple[nn.Module, list[str]]:
    """Call a factory for a model of a graph.

    Args:
        architecture: ``package.module:factory``, where ``factory(graph)`` returns a model, or a model and the names
            of the layers at which its activations are to be matched.
        graph: What the model is for; for a collection, its first graph.

    Returns:
        The model and the names, none where the factory names none.

    Raises:
        ValueError: If the factory returns something else.

    Example:
        >>> import metamerlib as ml
        >>> model, layers = model_and_layers("torch.nn:Flatten", ml.load_graph("karate"))
        >>> type(model).__name__, layers
        ('Flatten', [])
    """
    made = made_by("architecture", architecture, "factory(graph) -> torch.nn.Module, or a pair with names", graph)
    model, layers = made if isinstance(made, tuple) and len(made) == 2 else (made, [])
    layers = [layers] if isinstance(layers, str) else list(layers)
    if not isinstance(model, nn.Module) or not all(isinstance(layer, str) for layer in layers):
        raise ValueError(
            f"{architecture!r} returned {type(made).__name__}; expected a torch.nn.Module, or a pair of it and a list "
            "of names of its layers"
        )
    return model, layers
